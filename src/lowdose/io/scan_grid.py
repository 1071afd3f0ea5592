"""Where points and boxes of an annotation lie in a scan: both know their place in the patient."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lowdose.io.origin import InputError
from lowdose.lesions import Box
from lowdose.scan import Scan

Floats = NDArray[np.float64]

NEAREST = 0.26
"""Of the distance between slices: how far from one an annotation may lie that belongs to it."""
SAME_PLANE = 1e-3
DECIMALS = 3
"""Of a pixel: what positions in single precision are good for."""
PARALLEL = 0.05
"""Pixels by which the plane of an annotation may turn against the slices across a box."""


def corners(plane: Floats, box: Box, z: float = 0.0) -> Floats:
    """Where the corners of a box lie in LPS mm; `plane` is a 4 x 4 affine of z, y, x like a scan's."""
    index = [(z, y - 0.5, x - 0.5, 1.0) for y in (box.y0, box.y1) for x in (box.x0, box.x1)]
    return np.asarray((plane @ np.array(index).T).T[:, :3])


@dataclass
class ScanGrid:
    """The voxels of a scan, asked for from patient space; what it counts is told by `notes`."""

    scan: Scan
    label: str
    """How messages call the annotation."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Kinds of lesions by a pattern for the names that regions have; with none, all regions count."""
    aside: list[str] = field(default_factory=list)
    """Names of regions that no pattern matches."""
    outside: int = 0
    """Boxes that lie before the first slice or behind the last."""
    between: int = 0
    """Boxes that lie between two slices."""
    boxes: dict[str, dict[int, list[Box]]] = field(default_factory=dict)
    """By kind and slice."""
    offsets: dict[tuple[str, int], float] = field(default_factory=dict)
    """How far from the slice, in slices, the plane lies whose boxes are kept."""

    def kind_of(self, name: str) -> str | None:
        """The kind of lesion that a region of this name is; None, noted, for one that is none.

        Patterns are matched at the start, without regard to case; without any, a region is its own kind.
        """
        if not self.kinds:
            return name
        for pattern, kind in self.kinds.items():
            if re.match(pattern, name, re.IGNORECASE):
                return kind
        self.aside.append(name)
        return None

    def index(self, points: Floats) -> Floats:
        """Of points `[n, 3]` in LPS mm: z, y, x in voxels, whole numbers at their centres."""
        homogeneous = np.hstack([points, np.ones((len(points), 1))])
        return np.asarray((np.linalg.inv(self.scan.affine) @ homogeneous.T).T[:, :3])

    def slice_of(self, z: float) -> int | None:
        """The slice at `z`, and None, counted, where there is none."""
        nearest = round(z)
        if not 0 <= nearest < len(self.scan):
            self.outside += 1
            return None
        if abs(z - nearest) > NEAREST:
            self.between += 1
            return None
        return nearest

    def add(self, kind: str, corners: Floats) -> None:
        """A box from the places of its corners `[n, 3]`, LPS mm.

        Raises InputError where its plane is not that of the slices, or it lies outside of the images.
        """
        index = self.index(corners)
        dz, dy, dx = self.scan.spacing
        if np.ptp(index[:, 0]) * dz > PARALLEL * max(dy, dx) * max(1.0, float(np.ptp(index[:, 1:]))):
            raise InputError(
                f"{self.label} is drawn in planes that are not parallel to the slices of {self.scan.name}; "
                "draw it on this scan"
            )
        height = float(index[:, 0].mean())
        z = self.slice_of(height)
        if z is None:
            return
        offset, kept = abs(height - z), self.offsets.get((kind, z), np.inf)
        if offset > kept + SAME_PLANE:
            self.between += 1
            return
        if offset < kept - SAME_PLANE:  # of planes closer together than slices, the nearest counts
            self.offsets[kind, z] = offset
            self.between += len(self.boxes.setdefault(kind, {}).pop(z, ()))
        low, high = np.round([index[:, 1:].min(axis=0) + 0.5, index[:, 1:].max(axis=0) + 0.5], DECIMALS)
        _, n_y, n_x = self.scan.shape
        if (low < -0.5).any() or (high > np.array([n_y, n_x]) + 0.5).any():
            raise InputError(
                f"{self.label} marks a {kind} outside the images of {self.scan.name} (rows {low[0]:.0f} to "
                f"{high[0]:.0f}, columns {low[1]:.0f} to {high[1]:.0f} of {n_y} x {n_x}); give the "
                "annotations of this scan"
            )
        middle, half = (low + high) / 2, np.maximum((high - low) / 2, 0.5)
        y0, x0 = np.maximum(middle - half, 0.0)
        y1, x1 = np.minimum(middle + half, [n_y, n_x])
        self.boxes.setdefault(kind, {}).setdefault(z, []).append(
            Box(float(y0), float(x0), float(y1), float(x1))
        )

    def notes(self) -> tuple[str, ...]:
        """What could not be placed, in sentences."""
        told = []
        if self.outside:
            told.append(f"{self.outside} outlines of {self.label} lie beyond the slices of {self.scan.name}")
        if self.between:
            told.append(
                f"{self.between} outlines of {self.label} lie between slices of {self.scan.name}; not used"
            )
        if self.aside:
            told.append(f"{self.label}: regions left aside: {', '.join(dict.fromkeys(self.aside))}")
        return tuple(told)
