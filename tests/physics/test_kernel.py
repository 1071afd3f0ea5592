import numpy as np
import pytest

from lowdose.physics.kernel import Kernel, fitted_kernel, flat_kernel
from lowdose.physics.ramp import hann

FREQUENCIES = np.linspace(0.02, 0.7, 35)


def ramp_power(gain: np.ndarray) -> np.ndarray:
    return FREQUENCIES * gain**2


@pytest.mark.parametrize("cutoff", [0.6, 1.0, 3.0])
def test_a_kernel_is_found_again_with_its_level_through_anatomy(cutoff):
    """Below 0.2/mm the scan's power is useless; the even continuation finds what the kernel was there."""
    gain = hann(cutoff)(FREQUENCIES)
    own = 2.0 * ramp_power(gain)
    with_anatomy = own + np.where(FREQUENCIES < 0.19, 5 * own.max(), 0.0)
    kernel, factor = fitted_kernel(
        FREQUENCIES, flat_kernel(FREQUENCIES), with_anatomy / ramp_power(np.ones_like(FREQUENCIES)), own
    )
    assert factor == pytest.approx(2.0, rel=0.12)
    seen = min(0.6, 0.8 * cutoff) > FREQUENCIES
    assert kernel(FREQUENCIES[seen]) == pytest.approx(gain[seen], abs=0.05)
    assert kernel(np.zeros(1))[0] == 1.0


def test_a_right_kernel_stays():
    gain = hann(0.9)(FREQUENCIES)
    right = Kernel(np.concatenate([[0.0], FREQUENCIES]), np.concatenate([[1.0], gain]))
    kernel, factor = fitted_kernel(FREQUENCIES, right, np.ones_like(FREQUENCIES), ramp_power(gain))
    assert factor == pytest.approx(1.0, abs=0.02)
    assert kernel(FREQUENCIES) == pytest.approx(gain, abs=0.02)


def test_an_enhancing_kernel_is_found_too():
    gain = 1 + 2.0 * FREQUENCIES**2
    own = ramp_power(gain)
    kernel, factor = fitted_kernel(FREQUENCIES, flat_kernel(FREQUENCIES), gain**2, own)
    assert factor == pytest.approx(1.0, abs=0.03)
    assert kernel(FREQUENCIES) == pytest.approx(gain, rel=0.03)


def test_beyond_what_was_measured_a_kernel_goes_on_falling_and_never_rises():
    falling = Kernel(np.linspace(0, 0.5, 6), np.array([1, 0.9, 0.7, 0.5, 0.3, 0.2]))
    beyond = falling(np.array([0.5, 0.6, 0.9]))
    assert (np.diff(beyond) < 0).all()
    rising = Kernel(np.linspace(0, 0.5, 6), np.linspace(1, 2, 6))
    assert rising(np.array([0.6, 2.0])) == pytest.approx([2.0, 2.0])


def test_coarse_noise_is_never_more_than_all_that_the_scan_has():
    """A scanner that damps coarse noise: the even continuation alone would put it back."""
    gain = hann(1.0)(FREQUENCIES) * np.where(FREQUENCIES < 0.15, 0.5, 1.0)
    own = ramp_power(gain)
    kernel, factor = fitted_kernel(FREQUENCIES, flat_kernel(FREQUENCIES), gain**2, own)
    simulated = factor * ramp_power(kernel(FREQUENCIES))
    coarse = (FREQUENCIES > 0.03) & (FREQUENCIES < 0.13)
    assert (simulated[coarse] <= 1.05 * own[coarse]).all()
