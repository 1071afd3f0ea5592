"""Filtered back projection for parallel and fan beams.

A. C. Kak and M. Slaney, "Principles of Computerized Tomographic Imaging", chapter 3.
"""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np
from numpy.typing import NDArray

from lowdose.physics.cores import ALL_CORES
from lowdose.physics.geometry import FanBeam, Geometry, ImageGrid
from lowdose.physics.lanes import LANES, add_between
from lowdose.physics.ramp import Apodisation, filtered_rows, ram_lak, ramp_response
from lowdose.physics.redundancy import is_displaced, redundancy_weights, whole_detector
from lowdose.physics.symmetry import orbits

Image = NDArray[np.float32]
Floats = NDArray[np.float64]


def field_of_view(geometry: Geometry) -> float:
    """Radius in mm of the disc around the axis whose lines are all measured; zero if the detector does not
    reach the axis.
    """
    first, last = geometry.channel_offsets[[0, -1]]
    near, far = sorted((-first, last))
    if near <= 0:
        return 0.0
    return float(far if isinstance(geometry, FanBeam) and is_displaced(geometry) else near)


def within_field_of_view(geometry: Geometry, grid: ImageGrid) -> NDArray[np.bool_]:
    """The pixels `[y, x]` of `grid` whose centres lie in the field of view.

    Outside it some lines are missing, and an image is no more than a guess.
    """
    y, x = (_pixel_places(n, spacing) for n, spacing in zip(grid.shape, grid.spacing, strict=True))
    return np.asarray(np.hypot(y[:, None], x) <= field_of_view(geometry))


def fbp(geometry: Geometry, grid: ImageGrid, sinogram: Image, apodisation: Apodisation = ram_lak) -> Image:
    """Reconstruct `sinogram` `[view, channel]` of line integrals on `grid`, float32 `[y, x]` in 1/mm.

    Linear interpolation between channels; pixels outside the field of view are built from the views that saw
    them (`within_field_of_view` tells which). ValueError if the sinogram has another shape or values that are
    not finite, if the scan is too short for its fan, or if the detector does not reach the axis.
    """
    values = _checked(geometry, sinogram) * _ray_weights(geometry)
    if isinstance(geometry, FanBeam) and is_displaced(geometry):
        geometry, n_before, n_after = whole_detector(geometry)
        values = np.pad(values, ((0, 0), (n_before, n_after)))
    groups = orbits(geometry, grid)
    filtered = groups.gathered(filtered_rows(values, ramp_response(geometry, apodisation)), n_beyond=2)
    angles = geometry.view_angles[groups.views[:, 0]]
    cosines, sines = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    y, x = (_pixel_places(n, spacing) for n, spacing in zip(grid.shape, grid.spacing, strict=True))
    image = np.zeros((*grid.shape, LANES), np.float32)
    with ALL_CORES:
        _back_project(filtered, image, cosines, sines, y, x, *_channel_map(geometry))
    return groups.combined(image)


def _checked(geometry: Geometry, sinogram: Image) -> Image:
    expected = (geometry.n_views, geometry.n_channels)
    if sinogram.shape != expected:
        raise ValueError(f"the sinogram is {sinogram.shape}; this geometry measures {expected}")
    if field_of_view(geometry) == 0:
        nearest, farthest = np.sort(np.abs(geometry.channel_offsets[[0, -1]]))
        raise ValueError(
            f"the rays pass {nearest:.4g} to {farthest:.4g} mm beside the axis, all on one side; the "
            "detector must reach across it"
        )
    values = np.asarray(sinogram, dtype=np.float32)
    if not np.isfinite(values.sum(dtype=np.float64)):
        n_bad = int(np.count_nonzero(~np.isfinite(values)))
        raise ValueError(
            f"{n_bad} of {values.size} line integrals are not finite: rays that counted no photon have no "
            "logarithm, so raise every count to at least one before it, or fill these rays in"
        )
    return values


@lru_cache(maxsize=8)
def _ray_weights(geometry: Geometry) -> Image:
    """What every ray is multiplied by before the filter, broadcasting to `[view, channel]`."""
    if not isinstance(geometry, FanBeam):
        return np.full((1, 1), np.pi / geometry.n_views, np.float32)
    weights = redundancy_weights(geometry)
    if not geometry.is_short:
        weights = weights[:1]
    scale = geometry.scan_angle / geometry.n_views * geometry.source_to_axis
    if geometry.detector == "flat":
        scale *= geometry.source_to_axis
    return (weights * scale * np.cos(geometry.channel_angles)).astype(np.float32)


def _pixel_places(n: int, spacing: float) -> Image:
    return ((np.arange(n) - (n - 1) / 2) * spacing).astype(np.float32)


_PARALLEL, _FLAT, _ARC = range(3)


def _channel_map(geometry: Geometry) -> tuple[int, np.float32, np.float32, Image, Image]:
    """How a point of the image finds its channel: the kind of beam, the source's distance in mm, the central
    ray's channel, coefficients and limits.

    The coefficients are those of `_arc_channel`; the first alone, channels a mm or a unit of the tangent,
    serves the other beams. The limits are tangents of the outer channels.
    """
    centre = np.float32((geometry.n_channels - 1) / 2 - geometry.channel_shift)
    none = np.zeros(2, np.float32)
    if not isinstance(geometry, FanBeam):
        scale = np.array([1 / geometry.channel_spacing], np.float32)
        return _PARALLEL, np.float32(np.inf), centre, scale, none
    distance = np.float32(geometry.source_to_axis)
    per_unit = geometry.source_to_detector / geometry.channel_spacing
    if geometry.detector == "flat":
        return _FLAT, distance, centre, np.array([per_unit], np.float32), none
    limits = np.tan(geometry.channel_angles[[0, -1]])
    series = _arc_tangent(float(np.abs(limits).max())) * per_unit
    return _ARC, distance, centre, series.astype(np.float32), limits.astype(np.float32)


_N_TERMS = 7
_WIDEST_TANGENT = 1.0


def _arc_tangent(limit: float) -> Floats:
    """Coefficients of a polynomial in t^2, highest first, that times t is atan(t) up to `limit`: a fit,
    because the library's function is the bottleneck. Good to 1e-5 up to a fan of 90 degrees.
    """
    if limit > _WIDEST_TANGENT:
        raise ValueError(
            f"the fan is {2 * np.rad2deg(np.arctan(limit)):.0f} degrees wide; "
            "an arc detector is reconstructed up to 90 degrees"
        )
    nodes = np.polynomial.chebyshev.chebpts1(_N_TERMS) * limit**2 / 2 + limit**2 / 2
    roots = np.sqrt(nodes)
    return np.asarray(np.linalg.solve(np.vander(nodes, _N_TERMS), np.arctan(roots) / roots), np.float64)


_ROWS, _COLUMNS = 8, 128
"""A tile of the image that a core's first cache holds, four lanes deep."""


@numba.njit(parallel=True, fastmath=True, cache=True, error_model="numpy")
def _back_project(  # type: ignore[no-untyped-def]
    filtered, image, cosines, sines, y, x, kind, distance, centre, series, limits
):
    """Add to `image` `[y, x, lane]` the values that `filtered` `[group, channel, lane]` has at its pixels.

    The last two channels are zeros, for pixels that a view does not see.
    """
    n_y, n_x, _ = image.shape
    n_channels = np.float32(filtered.shape[1] - 2)
    across = (n_x + _COLUMNS - 1) // _COLUMNS
    for tile in numba.prange((n_y + _ROWS - 1) // _ROWS * across):
        top, left = tile // across * _ROWS, tile % across * _COLUMNS
        columns = x[left : left + _COLUMNS]
        places, weights = np.empty(_COLUMNS, np.uint32), np.empty(_COLUMNS, np.float32)
        gains = np.ones(_COLUMNS, np.float32)
        for group in range(len(cosines)):
            c, s, row_of_channels = cosines[group], sines[group], filtered[group]
            for row in range(top, min(top + _ROWS, n_y)):
                if kind == _PARALLEL:
                    _parallel(columns, y[row], c, s, centre, series, n_channels, places, weights)
                elif kind == _FLAT:
                    _flat(columns, y[row], c, s, distance, centre, series, n_channels, places, weights, gains)
                else:
                    _arc(
                        columns, y[row], c, s, distance, centre, series, limits, n_channels,
                        places, weights, gains,
                    )  # fmt: skip
                first = row * n_x + left
                for k in range(len(columns)):
                    pixel = np.uintp(first + k)
                    add_between(image, pixel, row_of_channels, np.uintp(places[k]), weights[k], gains[k])


@numba.njit(fastmath=True, cache=True, inline="always")
def _split(channel, seen, n_channels, places, weights, k):  # type: ignore[no-untyped-def]
    """Channel left of a position and the share of its right neighbour; behind the last if not `seen`."""
    channel = channel if seen else n_channels
    left = np.int32(channel)
    places[k] = left
    weights[k] = channel - np.float32(left)


@numba.njit(fastmath=True, cache=True, inline="always")
def _parallel(x, y, c, s, centre, scale, n_channels, places, weights):  # type: ignore[no-untyped-def]
    step, start = c * scale[0], s * y * scale[0] + centre
    for k in range(len(x)):
        channel = start + step * x[k]
        seen = (channel >= np.float32(0.0)) & (channel <= n_channels - np.float32(1.0))
        _split(channel, seen, n_channels, places, weights, k)


@numba.njit(fastmath=True, cache=True, inline="always")
def _flat(x, y, c, s, distance, centre, scale, n_channels, places, weights, gains):  # type: ignore[no-untyped-def]
    nearest = _NEAREST * distance
    for k in range(len(x)):
        depth = distance + s * x[k] - c * y
        inverse = np.float32(1.0) / max(depth, nearest)
        channel = (c * x[k] + s * y) * inverse * scale[0] + centre
        seen = (channel >= np.float32(0.0)) & (channel <= n_channels - np.float32(1.0)) & (depth > nearest)
        _split(channel, seen, n_channels, places, weights, k)
        gains[k] = inverse * inverse


@numba.njit(fastmath=True, cache=True, inline="always")
def _arc(x, y, c, s, distance, centre, series, limits, n_channels, places, weights, gains):  # type: ignore[no-untyped-def]
    nearest = _NEAREST * distance
    for k in range(len(x)):
        lateral, depth = c * x[k] + s * y, distance + s * x[k] - c * y
        seen = depth > nearest
        depth = max(depth, nearest)
        squared = depth * depth + lateral * lateral
        inverse = np.float32(1.0) / (depth * squared)
        tangent = lateral * squared * inverse
        seen &= (tangent >= limits[0]) & (tangent <= limits[1])
        t = tangent * tangent
        angle = series[0]
        for term in range(1, _N_TERMS):
            angle = angle * t + series[term]
        _split(tangent * angle + centre, seen, n_channels, places, weights, k)
        gains[k] = depth * inverse


_NEAREST = np.float32(1e-3)
"""Of the source's distance: no pixel closer to the source than that, or behind it, is seen."""
