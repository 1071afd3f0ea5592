"""Cone-beam reconstruction after L. A. Feldkamp, L. C. Davis and J. W. Kress, J Opt Soc Am A 1:612 (1984).

Every row of the panel is weighted and filtered as a fan, then smeared back along its own slanted rays. The
mid-plane is the fan's exact reconstruction, and so is any object that does not change along the axis.
"""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np
from numpy.typing import NDArray

from lowdose.physics.cone import check_source
from lowdose.physics.cores import ALL_CORES
from lowdose.physics.geometry import ConeBeam, FanBeam, VolumeGrid
from lowdose.physics.lanes import LANES, add_between
from lowdose.physics.ramp import Apodisation, filtered_rows, ram_lak, ramp_response
from lowdose.physics.reconstruction import field_of_view
from lowdose.physics.redundancy import is_displaced, redundancy_weights, whole_detector
from lowdose.physics.symmetry import Orbits, orbits

Volume = NDArray[np.float32]

_SLAB_VOXELS = 2**22
"""Voxels that are built at once, four lanes deep."""
_TILE = 8
"""Voxels along x and y whose columns a core builds together: they share their places on the panel."""
_VIEWS_AT_ONCE = 16


def within_cone(geometry: ConeBeam, grid: VolumeGrid) -> NDArray[np.bool_]:
    """The voxels `[z, y, x]` of `grid` that every view of a full turn sees.

    The others are built from the views that saw them, and are no more than a guess.
    """
    n_y, n_x = grid.plane.shape
    y = (np.arange(n_y) - (n_y - 1) / 2) * grid.plane.spacing[0]
    x = (np.arange(n_x) - (n_x - 1) / 2) * grid.plane.spacing[1]
    radii = np.hypot(y[:, None], x)
    half_height = geometry.row_places[-1] * (geometry.source_to_axis - radii) / geometry.source_to_detector
    seen = np.abs(grid.positions)[:, None, None] <= half_height + 1e-9
    return np.asarray(seen & (radii <= field_of_view(geometry.mid_plane)))


def fdk(geometry: ConeBeam, grid: VolumeGrid, sinogram: Volume, apodisation: Apodisation = ram_lak) -> Volume:
    """Reconstruct `sinogram` `[view, row, channel]` of line integrals on `grid`, float32 `[z, y, x]` in 1/mm.

    Linear interpolation on the panel; a short scan and a panel beside the axis are weighted as in a fan.
    ValueError if the sinogram has another shape or values that are not finite, if the scan is too short for
    its fan, or if the source turns inside the volume.
    """
    check_source(geometry, grid)
    expected = (geometry.n_views, geometry.n_rows, geometry.n_channels)
    if sinogram.shape != expected:
        raise ValueError(f"the sinogram is {sinogram.shape}; this geometry measures {expected}")
    fan, n_before, n_after = geometry.mid_plane, 0, 0
    if is_displaced(fan):
        fan, n_before, n_after = whole_detector(fan)
    groups = orbits(fan, grid.plane)
    values = _filtered(geometry, fan, groups, sinogram, n_before, n_after, apodisation)
    angles = geometry.view_angles[groups.views[:, 0]]
    turning = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    panel: tuple[object, ...] = (
        np.float32(geometry.source_to_axis),
        np.float32((fan.n_channels - 1) / 2 - fan.channel_shift),
        np.float32(geometry.source_to_detector / geometry.channel_spacing),
        np.float32((geometry.n_rows - 1) / 2),
        np.float32(geometry.source_to_detector / geometry.row_spacing),
    )
    volume = np.empty(grid.shape, np.float32)
    _, n_y, n_x = grid.shape
    places = [
        ((np.arange(n) - (n - 1) / 2) * spacing).astype(np.float32)
        for n, spacing in zip(grid.plane.shape, grid.plane.spacing, strict=True)
    ]
    n_slices = max(1, _SLAB_VOXELS // (n_y * n_x))
    for first in range(0, grid.shape[0], n_slices):
        z = grid.positions[first : first + n_slices].astype(np.float32)
        slab = np.zeros((n_y, n_x, len(z), LANES), np.float32)
        with ALL_CORES:
            _back_project(values, slab, *turning, z, *places, *panel)
        volume[first : first + len(z)] = np.moveaxis(groups.combined(slab), 2, 0)
    return volume


def _filtered(
    geometry: ConeBeam,
    fan: FanBeam,
    groups: Orbits,
    sinogram: Volume,
    n_before: int,
    n_after: int,
    apodisation: Apodisation,
) -> Volume:
    """The filtered sinogram as `[group, channel, row, lane]`; the last channel and row are zeros."""
    response, weights = ramp_response(fan, apodisation), _ray_weights(geometry)
    one_for_all = len(weights) == 1
    values = np.zeros((len(groups.views), fan.n_channels + 1, geometry.n_rows + 1, LANES), np.float32)
    slots = {view: divmod(k, LANES) for k, view in enumerate(groups.views.ravel().tolist()) if view >= 0}
    n_bad = 0
    for first in range(0, geometry.n_views, _VIEWS_AT_ONCE):
        block = np.asarray(sinogram[first : first + _VIEWS_AT_ONCE], np.float32)
        n_bad += int(np.count_nonzero(~np.isfinite(block)))
        if n_bad:
            continue
        block = block * (weights if one_for_all else weights[first : first + _VIEWS_AT_ONCE])
        rows = filtered_rows(np.pad(block, ((0, 0), (0, 0), (n_before, n_after))), response)
        for view, row in enumerate(rows, start=first):
            group, lane = slots[view]
            order = -1 if groups.reversing and groups.turns[lane].mirrored else 1
            values[group, :-1, :-1, lane] = row[:, ::order].T
    if n_bad:
        raise ValueError(
            f"{n_bad} of {sinogram.size} line integrals are not finite: rays that counted no photon have no "
            "logarithm, so raise every count to at least one before it, or fill these rays in"
        )
    return values


@lru_cache(maxsize=4)
def _ray_weights(geometry: ConeBeam) -> Volume:
    """What every ray is multiplied by before the filter, broadcasting to `[view, row, channel]`: its share in
    its line, the cosine of its angle to the central ray, and the step of the views.
    """
    fan = geometry.mid_plane
    shares = redundancy_weights(fan)
    if not geometry.scan_angle < 2 * np.pi * (1 - 1e-9):
        shares = shares[:1]
    depth = geometry.source_to_detector
    u, w = geometry.channel_places, geometry.row_places[:, None]
    cosines = depth / np.sqrt(depth**2 + u**2 + w**2)
    step = geometry.scan_angle / geometry.n_views * geometry.source_to_axis**2
    return (shares[:, None, :] * cosines * step).astype(np.float32)


@numba.njit(parallel=True, fastmath=True, cache=True, error_model="numpy")
def _back_project(  # type: ignore[no-untyped-def]
    values, slab, cosines, sines, z, y, x, distance, centre, per_tangent, middle_row, rows_per_slope
):
    """Add to `slab` `[y, x, z, lane]` what `values` `[group, channel, row, lane]` has at its voxels."""
    n_y, n_x, n_z, _ = slab.shape
    n_channels, n_rows = np.float32(values.shape[1] - 1), values.shape[2] - 1
    last_row = np.float32(n_rows - 1)
    across = (n_x + _TILE - 1) // _TILE
    for tile in numba.prange((n_y + _TILE - 1) // _TILE * across):
        top, left = tile // across * _TILE, tile % across * _TILE
        profile = np.zeros((n_rows + 1, LANES), np.float32)
        numbers = profile.reshape(-1)
        for group in range(len(cosines)):
            c, s = cosines[group], sines[group]
            for i in range(top, min(top + _TILE, n_y)):
                for k in range(left, min(left + _TILE, n_x)):
                    inverse = np.float32(1.0) / (distance + s * x[k] - c * y[i])
                    channel = (c * x[k] + s * y[i]) * inverse * per_tangent + centre
                    if channel < np.float32(0.0) or channel > n_channels - np.float32(1.0):
                        continue
                    at = np.int32(channel)
                    upper = channel - np.float32(at)
                    step = inverse * rows_per_slope
                    low, high, first, end = _seen(z, step, middle_row, last_row)
                    if low >= high:
                        continue
                    _blend(
                        values[group, at].reshape(-1), values[group, at + 1].reshape(-1), upper,
                        numbers, first * LANES, end * LANES,
                    )  # fmt: skip
                    gain, column = inverse * inverse, (i * n_x + k) * n_z
                    for j in range(low, high):
                        row = z[j] * step + middle_row
                        floor = np.int32(row)
                        weight = row - np.float32(floor)
                        add_between(slab, np.uintp(column + j), profile, np.uintp(floor), weight, gain)


@numba.njit(fastmath=True, cache=True, inline="always")
def _seen(z, step, middle_row, last_row):  # type: ignore[no-untyped-def]
    """The slices whose voxels are on the panel, and the rows that they need."""
    low, high = 0, len(z)
    while low < high and z[low] * step + middle_row < np.float32(0.0):
        low += 1
    while low < high and z[high - 1] * step + middle_row > last_row:
        high -= 1
    if low >= high:
        return low, high, 0, 0
    first = np.int64(z[low] * step + middle_row)
    return low, high, first, np.int64(z[high - 1] * step + middle_row) + 2


@numba.njit(fastmath=True, cache=True, inline="always")
def _blend(lower, upper, share, blended, first, end):  # type: ignore[no-untyped-def]
    for k in range(first, end):
        blended[k] = lower[k] + share * (upper[k] - lower[k])
