"""Algebraic reconstruction: SIRT, ordered-subset SART and conjugate gradients.

All of them come nearer to the image of least squares with every iteration. Coarse structures come first, fine
ones and noise later, so where they stop decides both resolution and noise: see `noise_matching`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import gcd
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.geometry import ImageGrid, VolumeGrid

Image = NDArray[np.float32]
Sinogram = NDArray[np.float32]
Progress = Callable[[int, Image], bool | None]
"""Called after every iteration with how many are done and the image so far; True ends the reconstruction."""

_NO_RAY = 1e-6
"""Of the largest sum: a ray or a pixel with less is not measured."""


class Operator(Protocol):
    """What the algorithms need of a projector: a linear map and its exact transpose, in any dimension."""

    @property
    def grid(self) -> ImageGrid | VolumeGrid: ...

    @property
    def domain_shape(self) -> tuple[int, ...]:
        """Of an image, `[y, x]` or `[z, y, x]`."""
        ...

    @property
    def range_shape(self) -> tuple[int, ...]:
        """Of a sinogram, views first."""
        ...

    def __call__(self, image: Image) -> Sinogram:
        """Line integrals of `image`, which is in 1/mm."""
        ...

    def adjoint(self, sinogram: Sinogram) -> Image: ...


def sirt(
    operator: Operator,
    sinogram: Sinogram,
    *,
    weights: Sinogram | None = None,
    n_iterations: int = 100,
    relaxation: float = 1.0,
    start: Image | None = None,
    lowest: float | None = 0.0,
    progress: Progress | None = None,
) -> Image:
    """Simultaneous iterative reconstruction of `sinogram`, float32 in 1/mm, shaped as the operator's images.

    ``x += relaxation * C A' W (b - A x)`` with C the inverse of the diagonal ``A' W A 1`` (P. Gilbert 1972,
    J Theor Biol 36:105). Without `weights` W is the inverse of every ray's length in the image, as published;
    with weights, the inverse variances of the line integrals, the limit is the image of weighted least
    squares. No value falls below `lowest` in 1/mm (None: no limit). `start` is zero unless given.

    ValueError for a sinogram of another shape or with values that are not finite (but where the weight is
    zero), for weights that are negative, and for a relaxation outside 0..2.
    """
    iterates = sirt_iterates(
        operator, sinogram, weights=weights, relaxation=relaxation, start=start, lowest=lowest
    )
    return last_of(iterates, n_iterations, progress)


def sirt_iterates(
    operator: Operator,
    sinogram: Sinogram,
    *,
    weights: Sinogram | None = None,
    relaxation: float = 1.0,
    start: Image | None = None,
    lowest: float | None = 0.0,
) -> Iterator[Image]:
    """The image after every iteration of `sirt`, without end."""
    return os_sart_iterates(
        operator,
        sinogram,
        weights=weights,
        n_subsets=1,
        relaxation=relaxation,
        start=start,
        lowest=lowest,
    )


def os_sart(
    operator: Operator,
    sinogram: Sinogram,
    *,
    weights: Sinogram | None = None,
    n_iterations: int = 10,
    n_subsets: int = 12,
    relaxation: float = 1.0,
    start: Image | None = None,
    lowest: float | None = 0.0,
    progress: Progress | None = None,
) -> Image:
    """The steps of `sirt` for one subset of the views after another: an iteration goes through all of them.

    G. Wang and M. Jiang 2004, J X-Ray Sci Technol 12:169. About as many iterations of SIRT as there are
    subsets are saved at first; in the end it circles around the image of least squares, the closer the
    smaller the `relaxation`. One view a subset is SART. An operator of several subsets must have a field
    `views`, as `Projector` has.
    """
    iterates = os_sart_iterates(
        operator,
        sinogram,
        weights=weights,
        n_subsets=n_subsets,
        relaxation=relaxation,
        start=start,
        lowest=lowest,
    )
    return last_of(iterates, n_iterations, progress)


def os_sart_iterates(
    operator: Operator,
    sinogram: Sinogram,
    *,
    weights: Sinogram | None = None,
    n_subsets: int = 12,
    relaxation: float = 1.0,
    start: Image | None = None,
    lowest: float | None = 0.0,
) -> Iterator[Image]:
    """The image after every iteration of `os_sart`, without end."""
    if not 0.0 < relaxation < 2.0:
        raise ValueError(f"the relaxation is {relaxation:g}; it must lie between 0 and 2")
    values, weights = checked_measurements(operator, sinogram, weights, by_length=True)
    image = checked_start(operator, start)
    parts = [subset.with_scale(values, weights) for subset in ordered_subsets(operator, n_subsets)]
    return _os_sart(parts, image, np.float32(relaxation), lowest)


def _os_sart(
    parts: Sequence[ScaledSubset], image: Image, relaxation: np.float32, lowest: float | None
) -> Iterator[Image]:
    while True:
        for part in parts:
            image = part.towards_data(image, relaxation)
            if lowest is not None:
                np.maximum(image, np.float32(lowest), out=image)
        yield image


def cgls(
    operator: Operator,
    sinogram: Sinogram,
    *,
    weights: Sinogram | None = None,
    n_iterations: int = 15,
    start: Image | None = None,
    progress: Progress | None = None,
) -> Image:
    """The image of (weighted) least squares by conjugate gradients on the normal equations.

    Å. Björck, "Numerical Methods for Least Squares Problems", section 7.4. Much faster than `sirt`, so that a
    few iterations decide about the noise. Values may be negative. Stops early where nothing is left to
    improve.
    """
    iterates = cgls_iterates(operator, sinogram, weights=weights, start=start)
    return last_of(iterates, n_iterations, progress)


def cgls_iterates(
    operator: Operator,
    sinogram: Sinogram,
    *,
    weights: Sinogram | None = None,
    start: Image | None = None,
) -> Iterator[Image]:
    """The image after every iteration of `cgls`; ends where single precision does."""
    values, weights = checked_measurements(operator, sinogram, weights)
    return _cgls(operator, values, np.sqrt(weights), checked_start(operator, start))


def _cgls(operator: Operator, values: Sinogram, root: Sinogram, image: Image) -> Iterator[Image]:
    residual = root * (values - operator(image)) if image.any() else root * values
    gradient = operator.adjoint(root * residual)
    direction = gradient
    energy = first_energy = squared_norm(gradient)
    while energy > 1e-14 * first_energy:
        change = root * operator(direction)
        step = np.float32(energy / squared_norm(change))
        image = image + step * direction
        residual -= step * change
        gradient = operator.adjoint(root * residual)
        energy, before = squared_norm(gradient), energy
        direction = gradient + np.float32(energy / before) * direction
        yield image
    if first_energy == 0.0:
        yield image


@dataclass(frozen=True, eq=False)
class Subset:
    """Some views of a sinogram, and the operator that projects them."""

    operator: Operator
    views: slice | list[int]

    def of(self, sinogram: Sinogram) -> Sinogram:
        return sinogram[self.views]

    def with_scale(self, values: Sinogram, weights: Sinogram) -> ScaledSubset:
        values, weights = self.of(values), self.of(weights)
        return ScaledSubset(self.operator, values, weights, inverse_curvature(self.operator, weights))


@dataclass(frozen=True, eq=False)
class ScaledSubset:
    """The measurements of a subset, and how far each pixel may go for them."""

    operator: Operator
    values: Sinogram
    weights: Sinogram
    inverse: Image
    """One over ``A' W A 1``, zero where no ray passes."""

    def towards_data(self, image: Image, relaxation: np.float32) -> Image:
        """`image` after one step that brings its line integrals closer to the measured."""
        residual = self.values - self.operator(image)
        residual *= self.weights
        change = self.operator.adjoint(residual)
        change *= self.inverse
        change *= relaxation
        change += image
        return change

    def residuals(self, image: Image) -> Sinogram:
        """Line integrals of `image` less the measured, weighted so that their norm is the weighted RMS."""
        difference = self.operator(image) - self.values
        difference *= np.sqrt(self.weights / np.float32(np.count_nonzero(self.weights)))
        return difference


def ordered_subsets(operator: Operator, n_subsets: int) -> list[Subset]:
    """`n_subsets` sets of evenly spread views, in an order in which neighbours are far apart.

    Views at quarter turns stay together where the number of views allows it: the projector takes them at
    once.
    """
    n_views = operator.range_shape[0]
    if not (n_subsets == int(n_subsets) and 1 <= n_subsets <= n_views):
        raise ValueError(f"there are {n_subsets} subsets of {n_views} views; take 1 to {n_views}")
    if n_subsets == 1:
        return [Subset(operator, slice(None))]
    if "views" not in getattr(operator, "__dataclass_fields__", ()):
        raise ValueError("this operator cannot project some views by themselves; take 1 subset")
    quarter = n_views // 4 if n_views % 4 == 0 and n_subsets <= n_views // 4 else n_views
    every = np.arange(n_views) % quarter % n_subsets
    own = cast(Any, operator).views
    all_views = np.arange(n_views) if own is None else np.array(own)
    subsets = []
    for chosen in (np.arange(n_subsets) * _stride(n_subsets)) % n_subsets:
        views = np.flatnonzero(every == chosen)
        part = replace(cast(Any, operator), views=tuple(all_views[views].tolist()))
        subsets.append(Subset(part, views.tolist()))
    return subsets


def _stride(n_subsets: int) -> int:
    """The golden section of `n_subsets`, moved until it meets them all."""
    stride = max(1, round(0.382 * n_subsets))
    while gcd(stride, n_subsets) != 1:
        stride += 1
    return stride


def inverse_curvature(operator: Operator, weights: Sinogram) -> Image:
    """One over ``A' W A 1``, the diagonal that bounds the curvature of the data term from above.

    H. Erdoğan and J. A. Fessler 1999, Phys Med Biol 44:2835. Zero where hardly a ray passes.
    """
    curvature = operator.adjoint(weights * operator(np.ones(operator.domain_shape, np.float32)))
    measured = curvature > _NO_RAY * curvature.max(initial=0.0)
    inverse = np.zeros_like(curvature)
    np.divide(1.0, curvature, out=inverse, where=measured)
    return inverse


def checked_measurements(
    operator: Operator, sinogram: Sinogram, weights: Sinogram | None, *, by_length: bool = False
) -> tuple[Sinogram, Sinogram]:
    """Finite line integrals and their weights, float32 of the operator's shape; ValueError otherwise.

    Without `weights` they are one, or with `by_length` one over the ray's length in the image.
    """
    shape = operator.range_shape
    values = np.asarray(sinogram, dtype=np.float32)
    if values.shape != shape:
        raise ValueError(f"the sinogram is {values.shape}; this operator measures {shape}")
    if weights is None and by_length:
        lengths = operator(np.ones(operator.domain_shape, np.float32))
        used = np.zeros(shape, np.float32)
        np.divide(1.0, lengths, out=used, where=lengths > _NO_RAY * lengths.max(initial=0.0))
    elif weights is None:
        used = np.ones(shape, np.float32)
    else:
        used = _checked_weights(weights, shape)
    finite = np.isfinite(values)
    if not finite.all():
        n_bad = int(np.count_nonzero(~finite & (used > 0)))
        if n_bad or weights is None:
            n_bad = n_bad or int(np.count_nonzero(~finite))
            raise ValueError(
                f"{n_bad} of {values.size} line integrals are not finite; give these rays the weight 0, or "
                "raise every photon count to at least one before the logarithm"
            )
        values = np.where(finite, values, np.float32(0.0))
    return values, used


def _checked_weights(weights: Sinogram, shape: tuple[int, ...]) -> Sinogram:
    try:
        used = np.broadcast_to(np.asarray(weights, dtype=np.float32), shape)
    except ValueError:
        raise ValueError(f"the weights are {np.shape(weights)}; this operator measures {shape}") from None
    if not (np.isfinite(used).all() and (used >= 0).all() and (used > 0).any()):
        raise ValueError("the weights must be finite and not negative, and at least one above 0")
    return used


def checked_start(operator: Operator, start: Image | None) -> Image:
    """A float32 copy of `start`, or zeros; ValueError if it does not fit."""
    if start is None:
        return np.zeros(operator.domain_shape, np.float32)
    image = np.array(start, dtype=np.float32)
    if image.shape != operator.domain_shape:
        raise ValueError(f"the start is {image.shape}; this operator projects {operator.domain_shape}")
    if not np.isfinite(image).all():
        raise ValueError("the start has values that are not finite; fill them in")
    return image


def last_of(iterates: Iterator[Image], n_iterations: int, progress: Progress | None) -> Image:
    """The image after `n_iterations`, or after fewer where `progress` ends it or nothing changes any more."""
    if n_iterations < 1:
        raise ValueError(f"there must be at least one iteration, not {n_iterations}")
    for n_done, image in enumerate(islice(iterates, n_iterations), start=1):
        if progress is not None and progress(n_done, image):
            break
    return image


def squared_norm(values: NDArray[np.float32]) -> float:
    """The sum of squares in double precision."""
    flat = values.reshape(-1)
    return float(np.einsum("i,i->", flat, flat, dtype=np.float64))
