"""Measures of synthetic angiographies against hand-worked cases and scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lowdose.quality import angiography as measures

GENERATOR = np.random.default_rng(1)
REAL = GENERATOR.normal(40, 100, (3, 48, 48)).astype(np.float32)
MADE = REAL + GENERATOR.normal(5, 30, REAL.shape).astype(np.float32)
ALL = np.ones(REAL.shape, bool)


def disc(y, x, radius, side=48):
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(rows - y, columns - x) <= radius


def test_the_normalised_error_is_hu_over_the_range():
    assert measures.nmae(np.zeros((1, 4, 4)), np.full((1, 4, 4), 40.95)) == pytest.approx(0.01)
    assert measures.nmae(REAL, MADE) == pytest.approx(np.abs(MADE - REAL).mean() / 4095, rel=1e-6)


def test_the_published_mask_leaves_out_the_background_of_the_real_image_alone():
    real = np.array([[[-1024.0, -2000.0, 0.0, 100.0]]])
    made = np.array([[[500.0, 0.0, 41.0, 100.0]]])
    assert measures.published_mask(real).tolist() == [[[False, False, True, True]]]
    assert measures.nmae(real, made) == pytest.approx(20.5 / 4095)
    everywhere = (1524 + 1024 + 41 + 0) / 4 / 4095
    assert measures.nmae(real, made, np.ones(real.shape, bool)) == pytest.approx(everywhere)


def test_psnr_and_ssim_are_those_of_scikit_image():
    unit = [(np.clip(one, -1024, 3071) + 1024).astype(np.float64) / 4095 for one in (REAL, MADE)]
    assert measures.psnr(REAL, MADE, ALL) == pytest.approx(peak_signal_noise_ratio(*unit, data_range=1.0))
    theirs = np.mean(
        [
            structural_similarity(
                a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
            for a, b in zip(*unit, strict=True)
        ]
    )
    assert measures.structural_similarity(REAL, MADE) == pytest.approx(theirs, abs=2e-3)


def test_perfect_images_have_the_highest_psnr_and_no_pixels_have_none():
    assert measures.psnr(REAL, REAL) == 100.0
    assert math.isnan(measures.psnr(REAL, MADE, ~ALL))
    assert math.isnan(measures.nmae(REAL, MADE, ~ALL))


def test_lumen_is_what_gained_half_of_what_was_added_and_bone_is_none():
    plain = np.full((1, 4, 4), 40.0)
    plain[0, 0] = 900.0
    enhanced = plain.copy()
    enhanced[0, 1], enhanced[0, 2] = 340.0, 189.0
    assert measures.lumen(plain, enhanced, 300.0)[0, :, 0].tolist() == [False, True, False, False]
    with pytest.raises(ValueError, match="shows no vessels"):
        measures.lumen(plain, enhanced, 0.0)


def test_diameters_of_discs_are_compared_and_missing_ones_counted():
    truth = np.stack([disc(12, 12, 5) | disc(34, 34, 8), disc(12, 12, 5)])
    found = np.stack([disc(12, 12, 4) | disc(34, 34, 9), np.zeros((48, 48), bool)])
    error = measures.lumen_error(truth, found, (0.5, 0.5))
    assert (error.n, error.missed) == (3, 1)
    assert error.diameter == pytest.approx(0.0, abs=0.15)
    assert error.absolute_diameter == pytest.approx(1.0, abs=0.1)  # a pixel of radius is a millimetre
    assert measures.lumen_error(truth, found, (0.5, 0.5), smallest_mm=7.0).n == 1


def test_a_part_that_joins_two_vessels_is_no_diameter_of_either():
    truth = np.stack([disc(12, 12, 5) | disc(34, 34, 5)])
    found = np.ones((1, 48, 48), bool)
    error = measures.lumen_error(truth, found, (1.0, 1.0))
    assert (error.n, error.missed) == (2, 0)
    assert math.isnan(error.diameter)


def test_the_bias_in_the_lumen_leaves_out_its_wall():
    truth = np.stack([disc(20, 20, 6)])
    made = np.where(truth, 25.0, 0.0)
    wall = truth[0] & ~disc(20, 20, 5.05)
    made[0, wall] = -400.0
    assert measures.lumen_bias(np.zeros_like(made), made, truth) == pytest.approx(25.0)


def test_an_error_that_all_slices_share_does_not_flicker_and_independent_ones_do():
    shared = np.repeat(GENERATOR.normal(0, 20, (1, 48, 48)), 6, axis=0)
    real = np.zeros(shared.shape)
    assert measures.flicker(real, real + shared, np.ones(real.shape, bool)) == 0.0
    own = GENERATOR.normal(0, 20, real.shape)
    expected = 20 * np.sqrt(2)
    assert measures.flicker(real, real + own, np.ones(real.shape, bool)) == pytest.approx(expected, rel=0.05)
    assert math.isnan(measures.flicker(real[:1], own[:1], np.ones((1, 48, 48), bool)))


def test_what_is_invented_is_counted_in_millilitres_and_the_rim_of_a_vessel_is_not():
    truth = np.stack([disc(12, 12, 5)])
    plain = np.zeros((1, 48, 48))
    made = np.where(np.stack([disc(12, 12, 5.9)]), 300.0, 0.0)
    assert measures.invented(plain, made, truth, 300.0, (2.0, 1.0, 1.0)) == 0.0
    made[0, 30:40, 30:40] = 300.0
    assert measures.invented(plain, made, truth, 300.0, (2.0, 1.0, 1.0)) == pytest.approx(0.2)
