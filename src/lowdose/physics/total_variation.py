"""Reconstruction with total variation, every line integral weighted by how well it is known.

The image x that minimises ``sum w (A x - b)^2 / 2 + strength * TV(x)`` and has no value below `lowest`, by
two algorithms that share nothing but the projector; and the image of least total variation among those that
fit the measurements within a tolerance.

Weights are the inverse variances of the line integrals, for instance
``1 / line_integral_variance(counts, electronic)``, one for all unless given. Total variation is the sum over
the pixels of the length of the gradient, its differences taken over the smallest spacing (see `gradient`), so
that `strength` is in mm. All functions raise ValueError for sinograms, weights and starts that do not fit or
are not finite; a ray of weight zero may be anything. Pixels that no ray meets keep the value of the start.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.gradient import (
    Metric,
    TotalVariationProximity,
    climbed,
    gradient_adjoint,
    steepest_ascent,
    total_variation,
)
from lowdose.physics.iterative import (
    Operator,
    Progress,
    ScaledSubset,
    checked_measurements,
    checked_start,
    inverse_curvature,
    last_of,
    ordered_subsets,
    squared_norm,
)

Image = NDArray[np.float32]
Sinogram = NDArray[np.float32]


def objective(
    operator: Operator, image: Image, sinogram: Sinogram, *, weights: Sinogram | None = None, strength: float
) -> float:
    """What `fista_tv` and `primal_dual_tv` minimise."""
    values, weights = checked_measurements(operator, sinogram, weights)
    residual = operator(np.asarray(image, dtype=np.float32)) - values
    fit = squared_norm(np.sqrt(weights) * residual) / 2
    return fit + strength * total_variation(image, Metric.of(operator.grid.spacing))


def fista_tv(
    operator: Operator,
    sinogram: Sinogram,
    *,
    strength: float,
    weights: Sinogram | None = None,
    n_iterations: int = 30,
    n_subsets: int = 12,
    n_rounds: int = 8,
    start: Image | None = None,
    lowest: float | None = 0.0,
    progress: Progress | None = None,
) -> Image:
    """Accelerated proximal gradients, one subset of the views after another; float32 in 1/mm.

    A. Beck and M. Teboulle 2009, SIAM J Imaging Sci 2:183, with separable quadratic surrogates and momentum
    over ordered subsets (D. Kim, S. Ramani, J. A. Fessler 2015, IEEE Trans Med Imaging 34:167). `n_rounds` of
    the inner iteration follow each subset. Subsets do not converge by themselves, so the last half of the
    iterations takes ever fewer of them, in the end all views at once. The momentum starts anew whenever it
    leads uphill.

    `start` is zero unless given; from a filtered back projection fewer iterations are needed.
    """
    _check_strength(strength)
    values, weights = checked_measurements(operator, sinogram, weights)
    image = checked_start(operator, start)
    iterates = _fista(
        operator, values, weights, image, strength, _shrinking(n_subsets, n_iterations), n_rounds, lowest
    )
    return last_of(iterates, n_iterations, progress)


def _shrinking(n_subsets: int, n_iterations: int) -> list[int]:
    """How many subsets every iteration takes: all of them for the first half, then ever fewer."""
    n_full = n_iterations // 2
    rest = n_iterations - n_full
    later = [max(1, round(n_subsets ** (1 - (k + 1) / max(1, rest - 2)))) for k in range(rest)]
    return [n_subsets] * n_full + later


def _fista(
    operator: Operator,
    values: Sinogram,
    weights: Sinogram,
    image: Image,
    strength: float,
    counts: list[int],
    n_rounds: int,
    lowest: float | None,
) -> Iterator[Image]:
    inverse = inverse_curvature(operator, weights)
    near = TotalVariationProximity(inverse, strength, Metric.of(operator.grid.spacing), lowest)
    ahead, inertia, parts, n_before = image, 1.0, [], 0
    for n_subsets in counts:
        if n_subsets != n_before:
            parts = [
                ScaledSubset(part.operator, part.of(values), part.of(weights), inverse)
                for part in ordered_subsets(operator, n_subsets)
            ]
            n_before = n_subsets
        for part in parts:
            closer = near(part.towards_data(ahead, np.float32(n_subsets)), n_rounds)
            change = closer - image
            if float(np.vdot(ahead - closer, change)) > 0:
                inertia = 1.0
            following = (1.0 + sqrt(1.0 + 4.0 * inertia**2)) / 2.0
            ahead = closer + np.float32((inertia - 1.0) / following) * change
            image, inertia = closer, following
        yield image


def primal_dual_tv(
    operator: Operator,
    sinogram: Sinogram,
    *,
    strength: float,
    weights: Sinogram | None = None,
    n_iterations: int = 300,
    balance: float = 100.0,
    start: Image | None = None,
    lowest: float | None = 0.0,
    progress: Progress | None = None,
) -> Image:
    """The primal-dual algorithm of A. Chambolle and T. Pock 2011, J Math Imaging Vis 40:120.

    With a step of its own for every ray and pixel (T. Pock and A. Chambolle 2011, ICCV, p. 1762). The steps
    of the line integrals are in proportion to their weights; a larger `balance` takes longer steps in the
    image and shorter ones in the line integrals. Every `balance` leads to the same image, not equally fast.
    It needs ten times the iterations of `fista_tv`, but no subsets and no inner iteration.
    """
    _check_strength(strength)
    values, weights = checked_measurements(operator, sinogram, weights)
    image = checked_start(operator, start)
    iterates = _primal_dual(operator, values, weights, image, strength, balance, lowest)
    return last_of(iterates, n_iterations, progress)


_FIELD_SHARE = 0.3
"""Of the curvature of the data term: what the gradient takes of the step of a pixel."""


def _primal_dual(
    operator: Operator,
    values: Sinogram,
    weights: Sinogram,
    image: Image,
    strength: float,
    balance: float,
    lowest: float | None,
) -> Iterator[Image]:
    metric = Metric.of(operator.grid.spacing)
    inverse = inverse_curvature(operator, weights)
    measured = inverse > 0
    typical = _FIELD_SHARE * float(np.median(1.0 / inverse[measured]))
    # Steps s / (row sum) and 1 / (column sum of s |K|) suit any s; here it is w times the ray's length over
    # the balance for the line integrals, and `typical` over the balance for the differences.
    data_step = weights / np.float32(balance)
    field_step = typical / balance / (4 * image.ndim)
    image_step = np.zeros_like(inverse)
    image_step[measured] = balance / (1.0 / inverse[measured] + np.float32(typical))
    share = np.float32(balance / (1.0 + balance))
    dual = np.zeros_like(values)
    field = np.zeros((3, *_three_axes(image.shape)), np.float32)
    ahead = image
    while True:
        dual = share * (dual + data_step * (operator(ahead) - values))
        climbed(field, ahead, field_step, strength, metric)
        descent = operator.adjoint(dual) + gradient_adjoint(field, metric).reshape(image.shape)
        closer = image - image_step * descent
        if lowest is not None:
            np.maximum(closer, np.float32(lowest), out=closer)
        ahead, image = 2 * closer - image, closer
        yield image


def asd_pocs(
    operator: Operator,
    sinogram: Sinogram,
    *,
    tolerance: float,
    weights: Sinogram | None = None,
    n_iterations: int = 50,
    n_subsets: int = 40,
    n_descents: int = 20,
    start: Image | None = None,
    lowest: float | None = 0.0,
    progress: Progress | None = None,
) -> Image:
    """Among the images whose weighted RMS residual is at most `tolerance` one of little total variation.

    E. Y. Sidky and X. Pan 2008, Phys Med Biol 53:4777: in turn a pass of ordered-subset SART, with `lowest`,
    and `n_descents` steps down the total variation, whose length is adapted to the change by the former.
    Beyond the paper they grow again while the residual is below the tolerance, and once it has been, a pass
    that ends above it is followed only as far as the tolerance allows.

    The residual is ``sqrt(sum w (A x - b)^2 / n)`` over the n rays with a weight: with inverse variances for
    weights the noise itself has a residual of one. Of the images after each pass the one of least total
    variation within the tolerance is returned; where none is, the last. The smaller the subsets (the fewer
    views in each), the fewer iterations until one is.
    """
    if not (np.isfinite(tolerance) and tolerance > 0):
        raise ValueError(f"the tolerance is {tolerance:g}; it must be a positive residual, such as 1")
    values, weights = checked_measurements(operator, sinogram, weights)
    image = checked_start(operator, start)
    parts = [part.with_scale(values, weights) for part in ordered_subsets(operator, n_subsets)]
    whole = ScaledSubset(operator, values, weights, np.empty(0, np.float32))
    iterates = _asd_pocs(parts, whole, image, tolerance, n_descents, lowest)
    return last_of(iterates, n_iterations, progress)


_RELAXATION_KEPT = 0.995
"""After every iteration"""
_TV_SHARE = 0.2
"""Length of a first step down the total variation, over the change by the first pass"""
_TV_SHARE_KEPT = 0.8
"""where the steps undo too much; as much longer where the measurements are fitted well enough"""
_TV_LARGEST = 0.95
"""Of the change by the pass: more undoes too much"""
_LEAST_MOVED = 1e-3
"""Of the image: a start that fits already is not changed by the first pass."""
_SMOOTHING = 1e-3
"""Of the largest value: gradients below it count less in the direction of descent."""


def _asd_pocs(
    parts: list[ScaledSubset],
    whole: ScaledSubset,
    image: Image,
    tolerance: float,
    n_descents: int,
    lowest: float | None,
) -> Iterator[Image]:
    metric = Metric.of(whole.operator.grid.spacing)
    best, least, relaxation, length = image, np.inf, 1.0, None
    inside: tuple[Image, Sinogram] | None = None
    while True:
        fitted = image
        for part in parts:
            fitted = part.towards_data(fitted, np.float32(relaxation))
            if lowest is not None:
                np.maximum(fitted, np.float32(lowest), out=fitted)
        moved = sqrt(squared_norm(fitted - image))
        residuals = whole.residuals(fitted)
        too_far = squared_norm(residuals) > tolerance**2
        if inside is not None and too_far:
            share = np.float32(_share_within(inside[1], residuals, tolerance))
            fitted, residuals = (
                a + share * (b - a) for a, b in zip(inside, (fitted, residuals), strict=True)
            )
        if inside is not None or not too_far:
            inside = fitted, residuals
            variation = total_variation(fitted, metric)
            best, least = (fitted, variation) if variation < least else (best, least)
        yield fitted if inside is None else best
        if length is None:
            length = _TV_SHARE * max(moved, _LEAST_MOVED * sqrt(squared_norm(fitted)))
        image = _descended(fitted, length, n_descents, metric)
        if not too_far:
            length /= _TV_SHARE_KEPT
        elif sqrt(squared_norm(image - fitted)) > _TV_LARGEST * moved:
            length *= _TV_SHARE_KEPT
        relaxation *= _RELAXATION_KEPT


def _share_within(inside: Sinogram, outside: Sinogram, tolerance: float) -> float:
    """How far to go from residuals within the tolerance to residuals beyond it: the root of a square."""
    change = outside - inside
    square, slope = squared_norm(change), float(np.vdot(inside, change))
    left = max(tolerance**2 - squared_norm(inside), 0.0)
    return float(min(1.0, (sqrt(slope**2 + square * left) - slope) / square))


def _descended(image: Image, length: float, n_descents: int, metric: Metric) -> Image:
    """`image` after `n_descents` steps of `length` down its total variation."""
    smoothing = _SMOOTHING * float(np.abs(image).max()) or 1.0
    for _ in range(n_descents):
        ascent = steepest_ascent(image, metric, smoothing)
        steepness = sqrt(squared_norm(ascent))
        if steepness == 0.0:
            break
        image = image - np.float32(length / steepness) * ascent
    return image


def _three_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * (3 - len(shape)) + shape


def _check_strength(strength: float) -> None:
    if not (np.isfinite(strength) and strength >= 0):
        raise ValueError(f"the strength is {strength:g}; it must be a number of mm, 0 or more")
