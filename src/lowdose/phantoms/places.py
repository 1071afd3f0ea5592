"""Where an object without a layout can be measured: squares of uniform matter and round rods, found by
itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label
from skimage.measure import regionprops

from lowdose.physics.flat_regions import flat_regions
from lowdose.scan import Scan, Slice

Image = NDArray[np.float32]
Floats = NDArray[np.float64]

MOST_SLICES = 40
"""Evenly spaced slices that are looked at."""
_SIDES = (48, 32, 24, 16)
"""Pixels of a square; the largest of which there are enough is taken."""
_ENOUGH_SQUARES = 40
_MATTER_HU, _EDGE_HU = -950.0, -500.0
_SMOOTHING_PX, _FLAT_HU_PER_PX = 3.0, 4.0
_MATERIAL_STEP_HU = 40.0
"""Materials closer together than this are one."""
_FEWEST_OF_A_MATERIAL, _MOST_MATERIALS = 4, 6
_ROD_MM, _ROD_PX = (4.0, 60.0), 8.0
"""Diameters of what is taken for a rod, and the least of them in pixels."""
_ROUND, _DISC_SHARE = 0.985, 0.95
"""Least ratio of a rod's axes, as a tilted cylinder is an ellipse, and least share of it that lies in the
disc of its area, as a square's corners do not.
"""
_CLEAR_MM, _BLUR_MM = 4.0, 1.5
_UNIFORM_SHARE = 0.35
"""Of a rod's contrast, that its surroundings may vary by."""
_MOST_KINDS, _OF_A_KIND = 6, 3
_MOST_COMPONENTS = 400


class Squares(NamedTuple):
    """Squares of one slice, their material, and whether they lie near the rim."""

    corners: NDArray[np.intp]
    material: NDArray[np.intp]
    outer: NDArray[np.bool_]


class Rod(NamedTuple):
    """A round rod in one slice; lengths in mm from the middle of the first pixel."""

    z: int
    centre: tuple[float, float]
    radius: float
    reach: float
    """How far there is nothing but it and what it stands in."""
    hu: float
    around: float

    @property
    def kind(self) -> tuple[int, int]:
        """Rods of one kind have one diameter, to 2 mm, and one contrast, to 100 HU."""
        return round(self.radius), round((self.hu - self.around) / 100)


@dataclass(frozen=True, eq=False)
class Places:
    """Where an object is measured."""

    side: int
    """Of the squares, in pixels"""
    materials: tuple[float, ...]
    """HU, the material with most squares first"""
    squares: Mapping[int, Squares]
    """By slice."""
    rods: tuple[Rod, ...]

    @property
    def slices(self) -> tuple[int, ...]:
        """All that have something to measure."""
        return tuple(sorted({*self.squares, *(rod.z for rod in self.rods)}))


class NothingToMeasureError(ValueError):
    """One sentence: why an object shows nothing that can be measured."""


def looked_at(n_slices: int) -> list[int]:
    """The slices in which places are looked for."""
    n = min(n_slices, MOST_SLICES)
    return [int((k + 0.5) * n_slices / n) for k in range(n)]


def find_places(scan: Scan, on_slice: Callable[[], None] = lambda: None) -> Places:
    """Uniform squares and round rods in the slices of `scan` that are `looked_at`.

    NothingToMeasureError if there are neither.
    """
    generator, spacing = np.random.default_rng(0), scan.spacing[1:]
    corners: dict[int, dict[int, NDArray[np.intp]]] = {side: {} for side in _SIDES}
    means: dict[int, dict[int, Floats]] = {side: {} for side in _SIDES}
    rods: list[Rod] = []
    largest = 0.0
    middle = np.zeros(2)
    for z in looked_at(len(scan)):
        hu = scan.read(z).without_padding()
        smooth = gaussian_filter(hu, _SMOOTHING_PX)
        flat = (smooth > _MATTER_HU) & (np.hypot(*np.gradient(smooth)) < _FLAT_HU_PER_PX)
        slice_ = Slice(hu, np.zeros(hu.shape, bool))
        for side in _SIDES:
            found = flat_regions(slice_, side, generator, flat, share=1.0)
            if len(found):
                corners[side][z] = found
                means[side][z] = np.array([hu[y : y + side, x : x + side].mean() for y, x in found])
        rods += _rods(hu, z, spacing)
        matter = np.argwhere(smooth > _EDGE_HU)
        if len(matter) > largest:
            largest, middle = len(matter), matter.mean(axis=0) * spacing
        on_slice()
    counts = {n: sum(map(len, corners[n].values())) for n in _SIDES}
    side = next((n for n in _SIDES if counts[n] >= _ENOUGH_SQUARES), max(_SIDES, key=lambda n: counts[n]))
    materials = _materials(np.concatenate([*means[side].values(), np.empty(0)]))
    radius = float(np.sqrt(largest * spacing[0] * spacing[1] / np.pi))
    squares = {
        z: _sorted_squares(found, means[side][z], materials, (found + side / 2) * spacing - middle, radius)
        for z, found in corners[side].items()
        if materials
    }
    places = Places(
        side, materials, {z: one for z, one in squares.items() if len(one.corners)}, _clearest(rods)
    )
    if not places.slices:
        raise NothingToMeasureError(
            f"{scan.name}: shows neither uniform squares of {_SIDES[-1]} pixels nor round rods; there is "
            "nothing to measure in it"
        )
    return places


def _sorted_squares(
    corners: NDArray[np.intp], means: Floats, materials: tuple[float, ...], away: Floats, radius: float
) -> Squares:
    """The squares that are of one of the materials; `away` is their distance (y, x) in mm from the middle."""
    distances = np.abs(means[:, None] - np.array(materials)[None])
    nearest = distances.argmin(axis=1)
    good = distances.min(axis=1) < 0.5 * _MATERIAL_STEP_HU
    outer = np.hypot(*away.T) > 0.5 * radius
    return Squares(corners[good], nearest[good], outer[good])


def _materials(means: Floats) -> tuple[float, ...]:
    """HU at which the squares' means gather, the most frequent first."""
    left, found = np.sort(means), list[float]()
    while len(left) and len(found) < _MOST_MATERIALS:
        counts = [np.count_nonzero(np.abs(left - value) < _MATERIAL_STEP_HU / 2) for value in left]
        members = np.abs(left - left[int(np.argmax(counts))]) < _MATERIAL_STEP_HU / 2
        if np.count_nonzero(members) < _FEWEST_OF_A_MATERIAL:
            break
        centre = float(np.median(left[members]))
        found.append(centre)
        left = left[np.abs(left - centre) >= _MATERIAL_STEP_HU]
    return tuple(found)


def _rods(hu: Image, z: int, spacing: tuple[float, float]) -> list[Rod]:
    """Discs of matter in air, and holes in matter, that stand alone."""
    found = []
    dense = gaussian_filter(hu, 0.8) > _EDGE_HU
    for mask in (dense, ~dense):
        labels, n = label(mask)
        if n > _MOST_COMPONENTS:
            continue
        for region in regionprops(labels, spacing=spacing):  # type: ignore[no-untyped-call]
            if _is_disc(region, max(spacing)):
                rod = _rod(hu, mask & (labels != region.label), region, z, spacing)
                found += [rod] if rod is not None else []
    return found


def _is_disc(region: Any, pixel: float) -> bool:
    diameter = float(region.equivalent_diameter_area)
    if not max(_ROD_MM[0], _ROD_PX * pixel) <= diameter <= _ROD_MM[1]:
        return False
    if region.axis_minor_length < _ROUND * region.axis_major_length:
        return False
    away = np.hypot(*(region.coords_scaled - region.centroid).T)
    return bool(np.mean(away <= diameter / 2 + 0.25 * pixel) >= _DISC_SHARE)


def _rod(
    hu: Image, others: NDArray[np.bool_], region: Any, z: int, spacing: tuple[float, float]
) -> Rod | None:
    """The rod that a component is, if nothing is close to it and it stands in something uniform."""
    centre_y, centre_x = (float(c) for c in region.centroid)
    radius = float(region.equivalent_diameter_area) / 2
    reach = radius + _CLEAR_MM
    edges = zip((centre_y, centre_x), hu.shape, spacing, strict=True)
    if any(c < reach or c + reach > (n - 1) * d for c, n, d in edges):
        return None
    y, x = np.meshgrid(*(np.arange(n) * d for n, d in zip(hu.shape, spacing, strict=True)), indexing="ij")
    distance = np.hypot(y - centre_y, x - centre_x)
    around, inside = hu[(distance > radius + _BLUR_MM) & (distance < reach)], hu[distance < 0.6 * radius]
    if not len(around) or not len(inside) or others[distance < reach].any():
        return None
    level, own = float(np.median(around)), float(np.median(inside))
    low, high = np.quantile(around, [0.05, 0.95])
    if high - low > _UNIFORM_SHARE * abs(own - level):
        return None
    return Rod(z, (centre_y, centre_x), radius, reach, own, level)


def _clearest(rods: Sequence[Rod]) -> tuple[Rod, ...]:
    """Some of every kind that is seen most, spread over the slices."""
    kinds: dict[tuple[int, int], list[Rod]] = {}
    for rod in rods:
        kinds.setdefault(rod.kind, []).append(rod)
    chosen: list[Rod] = []
    for kind in sorted(kinds.values(), key=len, reverse=True)[:_MOST_KINDS]:
        picked = sorted({int(k) for k in np.linspace(0, len(kind) - 1, _OF_A_KIND)})
        chosen += [kind[k] for k in picked]
    return tuple(chosen)
