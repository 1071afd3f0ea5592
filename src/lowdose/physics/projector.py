"""Line integrals of an image after Joseph (1982), and the exact adjoint.

P. M. Joseph, "An improved algorithm for reprojecting rays through pixel images", IEEE Trans Med Imaging
1:192. Along the axis to which a ray is closer to parallel it visits every pixel once and interpolates
linearly across.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from lowdose.physics.geometry import Geometry, ImageGrid

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Projector:
    """The linear map from an image `[y, x]` in 1/mm to a sinogram `[view, channel]` without unit."""

    grid: ImageGrid
    geometry: Geometry

    @property
    def domain_shape(self) -> tuple[int, int]:
        return self.grid.shape

    @property
    def range_shape(self) -> tuple[int, int]:
        return self.geometry.n_views, self.geometry.n_channels

    def __call__(self, image: Image) -> Image:
        """Line integrals of `image` along every ray, float32 `[view, channel]`."""
        self._check("image", image, self.domain_shape)
        source = np.ascontiguousarray(image, dtype=np.float32)
        sinogram = np.zeros(self.range_shape, np.float32)
        _project(source, source.T.copy(), sinogram, *self._rays(), *self.grid.spacing)
        return sinogram

    def adjoint(self, sinogram: Image) -> Image:
        """The transpose of the projection, float32 `[y, x]`: `<A x, s> == <x, adjoint(s)>`."""
        self._check("sinogram", sinogram, self.range_shape)
        values = np.ascontiguousarray(sinogram, dtype=np.float32)
        n_y, n_x = self.grid.shape
        rows, columns = np.zeros((n_y, n_x)), np.zeros((n_x, n_y))
        d_y, d_x = self.grid.spacing
        view_angles, channel_angles, offsets = self._rays()
        _smear(values, rows, view_angles, channel_angles, offsets, d_y, d_x, False)
        _smear(values, columns, view_angles, channel_angles, offsets, d_x, d_y, True)
        return (rows + columns.T).astype(np.float32)

    def _rays(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        return self.geometry.view_angles, self.geometry.channel_angles, self.geometry.channel_offsets

    @staticmethod
    def _check(name: str, array: Image, shape: tuple[int, int]) -> None:
        if array.shape != shape:
            raise ValueError(f"the {name} is {array.shape}; this projector expects {shape}")


@numba.njit(parallel=True, fastmath=True, cache=True)
def _project(image, transposed, sinogram, view_angles, channel_angles, offsets, d_y, d_x):  # type: ignore[no-untyped-def]
    for view in numba.prange(sinogram.shape[0]):
        for channel in range(sinogram.shape[1]):
            angle = view_angles[view] + channel_angles[channel]
            normal_x, normal_y = np.cos(angle), np.sin(angle)
            if abs(normal_x) >= abs(normal_y):
                value = _along_rows(image, normal_x, normal_y, offsets[channel], d_y, d_x)
            else:
                value = _along_rows(transposed, normal_y, normal_x, offsets[channel], d_x, d_y)
            sinogram[view, channel] = value


@numba.njit(fastmath=True, cache=True, inline="always")
def _along_rows(image, across, along, offset, d_row, d_column):  # type: ignore[no-untyped-def]
    """Integral over the rows of `image`; `across` and `along` are the components of the ray's normal."""
    n_rows, n_columns = image.shape
    start = (offset + (n_rows - 1) / 2 * d_row * along) / (across * d_column) + (n_columns - 1) / 2
    step = -d_row * along / (across * d_column)
    total = 0.0
    for row in range(n_rows):
        position = start + step * row
        left = int(np.floor(position))
        if left < -1 or left >= n_columns:
            continue
        weight = position - left
        if left >= 0:
            total += (1.0 - weight) * image[row, left]
        if left + 1 < n_columns:
            total += weight * image[row, left + 1]
    return total * d_row / abs(across)


@numba.njit(parallel=True, fastmath=True, cache=True)
def _smear(sinogram, image, view_angles, channel_angles, offsets, d_row, d_column, swapped):  # type: ignore[no-untyped-def]
    """The transpose of `_along_rows`, row by row of `image`, so that no two threads write to one pixel."""
    n_rows, n_columns = image.shape
    n_views, n_channels = sinogram.shape
    for row in numba.prange(n_rows):
        place = (row - (n_rows - 1) / 2) * d_row
        for view in range(n_views):
            for channel in range(n_channels):
                angle = view_angles[view] + channel_angles[channel]
                across, along = np.cos(angle), np.sin(angle)
                if swapped:
                    across, along = along, across
                    if abs(across) <= abs(along):
                        continue
                elif abs(across) < abs(along):
                    continue
                position = (offsets[channel] - place * along) / (across * d_column) + (n_columns - 1) / 2
                left = int(np.floor(position))
                if left < -1 or left >= n_columns:
                    continue
                weight = position - left
                value = sinogram[view, channel] * d_row / abs(across)
                if left >= 0:
                    image[row, left] += (1.0 - weight) * value
                if left + 1 < n_columns:
                    image[row, left + 1] += weight * value
