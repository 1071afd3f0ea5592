"""Line integrals of a volume along the rays of a cone beam after Joseph (1982), and the exact adjoint.

The rays from the source to one column of the panel lie in one upright plane. Where it crosses a row or a
column of voxels, all of them lie between the same two lines of voxels along z, so these are interpolated
once, and every ray then once along z. Four views that see the volume turned by quarters share all positions
(see `symmetry`).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from lowdose.physics.cores import ALL_CORES
from lowdose.physics.geometry import ConeBeam, VolumeGrid
from lowdose.physics.lanes import LANES, add_between, share_between
from lowdose.physics.symmetry import Orbits, orbits

Volume = NDArray[np.float32]

_CHANNELS = 32
"""Columns of the panel that one task projects: neighbours meet the same voxels."""
_SLICES = 32
"""Slices that one task smears over."""
_SMALLEST_BLOCK = 8


class _Lines(NamedTuple):
    """Where the four turned volumes have their lines of voxels along z: the one in row i and column k of
    turned volume j is line ``origin[j] + i * row[j] + k * column[j]`` of the volume.
    """

    origin: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]


@dataclass(frozen=True)
class ConeProjector:
    """The linear map from a volume `[z, y, x]` in 1/mm to a sinogram `[view, row, channel]` without unit.

    The volume is zero beyond `grid`. ValueError if the source turns inside the volume, if `views` are not
    views of the geometry, or, later, for an array of another shape.
    """

    grid: VolumeGrid
    geometry: ConeBeam
    views: tuple[int, ...] | None = None
    """The views of the geometry to project, ascending; all if None. Fastest where views at quarter turns stay
    together and the slices are square: then four are projected at the price of one."""

    def __post_init__(self) -> None:
        check_source(self.geometry, self.grid)
        if self.views is None:
            return
        if not self.views or any(a >= b for a, b in pairwise((-1, *self.views, self.geometry.n_views))):
            raise ValueError(
                f"the views to project must ascend and lie between 0 and {self.geometry.n_views - 1}"
            )

    @property
    def domain_shape(self) -> tuple[int, int, int]:
        return self.grid.shape

    @property
    def range_shape(self) -> tuple[int, int, int]:
        n_views = self.geometry.n_views if self.views is None else len(self.views)
        return n_views, self.geometry.n_rows, self.geometry.n_channels

    def __call__(self, volume: Volume) -> Volume:
        """Line integrals of `volume` along every ray, float32 `[view, row, channel]`."""
        self._check("volume", volume, self.domain_shape)
        groups = self._groups()
        lines = np.ascontiguousarray(np.moveaxis(np.asarray(volume, dtype=np.float32), 0, 2))
        sinogram = np.empty(self.range_shape, np.float32)
        with ALL_CORES:
            _project(
                lines.reshape(-1, self.grid.shape[0]), sinogram, groups.views, _reversed_lanes(groups),
                *_lines(groups, self.grid), *self._rays(groups),
            )  # fmt: skip
        return sinogram

    def adjoint(self, sinogram: Volume) -> Volume:
        """The transpose of the projection, float32 `[z, y, x]`: `<A x, s> == <x, adjoint(s)>`."""
        self._check("sinogram", sinogram, self.range_shape)
        groups = self._groups()
        n_z, n_y, n_x = self.grid.shape
        lines = np.zeros((n_y * n_x, n_z), np.float32)
        n_slices = int(np.clip(n_z // (2 * numba.get_num_threads()), _SMALLEST_BLOCK, _SLICES))
        with ALL_CORES:
            values = _gathered(
                np.ascontiguousarray(sinogram, dtype=np.float32), groups.views, _reversed_lanes(groups)
            )
            _smear(values, lines, n_slices, *_lines(groups, self.grid), *self._rays(groups))
        return np.ascontiguousarray(np.moveaxis(lines.reshape(n_y, n_x, n_z), 2, 0))

    def _groups(self) -> Orbits:
        return orbits(self.geometry.mid_plane, self.grid.plane, self.views)

    def _rays(self, groups: Orbits) -> tuple[object, ...]:
        """What the kernels know of the rays: angles of the first view of each group, the grid, the panel."""
        geometry = self.geometry
        all_views = geometry.view_angles if self.views is None else geometry.view_angles[list(self.views)]
        depth = geometry.source_to_detector
        panel = (geometry.channel_places / depth, geometry.row_places / depth, geometry.source_to_axis)
        return all_views[groups.views[:, 0]], self.grid.shape, self.grid.spacing, *panel

    @staticmethod
    def _check(name: str, array: Volume, shape: tuple[int, int, int]) -> None:
        if array.shape != shape:
            raise ValueError(f"the {name} is {array.shape}; this projector expects {shape}")


def check_source(geometry: ConeBeam, grid: VolumeGrid) -> None:
    """ValueError if the source turns inside the volume."""
    if grid.plane.radius >= geometry.source_to_axis:
        raise ValueError(
            f"the source turns {geometry.source_to_axis:g} mm from the axis, inside the volume, whose "
            f"corners are {grid.plane.radius:g} mm from it: take a smaller volume"
        )


def _reversed_lanes(groups: Orbits) -> NDArray[np.bool_]:
    """`[lane]`: whether its channels run backwards."""
    return np.array([groups.reversing and turn.mirrored for turn in groups.turns])


def _lines(groups: Orbits, grid: VolumeGrid) -> _Lines:
    _, n_y, n_x = grid.shape
    turned = groups.turned(np.arange(n_y * n_x, dtype=np.int64).reshape(n_y, n_x))  # type: ignore[arg-type]
    one = np.zeros(1, np.int64)
    return _Lines(
        origin=np.array([plane[0, 0] for plane in turned]),
        row=np.array([np.diff(plane[:2, 0], append=plane[0, 0] + one)[0] for plane in turned]),
        column=np.array([np.diff(plane[0, :2], append=plane[0, 0] + one)[0] for plane in turned]),
    )


@numba.njit(parallel=True, fastmath=True, cache=True, error_model="numpy")
def _project(  # type: ignore[no-untyped-def]
    lines,
    sinogram,
    views,
    is_reversed,
    origin,
    row,
    column,
    angles,
    shape,
    spacing,
    tangents,
    slopes,
    distance,
):
    """Integrals of `lines` `[y x, z]`."""
    n_z, n_y, n_x = shape
    n_channels, n_rows = len(tangents), len(slopes)
    one = np.float32(1.0)
    blocks = (n_channels + _CHANNELS - 1) // _CHANNELS
    for task in numba.prange(len(angles) * blocks):
        group, begin = task // blocks, task % blocks * _CHANNELS
        profile = np.zeros((n_z + 3, LANES), np.float32)
        sums = np.empty((n_rows, LANES), np.float32)
        left, right = np.empty(LANES, np.int64), np.empty(LANES, np.int64)
        for channel in range(begin, min(begin + _CHANNELS, n_channels)):
            along_y, place, step, first, end, depth, deeper, length = _path(
                angles[group], tangents[channel], distance, n_y, n_x, spacing[1], spacing[2]
            )
            sums[:] = 0.0
            for i in range(first, end):
                zero, rise, low, high, bottom, top = _fan(depth + i * deeper, slopes, n_z, spacing[0], 0, n_z)
                if low >= high:
                    continue
                lower, upper = _beside(
                    place + i * step, i, along_y, n_y, n_x, origin, row, column, left, right
                )
                _interpolate(lines, left, right, lower, upper, bottom, top, profile)
                for k in range(low, high):
                    z = zero + rise * np.float32(k)
                    floor = np.int32(z)
                    add_between(sums, np.uintp(k), profile, np.uintp(floor), z - np.float32(floor), one)
            for lane in range(LANES):
                view = views[group, lane]
                if view < 0:
                    continue
                target = n_channels - 1 - channel if is_reversed[lane] else channel
                for k in range(n_rows):
                    longer = np.sqrt(1.0 + tangents[channel] ** 2 + slopes[k] ** 2)
                    sinogram[view, k, target] = sums[k, lane] * np.float32(length * longer)


@numba.njit(fastmath=True, cache=True, inline="always", error_model="numpy")
def _path(angle, tangent, distance, n_y, n_x, d_y, d_x):  # type: ignore[no-untyped-def]
    """The upright plane of one column of the panel, seen from above.

    Whether it crosses rows (else columns, and then read columns for rows); the column at row 0 and columns a
    row; the rows where it is in the image, or within a pixel of it; the depth from the source at row 0, and
    depth a row, in mm; mm of depth, without sign, a row.
    """
    c, s = np.cos(angle), np.sin(angle)
    along_x, along_y = s + tangent * c, tangent * s - c
    visits_rows = abs(along_y) >= abs(along_x)
    if visits_rows:
        along, across, n_rows, n_columns, d_row, d_column = along_y, along_x, n_y, n_x, d_y, d_x
        source_row, source_column = c * distance, -s * distance
    else:
        along, across, n_rows, n_columns, d_row, d_column = along_x, along_y, n_x, n_y, d_x, d_y
        source_row, source_column = -s * distance, c * distance
    deeper = d_row / along
    depth = -((n_rows - 1) / 2 * d_row + source_row) / along
    step = deeper * across / d_column
    if abs(step) < _STRAIGHT:
        step = _STRAIGHT
    place = (source_column + depth * across) / d_column + (n_columns - 1) / 2
    entry, exit_ = (-1.0 - place) / step, (n_columns - place) / step
    if step < 0:
        entry, exit_ = exit_, entry
    first = np.int64(min(max(np.ceil(entry), 0.0), n_rows))
    end = max(first, np.int64(min(max(np.floor(exit_) + 1, 0.0), n_rows)))
    return visits_rows, place, step, first, end, depth, deeper, abs(deeper)


_STRAIGHT = 1e-9
"""Columns a row: a path closer to parallel to the columns is tilted by as much, so its ends are found."""


@numba.njit(fastmath=True, cache=True, inline="always", error_model="numpy")
def _fan(depth, slopes, n_z, d_z, begin, end):  # type: ignore[no-untyped-def]
    """The rays of an upright plane where they are at one depth, and slices from `begin` to before `end`.

    Places in the profile of these slices, which has one slice more at either end: that of ray 0, and slices a
    ray; the rays that are in the slices, or within one of them; the slices that they need.
    """
    n_rows = len(slopes)
    rise = depth * (slopes[n_rows - 1] - slopes[0]) / max(n_rows - 1, 1) / d_z
    zero = depth * slopes[0] / d_z + (n_z - 1) / 2 - begin + 1
    n = end - begin
    low, high = np.int64(0), np.int64(n_rows)
    if rise > _STRAIGHT:
        low = np.int64(min(max(np.ceil(-zero / rise), 0.0), n_rows))
        high = np.int64(min(max(np.floor((n + 1 - zero) / rise) + 1, 0.0), n_rows))
    elif not 0.0 < zero < n + 1:
        high = np.int64(0)
    bottom = begin + np.int64(min(max(zero + low * rise - 2, 0.0), n))
    top = begin + np.int64(min(max(zero + high * rise + 2, 0.0), n))
    return np.float32(zero), np.float32(rise), low, high, bottom, top


@numba.njit(fastmath=True, cache=True, inline="always")
def _beside(place, i, along_y, n_y, n_x, origin, row, column, left, right):  # type: ignore[no-untyped-def]
    """Finds the lines beside `place` in row `i` of every lane's turned volume; returns their weights."""
    n_columns = n_x if along_y else n_y
    at = np.int64(place + 1.0) - 1
    share = place - at
    lower, upper = np.float32(1.0 - share), np.float32(share)
    at_left, at_right = at, at + 1
    if at_left < 0:
        at_left, lower = np.int64(0), np.float32(0.0)
    if at_right > n_columns - 1:
        at_right, upper = n_columns - 1, np.float32(0.0)
    if at_left > n_columns - 1:
        at_left, lower = n_columns - 1, np.float32(0.0)
    for lane in range(LANES):
        down, across = (row[lane], column[lane]) if along_y else (column[lane], row[lane])
        left[lane] = origin[lane] + i * down + at_left * across
        right[lane] = origin[lane] + i * down + at_right * across
    return lower, upper


@numba.njit(fastmath=True, cache=True, inline="always")
def _interpolate(lines, left, right, lower, upper, bottom, top, profile):  # type: ignore[no-untyped-def]
    l0, l1, l2, l3 = left[0], left[1], left[2], left[3]
    r0, r1, r2, r3 = right[0], right[1], right[2], right[3]
    for z in range(bottom, top):
        profile[z + 1, 0] = lower * lines[l0, z] + upper * lines[r0, z]
        profile[z + 1, 1] = lower * lines[l1, z] + upper * lines[r1, z]
        profile[z + 1, 2] = lower * lines[l2, z] + upper * lines[r2, z]
        profile[z + 1, 3] = lower * lines[l3, z] + upper * lines[r3, z]


@numba.njit(parallel=True, cache=True)
def _gathered(sinogram, views, is_reversed):  # type: ignore[no-untyped-def]
    """`sinogram` `[view, row, channel]` as `[group, channel, row, lane]`."""
    _, n_rows, n_channels = sinogram.shape
    values = np.zeros((len(views), n_channels, n_rows, LANES), np.float32)
    for group in numba.prange(len(views)):
        for lane in range(LANES):
            view = views[group, lane]
            if view < 0:
                continue
            for channel in range(n_channels):
                source = n_channels - 1 - channel if is_reversed[lane] else channel
                for k in range(n_rows):
                    values[group, channel, k, lane] = sinogram[view, k, source]
    return values


@numba.njit(parallel=True, fastmath=True, cache=True, error_model="numpy")
def _smear(  # type: ignore[no-untyped-def]
    values, lines, n_slices, origin, row, column, angles, shape, spacing, tangents, slopes, distance
):
    """The transpose of `_project`; no two tasks write to one slice of `lines`."""
    n_z, n_y, n_x = shape
    n_channels, n_rows = len(tangents), len(slopes)
    for task in numba.prange((n_z + n_slices - 1) // n_slices):
        begin = task * n_slices
        stop = min(begin + n_slices, n_z)
        profile = np.zeros((n_slices + 3, LANES), np.float32)
        weighted = np.empty((n_rows, LANES), np.float32)
        apart = np.empty((LANES, n_slices), np.float32)
        left, right = np.empty(LANES, np.int64), np.empty(LANES, np.int64)
        for group in range(len(angles)):
            for channel in range(n_channels):
                along_y, place, step, first, end, depth, deeper, length = _path(
                    angles[group], tangents[channel], distance, n_y, n_x, spacing[1], spacing[2]
                )
                if first >= end:
                    continue
                for k in range(n_rows):
                    longer = np.float32(length * np.sqrt(1.0 + tangents[channel] ** 2 + slopes[k] ** 2))
                    for lane in range(LANES):
                        weighted[k, lane] = values[group, channel, k, lane] * longer
                for i in range(first, end):
                    zero, rise, low, high, bottom, top = _fan(
                        depth + i * deeper, slopes, n_z, spacing[0], begin, stop
                    )
                    if low >= high:
                        continue
                    lower, upper = _beside(
                        place + i * step, i, along_y, n_y, n_x, origin, row, column, left, right
                    )
                    profile[:] = 0.0
                    for k in range(low, high):
                        z = zero + rise * np.float32(k)
                        floor = np.int32(z)
                        share_between(profile, np.uintp(floor), z - np.float32(floor), weighted, np.uintp(k))
                    for z in range(bottom - begin, top - begin):
                        for lane in range(LANES):
                            apart[lane, z] = profile[z + 1, lane]
                    for lane in range(LANES):
                        _add(lines[left[lane], bottom:top], lower, apart[lane, bottom - begin : top - begin])
                        _add(lines[right[lane], bottom:top], upper, apart[lane, bottom - begin : top - begin])


@numba.njit(fastmath=True, cache=True)
def _add(sums, factor, values):  # type: ignore[no-untyped-def]
    for k in range(len(sums)):
        sums[k] += factor * values[k]
