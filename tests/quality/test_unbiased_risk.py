"""The error that is estimated without the truth is the error against the truth."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

from lowdose.quality.unbiased_risk import SHARE, error_variance, recorrupted

SIGMA = 20.0
EVERYWHERE = np.ones((600, 600), bool)


@pytest.fixture(scope="module")
def images():
    """Truth with structure, the noisy image, and independent noise of the same texture."""
    generator = np.random.default_rng(1)

    def noise():
        white = generator.standard_normal(EVERYWHERE.shape)
        coloured = gaussian_filter(white, 0.8, mode="wrap")
        return (SIGMA * coloured / coloured.std()).astype(np.float32)

    truth = np.where(np.indices(EVERYWHERE.shape).sum(axis=0) // 40 % 2, 30.0, 70.0).astype(np.float32)
    return truth, truth + noise(), noise()


def estimated_and_true(denoiser, images, level=1.0):
    truth, image, noise = images
    denoised = denoiser(recorrupted(image, level * noise))
    return error_variance(denoised, image, level * noise, EVERYWHERE), float(((denoised - truth) ** 2).mean())


@pytest.mark.parametrize(
    "denoiser",
    [
        lambda image: image,
        lambda image: uniform_filter(image, 3),
        lambda image: uniform_filter(image, 9),
        lambda image: np.full_like(image, 50.0),
        lambda image: 50.0 + np.sign(image - 50.0) * np.maximum(np.abs(image - 50.0) - 10.0, 0.0),
        lambda image: image + 15.0,
    ],
    ids=["identity", "mean of 9", "mean of 81", "constant", "soft threshold", "shifted"],
)
def test_the_estimate_is_the_error(denoiser, images):
    estimated, true = estimated_and_true(denoiser, images)
    assert estimated == pytest.approx(true, abs=0.03 * SIGMA**2)


def test_white_noise_in_closed_form():
    generator = np.random.default_rng(2)
    image, noise = (SIGMA * generator.standard_normal((2, 900, 900))).astype(np.float32)
    where = np.zeros(image.shape, bool)
    where[2:-2, 2:-2] = True
    left = error_variance(uniform_filter(recorrupted(image, noise), 3), image, noise, where)
    assert left == pytest.approx(SIGMA**2 * (1.0 + SHARE**2) / 9.0, abs=0.01 * SIGMA**2)


def test_two_alike_are_told_apart_though_the_level_is_wrong(images):
    blur = [partial(gaussian_filter, sigma=sigma, mode="wrap") for sigma in (1.5, 1.6)]
    for level in (0.95, 1.0, 1.05):
        (first, first_true), (second, second_true) = (estimated_and_true(one, images, level) for one in blur)
        assert second_true < first_true
        assert second - first == pytest.approx(second_true - first_true, abs=0.01 * SIGMA**2)
        assert second < first


def test_nothing_is_said_of_no_pixels():
    image = np.zeros((4, 4), np.float32)
    assert math.isnan(error_variance(image, image, image, np.zeros((4, 4), bool)))
