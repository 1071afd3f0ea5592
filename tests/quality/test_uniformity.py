import numpy as np
import pytest
from scipy.stats import linregress

from lowdose.quality.uniformity import (
    Circle,
    OutsideError,
    RepeatedCircle,
    acr_contrast_to_noise,
    acr_uniformity,
    circle,
    circle_mask,
    contrast_to_noise,
    hu_linearity,
    integral_non_uniformity,
    noise_non_uniformity,
    uniformity_index,
)


def test_a_circle_has_its_area_and_its_values():
    mask = circle_mask((200, 300), (0.5, 0.4), (48.3, 61.7), 20.0)
    assert mask.sum() * 0.5 * 0.4 == pytest.approx(np.pi * 20**2, rel=0.005)
    y, x = np.nonzero(mask)
    assert y.mean() * 0.5 == pytest.approx(48.3, abs=0.05)
    assert x.mean() * 0.4 == pytest.approx(61.7, abs=0.05)


def test_noise_is_within_images_and_not_between_them():
    generator = np.random.default_rng(0)
    images = generator.normal(0, 7, (20, 80, 80)) + np.arange(20)[:, None, None] * 50
    found = circle(images, (1.0, 1.0), (40.0, 40.0), 25.0)
    assert found.noise == pytest.approx(7.0, rel=0.02)
    assert found.mean == pytest.approx(475.0, abs=0.5)
    assert circle(images[0], (1.0, 1.0), (40.0, 40.0), 25.0).n_pixels == found.n_pixels


def test_a_circle_outside_the_image_is_refused():
    with pytest.raises(OutsideError, match=r"10\.0 mm at .* is not in the image"):
        circle_mask((50, 50), (1.0, 1.0), (5.0, 25.0), 10.0)
    with pytest.raises(OutsideError, match="fewer than 4 pixels"):
        circle_mask((50, 50), (1.0, 1.0), (25.5, 25.5), 0.6)


def test_uniformity_has_its_closed_forms():
    edges = (1.0, -2.0, 4.0, 0.5)
    assert acr_uniformity(-1.0, edges) == 5.0
    assert uniformity_index(-1.0, edges) == pytest.approx(100 * 5 / 999)
    assert uniformity_index(3.0, (1.0, -2.0)) == pytest.approx(-100 * 5 / 1003)
    assert integral_non_uniformity((-1.0, *edges)) == pytest.approx(6 / 2002)
    assert noise_non_uniformity((10.0, 12.0, 15.0)) == pytest.approx(0.2)


def test_linearity_is_that_of_scipy():
    nominal = [-1000.0, -100.0, 0.0, 120.0, 990.0]
    measured = [-985.0, -96.0, 2.0, 118.0, 940.0]
    found, expected = hu_linearity(nominal, measured), linregress(nominal, measured)
    assert found.slope == pytest.approx(expected.slope)
    assert found.intercept == pytest.approx(expected.intercept)
    assert found.r_squared == pytest.approx(expected.rvalue**2)
    left = np.array(measured) - (expected.slope * np.array(nominal) + expected.intercept)
    assert found.largest_residual == pytest.approx(np.abs(left).max())
    with pytest.raises(ValueError, match="three inserts"):
        hu_linearity([0.0, 1.0], [0.0, 1.0])


def test_contrast_to_noise_in_both_forms():
    insert, background = Circle(60.0, 8.0, 100), Circle(50.0, 6.0, 100)
    assert acr_contrast_to_noise(insert, background) == pytest.approx(10 / 6)
    assert contrast_to_noise(insert, background) == pytest.approx(10 / np.sqrt(50))


def test_shading_and_structure_are_no_noise_between_repeats():
    generator = np.random.default_rng(1)
    shading = np.add.outer(np.arange(80.0), 2 * np.arange(80.0))
    repeated, once = (RepeatedCircle((80, 80), (1.0, 1.0), (40.0, 40.0), 20.0) for _ in range(2))
    for z in range(3):
        for _ in range(10):
            repeated.add(z, shading + 30 * z + generator.normal(0, 7, (80, 80)))
    image = generator.normal(12, 7, (80, 80))
    once.add(0, image)
    assert repeated.circle.noise == pytest.approx(7.0, rel=0.02)
    assert repeated.circle.mean == pytest.approx(3 * 40.0 + 30.0, abs=0.2)
    assert once.circle == pytest.approx(circle(image, (1.0, 1.0), (40.0, 40.0), 20.0))
