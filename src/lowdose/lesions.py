"""Lesions as boxes, slice by slice: made from masks, agreed on by readers, checked against a scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

EVERY_NEIGHBOUR = np.ones((3, 3), bool)


class Box(NamedTuple):
    """Lines between pixels: row y and column x cover y to y + 1 and x to x + 1."""

    y0: float
    x0: float
    y1: float
    x1: float

    def meets(self, other: Box) -> bool:
        """Whether the two share an area."""
        return max(self.y0, other.y0) < min(self.y1, other.y1) and max(self.x0, other.x0) < min(
            self.x1, other.x1
        )


@dataclass(frozen=True)
class Lesion:
    """One lesion of one scan."""

    kind: str
    """Its class, for instance `nodule`."""
    boxes: Mapping[int, tuple[Box, ...]]
    """By slice; a lesion may have several parts in one."""
    score: float | None = None
    """How sure a detector is, 0 to 1; None for what is known."""

    @property
    def slices(self) -> tuple[int, ...]:
        """From the first to the last that shows it."""
        return tuple(sorted(self.boxes))


class LesionError(ValueError):
    """One sentence about a lesion that cannot be."""


def check_lesions(lesions: Sequence[Lesion], shape: tuple[int, int, int], label_: str) -> None:
    """Raises LesionError where a box has no area or lies outside a scan of `shape`, which `label_` names."""
    n_z, n_y, n_x = shape
    for lesion in lesions:
        for z, boxes in lesion.boxes.items():
            if not 0 <= z < n_z:
                raise LesionError(
                    f"{label_}: a {lesion.kind} lies in slice {z} and the scan has {n_z}; give the "
                    "annotations of this scan"
                )
            for box in boxes:
                if not np.isfinite(box).all() or box.y0 >= box.y1 or box.x0 >= box.x1:
                    raise LesionError(
                        f"{label_}: a {lesion.kind} in slice {z} has a box without an area, "
                        f"{_said(box)}; correct or remove it"
                    )
                if box.y0 < 0 or box.x0 < 0 or box.y1 > n_y or box.x1 > n_x:
                    raise LesionError(
                        f"{label_}: a {lesion.kind} in slice {z} has a box outside the image of {n_y} x "
                        f"{n_x}, {_said(box)}; give the annotations of this scan"
                    )


def _said(box: Box) -> str:
    return f"rows {box.y0:g} to {box.y1:g}, columns {box.x0:g} to {box.x1:g}"


def boxes_of_mask(mask: NDArray[Any]) -> tuple[Box, ...]:
    """The box of each connected part of a mask `[y, x]`; parts that touch at a corner are one."""
    parts, _ = label(np.asarray(mask, bool), EVERY_NEIGHBOUR)
    return tuple(
        Box(float(rows.start), float(columns.start), float(rows.stop), float(columns.stop))
        for rows, columns in find_objects(parts)
    )


def linked(boxes: Mapping[int, Sequence[Box]], kind: str) -> tuple[Lesion, ...]:
    """Lesions from boxes by slice: boxes of neighbouring slices that meet belong to one lesion."""
    everything = [(z, box) for z in sorted(boxes) for box in boxes[z]]
    groups = _groups(
        len(everything),
        lambda i, j: (
            abs(everything[i][0] - everything[j][0]) == 1 and everything[i][1].meets(everything[j][1])
        ),
    )
    return tuple(_lesion(kind, [everything[index] for index in group]) for group in groups)


def consensus(readings: Sequence[Sequence[Lesion]], at_least: int) -> tuple[Lesion, ...]:
    """What at least `at_least` of the readers marked, a sequence of lesions each.

    Marks of two readers that meet in a slice are of one lesion. It reaches over the slices that at least half
    of its readers marked; each edge of its box there is the median of theirs. Raises ValueError for fewer
    than one reader or more than there are.
    """
    if not 1 <= at_least <= len(readings):
        raise ValueError(f"{at_least} of {len(readings)} readers cannot agree")
    marks = [(reader, lesion) for reader, lesions in enumerate(readings) for lesion in lesions]
    agreed = []
    for group in _groups(len(marks), lambda i, j: _meet(marks[i][1], marks[j][1])):
        by_reader: dict[int, dict[int, Box]] = {}
        for reader, lesion in (marks[index] for index in group):
            for z, boxes in lesion.boxes.items():
                own = by_reader.setdefault(reader, {})
                own[z] = around((*boxes, own[z]) if z in own else boxes)
        if len(by_reader) < at_least:
            continue
        found: dict[int, tuple[Box, ...]] = {}
        for z in sorted({z for own in by_reader.values() for z in own}):
            seen = [own[z] for own in by_reader.values() if z in own]
            if 2 * len(seen) >= len(by_reader):
                found[z] = (Box(*(median(edges) for edges in zip(*seen, strict=True))),)
        agreed.append(Lesion(marks[group[0]][1].kind, found))
    return tuple(agreed)


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of `boxes`."""
    y0, x0, y1, x1 = zip(*boxes, strict=True)
    return Box(min(y0), min(x0), max(y1), max(x1))


def _meet(one: Lesion, other: Lesion) -> bool:
    common = one.boxes.keys() & other.boxes.keys()
    return one.kind == other.kind and any(
        box.meets(another) for z in common for box in one.boxes[z] for another in other.boxes[z]
    )


def _lesion(kind: str, members: Sequence[tuple[int, Box]]) -> Lesion:
    boxes: dict[int, tuple[Box, ...]] = {}
    for z, box in members:
        boxes[z] = (*boxes.get(z, ()), box)
    return Lesion(kind, boxes)


def _groups(n: int, connected: Callable[[int, int], bool]) -> list[list[int]]:
    """The numbers 0 to n - 1, those that are connected, if only through others, together."""
    waiting, groups = list(range(n)), []
    while waiting:
        group = [waiting.pop(0)]
        for member in group:
            joined = [other for other in waiting if connected(member, other)]
            group += joined
            waiting = [other for other in waiting if other not in joined]
        groups.append(sorted(group))
    return groups
