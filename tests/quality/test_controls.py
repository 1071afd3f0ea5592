import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lowdose.quality.controls import noise_matched_width


def test_a_matched_blur_leaves_the_noise_asked_for():
    """Of white noise a Gaussian of w pixels leaves s / (2 w sqrt(pi)); what regions differ by is no noise."""
    generator = np.random.default_rng(6)
    images = [generator.normal(0.0, 20.0, (200, 200)) for _ in range(3)]
    regions = [np.zeros((200, 200), bool) for _ in range(2)]
    regions[0][30:170, 30:90] = regions[1][30:170, 110:170] = True
    for image in images:
        image[:, 100:] += 500.0
    width = noise_matched_width(images, regions, 5.0)
    assert width == pytest.approx(20 / 5 / (2 * np.sqrt(np.pi)), rel=0.05)
    left = [gaussian_filter(image, width)[region].var(ddof=1) for image in images for region in regions]
    assert np.sqrt(np.mean(left)) == pytest.approx(5.0, rel=1e-3)


@pytest.mark.parametrize("target", [50.0, 0.0])
def test_no_blur_adds_noise_or_takes_all_of_it(target):
    image = np.random.default_rng(0).normal(0.0, 20.0, (64, 64))
    with pytest.raises(ValueError, match="ask for less than there is"):
        noise_matched_width([image], [np.ones(image.shape, bool)], target)
