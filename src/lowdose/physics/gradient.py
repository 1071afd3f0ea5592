"""The discrete gradient of an image, total variation, and the image closest to another with less of it.

Differences are taken to the next pixel along each axis, zero at the last, and multiplied by the smallest
spacing over the axis's own: total variation is the sum over the pixels of the length of the gradient, in
1/mm per smallest spacing. Two axes are computed as three, the first of one pixel.
"""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from lowdose.physics.cores import ALL_CORES

Image = NDArray[np.float32]
Field = NDArray[np.float32]
"""`[axis, *image]`, three axes."""


class Metric(NamedTuple):
    """Share of every axis's differences in the gradient: the smallest spacing over the axis's own."""

    z: np.float32
    y: np.float32
    x: np.float32

    @classmethod
    def of(cls, spacing: tuple[float, ...]) -> Metric:
        """Of pixels with `spacing` along (y, x) or (z, y, x) in mm."""
        smallest = min(spacing)
        shares = [np.float32(smallest / one) for one in spacing]
        return cls(*([np.float32(0.0)] * (3 - len(shares))), *shares)


def total_variation(image: Image, metric: Metric) -> float:
    """The sum of the lengths of the gradient, in the unit of `image`."""
    volume = _volume(image)
    lengths = np.empty_like(volume)
    with ALL_CORES:
        _lengths(volume, lengths, *metric)
    return float(lengths.sum(dtype=np.float64))


def steepest_ascent(image: Image, metric: Metric, smoothing: float) -> Image:
    """The gradient of total variation with every length l taken as ``sqrt(l^2 + smoothing^2)``."""
    volume = _volume(image)
    ascent = np.empty_like(volume)
    with ALL_CORES:
        _normalised(volume, field := np.empty((3, *volume.shape), np.float32), np.float32(smoothing), *metric)
        _adjoint(field, ascent, *metric)
    return ascent.reshape(image.shape)


def gradient(image: Image, metric: Metric) -> Field:
    """Differences to the next pixel along z, y and x."""
    volume = _volume(image)
    field = np.zeros((3, *volume.shape), np.float32)
    with ALL_CORES:
        _climb(volume, field, np.float32(1.0), np.float32(np.inf), *metric)
    return field


def gradient_adjoint(field: Field, metric: Metric) -> Image:
    """The transpose of `gradient`, `[z, y, x]`: minus the divergence."""
    image = np.empty(field.shape[1:], np.float32)
    with ALL_CORES:
        _adjoint(field, image, *metric)
    return image


def climbed(field: Field, image: Image, step: float, limit: float, metric: Metric) -> None:
    """``field += step * gradient(image)`` in place, no vector longer than `limit`."""
    with ALL_CORES:
        _climb(_volume(image), field, np.float32(step), np.float32(limit), *metric)


class TotalVariationProximity:
    """The map from v to the image x that minimises
    ``sum (x - v)^2 / (2 inverse) + strength * total_variation(x)`` and is nowhere below `lowest`.

    A. Beck and M. Teboulle 2009, IEEE Trans Image Process 18:2419: accelerated projected gradients on the
    dual problem, here with a step for every pixel, since `inverse` differs between them. Each call starts
    from the dual field of the one before. Pixels whose `inverse` is zero keep their value.
    """

    def __init__(self, inverse: Image, strength: float, metric: Metric, lowest: float | None) -> None:
        self._inverse = _volume(inverse)
        self._metric = metric
        self._limit = np.float32(strength)
        self._lowest = np.float32(-np.inf if lowest is None else lowest)
        shape = self._inverse.shape
        self._steps = np.empty_like(self._inverse)
        self.field = np.zeros((3, *shape), np.float32)
        """The dual field: nowhere longer than `strength`, it proves how good an image is."""
        self._ahead = np.zeros((3, *shape), np.float32)
        n_axes = sum(n > 1 for n in shape)
        with ALL_CORES:
            _dual_steps(self._inverse, self._steps, np.float32(2.0 * max(n_axes, 1)))

    def __call__(self, image: Image, n_rounds: int) -> Image:
        """The closest image to `image` after `n_rounds` from the field of the call before."""
        volume = _volume(image)
        result = np.empty_like(volume)
        self._ahead[...] = self.field
        inertia = 1.0
        with ALL_CORES:
            for _ in range(n_rounds):
                _primal(volume, self._ahead, self._inverse, self._lowest, result, *self._metric)
                following = (1.0 + sqrt(1.0 + 4.0 * inertia**2)) / 2.0
                momentum = np.float32((inertia - 1.0) / following)
                _dual(result, self.field, self._ahead, self._steps, self._limit, momentum, *self._metric)
                inertia = following
            _primal(volume, self.field, self._inverse, self._lowest, result, *self._metric)
        return result.reshape(image.shape)


def closest_of_less_variation(
    image: Image,
    weight: float,
    spacing: tuple[float, ...],
    *,
    lowest: float | None = None,
    n_rounds: int = 100,
) -> Image:
    """The image x that minimises ``sum (x - image)^2 / 2 + weight * total_variation(x)``."""
    near = TotalVariationProximity(np.ones(image.shape, np.float32), weight, Metric.of(spacing), lowest)
    return near(image, n_rounds)


def _volume(image: Image) -> Image:
    values = np.ascontiguousarray(image, dtype=np.float32)
    return values if values.ndim == 3 else values[None]


@numba.njit(fastmath=True, cache=True, inline="always")
def _slopes(image, z, y, x, along_z, along_y, along_x):  # type: ignore[no-untyped-def]
    """Differences from one pixel to the next ones."""
    n_z, n_y, n_x = image.shape
    here, zero = image[z, y, x], np.float32(0.0)
    dz = along_z * (image[z + 1, y, x] - here) if z + 1 < n_z else zero
    dy = along_y * (image[z, y + 1, x] - here) if y + 1 < n_y else zero
    dx = along_x * (image[z, y, x + 1] - here) if x + 1 < n_x else zero
    return dz, dy, dx


@numba.njit(fastmath=True, cache=True, inline="always")
def _inflow(field, z, y, x, along_z, along_y, along_x):  # type: ignore[no-untyped-def]
    """The transpose of the gradient at one pixel."""
    n_z, n_y, n_x = field.shape[1:]
    total = np.float32(0.0)
    if n_z > 1:
        total += along_z * (
            (field[0, z - 1, y, x] if z > 0 else np.float32(0.0))
            - (field[0, z, y, x] if z + 1 < n_z else np.float32(0.0))
        )
    total += along_y * (
        (field[1, z, y - 1, x] if y > 0 else np.float32(0.0))
        - (field[1, z, y, x] if y + 1 < n_y else np.float32(0.0))
    )
    total += along_x * (
        (field[2, z, y, x - 1] if x > 0 else np.float32(0.0))
        - (field[2, z, y, x] if x + 1 < n_x else np.float32(0.0))
    )
    return total


@numba.njit(parallel=True, fastmath=True, cache=True)
def _lengths(image, lengths, along_z, along_y, along_x):  # type: ignore[no-untyped-def]
    n_z, n_y, n_x = image.shape
    for row in numba.prange(n_z * n_y):
        z, y = row // n_y, row % n_y
        for x in range(n_x):
            dz, dy, dx = _slopes(image, z, y, x, along_z, along_y, along_x)
            lengths[z, y, x] = np.sqrt(dz * dz + dy * dy + dx * dx)


@numba.njit(parallel=True, fastmath=True, cache=True)
def _normalised(image, field, smoothing, along_z, along_y, along_x):  # type: ignore[no-untyped-def]
    """The gradient over its smoothed length."""
    n_z, n_y, n_x = image.shape
    for row in numba.prange(n_z * n_y):
        z, y = row // n_y, row % n_y
        for x in range(n_x):
            dz, dy, dx = _slopes(image, z, y, x, along_z, along_y, along_x)
            inverse = np.float32(1.0) / np.sqrt(dz * dz + dy * dy + dx * dx + smoothing * smoothing)
            field[0, z, y, x] = dz * inverse
            field[1, z, y, x] = dy * inverse
            field[2, z, y, x] = dx * inverse


@numba.njit(parallel=True, fastmath=True, cache=True)
def _adjoint(field, image, along_z, along_y, along_x):  # type: ignore[no-untyped-def]
    n_z, n_y, n_x = image.shape
    for row in numba.prange(n_z * n_y):
        z, y = row // n_y, row % n_y
        for x in range(n_x):
            image[z, y, x] = _inflow(field, z, y, x, along_z, along_y, along_x)


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _climb(image, field, step, limit, along_z, along_y, along_x):  # type: ignore[no-untyped-def]
    n_z, n_y, n_x = image.shape
    for row in numba.prange(n_z * n_y):
        z, y = row // n_y, row % n_y
        for x in range(n_x):
            dz, dy, dx = _slopes(image, z, y, x, along_z, along_y, along_x)
            fz = field[0, z, y, x] + step * dz
            fy = field[1, z, y, x] + step * dy
            fx = field[2, z, y, x] + step * dx
            length = np.sqrt(fz * fz + fy * fy + fx * fx)
            share = limit / length if length > limit else np.float32(1.0)
            field[0, z, y, x] = share * fz
            field[1, z, y, x] = share * fy
            field[2, z, y, x] = share * fx


@numba.njit(parallel=True, fastmath=True, cache=True, error_model="numpy")
def _dual_steps(inverse, steps, n_neighbours):  # type: ignore[no-untyped-def]
    """Steps with which the dual iteration converges: T. Pock and A. Chambolle 2011, ICCV, p. 1762, for its
    square.
    """
    n_z, n_y, n_x = inverse.shape
    for row in numba.prange(n_z * n_y):
        z, y = row // n_y, row % n_y
        for x in range(n_x):
            beside = np.float32(0.0)
            if z + 1 < n_z:
                beside = max(beside, inverse[z + 1, y, x])
            if y + 1 < n_y:
                beside = max(beside, inverse[z, y + 1, x])
            if x + 1 < n_x:
                beside = max(beside, inverse[z, y, x + 1])
            total = n_neighbours * (inverse[z, y, x] + beside)
            steps[z, y, x] = np.float32(1.0) / total if total > 0 else np.float32(0.0)


@numba.njit(parallel=True, fastmath=True, cache=True)
def _primal(image, field, inverse, lowest, result, along_z, along_y, along_x):  # type: ignore[no-untyped-def]
    """The image that belongs to a dual field."""
    n_z, n_y, n_x = image.shape
    for row in numba.prange(n_z * n_y):
        z, y = row // n_y, row % n_y
        for x in range(n_x):
            change = inverse[z, y, x] * _inflow(field, z, y, x, along_z, along_y, along_x)
            result[z, y, x] = max(image[z, y, x] - change, lowest)


@numba.njit(parallel=True, fastmath=True, cache=True, error_model="numpy")
def _dual(image, field, ahead, steps, limit, momentum, along_z, along_y, along_x):  # type: ignore[no-untyped-def]
    """A step of the dual field from where momentum took it, and where momentum takes it next."""
    n_z, n_y, n_x = image.shape
    for row in numba.prange(n_z * n_y):
        z, y = row // n_y, row % n_y
        for x in range(n_x):
            step = steps[z, y, x]
            dz, dy, dx = _slopes(image, z, y, x, along_z, along_y, along_x)
            fy, fx = ahead[1, z, y, x] + step * dy, ahead[2, z, y, x] + step * dx
            squared = fy * fy + fx * fx
            fz = np.float32(0.0)
            if n_z > 1:
                fz = ahead[0, z, y, x] + step * dz
                squared += fz * fz
            share = limit / np.sqrt(squared) if squared > limit * limit else np.float32(1.0)
            if n_z > 1:
                fz *= share
                ahead[0, z, y, x] = fz + momentum * (fz - field[0, z, y, x])
                field[0, z, y, x] = fz
            fy *= share
            fx *= share
            ahead[1, z, y, x] = fy + momentum * (fy - field[1, z, y, x])
            ahead[2, z, y, x] = fx + momentum * (fx - field[2, z, y, x])
            field[1, z, y, x] = fy
            field[2, z, y, x] = fx
