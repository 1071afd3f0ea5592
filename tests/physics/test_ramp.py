import numpy as np
import pytest

from lowdose.physics.geometry import ParallelBeam
from lowdose.physics.ramp import (
    APODISATIONS,
    cosine,
    filtered_rows,
    hamming,
    hann,
    ram_lak,
    ramp_response,
    rectangle,
    shepp_logan,
)

BEAM = ParallelBeam(n_views=1, n_channels=64, channel_spacing=0.5)


def test_windows_have_their_published_values():
    f = np.array([0.0, 0.2, 0.4, 0.41])
    assert ram_lak(f) == pytest.approx([1, 1, 1, 1])
    assert rectangle(0.4)(f) == pytest.approx([1, 1, 1, 0])
    assert shepp_logan(0.4)(f) == pytest.approx([1, 2 * np.sqrt(2) / np.pi, 2 / np.pi, 0])
    assert cosine(0.4)(f) == pytest.approx([1, np.sqrt(0.5), 0, 0], abs=1e-12)
    assert hamming(0.4)(f) == pytest.approx([1, 0.54, 0.08, 0])
    assert hann(0.4)(f) == pytest.approx([1, 0.5, 0, 0], abs=1e-12)


@pytest.mark.parametrize("make", APODISATIONS.values(), ids=APODISATIONS)
@pytest.mark.parametrize("cutoff", [0.0, -1.0, float("nan")])
def test_a_cutoff_that_is_not_positive_is_refused(make, cutoff):
    with pytest.raises(ValueError, match="must be positive"):
        make(cutoff)


def test_the_ramp_of_an_impulse_is_the_sampled_kernel():
    """Kak and Slaney, equation (61), times the spacing."""
    impulse = np.zeros((2, 3, 64), np.float32)
    impulse[1, 2, 30] = 1.0
    filtered = filtered_rows(impulse, ramp_response(BEAM, ram_lak))
    distance = np.arange(64) - 30
    with np.errstate(divide="ignore"):
        kernel = np.where(distance % 2 == 1, -1 / (np.pi * distance * 0.5) ** 2, 0.0)
    kernel[30] = 1 / (4 * 0.5**2)
    assert filtered[1, 2] == pytest.approx(0.5 * kernel, abs=1e-6)
    assert not filtered[0].any()
