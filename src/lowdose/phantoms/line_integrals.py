"""Exact line integrals through solids that replace one another: nothing is rasterised.

Where solids overlap, the later one counts. Every ray walks them from the last to the first and counts of each
the length that none before it has covered.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from lowdose.phantoms.primitives import Floats
from lowdose.physics.cores import ALL_CORES
from lowdose.physics.geometry import ConeBeam, FanBeam, Geometry, ParallelBeam

Sinogram = NDArray[np.float32]
Beam = TypeVar("Beam", bound=ParallelBeam | FanBeam | ConeBeam)


_BLOCK = 16
"""Channels that look at the same few solids."""


def plane_integrals(solids: Floats, geometry: Geometry, z: float, rays: int = 1) -> Sinogram:
    """Line integrals `[view, channel]` in the plane at `z` mm through a `table` of `solids`.

    Their values times mm: without unit for values in 1/mm. Every channel averages the photons of `rays` rays
    across its width.
    """
    crossing = solids[np.abs(solids[:, 0] - z) <= solids[:, 20]]
    sinogram = np.zeros((geometry.n_views, geometry.n_channels), np.float32)
    fine = _finer(geometry, rays)
    if len(crossing):
        with ALL_CORES:
            _in_plane(
                crossing, z, fine.view_angles, fine.channel_angles, fine.channel_offsets, rays, sinogram
            )
    return sinogram


def cone_integrals(solids: Floats, geometry: ConeBeam, rays: int = 1) -> Sinogram:
    """Line integrals `[view, row, channel]` of a cone beam, each from the photons of `rays` x `rays` rays."""
    sinogram = np.zeros((geometry.n_views, geometry.n_rows, geometry.n_channels), np.float32)
    fine = replace(
        _finer(geometry, rays), n_rows=geometry.n_rows * rays, row_spacing=geometry.row_spacing / rays
    )
    if len(solids):
        with ALL_CORES:
            _in_cone(
                solids, geometry.view_angles, fine.row_places, fine.channel_places, rays,
                geometry.source_to_axis, geometry.source_to_detector, sinogram,
            )  # fmt: skip
    return sinogram


def _finer(geometry: Beam, rays: int) -> Beam:
    """The same detector with `rays` channels for each."""
    return replace(
        geometry,
        n_channels=geometry.n_channels * rays,
        channel_spacing=geometry.channel_spacing / rays,
        channel_shift=geometry.channel_shift * rays,
    )


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _in_plane(solids, z, view_angles, channel_angles, offsets, rays, sinogram):  # type: ignore[no-untyped-def]
    n_solids, n_channels = len(solids), sinogram.shape[1]
    for view in numba.prange(len(view_angles)):
        lows, highs = np.empty(n_solids), np.empty(n_solids)
        near = np.empty(n_solids, np.int64)
        for first in range(0, n_channels, _BLOCK):
            last = min(first + _BLOCK, n_channels)
            angles, places = channel_angles[first * rays : last * rays], offsets[first * rays : last * rays]
            n_near = _near_block(solids, view_angles[view] + angles, places, near)
            for channel in range(first, last):
                passed, total = 0.0, 0.0
                for ray in range(channel * rays, (channel + 1) * rays):
                    angle = view_angles[view] + channel_angles[ray]
                    c, s, offset = np.cos(angle), np.sin(angle), offsets[ray]
                    total, n_covered = 0.0, 0
                    for j in range(n_near):
                        solid = solids[near[j]]
                        if abs(solid[2] * c + solid[1] * s - offset) > solid[19]:
                            continue
                        enter, leave = _met(solid, z, offset * s, offset * c, 0.0, c, -s)
                        if enter < leave:
                            fresh, n_covered = _covered(enter, leave, lows, highs, n_covered)
                            total += solid[21] * fresh
                    passed += np.exp(-total)
                sinogram[view, channel] = total if rays == 1 else -np.log(passed / rays)


@numba.njit(cache=True, error_model="numpy")
def _near_block(solids, angles, offsets, near):  # type: ignore[no-untyped-def]
    """The solids that a block of rays may meet, the last first; their number."""
    middle = len(angles) // 2
    c, s, offset = np.cos(angles[middle]), np.sin(angles[middle]), offsets[middle]
    turn = max(abs(angles[0] - angles[middle]), abs(angles[-1] - angles[middle]))
    reach = max(abs(offsets[0] - offset), abs(offsets[-1] - offset))
    n_near = 0
    for k in range(len(solids) - 1, -1, -1):
        y, x = solids[k, 1], solids[k, 2]
        if abs(x * c + y * s - offset) <= solids[k, 19] + reach + turn * np.hypot(x, y):
            near[n_near] = k
            n_near += 1
    return n_near


@numba.njit(parallel=True, cache=True, error_model="numpy")
def _in_cone(solids, angles, rows, channels, rays, to_axis, to_panel, sinogram):  # type: ignore[no-untyped-def]
    n_solids = len(solids)
    _, n_rows, n_channels = sinogram.shape
    for view in numba.prange(len(angles)):
        c, s = np.cos(angles[view]), np.sin(angles[view])
        lows, highs = np.empty(n_solids), np.empty(n_solids)
        shadows = np.empty((n_solids, 4))
        near = np.empty(n_solids, np.int64)
        passed = np.empty(n_rows)
        for k in range(n_solids):
            _shadow(solids[k], c, s, to_axis, to_panel, shadows[k])
        for channel in range(n_channels):
            passed[:] = 0.0
            for column in range(channel * rays, (channel + 1) * rays):
                u, n_near = channels[column], 0
                for k in range(n_solids - 1, -1, -1):
                    if shadows[k, 0] <= u <= shadows[k, 1]:
                        near[n_near] = k
                        n_near += 1
                across_y, across_x = u * s - to_panel * c, u * c + to_panel * s
                for row in range(n_rows * rays):
                    w = rows[row]
                    length = np.sqrt(to_panel * to_panel + u * u + w * w)
                    total, n_covered = 0.0, 0
                    for j in range(n_near):
                        k = near[j]
                        if w < shadows[k, 2] or w > shadows[k, 3]:
                            continue
                        enter, leave = _met(
                            solids[k], 0.0, to_axis * c, -to_axis * s,
                            w / length, across_y / length, across_x / length,
                        )  # fmt: skip
                        if enter < leave:
                            fresh, n_covered = _covered(enter, leave, lows, highs, n_covered)
                            total += solids[k, 21] * fresh
                    passed[row // rays] += total if rays == 1 else np.exp(-total)
            for row in range(n_rows):
                if rays == 1:
                    sinogram[view, row, channel] = passed[row]
                else:
                    sinogram[view, row, channel] = -np.log(passed[row] / (rays * rays))


@numba.njit(cache=True, error_model="numpy")
def _shadow(solid, c, s, to_axis, to_panel, limits):  # type: ignore[no-untyped-def]
    """First and last place along the panel, then across it, of a cylinder around the solid."""
    aside, depth = solid[2] * c + solid[1] * s, to_axis + solid[2] * s - solid[1] * c
    radius, height = solid[19], solid[20]
    nearest, farthest = max(depth - radius, 1e-6 * to_axis), max(depth + radius, 1e-6 * to_axis)
    left, right = aside - radius, aside + radius
    bottom, top = solid[0] - height, solid[0] + height
    limits[0] = to_panel * min(left / nearest, left / farthest)
    limits[1] = to_panel * max(right / nearest, right / farthest)
    limits[2] = to_panel * min(bottom / nearest, bottom / farthest)
    limits[3] = to_panel * max(top / nearest, top / farthest)


@numba.njit(cache=True, inline="always", error_model="numpy")
def _met(solid, z, y, x, d_z, d_y, d_x):  # type: ignore[no-untyped-def]
    """Where the line from (z, y, x) along a unit vector enters and leaves a solid; reversed if it misses."""
    enter, leave = -1e30, 1e30
    z, y, x = z - solid[0], y - solid[1], x - solid[2]
    square, half, rest = 0.0, 0.0, -1.0
    for axis in range(3):
        a, b, c = solid[3 + 3 * axis], solid[4 + 3 * axis], solid[5 + 3 * axis]
        start, step = a * z + b * y + c * x, a * d_z + b * d_y + c * d_x
        curved, thick = solid[12 + axis], solid[15 + axis]
        square += curved * step * step
        half += curved * start * step
        rest += curved * start * start
        if thick < 1e29:
            if abs(step) > 1e-12:
                one, other = (-thick - start) / step, (thick - start) / step
                enter, leave = max(enter, min(one, other)), min(leave, max(one, other))
            elif abs(start) > thick:
                return 1.0, -1.0
    if solid[18] > 0.0:
        if square > 1e-18:
            root = half * half - square * rest
            if root <= 0.0:
                return 1.0, -1.0
            root = np.sqrt(root)
            enter, leave = max(enter, (-half - root) / square), min(leave, (root - half) / square)
        elif rest > 0.0:
            return 1.0, -1.0
    return enter, leave


@numba.njit(cache=True, inline="always")
def _covered(enter, leave, lows, highs, n_covered):  # type: ignore[no-untyped-def]
    """The length of a stretch that the stretches before it have left, and their number with it among them."""
    fresh, kept = leave - enter, 0
    low, high = enter, leave
    for k in range(n_covered):
        overlap = min(leave, highs[k]) - max(enter, lows[k])
        if overlap < 0.0:
            lows[kept], highs[kept] = lows[k], highs[k]
            kept += 1
        else:
            fresh -= overlap
            low, high = min(low, lows[k]), max(high, highs[k])
    lows[kept], highs[kept] = low, high
    return fresh, kept + 1
