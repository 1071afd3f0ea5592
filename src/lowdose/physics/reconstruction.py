"""Filtered back projection for parallel and fan beams.

A. C. Kak and M. Slaney, "Principles of Computerized Tomographic Imaging", chapter 3: the band-limited ramp is
sampled in space, so that the mean of the image is right; the equiangular fan has its own ramp and weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from lowdose.physics.geometry import FanBeam, Geometry, ImageGrid

Image = NDArray[np.float32]
Apodisation = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Gain of the reconstruction kernel over the pure ramp at spatial frequencies in 1/mm, at the rotation
axis.
"""


def ram_lak(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pure ramp, cut at the detector's Nyquist frequency."""
    return np.ones_like(frequencies)


def hann(cutoff: float) -> Apodisation:
    """A Hann window that reaches zero at `cutoff` in 1/mm."""

    def gain(frequencies: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(frequencies < cutoff, 0.5 + 0.5 * np.cos(np.pi * frequencies / cutoff), 0.0)

    return gain


def fbp(geometry: Geometry, grid: ImageGrid, sinogram: Image, apodisation: Apodisation = ram_lak) -> Image:
    """Reconstruct `sinogram` `[view, channel]` of line integrals on `grid`, float32 `[y, x]` in 1/mm.

    Linear interpolation between channels; pixels outside the measured field are built from the views that saw
    them.
    """
    if sinogram.shape != (geometry.n_views, geometry.n_channels):
        expected = (geometry.n_views, geometry.n_channels)
        raise ValueError(f"the sinogram is {sinogram.shape}; this geometry measures {expected}")
    values = np.asarray(sinogram, dtype=np.float32)
    if isinstance(geometry, FanBeam):
        weights = geometry.source_to_axis * np.cos(geometry.channel_angles)
        values = values * weights.astype(np.float32)
    filtered = _filtered(values, _ramp(geometry, apodisation))
    image = np.zeros(grid.shape, np.float32)
    angles = geometry.view_angles
    cosines, sines = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    centre = np.float32((geometry.n_channels - 1) / 2)
    spacing = np.float32(grid.spacing[0]), np.float32(grid.spacing[1])
    if isinstance(geometry, FanBeam):
        radius, step = (
            np.float32(geometry.source_to_axis),
            np.float32(1.0 / (geometry.channel_spacing / geometry.source_to_detector)),
        )
        _back_project_fan(filtered, image, cosines, sines, spacing, centre, step, radius)
        image *= np.float32(2 * np.pi / geometry.n_views)
    else:
        step = np.float32(1.0 / geometry.channel_spacing)
        _back_project_parallel(filtered, image, cosines, sines, spacing, centre, step)
        image *= np.float32(np.pi / geometry.n_views)
    return image


def _ramp(geometry: Geometry, apodisation: Apodisation) -> NDArray[np.float32]:
    """Frequency response `[frequency]` of the apodised ramp for rows padded to a power of two."""
    n_padded = scipy.fft.next_fast_len(2 * geometry.n_channels, real=True)
    n = np.arange(n_padded)
    n = np.minimum(n, n_padded - n).astype(np.float64)
    odd = n % 2 == 1
    kernel = np.zeros(n_padded)
    if isinstance(geometry, FanBeam):
        angle = n[odd] * (geometry.channel_spacing / geometry.source_to_detector)
        kernel[0] = 1 / (8 * (geometry.channel_spacing / geometry.source_to_detector) ** 2)
        kernel[odd] = -0.5 / (np.pi * np.sin(angle)) ** 2
        kernel *= geometry.channel_spacing / geometry.source_to_detector
    else:
        kernel[0] = 1 / (4 * geometry.channel_spacing**2)
        kernel[odd] = -1 / (np.pi * n[odd] * geometry.channel_spacing) ** 2
        kernel *= geometry.channel_spacing
    frequencies = scipy.fft.rfftfreq(n_padded, d=geometry.sampling_at_axis)
    response = scipy.fft.rfft(kernel).real * apodisation(frequencies)
    return np.asarray(response, dtype=np.float32)


def _filtered(sinogram: Image, response: NDArray[np.float32]) -> Image:
    n_channels = sinogram.shape[1]
    n_padded = 2 * (len(response) - 1)
    spectrum = scipy.fft.rfft(sinogram, n=n_padded, axis=1, workers=-1)
    spectrum *= response
    rows: Image = scipy.fft.irfft(spectrum, n=n_padded, axis=1, workers=-1)[:, :n_channels]
    return np.ascontiguousarray(rows, dtype=np.float32)


@numba.njit(parallel=True, fastmath=True, cache=True)
def _back_project_parallel(filtered, image, cosines, sines, spacing, centre, per_mm):  # type: ignore[no-untyped-def]
    n_y, n_x = image.shape
    n_views, n_channels = filtered.shape
    for row in numba.prange(n_y):
        y = np.float32(row - (n_y - 1) / 2) * spacing[0]
        for view in range(n_views):
            step = cosines[view] * spacing[1] * per_mm
            start = sines[view] * y * per_mm + centre - step * np.float32((n_x - 1) / 2)
            for column in range(n_x):
                position = start + step * np.float32(column)
                left = np.int32(np.floor(position))
                if left < 0 or left >= n_channels - 1:
                    continue
                weight = position - np.float32(left)
                value = filtered[view, left]
                image[row, column] += value + weight * (filtered[view, left + 1] - value)


@numba.njit(parallel=True, fastmath=True, cache=True)
def _back_project_fan(filtered, image, cosines, sines, spacing, centre, per_radian, radius):  # type: ignore[no-untyped-def]
    n_y, n_x = image.shape
    n_views, n_channels = filtered.shape
    one = np.float32(1.0)
    for row in numba.prange(n_y):
        y = np.float32(row - (n_y - 1) / 2) * spacing[0]
        for view in range(n_views):
            c, s = cosines[view], sines[view]
            for column in range(n_x):
                x = np.float32(column - (n_x - 1) / 2) * spacing[1]
                lateral = c * x + s * y
                depth = radius + s * x - c * y
                # Beyond it the fan does not reach, and the arc tangent is not that of the fit.
                if abs(lateral) > _STEEPEST * depth:
                    continue
                tangent = lateral / depth
                position = _arc_tangent(tangent) * per_radian + centre
                left = np.int32(np.floor(position))
                if left < 0 or left >= n_channels - 1:
                    continue
                weight = position - np.float32(left)
                value = filtered[view, left]
                value += weight * (filtered[view, left + 1] - value)
                image[row, column] += value / (depth * depth * (one + tangent * tangent))


_STEEPEST = np.float32(0.65)
"""Tangent of the widest fan angle: 33 degrees on either side."""


@numba.njit(fastmath=True, cache=True, inline="always")
def _arc_tangent(t):  # type: ignore[no-untyped-def]
    """atan to 2e-6 for |t| <= 0.65, a fan of 66 degrees: a fit, because the library's is the bottleneck."""
    square = t * t
    series = np.float32(0.0)
    for coefficient in _ARC_TANGENT:
        series = series * square + coefficient
    return t * series


def _arc_tangent_coefficients() -> tuple[np.float32, ...]:
    t = np.cos(np.linspace(0.02, np.pi / 2 - 0.02, 400)) * 0.66
    powers = np.vander(t * t, 6)
    solution = np.linalg.lstsq(powers * t[:, None], np.arctan(t), rcond=None)[0]
    return tuple(np.float32(value) for value in solution)


_ARC_TANGENT = _arc_tangent_coefficients()
