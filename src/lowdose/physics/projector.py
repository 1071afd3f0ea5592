"""Line integrals of an image after Joseph (1982), and the exact adjoint.

P. M. Joseph, "An improved algorithm for reprojecting rays through pixel images", IEEE Trans Med Imaging
1:192. Along the axis to which a ray is closer to parallel it visits every pixel once and interpolates
linearly across.

Both directions walk along each ray through a band of rows that stays in the cache, in four views at once (see
`symmetry`) whose rays have the same places in the image turned for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from lowdose.physics.cores import ALL_CORES
from lowdose.physics.geometry import FanBeam, Geometry, ImageGrid
from lowdose.physics.lanes import LANES, add_between, share_between
from lowdose.physics.symmetry import Orbits, orbits

Image = NDArray[np.float32]

_MARGIN = 2
"""Columns of zeros on either side of the image: a ray that leaves it within a pixel needs no special case."""
_BAND = 64
"""Rows of the image, four turns of it side by side, that a core's second cache holds: half a megabyte at 512
columns.
"""
_SMALLEST_BAND = 8
_GROUPS = 8
"""Groups of views that one task projects."""
_PARTIAL_SUMS = 8
"""Sums that take turns along a ray, because an addition must wait for the one before it."""


class _Paths(NamedTuple):
    """Where the rays of the first view of each group cross the rows of the image, all `[group, channel]`.

    "Rows" are columns for rays closer to parallel to the x axis.
    """

    along_y: NDArray[np.bool_]
    """Whether a ray visits rows."""
    start: Image
    """Column at row 0, in the image with its margin."""
    step: Image
    """Columns a row."""
    first: NDArray[np.int32]
    """The rows where the ray is above the image, or within a pixel of it: from this one"""
    end: NDArray[np.int32]
    """to the one before this."""
    length: Image
    """mm of the ray a row."""


@dataclass(frozen=True)
class Projector:
    """The linear map from an image `[y, x]` in 1/mm to a sinogram `[view, channel]` without unit.

    The image is zero beyond `grid`. ValueError if the source turns inside the image, if `views` are not views
    of the geometry, or, later, for an array of another shape.
    """

    grid: ImageGrid
    geometry: Geometry
    views: tuple[int, ...] | None = None
    """The views of the geometry to project, ascending; all if None. Ordered subsets take some at a time, and
    are fastest where they keep views at quarter turns together."""

    def __post_init__(self) -> None:
        reach = min(self.grid.size) / 2
        if isinstance(self.geometry, FanBeam) and reach >= self.geometry.source_to_axis:
            raise ValueError(
                f"the source turns {self.geometry.source_to_axis:g} mm from the axis, inside the image, "
                f"which reaches {reach:g} mm: crop the image, or take parallel rays"
            )
        if self.views is None:
            return
        if not self.views or any(a >= b for a, b in pairwise((-1, *self.views, self.geometry.n_views))):
            raise ValueError(
                f"the views to project must ascend and lie between 0 and {self.geometry.n_views - 1}"
            )

    @property
    def domain_shape(self) -> tuple[int, int]:
        return self.grid.shape

    @property
    def range_shape(self) -> tuple[int, int]:
        n_views = self.geometry.n_views if self.views is None else len(self.views)
        return n_views, self.geometry.n_channels

    def __call__(self, image: Image) -> Image:
        """Line integrals of `image` along every ray, float32 `[view, channel]`."""
        self._check("image", image, self.domain_shape)
        groups = orbits(self.geometry, self.grid, self.views)
        paths = self._paths(groups)
        turned = groups.turned(np.asarray(image, dtype=np.float32))
        sums = np.zeros((*paths.start.shape, LANES), np.float32)
        rows, columns = _beside(turned), _beside([one.T for one in turned])
        with ALL_CORES:
            _project(rows, sums, *paths, True)
            _project(columns, sums, *paths, False)
        return groups.spread(sums)

    def adjoint(self, sinogram: Image) -> Image:
        """The transpose of the projection, float32 `[y, x]`: `<A x, s> == <x, adjoint(s)>`."""
        self._check("sinogram", sinogram, self.range_shape)
        groups = orbits(self.geometry, self.grid, self.views)
        paths = self._paths(groups)
        values = groups.gathered(np.asarray(sinogram, dtype=np.float32))
        values *= paths.length[..., None]
        n_y, n_x = self.grid.shape
        rows, columns = _zeros_beside(n_y, n_x), _zeros_beside(n_x, n_y)
        with ALL_CORES:
            _smear(values, rows, _band(n_y), *paths[:-1], True)
            _smear(values, columns, _band(n_x), *paths[:-1], False)
        across = slice(_MARGIN, _MARGIN + n_x), slice(_MARGIN, _MARGIN + n_y)
        return groups.combined(rows[:, across[0]] + columns[:, across[1]].transpose(1, 0, 2))

    def _paths(self, groups: Orbits) -> _Paths:
        geometry = self.geometry
        all_views = geometry.view_angles if self.views is None else geometry.view_angles[list(self.views)]
        angles = all_views[groups.views[:, 0]]
        shape = len(angles), geometry.n_channels
        paths = _Paths(
            along_y=np.empty(shape, np.bool_),
            start=np.empty(shape, np.float32),
            step=np.empty(shape, np.float32),
            first=np.empty(shape, np.int32),
            end=np.empty(shape, np.int32),
            length=np.empty(shape, np.float32),
        )
        grid = *self.grid.shape, *self.grid.spacing
        with ALL_CORES:
            _find_paths(angles, geometry.channel_angles, geometry.channel_offsets, *grid, *paths)
        return paths

    @staticmethod
    def _check(name: str, array: Image, shape: tuple[int, int]) -> None:
        if array.shape != shape:
            raise ValueError(f"the {name} is {array.shape}; this projector expects {shape}")


def _zeros_beside(n_rows: int, n_columns: int) -> Image:
    """Room for images side by side, `[row, column, lane]`, columns with their margins.

    A row takes an odd number of cache lines, so that the places of a ray in successive rows do not compete
    for the same part of the cache.
    """
    lines = -(-(n_columns + 2 * _MARGIN) // LANES) | 1
    return np.zeros((n_rows, lines * LANES, LANES), np.float32)


def _beside(images: list[Image]) -> Image:
    """Four images `[row, column]` side by side, `[row, column, lane]`."""
    n_rows, n_columns = images[0].shape
    lanes = _zeros_beside(n_rows, n_columns)
    for lane, image in enumerate(images):
        lanes[:, _MARGIN : _MARGIN + n_columns, lane] = image
    return lanes


def _band(n_rows: int) -> int:
    """Rows for one task: several tasks for every core, as large as the cache allows."""
    return int(np.clip(n_rows // (4 * numba.get_num_threads()), _SMALLEST_BAND, _BAND))


@numba.njit(parallel=True, fastmath=True, cache=True, error_model="numpy")
def _find_paths(  # type: ignore[no-untyped-def]
    view_angles, channel_angles, offsets, n_y, n_x, d_y, d_x, along_y, start, step, first, end, length
):
    channel_cosines, channel_sines = np.cos(channel_angles), np.sin(channel_angles)
    for view in numba.prange(len(view_angles)):
        c, s = np.cos(view_angles[view]), np.sin(view_angles[view])
        for channel in range(len(offsets)):
            normal_x = c * channel_cosines[channel] - s * channel_sines[channel]
            normal_y = s * channel_cosines[channel] + c * channel_sines[channel]
            along_y[view, channel] = abs(normal_x) >= abs(normal_y)
            if along_y[view, channel]:
                across, along, n_rows, n_columns, d_row, d_column = normal_x, normal_y, n_y, n_x, d_y, d_x
            else:
                across, along, n_rows, n_columns, d_row, d_column = normal_y, normal_x, n_x, n_y, d_x, d_y
            slope = -d_row * along / (across * d_column)
            if abs(slope) < _STRAIGHT:
                slope = _STRAIGHT
            place = offsets[channel] / (across * d_column) + (n_columns - 1) / 2 - (n_rows - 1) / 2 * slope
            entry, exit_ = (-1.0 - place) / slope, (n_columns - place) / slope
            if slope < 0:
                entry, exit_ = exit_, entry
            lowest = min(max(np.ceil(entry), 0.0), n_rows)
            first[view, channel] = lowest
            end[view, channel] = max(lowest, min(max(np.floor(exit_) + 1, 0.0), n_rows))
            start[view, channel] = place + _MARGIN
            step[view, channel] = slope
            length[view, channel] = d_row / abs(across)


_STRAIGHT = 1e-9
"""Columns a row: a ray closer to parallel to the columns is tilted by as much, so its ends are found."""


@numba.njit(parallel=True, fastmath=True, cache=True)
def _project(images, sums, along_y, start, step, first, end, length, visits_rows):  # type: ignore[no-untyped-def]
    """Add to `sums` `[group, channel, lane]` the integrals of the rays that visit the rows of `images`."""
    n_rows, n_columns, _ = images.shape
    n_groups, n_channels, _ = sums.shape
    one = np.float32(1.0)
    n_tasks = (n_groups + _GROUPS - 1) // _GROUPS
    for task in numba.prange(n_tasks):
        lefts, weights = np.empty(_BAND, np.uint32), np.empty(_BAND, np.float32)
        partial = np.zeros((_PARTIAL_SUMS, LANES), np.float32)
        for top in range(0, n_rows, _BAND):
            for group in range(task, n_groups, n_tasks):
                for channel in range(n_channels):
                    row = max(first[group, channel], top)
                    n = min(end[group, channel], top + _BAND) - row
                    if n <= 0 or along_y[group, channel] != visits_rows:
                        continue
                    _walk(start[group, channel], step[group, channel], row, n, n_columns, lefts, weights)
                    for k in range(n):
                        nth = np.uintp(k & (_PARTIAL_SUMS - 1))
                        add_between(partial, nth, images, np.uintp(lefts[k]), weights[k], one)
                    for lane in range(LANES):
                        total = np.float32(0.0)
                        for addend in range(_PARTIAL_SUMS):
                            total += partial[addend, lane]
                            partial[addend, lane] = 0.0
                        sums[group, channel, lane] += total * length[group, channel]


@numba.njit(parallel=True, fastmath=True, cache=True)
def _smear(values, images, band, along_y, start, step, first, end, visits_rows):  # type: ignore[no-untyped-def]
    """The transpose of `_project`, of `values` times `length`; no two tasks write to one row of `images`."""
    n_rows, n_columns, _ = images.shape
    n_groups, n_channels, _ = values.shape
    for task in numba.prange((n_rows + band - 1) // band):
        lefts, weights = np.empty(_BAND, np.uint32), np.empty(_BAND, np.float32)
        for group in range(n_groups):
            for channel in range(n_channels):
                row = max(first[group, channel], task * band)
                n = min(end[group, channel], (task + 1) * band) - row
                if n <= 0 or along_y[group, channel] != visits_rows:
                    continue
                _walk(start[group, channel], step[group, channel], row, n, n_columns, lefts, weights)
                place = np.uintp(group * n_channels + channel)
                for k in range(n):
                    share_between(images, np.uintp(lefts[k]), weights[k], values, place)


@numba.njit(fastmath=True, cache=True, inline="always")
def _walk(start, step, row, n, n_columns, lefts, weights):  # type: ignore[no-untyped-def]
    """Places of a ray in `n` rows from `row` on: the pixel left of it, counted from the first pixel, and the
    share of its right neighbour.
    """
    for k in range(n):
        column = start + step * np.float32(row + k)
        left = np.int32(column)
        lefts[k] = left + (row + k) * n_columns
        weights[k] = column - np.float32(left)
