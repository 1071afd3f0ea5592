"""Views that see an image as another view sees it turned or mirrored: four share one set of ray positions.

A view at a quarter turn from another meets the pixels of the image where the other meets those of the image
turned back. So the positions are worked out once for up to four views, and `lanes` interpolates in the four
at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.geometry import FULL_TURN, FanBeam, Geometry, ImageGrid
from lowdose.physics.lanes import LANES

Image = NDArray[np.float32]


class Turn(NamedTuple):
    """`quarters` turns of 90 degrees, then columns reversed if `mirrored`."""

    quarters: int
    mirrored: bool

    def of(self, image: Image) -> Image:
        """`image` `[y, x]` turned; a view of it, not a copy."""
        turned = np.rot90(image, self.quarters)
        return turned[:, ::-1] if self.mirrored else turned

    def undone(self, image: Image) -> Image:
        """The image whose turned form is `image`."""
        return np.rot90(image[:, ::-1] if self.mirrored else image, -self.quarters)


_SQUARE = (
    tuple(Turn(quarters, False) for quarters in range(4)),
    (Turn(0, False), Turn(1, False), Turn(0, True), Turn(3, True)),
)
_OBLONG = ((Turn(0, False), Turn(2, False), Turn(0, True), Turn(2, True)),)
"""Sets of turns that map the pixels to themselves."""

_SAME_ANGLE = 1e-9
"""Radians."""
_SAME_SPACING = 1e-6
"""Of the spacing: spacings from a file are rounded."""


@dataclass(frozen=True)
class Orbits:
    """Views in groups of at most four that share their ray positions."""

    views: NDArray[np.intp]
    """`[group, lane]`: index of a view, -1 if none; the positions used are those of the first lane's view."""
    turns: tuple[Turn, ...]
    """`[lane]`: how to turn the image so that the first view sees what the lane's view sees."""
    reversing: bool
    """Whether the channels of mirrored lanes run backwards."""

    def turned(self, image: Image) -> list[Image]:
        """What the first view of each group must look at, `[lane]` of `[y, x]`."""
        return [turn.of(image) for turn in self.turns]

    def combined(self, images: Image) -> Image:
        """The sum of `images` `[y, x, lane]` turned back: the transpose of `turned`."""
        total = np.ascontiguousarray(self.turns[0].undone(images[..., 0]))
        for lane in range(1, LANES):
            total += self.turns[lane].undone(images[..., lane])
        return total

    def gathered(self, sinogram: Image, n_beyond: int = 0) -> Image:
        """`sinogram` `[view, channel]` as `[group, channel, lane]`, then `n_beyond` channels of zeros."""
        n_channels = sinogram.shape[1]
        lanes = np.zeros((len(self.views), n_channels + n_beyond, LANES), np.float32)
        for lane, (used, views, order) in enumerate(self._lanes()):
            lanes[used, :n_channels, lane] = sinogram[views, ::order]
        return lanes

    def spread(self, lanes: Image) -> Image:
        """The inverse of `gathered`."""
        sinogram = np.empty((int(self.views.max()) + 1, lanes.shape[1]), np.float32)
        for lane, (used, views, order) in enumerate(self._lanes()):
            sinogram[views] = lanes[used, ::order, lane]
        return sinogram

    def _lanes(self) -> list[tuple[NDArray[np.bool_], NDArray[np.intp], int]]:
        """Of each lane the groups that use it, their views, and the order of channels."""
        found = []
        for views, turn in zip(self.views.T, self.turns, strict=True):
            used = views >= 0
            found.append((used, views[used], -1 if self.reversing and turn.mirrored else 1))
        return found


def orbits(geometry: Geometry, grid: ImageGrid, views: tuple[int, ...] | None = None) -> Orbits:
    """The largest groups that `geometry` and the pixels of `grid` allow; each view is in one group.

    Of all views, or of `views`, ascending; then the indices in the groups count these.
    """
    (n_y, n_x), (d_y, d_x) = grid.shape, grid.spacing
    is_square = n_y == n_x and abs(d_y - d_x) < _SAME_SPACING * d_x
    return _orbits(geometry, is_square, views)


@lru_cache(maxsize=64)
def _orbits(geometry: Geometry, is_square: bool, views: tuple[int, ...] | None) -> Orbits:
    angles = geometry.view_angles if views is None else geometry.view_angles[list(views)]
    choices = (*_SQUARE, *_OBLONG) if is_square else _OBLONG
    grouped = [(turns, _groups(angles, geometry, turns)) for turns in choices]
    turns, groups = min(grouped, key=lambda one: len(one[1]))
    return Orbits(np.array(groups, dtype=np.intp), turns, isinstance(geometry, FanBeam))


def _groups(angles: NDArray[np.float64], geometry: Geometry, turns: Sequence[Turn]) -> list[list[int]]:
    partners = np.stack([_partners(angles, geometry, turn) for turn in turns], axis=1)
    free = np.ones(len(angles), bool)
    groups = []
    for candidates in partners.tolist():
        if not free[candidates[0]]:
            continue
        group = []
        for view in candidates:
            is_new = view >= 0 and bool(free[view])
            group.append(view if is_new else -1)
            if is_new:
                free[view] = False
        groups.append(group)
    return groups


def _partners(angles: NDArray[np.float64], geometry: Geometry, turn: Turn) -> NDArray[np.intp]:
    """`[view]`: the view that sees the image as the given one sees it turned, or -1.

    Mirroring takes the ray of angle t and offset s to (-t, -s), or, the same line, to (pi - t, s). In a fan
    the first is a ray of the reversed detector, if that is the same detector; in a parallel beam the second
    is one of the same channel.
    """
    sought = ((-angles if turn.mirrored else angles) + turn.quarters * np.pi / 2) % FULL_TURN
    sought[sought > FULL_TURN - _SAME_ANGLE] = 0.0
    if isinstance(geometry, FanBeam):
        possible = np.full(len(angles), not (turn.mirrored and geometry.channel_shift))
    else:
        opposite = sought > np.pi - _SAME_ANGLE
        sought = np.where(opposite, np.abs(sought - np.pi), sought)
        possible = opposite == turn.mirrored
    above = np.searchsorted(angles, sought - _SAME_ANGLE).clip(max=len(angles) - 1)
    possible &= np.abs(angles[above] - sought) < _SAME_ANGLE
    return np.where(possible, above, -1)
