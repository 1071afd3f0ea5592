"""Noise matching on functions whose answer is known, and on reconstructions."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lowdose.physics.geometry import ImageGrid
from lowdose.physics.noise_matching import NoiseMatchError, match_noise, noise_in_regions
from lowdose.physics.projector import Projector
from lowdose.physics.total_variation import fista_tv
from tests.physics.phantoms import PARALLEL, disc


def test_noise_is_about_the_mean_of_each_region():
    image = np.array([[1.0, 3.0, 100.0, 104.0], [2.0, 2.0, 102.0, 7.0]], np.float32)
    regions = np.array([[1, 1, 2, 2], [1, 1, 2, 0]])
    assert noise_in_regions(image, regions) == pytest.approx(np.sqrt((2 + 8) / (3 + 2)))


def test_noise_is_unbiased_however_small_the_regions():
    image = 5.0 * np.random.default_rng(0).standard_normal((400, 400))
    regions = np.arange(1, 400 * 200 + 1).reshape(400, 200).repeat(2, axis=1)
    assert noise_in_regions(image, regions) == pytest.approx(5.0, rel=0.01)


def test_no_region_is_one_sentence():
    with pytest.raises(ValueError, match="there is no flat region of two pixels or more"):
        noise_in_regions(np.zeros((3, 3)), np.eye(3, dtype=int) * np.arange(1, 4))
    with pytest.raises(ValueError, match="the regions are"):
        noise_in_regions(np.zeros((3, 3)), np.zeros((2, 2), int))


@pytest.mark.parametrize("start", [1e-3, 1.0, 50.0, 1e4])
@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        (lambda p: 40 / (1 + p), 7.0),
        (lambda p: 2.0 * p**3, 2.5 ** (1 / 3)),
        (lambda p: 30 * np.exp(-p / 10), 10 * np.log(6)),
        (lambda p: 20 * p / (p + 9), 3.0),
    ],
    ids=["falls", "rises", "falls off", "levels off"],
)
def test_the_parameter_is_found_from_anywhere(noise, expected, start):
    found = match_noise(lambda p: p, noise, 5.0, start=start, tolerance=1e-4)
    assert found.parameter == pytest.approx(expected, rel=1e-3)
    assert found.noise == pytest.approx(5.0, rel=1e-4)
    assert found.n_trials <= 30


def test_few_trials_are_needed():
    assert match_noise(lambda p: p, lambda p: 40 / (1 + p), 5.0, start=5.0).n_trials <= 4


def test_a_blur_is_matched_as_its_closed_form_says():
    """White noise of variance one has ``1 / (4 pi s^2)`` after a Gaussian of standard deviation s."""
    white = np.random.default_rng(1).standard_normal((512, 512))
    regions = np.ones(white.shape, int)
    found = match_noise(
        partial(gaussian_filter, white, mode="wrap"),
        partial(noise_in_regions, regions=regions),
        0.1,
        start=1.0,
    )
    assert found.parameter == pytest.approx(1 / np.sqrt(4 * np.pi * 0.1**2), rel=0.03)


def test_a_reconstruction_of_half_the_noise():
    grid = ImageGrid((48, 48), (4.0, 4.0))
    operator = Projector(grid, replace(PARALLEL, n_views=48, n_channels=72, channel_spacing=4.0))
    sinogram = operator(0.02 * disc(grid, 80.0))
    sinogram += 0.02 * np.random.default_rng(2).standard_normal(sinogram.shape, dtype=np.float32)
    measure = partial(noise_in_regions, regions=(disc(grid, 50.0) == 1).astype(int))

    def reconstruct(strength):
        return fista_tv(operator, sinogram, strength=strength, n_iterations=10, n_subsets=4)

    target = measure(reconstruct(1e-9)) / 2
    found = match_noise(reconstruct, measure, target, start=1.0, tolerance=0.03)
    assert measure(reconstruct(found.parameter)) == pytest.approx(target, rel=0.03)


def test_noise_out_of_reach_is_one_sentence():
    with pytest.raises(NoiseMatchError, match=r"no closer than 2 times the 5 asked for"):
        match_noise(lambda p: p, lambda p: 10 + 1 / p, 5.0, start=1.0)
    with pytest.raises(NoiseMatchError, match="the noise is nan at the parameter 1"):
        match_noise(lambda p: p, lambda p: np.nan, 5.0, start=1.0)
    with pytest.raises(ValueError, match="the target noise is 0; it must be above 0"):
        match_noise(lambda p: p, lambda p: p, 0.0, start=1.0)
