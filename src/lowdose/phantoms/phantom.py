"""A phantom: solids, what is worth finding in them, and how they look without noise or blur."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from lowdose.phantoms.line_integrals import cone_integrals, plane_integrals
from lowdose.phantoms.primitives import Floats, Place, Solid, table
from lowdose.physics.geometry import ConeBeam, Geometry, VolumeGrid
from lowdose.units import AIR_HU, WATER_MU_PER_MM

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Finding:
    """Something in a phantom with a known place: a rod, a lesion."""

    name: str
    kind: str
    """`insert`, `bars`, `nodule`, `metastasis`, `tumour`, ..."""
    centre: Place
    """(z, y, x) in mm"""
    size: Place
    """Diameters in mm along z, y, x."""
    hu: float
    background_hu: float


@dataclass(frozen=True)
class Phantom:
    """Solids in air; where they overlap, the later one counts. Lengths in mm, the isocentre at zero."""

    name: str
    title: str
    solids: tuple[Solid, ...]
    findings: tuple[Finding, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    """What its maker chose by chance or by the user's wish."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the structures; label 0 is the air around, label 1 the first of these."""
        return tuple(dict.fromkeys(solid.name for solid in self.solids))

    @property
    def extent(self) -> tuple[float, float]:
        """First and last z in mm."""
        return (
            min(solid.centre[0] - solid.extent[0] for solid in self.solids),
            max(solid.centre[0] + solid.extent[0] for solid in self.solids),
        )

    @property
    def radius(self) -> float:
        """The farthest that a solid lies from the axis, in mm."""
        return max(float(np.hypot(*solid.centre[1:])) + max(solid.extent[1:]) for solid in self.solids)

    def line_integrals(
        self,
        geometry: Geometry | ConeBeam,
        z: float = 0.0,
        *,
        water: float = WATER_MU_PER_MM,
        rays: int = 1,
    ) -> Volume:
        """Exact line integrals, `[view, channel]` in the plane at `z` or `[view, row, channel]` of a cone.

        `water` is the attenuation of water in 1/mm. Every channel averages the photons of `rays` rays across
        its width, and in a cone as many across its height.
        """
        solids = table(self.solids, [water * (1 + solid.hu / -AIR_HU) for solid in self.solids])
        if isinstance(geometry, ConeBeam):
            return cone_integrals(solids, geometry, rays)
        return plane_integrals(solids, geometry, z, rays)

    def image(self, grid: VolumeGrid, z: int, fine: int = 4) -> Volume:
        """True HU `[y, x]` of slice `z` of `grid`: each voxel the mean of `fine`^3 points in it."""
        return self._painted(grid, z, fine, self._hu, AIR_HU)

    def label_image(self, grid: VolumeGrid, z: int) -> NDArray[np.uint8]:
        """The label `[y, x]` at the middle of every voxel of slice `z`."""
        return self._painted(grid, z, 1, self._label_numbers, 0.0).astype(np.uint8)

    def structures_at(self, places: Floats) -> list[str]:
        """The structure at each of `places` `[place, 3]` (z, y, x) in mm; an empty name in the air around."""
        numbers = np.zeros(len(places))
        _look_up(self._label_numbers, np.ascontiguousarray(places, np.float64), numbers)
        names = ("", *self.labels)
        return [names[int(number)] for number in numbers]

    def prisms(self, z: float, thickness: float) -> tuple[int, ...] | None:
        """The solids in a slice of `thickness` mm around `z`, if all of them are upright and reach through;
        else None.

        Two slices with the same prisms look the same, and so does every plane in them.
        """
        crossing = []
        for number, solid in enumerate(self.solids):
            distance, half = abs(solid.centre[0] - z), solid.extent[0]
            if distance >= half + thickness / 2:
                continue
            is_prism = solid.frame[0] == (1.0, 0.0, 0.0) and np.isinf(solid.radii[0])
            if not is_prism or distance > half - thickness / 2:
                return None
            crossing.append(number)
        return tuple(crossing)

    @cached_property
    def _hu(self) -> Floats:
        return table(self.solids, [solid.hu for solid in self.solids])

    @cached_property
    def _label_numbers(self) -> Floats:
        numbers = {name: number for number, name in enumerate(self.labels, 1)}
        return table(self.solids, [numbers[solid.name] for solid in self.solids])

    def _painted(self, grid: VolumeGrid, z: int, fine: int, solids: Floats, empty: float) -> Volume:
        (n_z, n_y, n_x), (d_z, d_y, d_x) = grid.shape, grid.spacing
        sums = np.zeros((n_y, n_x))
        for layer in range(fine):
            height = (z - (n_z - 1) / 2 + (layer + 0.5) / fine - 0.5) * d_z
            crossing = solids[np.abs(solids[:, 0] - height) <= solids[:, 20]]
            points = np.full((n_y * fine, n_x * fine), empty, np.float32)
            _paint(crossing, height, d_y / fine, d_x / fine, points)
            sums += points.reshape(n_y, fine, n_x, fine).mean(axis=(1, 3), dtype=np.float64)
        return (sums / fine).astype(np.float32)


@numba.njit(cache=True, error_model="numpy")
def _paint(solids, z, d_y, d_x, points):  # type: ignore[no-untyped-def]
    """Give every point `[y, x]` of a plane the value of the last solid that holds it."""
    n_y, n_x = points.shape
    for k in range(len(solids)):
        solid = solids[k]
        first_y, last_y = _reached(solid[1], solid[19], d_y, n_y)
        first_x, last_x = _reached(solid[2], solid[19], d_x, n_x)
        for i in range(first_y, last_y):
            y = (i - (n_y - 1) / 2) * d_y - solid[1]
            for j in range(first_x, last_x):
                x = (j - (n_x - 1) / 2) * d_x - solid[2]
                rest, inside = -1.0, True
                for axis in range(3):
                    at = solid[3 + 3 * axis] * (z - solid[0]) + solid[4 + 3 * axis] * y
                    at += solid[5 + 3 * axis] * x
                    rest += solid[12 + axis] * at * at
                    inside &= abs(at) <= solid[15 + axis]
                if inside and rest <= 0.0:
                    points[i, j] = solid[21]


@numba.njit(cache=True, error_model="numpy")
def _look_up(solids, places, values):  # type: ignore[no-untyped-def]
    """The value of the last solid that holds each place; where none does, it stays."""
    for i in range(len(places)):
        for k in range(len(solids) - 1, -1, -1):
            solid = solids[k]
            z, y, x = places[i, 0] - solid[0], places[i, 1] - solid[1], places[i, 2] - solid[2]
            if abs(z) > solid[20] or y * y + x * x > solid[19] * solid[19]:
                continue
            rest, inside = -1.0, True
            for axis in range(3):
                at = solid[3 + 3 * axis] * z + solid[4 + 3 * axis] * y + solid[5 + 3 * axis] * x
                rest += solid[12 + axis] * at * at
                inside &= abs(at) <= solid[15 + axis]
            if inside and rest <= 0.0:
                values[i] = solid[21]
                break


@numba.njit(cache=True, error_model="numpy")
def _reached(centre, radius, step, n):  # type: ignore[no-untyped-def]
    middle = centre / step + (n - 1) / 2
    first, last = np.ceil(middle - radius / step), np.floor(middle + radius / step) + 1
    return int(min(max(first, 0.0), n)), int(min(max(last, 0.0), n))
