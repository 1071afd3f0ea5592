"""What one module of a test object shows: circles, contrasts, sharpness, line pairs and noise power.

Images are read one at a time and leave only sums behind, so that repeats cost time but no memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lowdose.phantoms.layout import Insert, Layout, Module, Pin
from lowdose.phantoms.pose import Pose
from lowdose.quality.bars import BarTransfer, bar_transfer
from lowdose.quality.local_contrast import local_contrast
from lowdose.quality.resolution import NoRodError, TaskTransfer, task_transfer
from lowdose.quality.spectra import RadialSpectrum, RepeatedRegions, squares_around
from lowdose.quality.uniformity import Circle, OutsideError, RepeatedCircle
from lowdose.scan import Scan

Image = NDArray[np.float32]

INNER_SHARE = 0.7
"""Of an insert's diameter: where its mean is taken, free of its blurred edge."""
_SQUARE_SIDES = (64, 48, 32, 24, 16)
_SQUARE_SHARE = 0.32
"""Of the module's radius, that the side of a square for the noise power spectrum may be at most."""
_CLEAR_MM = 1.0
_EDGE_REACH_MM = 2.5
"""Least of its surroundings that a rod's edge needs to be measured."""
FAINTEST_CNR = 10.0
"""Contrast to noise of the averaged image from which on a rod's edge tells the resolution: at 15 the standard
error of f50 is below 5 %, and it grows as the contrast falls.
"""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Noise power in one part of a module."""

    power: NDArray[np.float64]
    """`[fy, fx]` in HU^2 mm^2, frequencies as of `numpy.fft.fftfreq`"""
    radial: RadialSpectrum
    side: int
    n_regions: int


@dataclass(frozen=True, eq=False)
class ModuleMeasurement:
    """What one module shows in the scans of one arm."""

    module: Module
    slices: tuple[int, ...]
    n_images: int
    example: Image
    """HU `[y, x]`, one image as it is"""
    mean: Image
    """HU `[y, x]`, of all images"""
    circles: Mapping[str, Circle]
    """By the name of insert, background or uniform region."""
    contrasts: Mapping[str, float] = field(default_factory=dict)
    """HU, by insert, over what is right around it."""
    transfers: Mapping[str, TaskTransfer] = field(default_factory=dict)
    """By insert."""
    bars: Mapping[str, BarTransfer] = field(default_factory=dict)
    spectra: Mapping[str, Spectrum] = field(default_factory=dict)
    """`centre` and `edge`."""
    notes: tuple[str, ...] = ()

    @property
    def background(self) -> Circle:
        """All background regions together."""
        found = [self.circles[one.name] for one in self.module.backgrounds if one.name in self.circles]
        noise = float(np.sqrt(np.mean([one.noise**2 for one in found]))) if found else float("nan")
        mean = float(np.mean([one.mean for one in found])) if found else float("nan")
        return Circle(mean, noise, sum(one.n_pixels for one in found))


def measured_module(
    module: Module,
    layout: Layout,
    pose: Pose,
    slices: tuple[int, ...],
    scan: Scan,
    images: Iterator[tuple[int, Image]],
) -> ModuleMeasurement:
    """Everything that the layout asks of `module` in `images` of `slices`, which come as number and HU."""
    spacing, shape = scan.spacing[1:], scan.shape[1:]
    height = (slices[0] + slices[-1]) / 2 * scan.spacing[0]
    notes: list[str] = []
    circles = _circles(module, pose, height, shape, spacing, notes)
    squares = _squares(module, layout, pose, height, shape, spacing)
    total, n, example = np.zeros(shape), 0, None
    for z, image in images:
        for one in circles.values():
            one.add(z, image)
        for part in squares.values():
            part.sums.add(z, image, part.corners)
        total += image
        n += 1
        example = image if example is None or z <= slices[len(slices) // 2] else example
    assert example is not None
    mean = (total / n).astype(np.float32)
    seen = {name: one.circle for name, one in circles.items()}
    contrasts = _contrasts(module, pose, height, mean, spacing)
    clear = [insert for insert in module.inserts if _stands_out(insert, contrasts, seen, n)]
    return ModuleMeasurement(
        module, slices, n, example, mean, seen, contrasts,
        _transfers(clear, module, layout, pose, height, mean, spacing, notes),
        _bars(module, pose, height, mean, spacing, notes),
        {
            name: Spectrum(part.sums.power, part.sums.radial, part.sums.side, part.sums.n_regions)
            for name, part in squares.items()
        },
        tuple(notes),
    )  # fmt: skip


def _circles(
    module: Module,
    pose: Pose,
    height: float,
    shape: tuple[int, int],
    spacing: tuple[float, float],
    notes: list[str],
) -> dict[str, RepeatedCircle]:
    found: dict[str, RepeatedCircle] = {}
    for region in (*module.inserts, *module.backgrounds, *module.uniform):
        share = INNER_SHARE if isinstance(region, Insert) else 1.0
        try:
            found[region.name] = RepeatedCircle(
                shape, spacing, pose.place_of(region, height), share * region.diameter / 2
            )
        except OutsideError as error:
            notes.append(f"{region.name} is not measured: {error}")
    return found


@dataclass(frozen=True, eq=False)
class _Squares:
    corners: NDArray[np.intp]
    sums: RepeatedRegions


def _squares(
    module: Module,
    layout: Layout,
    pose: Pose,
    height: float,
    shape: tuple[int, int],
    spacing: tuple[float, float],
) -> dict[str, _Squares]:
    """Squares for the noise power spectrum at the centre and at the edge of a uniform module."""
    if not module.uniform:
        return {}
    radius, edge = layout.bore / 2, module.uniform[-1].distance
    side = next((n for n in _SQUARE_SIDES if n * max(spacing) <= _SQUARE_SHARE * radius), None)
    if side is None:
        return {}
    centre = pose.axis_at(height)
    free = min((rod.distance - rod.diameter / 2 for rod in module.inserts), default=edge)
    parts = {
        "centre": squares_around(centre, 0.0, side, spacing, reach=min(free, 0.6 * radius)),
        "edge": squares_around(centre, edge, side, spacing),
    }
    within = {
        name: corners[((corners >= 0) & (corners + side <= shape)).all(axis=1)]
        for name, corners in parts.items()
    }
    return {
        name: _Squares(corners, RepeatedRegions(side, spacing))
        for name, corners in within.items()
        if len(corners)
    }


def _contrasts(
    module: Module, pose: Pose, height: float, mean: Image, spacing: tuple[float, float]
) -> dict[str, float]:
    """Local contrasts of all inserts that the pixels can show."""
    found = {}
    rods: tuple[Insert | Pin, ...] = (*module.inserts, *module.pins)
    places = {rod.name: (pose.place_of(rod, height), rod.diameter / 2) for rod in rods}
    for insert in module.inserts:
        others = [place for name, place in places.items() if name != insert.name]
        with suppress(OutsideError):
            found[insert.name] = local_contrast(
                mean, spacing, *places[insert.name], inner=INNER_SHARE, others=others
            )
    return found


def _stands_out(insert: Insert, contrasts: Mapping[str, float], seen: Mapping[str, Circle], n: int) -> bool:
    """Whether an insert's contrast could be `FAINTEST_CNR` times the noise of the average of `n` images."""
    if insert.name not in seen or insert.name not in contrasts:
        return False
    return abs(contrasts[insert.name]) > 0.5 * FAINTEST_CNR * seen[insert.name].noise / float(np.sqrt(n))


def _transfers(
    inserts: Sequence[Insert],
    module: Module,
    layout: Layout,
    pose: Pose,
    height: float,
    mean: Image,
    spacing: tuple[float, float],
    notes: list[str],
) -> dict[str, TaskTransfer]:
    found: dict[str, TaskTransfer] = {}
    for insert in inserts:
        reach = _free_reach(insert, module, layout)
        if reach < insert.diameter / 2 + _EDGE_REACH_MM:
            continue
        place = pose.place_of(insert, height)
        try:
            transfer = task_transfer(mean, spacing, place, insert.diameter / 2, reach=reach)
        except NoRodError as error:
            notes.append(f"{insert.name}: {error}")
            continue
        if transfer.cnr >= FAINTEST_CNR:
            found[insert.name] = transfer
        else:
            notes.append(
                f"{insert.name} has {transfer.cnr:.1f} times the noise of the averaged image, too little for "
                f"its resolution ({FAINTEST_CNR:g} are needed): scan more repeats"
            )
    return found


def _free_reach(insert: Insert, module: Module, layout: Layout) -> float:
    """How far in mm from an insert's centre there is nothing but it and the module's body."""
    y, x = insert.place
    reach = insert.diameter / 2 + 7.0
    for other in (*module.inserts, *module.pins):
        if other is not insert:
            away = float(np.hypot(other.place[0] - y, other.place[1] - x)) - other.diameter / 2
            reach = min(reach, away - _CLEAR_MM)
    return min(reach, layout.bore / 2 - insert.distance - _CLEAR_MM)


def _bars(
    module: Module,
    pose: Pose,
    height: float,
    mean: Image,
    spacing: tuple[float, float],
    notes: list[str],
) -> dict[str, BarTransfer]:
    found: dict[str, BarTransfer] = {}
    finest = 0.5 / max(spacing)
    for group in module.bars:
        if 0.5 / group.width > finest:
            continue
        try:
            found[group.name] = bar_transfer(
                mean, spacing, pose.place(group.distance, group.angle, height), pose.turned(group.angle),
                width=group.width, n_bars=group.n_bars, length=group.length, empty=pose.axis_at(height),
            )  # fmt: skip
        except OutsideError as error:
            notes.append(f"{group.name} is not measured: {error}")
    return found
