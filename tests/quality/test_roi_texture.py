"""Co-occurrence textures against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lowdose.lesions import Box
from lowdose.quality.roi_texture import pixels_of, roi_texture, texture_difference

WINDOW = (0.0, 32.0)
"""One HU is one level."""


def test_a_region_of_one_level_is_homogeneous_and_correlated():
    texture = roi_texture(np.full((5, 5), 3.0), WINDOW)
    assert (texture.correlation, texture.homogeneity, texture.energy) == (1.0, 1.0, 1.0)


def test_two_by_two_by_hand():
    """Levels 0 1 / 0 1: across, every pair differs; down, none does; each diagonal is one pair that differs.

    Energies: across and diagonals two cells of a half, down two of a half; correlations -1, 1, -1, -1.
    """
    texture = roi_texture(np.array([[0.0, 1.0], [0.0, 1.0]]), WINDOW)
    assert texture.homogeneity == pytest.approx((0.5 + 1 + 0.5 + 0.5) / 4)
    assert texture.energy == pytest.approx(np.sqrt(0.5))
    assert texture.correlation == pytest.approx((-1 + 1 - 1 - 1) / 4)


def test_independent_noise_has_no_correlation_and_smooth_noise_has():
    white = np.random.default_rng(1).normal(16, 5, (200, 200))
    assert roi_texture(white, WINDOW).correlation == pytest.approx(0.0, abs=0.02)
    smooth = white[:-1] + white[1:]
    down_only = roi_texture(smooth / 2, WINDOW).correlation
    assert down_only == pytest.approx(0.5 / 4, abs=0.03)


def test_values_outside_of_the_window_are_its_ends():
    inside = np.array([[0.0, 31.5], [31.5, 0.0]])
    beyond = np.array([[-900.0, 4000.0], [32.0, -1.0]])
    assert roi_texture(inside, WINDOW) == roi_texture(beyond, WINDOW)


def test_differences_are_means_over_regions():
    flat, stripes = np.full((8, 8), 3.0), np.tile([0.0, 1.0], (8, 4))
    image = np.hstack([flat, stripes])
    boxes = [Box(1, 1, 5, 5), Box(0, 8, 8, 16)]
    same = texture_difference(image, image, boxes, WINDOW)
    assert (same.correlation, same.homogeneity, same.energy) == (0.0, 0.0, 0.0)
    other = texture_difference(image, np.full_like(image, 3.0), boxes, WINDOW)
    alone = roi_texture(stripes, WINDOW)
    assert other.homogeneity == pytest.approx((1 - alone.homogeneity) / 2)
    assert other.energy == pytest.approx((1 - alone.energy) / 2)
    assert np.isnan(texture_difference(image, image, [], WINDOW).energy)


def test_a_box_covers_every_pixel_it_touches():
    assert pixels_of(Box(1.5, 2.0, 3.0, 4.1)) == (slice(1, 3), slice(2, 5))


@pytest.mark.parametrize(
    ("region", "window", "sentence"),
    [
        (np.zeros((1, 5)), WINDOW, "has no texture"),
        (np.zeros(5), WINDOW, "has no texture"),
        (np.array([[0.0, np.nan], [0, 0]]), WINDOW, "no numbers"),
        (np.zeros((2, 2)), (5.0, 5.0), "has no width"),
    ],
)
def test_what_has_no_texture_is_refused(region, window, sentence):
    with pytest.raises(ValueError, match=sentence):
        roi_texture(region, window)
