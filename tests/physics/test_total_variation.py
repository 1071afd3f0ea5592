"""Total variation: two algorithms with one minimum, proofs of optimality, and what weights are for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from lowdose.physics.geometry import ImageGrid, VolumeGrid
from lowdose.physics.gradient import Metric, closest_of_less_variation, total_variation
from lowdose.physics.iterative import cgls
from lowdose.physics.projector import Projector
from lowdose.physics.total_variation import asd_pocs, fista_tv, objective, primal_dual_tv
from tests.physics.phantoms import PARALLEL, disc

GRID = ImageGrid((40, 40), (4.0, 4.0))
BEAM = replace(PARALLEL, n_views=40, n_channels=60, channel_spacing=4.0)
PROJECTOR = Projector(GRID, BEAM)
WATER = 0.02
STRENGTH = 200.0


@dataclass(frozen=True)
class Pixels:
    """An operator that measures every voxel by itself: reconstruction is then denoising."""

    grid: ImageGrid | VolumeGrid
    gain: float = 2.0

    @property
    def domain_shape(self):
        return self.grid.shape

    @property
    def range_shape(self):
        return self.grid.shape

    def __call__(self, image):
        return np.float32(self.gain) * image

    def adjoint(self, sinogram):
        return np.float32(self.gain) * sinogram


@dataclass(frozen=True)
class Measurement:
    truth: np.ndarray
    sinogram: np.ndarray
    weights: np.ndarray


@pytest.fixture(scope="module")
def measurement() -> Measurement:
    """A disc of water with two rods, and photons starved behind the dense one."""
    truth = WATER * (disc(GRID, 66.0) + disc(GRID, 16.0, (20.0, 24.0)) - 0.5 * disc(GRID, 14.0, (-24.0, 0.0)))
    exact = PROJECTOR(truth)
    variance = np.exp(exact) / 3e3
    noise = np.random.default_rng(0).standard_normal(exact.shape, dtype=np.float32)
    return Measurement(truth, exact + noise * np.sqrt(variance), np.reciprocal(variance))


@pytest.fixture(scope="module")
def minimum(measurement) -> float:
    """What a long run reaches."""
    return reached(measurement, fista_tv, n_iterations=250, n_subsets=1, n_rounds=15)


def reached(measurement, solve, **options) -> float:
    image = solve(PROJECTOR, measurement.sinogram, weights=measurement.weights, strength=STRENGTH, **options)
    assert image.min() >= 0.0
    return value(measurement, image)


def value(measurement, image) -> float:
    return objective(PROJECTOR, image, measurement.sinogram, weights=measurement.weights, strength=STRENGTH)


def test_the_objective_is_its_formula(measurement):
    image = np.random.default_rng(1).random(GRID.shape, np.float32) * np.float32(WATER)
    residual = (PROJECTOR(image) - measurement.sinogram).astype(float)
    expected = (measurement.weights * residual**2).sum() / 2
    expected += STRENGTH * total_variation(image, Metric.of(GRID.spacing))
    assert value(measurement, image) == pytest.approx(expected, rel=1e-5)


def test_both_algorithms_reach_one_minimum(measurement, minimum):
    fista = reached(measurement, fista_tv, n_iterations=100, n_subsets=1)
    assert fista == pytest.approx(minimum, rel=1e-4)
    for balance in (10.0, 100.0):
        primal_dual = reached(measurement, primal_dual_tv, n_iterations=600, balance=balance)
        assert primal_dual == pytest.approx(minimum, rel=3e-4)


def test_the_default_iterations_are_enough(measurement, minimum):
    zero = value(measurement, np.zeros(GRID.shape, np.float32))
    assert zero > 50 * minimum
    assert reached(measurement, fista_tv, n_subsets=4) < minimum * 1.001
    assert reached(measurement, primal_dual_tv) < minimum * 1.001


def value_of_fit(measurement, image) -> float:
    return float((measurement.weights * (PROJECTOR(image) - measurement.sinogram) ** 2).sum(dtype=float))


@pytest.mark.parametrize("shape", [(20, 24), (6, 10, 8)])
@pytest.mark.parametrize("solve", [fista_tv, primal_dual_tv])
def test_where_pixels_are_measured_themselves_it_is_denoising(shape, solve):
    """In two dimensions and in three, with slices thicker than pixels: the proximity is the solution."""
    spacing = (2.0, 1.0, 1.0)[-len(shape) :]
    grid = VolumeGrid(shape, spacing) if len(shape) == 3 else ImageGrid(shape, spacing)
    noisy = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    noisy[..., 4:] += 3.0
    expected = closest_of_less_variation(noisy, 0.7 / 4.0, spacing, n_rounds=1500)
    options = (
        {"n_subsets": 1, "n_iterations": 40} if solve is fista_tv else {"n_iterations": 400, "balance": 1.0}
    )
    image = solve(Pixels(grid), 2.0 * noisy, strength=0.7, lowest=None, **options)
    assert np.abs(image - expected).max() < 5e-3


def test_weights_keep_starved_rays_from_spoiling_the_rest():
    """A dense bar starves the rays along it: unweighted, their noise streaks through the whole image."""
    bar = np.zeros(GRID.shape, np.float32)
    bar[19:21, 8:32] = 5 * WATER
    truth = WATER * disc(GRID, 66.0) + bar
    exact = PROJECTOR(truth)
    counts = np.maximum(1e5 * np.exp(-exact), 1.0)
    noise = np.random.default_rng(3).standard_normal(exact.shape, dtype=np.float32) / np.sqrt(counts)
    around = (disc(GRID, 60.0) == 1) & (bar == 0)

    def error(weights, strength):
        image = fista_tv(
            PROJECTOR, exact + noise, weights=weights, strength=strength, n_subsets=4, n_iterations=40
        )
        return float(np.sqrt(((image - truth)[around] ** 2).mean()))

    unweighted = min(error(None, strength) for strength in (0.1, 0.3, 1.0, 3.0))
    weighted = min(error(counts.astype(np.float32), strength) for strength in (300.0, 1000.0, 3000.0))
    assert weighted < 0.4 * unweighted


def test_asd_pocs_fits_within_the_tolerance_and_varies_least(measurement):
    """Close to the least total variation there is: that of the minimum whose residual is the tolerance."""
    options = {"weights": measurement.weights}
    best = fista_tv(
        PROJECTOR, measurement.sinogram, strength=STRENGTH, n_subsets=1, n_iterations=200, **options
    )
    n_rays = measurement.sinogram.size
    tolerance = float(np.sqrt(value_of_fit(measurement, best) / n_rays))
    image = asd_pocs(
        PROJECTOR, measurement.sinogram, tolerance=tolerance, n_subsets=20, n_iterations=100, **options
    )
    least_squares = cgls(PROJECTOR, measurement.sinogram, n_iterations=30, **options)
    metric = Metric.of(GRID.spacing)
    assert np.sqrt(value_of_fit(measurement, image) / n_rays) <= tolerance * (1 + 1e-5)
    assert image.min() >= 0.0
    variations = [total_variation(one, metric) for one in (best, image, least_squares)]
    assert variations[0] * 0.999 <= variations[1] <= 1.25 * variations[0]
    assert variations[1] < 0.5 * variations[2]


def test_asd_pocs_smooths_a_start_that_fits_already():
    exact = np.random.default_rng(5).random(GRID.shape, np.float32) * np.float32(WATER)
    sinogram = PROJECTOR(exact)
    image = asd_pocs(PROJECTOR, sinogram, tolerance=0.05, start=exact, n_subsets=10)
    metric = Metric.of(GRID.spacing)
    assert np.sqrt(((PROJECTOR(image) - sinogram) ** 2).mean()) <= 0.05 * (1 + 1e-5)
    assert total_variation(image, metric) < 0.7 * total_variation(exact, metric)


def test_noise_goes_and_edges_stay(measurement):
    image = fista_tv(
        PROJECTOR, measurement.sinogram, weights=measurement.weights, strength=STRENGTH, n_subsets=4
    )
    plain = cgls(PROJECTOR, measurement.sinogram, weights=measurement.weights, n_iterations=30)
    errors = [float(np.abs(one - measurement.truth).mean()) for one in (image, plain)]
    assert errors[0] < 0.3 * errors[1]
    dense = disc(GRID, 10.0, (20.0, 24.0)) == 1
    assert image[dense].mean() == pytest.approx(2 * WATER, rel=0.1)


def test_a_start_is_only_a_start(measurement, minimum):
    start = np.random.default_rng(6).random(GRID.shape, np.float32) * np.float32(WATER)
    assert reached(measurement, fista_tv, start=start, n_subsets=4) < minimum * 1.001


def test_rays_without_weight_and_pixels_without_rays(measurement):
    weights, broken = measurement.weights.copy(), measurement.sinogram.copy()
    weights[:, :20] = 0.0
    broken[:, :20] = np.nan
    cross = Projector(GRID, replace(BEAM, n_views=2, n_channels=10))
    start = np.full(GRID.shape, np.float32(WATER))
    for solve, options in ((fista_tv, {"n_subsets": 1}), (primal_dual_tv, {})):
        ours = solve(PROJECTOR, broken, weights=weights, strength=1.0, n_iterations=3)
        clean = solve(PROJECTOR, measurement.sinogram, weights=weights, strength=1.0, n_iterations=3)
        assert np.array_equal(ours, clean)
        nothing = np.zeros((2, 10), np.float32)
        kept = solve(cross, nothing, strength=1.0, n_iterations=3, start=start, **options)
        assert (kept[:10, :10] == np.float32(WATER)).all()
        assert kept[20, 20] < WATER / 2


def test_bad_input_is_one_sentence(measurement):
    broken = measurement.sinogram.copy()
    broken[3, 4] = np.inf
    for solve, amount in ((fista_tv, "strength"), (primal_dual_tv, "strength"), (asd_pocs, "tolerance")):
        with pytest.raises(ValueError, match="1 of 2400 line integrals are not finite"):
            solve(PROJECTOR, broken, **{amount: 1.0})
        for wrong in (-1.0, float("nan")):
            with pytest.raises(ValueError, match=f"the {amount} is {wrong:g}; it must be"):
                solve(PROJECTOR, measurement.sinogram, **{amount: wrong})
