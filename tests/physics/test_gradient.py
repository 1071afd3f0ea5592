"""The discrete gradient, total variation and its proximity, against definitions and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from skimage.restoration import denoise_tv_chambolle

from lowdose.physics.gradient import (
    Metric,
    TotalVariationProximity,
    climbed,
    closest_of_less_variation,
    gradient,
    gradient_adjoint,
    steepest_ascent,
    total_variation,
)

SHAPES = pytest.mark.parametrize(
    ("shape", "spacing"),
    [((7, 9), (1.0, 1.0)), ((6, 5), (1.0, 2.0)), ((4, 6, 5), (3.0, 1.0, 1.5)), ((1, 1), (1.0, 1.0))],
)


def noise(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def differences(image, spacing):
    """The definition: to the next pixel along each axis, over the spacing in units of the smallest."""
    padded = [np.diff(image, axis=k, append=np.take(image, [-1], axis=k)) for k in range(image.ndim)]
    return np.stack(padded) * (min(spacing) / np.array(spacing)).reshape(-1, *[1] * image.ndim)


@SHAPES
def test_the_gradient_is_its_definition(shape, spacing):
    image = noise(shape)
    field = gradient(image, Metric.of(spacing))
    expected = differences(image, spacing)
    assert field[3 - len(shape) :].reshape(expected.shape) == pytest.approx(expected, abs=1e-6)
    assert not field[: 3 - len(shape)].any()
    lengths = np.sqrt((expected.astype(float) ** 2).sum(axis=0))
    assert total_variation(image, Metric.of(spacing)) == pytest.approx(lengths.sum(), rel=1e-6)


@SHAPES
def test_the_adjoint_is_the_transpose(shape, spacing):
    metric, image = Metric.of(spacing), noise(shape)
    field = noise((3, *(1,) * (3 - len(shape)), *shape), seed=1)
    forward = np.vdot(gradient(image, metric).astype(float), field)
    assert forward == pytest.approx(np.vdot(image.astype(float), gradient_adjoint(field, metric)), abs=1e-5)


def test_the_variation_of_a_disc_is_contrast_times_circumference():
    """Of a smooth one: on pixels an edge along the diagonal is as long as it is, not as long as its steps."""
    y, x = np.mgrid[-80:81, -80:81]
    image = (100.0 / (1.0 + np.exp((np.hypot(y, x) - 50.0) / 3.0))).astype(np.float32)
    assert total_variation(image, Metric.of((1.0, 1.0))) == pytest.approx(100 * 2 * np.pi * 50.0, rel=0.01)


def test_thick_slices_count_their_differences_less():
    ramp = np.broadcast_to(np.arange(4.0, dtype=np.float32)[:, None, None], (4, 3, 3))
    assert total_variation(ramp, Metric.of((2.0, 1.0, 1.0))) == pytest.approx(27 / 2)
    assert total_variation(ramp, Metric.of((1.0, 2.0, 2.0))) == pytest.approx(27)


@SHAPES
def test_the_steepest_ascent_is_the_derivative(shape, spacing):
    image = noise(shape)

    def smoothed(values):
        squares = (differences(values.reshape(shape), spacing) ** 2).sum(axis=0)
        return np.sqrt(squares + 0.3**2).sum()

    expected = approx_fprime(image.ravel().astype(float), smoothed, 1e-6)
    ascent = steepest_ascent(image, Metric.of(spacing), smoothing=0.3)
    assert ascent.ravel() == pytest.approx(expected, abs=1e-4)


def test_a_field_climbs_to_its_limit_and_no_farther():
    image = noise((8, 9))
    metric = Metric.of((1.0, 1.0))
    field = gradient(image, metric)
    climbed(field, image, 1.0, 1.5, metric)
    lengths = np.sqrt((field**2).sum(axis=0))
    free = 2 * gradient(image, metric)
    short = np.sqrt((free**2).sum(axis=0)) < 1.5
    assert lengths.max() <= 1.5 * (1 + 1e-6)
    assert field[:, short] == pytest.approx(free[:, short])


@pytest.mark.parametrize("shape", [(40, 50), (8, 16, 18)])
def test_the_closest_image_is_that_of_scikit_image(shape):
    image = noise(shape) * 0.3
    image[..., 10:, 5:12] += 1.0
    spacing = (1.0,) * len(shape)
    theirs = denoise_tv_chambolle(image.astype(float), 0.4, eps=0.0, max_num_iter=1000)
    ours = closest_of_less_variation(image, 0.4, spacing, n_rounds=1000)
    reached = [
        ((one - image) ** 2).sum(dtype=float) / 2 + 0.4 * total_variation(one, Metric.of(spacing))
        for one in (ours, theirs)
    ]
    assert np.sqrt(((ours - theirs) ** 2).mean()) < 5e-3
    assert reached[1] * (1 - 1e-3) < reached[0] < reached[1]


def test_a_limit_from_below_is_kept_and_the_best_under_it():
    """A point of the dual bounds what any image can reach."""
    image, weight = noise((30, 30)), 0.5
    near = TotalVariationProximity(np.ones_like(image), weight, Metric.of((1.0, 1.0)), lowest=0.0)
    closest = near(image, 2000).astype(float)
    assert closest.min() == 0.0
    reached = ((closest - image) ** 2).sum() / 2 + weight * total_variation(closest, Metric.of((1.0, 1.0)))
    pull = gradient_adjoint(near.field, Metric.of((1.0, 1.0)))[0].astype(float)
    best = np.maximum(image - pull, 0.0)
    bound = ((best - image) ** 2).sum() / 2 + (pull * best).sum()
    assert bound <= reached <= bound * (1 + 1e-4)


def test_steps_that_differ_between_pixels_lead_to_their_own_optimum():
    generator = np.random.default_rng(2)
    image, inverse = noise((20, 24)), generator.uniform(0.05, 3.0, (20, 24)).astype(np.float32)
    metric, weight = Metric.of((1.0, 1.0)), 0.4
    near = TotalVariationProximity(inverse, weight, metric, lowest=None)
    closest = near(image, 3000).astype(float)
    reached = ((closest - image) ** 2 / inverse).sum() / 2 + weight * total_variation(closest, metric)
    pull = gradient_adjoint(near.field, metric)[0].astype(float)
    bound = (pull * image - inverse * pull**2 / 2).sum()
    assert np.sqrt((near.field**2).sum(axis=0)).max() <= weight * (1 + 1e-6)
    assert bound <= reached + 1e-6
    assert reached <= bound * (1 + 1e-4)


def test_pixels_without_a_step_stay():
    image, inverse = noise((20, 24)), np.ones((20, 24), np.float32)
    inverse[5:9, 3:11] = 0.0
    closest = TotalVariationProximity(inverse, 1.0, Metric.of((1.0, 1.0)), lowest=None)(image, 50)
    assert np.array_equal(closest[5:9, 3:11], image[5:9, 3:11])


def test_calls_go_on_where_the_last_one_ended():
    image = noise((30, 30))
    near = TotalVariationProximity(np.ones_like(image), 0.5, Metric.of((1.0, 1.0)), lowest=None)
    exact = closest_of_less_variation(image, 0.5, (1.0, 1.0), n_rounds=3000)
    errors = [np.abs(near(image, 10) - exact).max() for _ in range(12)]
    assert errors[-1] < 0.3 * errors[0]
