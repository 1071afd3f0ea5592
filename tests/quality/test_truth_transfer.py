import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lowdose.quality.truth_transfer import TruthTransfer

F50 = 0.18739
FINE = 4


@pytest.mark.parametrize("blur", [0.6, 1.0])
def test_a_gaussian_blur_is_found_through_noise(blur):
    """Discs drawn finely, blurred, and sampled without and with an average over the pixel."""
    generator = np.random.default_rng(0)
    found = TruthTransfer((96, 96), (0.5, 0.5))
    for _ in range(12):
        y, x = np.mgrid[: 96 * FINE, : 96 * FINE] * (0.5 / FINE)
        fine = np.zeros(y.shape)
        for _ in range(12):
            at = generator.uniform(8, 40, 2)
            fine[np.hypot(y - at[0], x - at[1]) < generator.uniform(1, 6)] += generator.uniform(-200, 400)
        truth = fine.reshape(96, FINE, 96, FINE).mean(axis=(1, 3))
        smooth = gaussian_filter(fine, blur * FINE / 0.5)
        image = smooth.reshape(96, FINE, 96, FINE)[:, 1:3, :, 1:3].mean(axis=(1, 3))
        found.add(image + 30 * generator.standard_normal(image.shape), truth)
    assert found.falls_to(0.5) == pytest.approx(F50 / blur, rel=0.03)
    expected = np.exp(-2 * (np.pi * blur * found.frequencies) ** 2)
    clear = expected > 0.2
    assert found.transfer[clear] == pytest.approx(expected[clear], abs=0.05)


def test_the_truth_itself_is_only_as_soft_as_its_pixels():
    generator = np.random.default_rng(1)
    truth = gaussian_filter(generator.standard_normal((64, 64)), 1.5)
    found = TruthTransfer((64, 64), (0.5, 0.5))
    found.add(truth, truth)
    low = found.frequencies < 0.4
    assert found.transfer[low] == pytest.approx(np.sinc(0.5 * found.frequencies[low]), abs=0.03)
    assert np.isnan(found.falls_to(0.1))
