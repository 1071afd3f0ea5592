"""SIRT, OS-SART and CGLS against explicit matrices and scipy's least squares."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from scipy.optimize import lsq_linear
from scipy.sparse.linalg import lsqr

from lowdose.physics.geometry import ImageGrid, VolumeGrid
from lowdose.physics.iterative import (
    cgls,
    cgls_iterates,
    inverse_curvature,
    ordered_subsets,
    os_sart,
    sirt,
)
from lowdose.physics.projector import Projector
from tests.physics.phantoms import FAN, PARALLEL, disc

SMALL = ImageGrid((10, 10), (2.0, 2.0))
BEAM = replace(PARALLEL, n_views=30, n_channels=41, channel_spacing=0.7)
PROJECTOR = Projector(SMALL, BEAM)


def matrix(operator) -> np.ndarray:
    """The operator column by column, `[ray, pixel]`."""
    n = int(np.prod(operator.domain_shape))
    units = np.eye(n, dtype=np.float32).reshape(n, *operator.domain_shape)
    return np.stack([operator(unit).ravel() for unit in units], axis=1).astype(np.float64)


@dataclass(frozen=True)
class Dense:
    """An operator of any shape from a matrix: what the algorithms need, and nothing more."""

    matrix: np.ndarray
    domain_shape: tuple[int, ...]
    range_shape: tuple[int, ...]
    grid: VolumeGrid = field(default=VolumeGrid((3, 4, 5), (1.0, 1.0, 1.0)))

    def __call__(self, image):
        return (self.matrix @ image.ravel()).reshape(self.range_shape).astype(np.float32)

    def adjoint(self, sinogram):
        return (self.matrix.T @ sinogram.ravel()).reshape(self.domain_shape).astype(np.float32)


@pytest.fixture(scope="module")
def inconsistent():
    """Line integrals that no image has."""
    generator = np.random.default_rng(3)
    sinogram = PROJECTOR(disc(SMALL, 7.0) * 0.02)
    sinogram += 0.02 * generator.standard_normal(sinogram.shape, dtype=np.float32)
    weights = generator.uniform(0.2, 5.0, sinogram.shape).astype(np.float32)
    return matrix(PROJECTOR), sinogram, weights


@pytest.fixture(scope="module")
def explicit(inconsistent):
    """The same operator as a matrix: hundreds of iterations take no time."""
    return Dense(inconsistent[0], PROJECTOR.domain_shape, PROJECTOR.range_shape)


def test_cgls_gives_the_image_of_least_squares(inconsistent):
    a, sinogram, _ = inconsistent
    expected = lsqr(a, sinogram.ravel().astype(float), atol=1e-12, btol=1e-12, iter_lim=2000)[0]
    image = cgls(PROJECTOR, sinogram, n_iterations=150)
    assert image.ravel() == pytest.approx(expected, abs=2e-3 * np.abs(expected).max())


def test_cgls_with_weights_gives_that_of_weighted_least_squares(inconsistent):
    a, sinogram, weights = inconsistent
    root = np.sqrt(weights.ravel().astype(float))
    expected = np.linalg.lstsq(root[:, None] * a, root * sinogram.ravel(), rcond=None)[0]
    image = cgls(PROJECTOR, sinogram, weights=weights, n_iterations=200)
    assert image.ravel() == pytest.approx(expected, abs=3e-3 * np.abs(expected).max())


def test_the_iterates_of_cgls_are_those_of_lsqr(inconsistent):
    """In exact arithmetic both minimise over the same Krylov space."""
    a, sinogram, _ = inconsistent
    for n in (1, 2, 4):
        expected = lsqr(a, sinogram.ravel().astype(float), atol=0, btol=0, iter_lim=n)[0]
        image = cgls(PROJECTOR, sinogram, n_iterations=n)
        assert image.ravel() == pytest.approx(expected, abs=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("relaxation", [1.0, 1.8])
def test_sirt_converges_to_weighted_least_squares(inconsistent, explicit, relaxation):
    a, sinogram, weights = inconsistent
    lengths = PROJECTOR(np.ones(SMALL.shape, np.float32)).ravel()
    for given, used in ((None, np.divide(1.0, lengths, where=lengths > 0, out=0 * lengths)), (weights,) * 2):
        root = np.sqrt(used.ravel().astype(float))
        expected = np.linalg.lstsq(root[:, None] * a, root * sinogram.ravel(), rcond=None)[0]
        image = sirt(explicit, sinogram, weights=given, n_iterations=1000, relaxation=relaxation, lowest=None)
        assert image.ravel() == pytest.approx(expected, abs=0.005 * np.abs(expected).max())


def test_sirt_with_a_limit_converges_to_bounded_least_squares(inconsistent, explicit):
    a, sinogram, weights = inconsistent
    root = np.sqrt(weights.ravel().astype(float))
    expected = lsq_linear(root[:, None] * a, root * sinogram.ravel(), bounds=(0, np.inf)).x
    image = sirt(explicit, sinogram, weights=weights, n_iterations=1000)
    assert image.min() == 0.0
    assert image.ravel() == pytest.approx(expected, abs=0.005 * np.abs(expected).max())


def test_a_step_of_sirt_is_the_formula(inconsistent):
    a, sinogram, _ = inconsistent
    rows, columns = a.sum(axis=1), a.sum(axis=0)
    inverse = np.divide(1.0, rows, where=rows > 0, out=np.zeros_like(rows))
    start = np.random.default_rng(0).random(SMALL.shape, np.float32)
    residual = sinogram.ravel() - a @ start.ravel()
    expected = start.ravel() + 0.7 * (a.T @ (inverse * residual)) / columns
    image = sirt(PROJECTOR, sinogram, n_iterations=1, relaxation=0.7, start=start, lowest=None)
    assert image.ravel() == pytest.approx(expected, abs=1e-4 * np.abs(expected).max())


def test_every_iteration_of_sirt_comes_nearer(inconsistent, explicit):
    _, sinogram, weights = inconsistent
    misfits = []

    def watch(_, image):
        misfits.append(float((weights * (explicit(image) - sinogram) ** 2).sum()))

    sirt(explicit, sinogram, weights=weights, n_iterations=60, progress=watch)
    assert len(misfits) == 60
    assert (np.diff(misfits) < 1e-6 * misfits[0]).all()


def test_os_sart_gets_as_far_as_many_iterations_of_sirt():
    grid = ImageGrid((64, 64), (4.0, 4.0))
    operator = Projector(grid, replace(FAN, n_views=96, n_channels=100, channel_spacing=6.0))
    truth = 0.02 * disc(grid, 90.0) + 0.01 * disc(grid, 30.0, (20.0, -30.0))
    sinogram = operator(truth)
    slow = [np.abs(sirt(operator, sinogram, n_iterations=n) - truth).mean() for n in (8, 24)]
    fast = np.abs(os_sart(operator, sinogram, n_iterations=2, n_subsets=12) - truth).mean()
    assert fast < 0.5 * slow[0]
    assert fast < 1.05 * slow[1]
    one = os_sart(operator, sinogram, n_iterations=2, n_subsets=1)
    assert np.array_equal(one, sirt(operator, sinogram, n_iterations=2))


@pytest.mark.parametrize(("n_views", "n_subsets"), [(24, 6), (24, 5), (23, 4), (24, 24), (12, 1)])
def test_every_view_is_in_one_subset_and_they_are_alike(n_views, n_subsets):
    subsets = ordered_subsets(Projector(SMALL, replace(FAN, n_views=n_views)), n_subsets)
    views = [np.arange(n_views)[subset.views] for subset in subsets]
    assert sorted(np.concatenate(views).tolist()) == list(range(n_views))
    sizes = [len(one) for one in views]
    assert len(sizes) == n_subsets
    assert max(sizes) - min(sizes) <= (4 if n_subsets > 1 else 0)


def test_subsets_of_an_operator_of_some_views_stay_among_them():
    own = tuple(range(0, 24, 2))
    subsets = ordered_subsets(Projector(SMALL, replace(FAN, n_views=24), own), 3)
    assert sorted(view for subset in subsets for view in subset.operator.views) == list(own)
    sinogram = np.arange(12 * 400, dtype=np.float32).reshape(12, 400)
    for subset in subsets:
        rows = [own.index(view) for view in subset.operator.views]
        assert np.array_equal(subset.of(sinogram), sinogram[rows])


def test_the_curvature_bounds_that_of_the_data_term(inconsistent):
    """``diag(A' W A 1) - A' W A`` has no negative eigenvalue."""
    a, _, weights = inconsistent
    hessian = a.T @ (weights.ravel()[:, None] * a)
    difference = np.diag(1 / inverse_curvature(PROJECTOR, weights).ravel().astype(float)) - hessian
    assert np.linalg.eigvalsh(difference).min() > -1e-5 * hessian.max()


def test_any_operator_will_do_volumes_too():
    generator = np.random.default_rng(0)
    dense = Dense(generator.random((96, 60)), (3, 4, 5), (6, 4, 4))
    truth = generator.random((3, 4, 5), np.float32)
    assert cgls(dense, dense(truth), n_iterations=60) == pytest.approx(truth, abs=1e-3)
    with pytest.raises(ValueError, match="cannot project some views by themselves; take 1 subset"):
        os_sart(dense, dense(truth), n_subsets=2)


def test_a_ray_without_weight_may_be_anything(inconsistent):
    _, sinogram, weights = inconsistent
    weights, broken = weights.copy(), sinogram.copy()
    weights[3, 4:9] = 0.0
    broken[3, 4:9] = np.nan
    for solve in (sirt, os_sart, cgls):
        assert np.array_equal(
            solve(PROJECTOR, broken, weights=weights), solve(PROJECTOR, sinogram, weights=weights)
        )


def test_no_measurement_is_no_image():
    nothing = np.zeros(PROJECTOR.range_shape, np.float32)
    for solve in (sirt, os_sart, cgls):
        assert not solve(PROJECTOR, nothing).any()


def test_progress_can_end_it(inconsistent):
    _, sinogram, _ = inconsistent
    ended = cgls(PROJECTOR, sinogram, n_iterations=50, progress=lambda n_done, image: n_done == 4)
    assert np.array_equal(ended, cgls(PROJECTOR, sinogram, n_iterations=4))
    images = [image for image, _ in zip(cgls_iterates(PROJECTOR, sinogram), range(4), strict=False)]
    assert np.array_equal(images[-1], ended)


def test_bad_input_is_one_sentence(inconsistent):
    _, sinogram, weights = inconsistent
    broken = sinogram.copy()
    broken[0, :3] = np.nan
    with pytest.raises(ValueError, match=r"3 of 1230 line integrals are not finite; give these rays"):
        sirt(PROJECTOR, broken)
    with pytest.raises(ValueError, match=r"the sinogram is \(3, 3\); this operator measures \(30, 41\)"):
        cgls(PROJECTOR, np.zeros((3, 3), np.float32))
    with pytest.raises(ValueError, match="the weights must be finite and not negative"):
        cgls(PROJECTOR, sinogram, weights=-weights)
    with pytest.raises(ValueError, match=r"the weights are \(5,\)"):
        cgls(PROJECTOR, sinogram, weights=np.ones(5, np.float32))
    with pytest.raises(ValueError, match="the start is"):
        sirt(PROJECTOR, sinogram, start=np.zeros((3, 3), np.float32))
    with pytest.raises(ValueError, match="the start has values that are not finite"):
        sirt(PROJECTOR, sinogram, start=np.full(SMALL.shape, np.nan, np.float32))
    with pytest.raises(ValueError, match="the relaxation is 2; it must lie between 0 and 2"):
        sirt(PROJECTOR, sinogram, relaxation=2.0)
    with pytest.raises(ValueError, match="take 1 to 30"):
        os_sart(PROJECTOR, sinogram, n_subsets=31)
    with pytest.raises(ValueError, match="at least one iteration"):
        cgls(PROJECTOR, sinogram, n_iterations=0)
