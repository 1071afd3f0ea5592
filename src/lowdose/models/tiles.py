"""Volumes in overlapping tiles: a network that looks along three axes needs the memory of one tile at a time.

Along every axis, tiles are of one extent, so that a network is compiled for one shape; they start at
multiples of what the network asks for, counted from the volume's own corner; and those at the border end
there. So if a tile's halo is at least as wide as the network sees, the result is that of the whole volume
in one go, whatever the tiles.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.float32]
Triple = tuple[int, int, int]

SLAB_BYTES_PER_VOXEL = 12
"""What is kept for a voxel of the slices at hand: as shown, as denoised, and what padding hid."""

SEAM_HU = 0.1
"""The largest difference that the cut between two tiles may make."""


class Span(NamedTuple):
    """A stretch of one axis: `start` to `stop` is shown, of what comes out `first` to `last` is kept."""

    start: int
    stop: int
    first: int
    last: int


@dataclass(frozen=True)
class Demand:
    """What a network asks of tiles."""

    halo: Triple
    """Voxels along z, y, x beyond a tile that its values depend on."""
    multiple: int
    """The extents of what it is shown must be multiples of it."""
    bytes_per_voxel: int
    """What it needs while it computes, for each voxel that it is shown."""

    def padded(self, length: int) -> int:
        """`length` as it is shown."""
        return -(-length // self.multiple) * self.multiple

    def spans(self, length: int, extent: int, axis: int) -> tuple[Span, ...]:
        """Spans of `extent` that cover an axis of `length` voxels, which `multiple` may lengthen."""
        whole, halo = self.padded(length), self.padded(self.halo[axis])
        if extent >= whole:
            return (Span(0, whole, 0, whole),)
        starts = [*range(0, whole - extent, extent - 2 * halo), whole - extent]
        ends = [start + extent - halo for start in starts[:-1]] + [whole]
        return tuple(
            Span(start, start + extent, first, last)
            for start, first, last in zip(starts, [0, *ends[:-1]], ends, strict=True)
        )


@dataclass(frozen=True)
class Tiling:
    """The extents of the tiles of a volume along z, y, x, and the memory that they take."""

    extents: Triple
    n_bytes: int


def best_tiling(shape: Triple, demand: Demand, budget: int, *, whole_z: bool = False) -> Tiling:
    """The tiling of a volume of `shape` that computes least twice within `budget` bytes.

    Slices are kept slab by slab, a slab being as many of them as a tile is long. `whole_z` leaves the volume
    whole along z. Where nothing fits, the smallest tiles would be nearly all halo: then it is the best within
    twice what they need.
    """
    counts, extents = zip(
        *(_candidates(n, demand, axis, whole=whole_z and axis == 0) for axis, n in enumerate(shape)),
        strict=True,
    )
    shown = [np.array(one, np.float64) for one in extents]
    work = [np.array(count, np.float64) * one for count, one in zip(counts, shown, strict=True)]
    computed = work[0][:, None, None] * work[1][:, None] * work[2]
    n_bytes = shown[0][:, None, None] * (
        shown[1][:, None] * shown[2] * demand.bytes_per_voxel + SLAB_BYTES_PER_VOXEL * shape[1] * shape[2]
    )
    limit = budget if n_bytes.min() <= budget else 2 * n_bytes.min()
    least = np.where(n_bytes <= limit, computed, np.inf)
    best = np.where(least == least.min(), n_bytes, np.inf).argmin()
    z, y, x = np.unravel_index(best, n_bytes.shape)
    return Tiling((extents[0][z], extents[1][y], extents[2][x]), int(n_bytes[z, y, x]))


def tiled(
    volume: Volume,
    tiling: Tiling,
    demand: Demand,
    compute: Callable[[Volume], Volume],
    kept: slice = slice(None),
) -> Volume:
    """`compute` applied to `volume` `[z, y, x]` tile by tile; it must keep the shape of what it is shown.

    Where `multiple` needs more voxels than there are, the last ones are repeated. Of the result, the slices
    `kept`.
    """
    n_z, n_y, n_x = volume.shape
    first, last, _ = kept.indices(n_z)
    result = np.empty((last - first, n_y, n_x), np.float32)
    axes = [
        demand.spans(length, extent, axis)
        for axis, (length, extent) in enumerate(zip(volume.shape, tiling.extents, strict=True))
    ]
    for spans in itertools.product(*axes):
        shown = volume[tuple(slice(span.start, span.stop) for span in spans)]
        missing = [
            (0, span.stop - span.start - there) for span, there in zip(spans, shown.shape, strict=True)
        ]
        if any(after for _, after in missing):
            shown = np.pad(shown, missing, mode="edge")
        ends = [
            (max(span.first, low), min(span.last, high))
            for span, low, high in zip(spans, (first, 0, 0), (last, n_y, n_x), strict=True)
        ]
        if ends[0][0] >= ends[0][1]:
            continue
        core = tuple(
            slice(low - span.start, high - span.start) for span, (low, high) in zip(spans, ends, strict=True)
        )
        (z0, z1), (y0, y1), (x0, x1) = ends
        result[z0 - first : z1 - first, y0:y1, x0:x1] = compute(shown)[core]
    return result


def narrowest_halo(
    compute: Callable[[Volume], Volume], volume: Volume, multiple: int, tolerance: float = SEAM_HU
) -> Triple:
    """The halo along z, y, x beyond which a cut through `volume` changes no value by more than `tolerance`.

    A network of many levels sees far in principle, but its weights let little of it count: with a narrower
    halo, tiles cost a fraction. `volume` is cut in the middle of each axis, so it must be longer than twice
    what may come out; ValueError where even the voxels farthest from the cut differ.
    """
    whole = compute(volume)
    halo = [0, 0, 0]
    for axis, length in enumerate(volume.shape):
        middle = length // 2 // multiple * multiple
        behind = (slice(None),) * axis + (slice(middle, None),)
        difference = np.moveaxis(np.abs(compute(volume[behind]) - whole[behind]), axis, 0)
        seen = np.flatnonzero(difference.reshape(len(difference), -1).max(axis=1) > tolerance)
        widest = int(seen[-1]) + 1 if seen.size else 0
        if widest > length - middle - multiple:
            raise ValueError(f"a volume of {volume.shape} is too short to see how far a cut matters")
        halo[axis] = -(-widest // multiple) * multiple
    return halo[0], halo[1], halo[2]


def _candidates(length: int, demand: Demand, axis: int, *, whole: bool) -> tuple[list[int], list[int]]:
    """How many tiles along an axis, and how long each is, for every number of them that makes sense."""
    padded, halo = demand.padded(length), demand.padded(demand.halo[axis])
    counts, extents = [1], [padded]
    inner = padded - 2 * halo
    core = demand.padded(-(-inner // 2)) if inner > 0 and not whole else 0
    while 0 < core < inner:
        counts.append(-(-inner // core))
        extents.append(core + 2 * halo)
        if core == demand.multiple:
            break
        core = min(demand.padded(-(-inner // (counts[-1] + 1))), core - demand.multiple)
    return counts, extents
