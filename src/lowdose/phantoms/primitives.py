"""Convex solids, of which every phantom is made: ellipsoids, cylinders, boxes and what they have in common.

A solid is where a quadric and slabs meet, all in its own frame. Places are (z, y, x) in mm, angles in degrees
from +x (right) towards +y (down).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Place = tuple[float, float, float]
"""(z, y, x) in mm."""
Frame = tuple[Place, Place, Place]
"""Three unit vectors at right angles."""

UPRIGHT: Frame = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
ENDLESS = float("inf")


@dataclass(frozen=True)
class Solid:
    """The points p with ``sum((p.frame / radii)^2) <= 1`` and ``|p.frame| <= halves``, p from the centre."""

    name: str
    """Of the structure it belongs to: solids of one name share a label."""
    hu: float
    centre: Place
    frame: Frame = UPRIGHT
    radii: Place = (ENDLESS, ENDLESS, ENDLESS)
    """Semi-axes of the quadric along the frame; endless along the axis of a cylinder."""
    halves: Place = (ENDLESS, ENDLESS, ENDLESS)
    """Half thicknesses of the slabs."""

    def __post_init__(self) -> None:
        if min(*self.radii, *self.halves) <= 0:
            raise ValueError(f"the solid {self.name!r} has a size that is not positive")
        if not all(min(pair) < ENDLESS for pair in zip(self.radii, self.halves, strict=True)):
            raise ValueError(f"the solid {self.name!r} is endless; give it an end along every axis")

    @property
    def extent(self) -> Place:
        """Half sizes in mm of an upright box around it."""
        sizes = np.minimum(self.radii, self.halves)
        frame = np.abs(np.array(self.frame))
        is_round = np.array(self.radii) < self.halves
        rounded = np.sqrt((((sizes * is_round)[:, None] * frame) ** 2).sum(axis=0))
        z, y, x = rounded + ((sizes * ~is_round)[:, None] * frame).sum(axis=0)
        return float(z), float(y), float(x)

    def moved(self, by: Place) -> Solid:
        z, y, x = (a + b for a, b in zip(self.centre, by, strict=True))
        return replace(self, centre=(z, y, x))


def ellipsoid(name: str, hu: float, centre: Place, radii: Place, frame: Frame = UPRIGHT) -> Solid:
    """`radii` along the axes of `frame`, which are z, y, x unless given."""
    return Solid(name, hu, centre, frame, radii=radii)


def ball(name: str, hu: float, centre: Place, radius: float) -> Solid:
    return Solid(name, hu, centre, radii=(radius, radius, radius))


def upright_cylinder(
    name: str, hu: float, centre: Place, radii: tuple[float, float], half_length: float, angle: float = 0.0
) -> Solid:
    """An elliptic cylinder along z with `radii` (y, x), turned by `angle`."""
    sizes = ENDLESS, radii[0], radii[1]
    return Solid(name, hu, centre, turned(angle), sizes, (half_length, ENDLESS, ENDLESS))


def rod(name: str, hu: float, start: Place, end: Place, radius: float) -> Solid:
    """A round cylinder between two places, its ends flat."""
    along = np.subtract(end, start)
    z, y, x = np.add(start, end) / 2
    half = float(np.linalg.norm(along)) / 2
    sizes = ENDLESS, radius, radius
    return Solid(name, hu, (z, y, x), frame_along(along), sizes, (half, ENDLESS, ENDLESS))


def chain(name: str, hu: float, places: Sequence[Place], radii: Sequence[float]) -> list[Solid]:
    """A tube through `places` with a radius at each: rods, and balls at the bends."""
    solids = [ball(name, hu, place, radius) for place, radius in zip(places, radii, strict=True)]
    solids += [
        rod(name, hu, start, end, (first + second) / 2)
        for (start, end), (first, second) in zip(pairwise(places), pairwise(radii), strict=True)
        if start != end
    ]
    return solids


def box(name: str, hu: float, centre: Place, halves: Place, frame: Frame = UPRIGHT) -> Solid:
    """`halves` along the axes of `frame`."""
    return Solid(name, hu, centre, frame, halves=halves)


def turned(angle: float) -> Frame:
    """A frame whose first axis is z and whose third is +x turned by `angle` towards +y."""
    c, s = float(np.cos(np.deg2rad(angle))), float(np.sin(np.deg2rad(angle)))
    return (1.0, 0.0, 0.0), (0.0, c, -s), (0.0, s, c)


def frame_along(direction: Floats | Sequence[float]) -> Frame:
    """A frame whose first axis points along `direction`."""
    first = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    aside = np.cross(first, np.eye(3)[np.abs(first).argmin()])
    second = aside / np.linalg.norm(aside)
    rows = [tuple(float(value) for value in row) for row in (first, second, np.cross(first, second))]
    return rows[0], rows[1], rows[2]  # type: ignore[return-value]


COLUMNS = 22
"""Numbers that describe a solid in a table: centre 3, frame 9, inverse squared radii 3, halves 3, whether it
has a quadric, its radius round the centre seen along z, its half height, and its value."""


def table(solids: Iterable[Solid], values: Iterable[float]) -> Floats:
    """`solids` as rows of numbers for the kernels, the last of each from `values`."""
    rows = [
        (
            *solid.centre,
            *np.ravel(solid.frame),
            *(1 / radius**2 for radius in solid.radii),
            *np.minimum(solid.halves, 1e30),
            float(min(solid.radii) < ENDLESS),
            float(np.hypot(*solid.extent[1:])),
            solid.extent[0],
            value,
        )
        for solid, value in zip(solids, values, strict=True)
    ]
    return np.array(rows, np.float64).reshape(-1, COLUMNS)
