"""Where in a scan its noise can be seen: square regions of flat soft tissue."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowdose.quality.noise_level import flat_soft_tissue
from lowdose.scan import Slice

_REGION_SIDES = (32, 24, 16)
"""Pixels. The largest that finds enough flat places is taken: small regions see coarse noise less well."""
_REGIONS_PER_SLICE = 100
_FEWEST_REGIONS = 12
_FLAT_SHARE = 0.85


class FlatPlace(NamedTuple):
    """The regions of one slice."""

    z: int
    slice_: Slice
    corners: NDArray[np.intp]
    """`[region, (y, x)]`"""


def flat_regions(
    slice_: Slice,
    side: int,
    generator: np.random.Generator,
    flat: NDArray[np.bool_] | None = None,
    share: float = _FLAT_SHARE,
) -> NDArray[np.intp]:
    """Corners `[region, (y, x)]` of regions of `side` squared pixels of which a `share` is flat soft tissue.

    At most a hundred, drawn at random; `flat` is the mask of such tissue where it is known already.
    """
    if flat is None:
        flat = flat_soft_tissue(slice_.hu, slice_.padding)
    n_y, n_x = flat.shape
    if n_y < side or n_x < side:
        return np.empty((0, 2), np.intp)
    total = np.pad(flat.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    stride = 3 * side // 8
    y, x = np.mgrid[0 : n_y - side + 1 : stride, 0 : n_x - side + 1 : stride]
    inside = total[y + side, x + side] - total[y, x + side] - total[y + side, x] + total[y, x]
    corners: NDArray[np.intp] = np.stack([y, x], axis=-1)[inside >= share * side**2]
    if len(corners) > _REGIONS_PER_SLICE:
        corners = corners[generator.choice(len(corners), _REGIONS_PER_SLICE, replace=False)]
    return corners


def find_flat_places(
    slices: Iterable[tuple[int, Slice]], generator: np.random.Generator
) -> tuple[int, list[FlatPlace]]:
    """The side of the regions to measure, and every slice that has some with their corners."""
    masked = [(z, slice_, flat_soft_tissue(slice_.hu, slice_.padding)) for z, slice_ in slices]
    for side in _REGION_SIDES:
        places = [
            FlatPlace(z, slice_, flat_regions(slice_, side, generator, mask)) for z, slice_, mask in masked
        ]
        if sum(len(place.corners) for place in places) >= _FEWEST_REGIONS:
            break
    return side, [place for place in places if len(place.corners)]
