"""What is measured in an object without a layout: a head phantom, a mouse, a patient.

Uniform squares tell the noise and its spectrum, round rods the resolution. Where the truth is known, every
structure and the transfer from truth to image are measured as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter

from lowdose.phantoms.measurement import Filter, check_noises
from lowdose.phantoms.module_measurement import FAINTEST_CNR, Spectrum
from lowdose.phantoms.places import Image, Places
from lowdose.quality.controls import noise_matched_width
from lowdose.quality.resolution import NoRodError, TaskTransfer, task_transfer
from lowdose.quality.spectra import RepeatedRegions, detrended
from lowdose.quality.truth_transfer import TruthTransfer
from lowdose.scan import Scan

_MOST_PATCHES, _PATCH_MARGIN_PX = 24, 12
_AIMS = 5
_ERODED_PX = 2
"""From the edge of a structure, where it mixes with its neighbours."""
_FEWEST_PX = 200
_INSIDE_MM = 6.0
"""Of a thick rod, that is looked at to tell its edge."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What an object is: scans on the grid of its image, and the names of the labels."""

    hu: Scan
    labels: Scan
    names: Mapping[int, str]


@dataclass(frozen=True, eq=False)
class Material:
    """What the squares of one material hold."""

    hu: float
    noise: float
    n_regions: int
    spectra: Mapping[str, Spectrum]
    """`centre` and `edge`, as far as there are squares."""


@dataclass(frozen=True)
class Structure:
    """What one structure of the truth holds, away from its edges."""

    name: str
    true_hu: float
    hu: float
    noise: float
    """HU about the truth, in an image."""
    n_pixels: int


@dataclass(frozen=True, eq=False)
class ObjectMeasurement:
    """One arm."""

    name: str
    materials: Mapping[str, Material]
    """By the HU that the first arm has, the one with most squares first."""
    rods: Mapping[str, tuple[TaskTransfer, ...]]
    """By size and contrast."""
    structures: tuple[Structure, ...]
    transfer: TruthTransfer | None
    examples: Mapping[int, Image]
    """HU `[y, x]`, by slice"""
    n_repeats: int
    blur: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def noise(self) -> float:
        """HU, of the material with most squares."""
        return next(iter(self.materials.values())).noise if self.materials else float("nan")


def measure_object(
    name: str,
    scans: Sequence[Scan],
    places: Places,
    shown: Sequence[int],
    *,
    truth: Truth | None = None,
    blur: float | None = None,
    transform: Filter | None = None,
    on_image: Callable[[], None] = lambda: None,
) -> ObjectMeasurement:
    """Measure `scans`, repeats of each other on one grid, at `places`; keep the slices `shown` as examples.

    `transform` is applied to every image first; `blur` says, for the record, that it is a Gaussian of so many
    pixels.
    """
    squares = _SquareSums(places, scans[0].spacing[1:])
    structures = None if truth is None else _StructureSums(truth, scans[0])
    rods: dict[str, list[TaskTransfer]] = {}
    notes: list[str] = []
    examples: dict[int, Image] = {}
    for z in object_slices(places, shown):
        total = np.zeros(scans[0].shape[1:])
        for scan in scans:
            image = scan.read(z).without_padding()
            image = image if transform is None else transform(image)
            if z in places.squares:
                squares.add(z, image)
            if structures is not None:
                structures.add(z, image)
            if z in shown:
                examples.setdefault(z, image)
            total += image
            on_image()
        for kind, transfer in _transfers(z, total / len(scans), places, scans[0].spacing[1:], notes):
            rods.setdefault(kind, []).append(transfer)
    return ObjectMeasurement(
        name,
        squares.materials,
        {kind: tuple(found) for kind, found in rods.items()},
        () if structures is None else structures.found,
        None if structures is None else structures.transfer,
        examples,
        len(scans),
        blur,
        tuple(dict.fromkeys(notes)),
    )


def blurred_object(
    first: ObjectMeasurement,
    like: ObjectMeasurement,
    scans: Sequence[Scan],
    places: Places,
    shown: Sequence[int],
    *,
    truth: Truth | None = None,
    on_image: Callable[[], None] = lambda: None,
) -> ObjectMeasurement:
    """The control: `scans` of the arm `first`, blurred by a Gaussian to the noise of the arm `like`.

    ValueError if they have no more noise than that.
    """
    width = _matching_width(*_patches(scans[0], places), like.noise / first.noise)
    return measure_object(
        f"{first.name}, blurred to the noise of {like.name}", scans, places, shown, truth=truth, blur=width,
        transform=lambda image: gaussian_filter(image, width), on_image=on_image,
    )  # fmt: skip


def check_object_repeats(scans: Sequence[Scan], places: Places, arm: str) -> None:
    """ValueError if the scans differ in noise so much that they cannot be repeats of each other."""
    if len(scans) < 2 or not places.squares:
        return
    z = max(places.squares, key=lambda z: np.count_nonzero(places.squares[z].material == 0))
    corners = places.squares[z].corners[places.squares[z].material == 0]
    if not len(corners):
        return
    noises = []
    for scan in scans:
        sums = RepeatedRegions(places.side, scan.spacing[1:])
        sums.add(z, scan.read(z).without_padding(), corners)
        noises.append(_noise_of(sums.power, scan.spacing[1:]))
    check_noises(noises, arm)


def _noise_of(power: NDArray[np.float64], spacing: tuple[float, float]) -> float:
    """HU, of a noise power spectrum `[fy, fx]`."""
    return float(np.sqrt(np.sum(power) / (power.size * spacing[0] * spacing[1])))


def object_slices(places: Places, shown: Sequence[int]) -> list[int]:
    """All slices that are read."""
    return sorted({*places.slices, *shown})


def _matching_width(patches: Sequence[Image], middle: NDArray[np.bool_], share: float) -> float:
    """Pixels of the Gaussian that leaves a `share` of the noise in the middle of `patches`.

    Noise is measured about a trend, and the coarser it is the more of it is trend: so the noise about the
    mean, which is matched, is aimed at again and again until that about the trend is right.
    """
    side = round(float(np.sqrt(np.count_nonzero(middle))))

    def noise(width: float) -> float:
        smooth = [gaussian_filter(patch, width) if width else patch for patch in patches]
        return float(detrended(np.stack([one[middle].reshape(side, side) for one in smooth])).std())

    present = noise(0.0)
    target = share * float(np.sqrt(np.mean([patch[middle].var(ddof=1) for patch in patches])))
    for _ in range(_AIMS):
        width = noise_matched_width(patches, [middle], target)
        target *= share * present / noise(width)
    return width


def _patches(scan: Scan, places: Places) -> tuple[list[Image], NDArray[np.bool_]]:
    """Squares of the first material with a margin around them, and the mask of the square in such a patch."""
    size = places.side + 2 * _PATCH_MARGIN_PX
    middle = np.zeros((size, size), bool)
    middle[_PATCH_MARGIN_PX:-_PATCH_MARGIN_PX, _PATCH_MARGIN_PX:-_PATCH_MARGIN_PX] = True
    found: list[Image] = []
    for z, squares in places.squares.items():
        corners = squares.corners[squares.material == 0] - _PATCH_MARGIN_PX
        corners = corners[((corners >= 0) & (corners + size <= scan.shape[1:])).all(axis=1)]
        if len(corners) and len(found) < _MOST_PATCHES:
            image = scan.read(z).without_padding()
            found += [image[y : y + size, x : x + size] for y, x in corners]
    if not found:
        raise ValueError(f"{scan.name}: has no uniform squares to match a blur's noise in")
    return found[:_MOST_PATCHES], middle


def _transfers(
    z: int,
    mean: NDArray[np.float64],
    places: Places,
    spacing: tuple[float, float],
    notes: list[str],
) -> Iterator[tuple[str, TaskTransfer]]:
    """The transfer of every rod of a slice whose contrast is clear."""
    for rod in places.rods:
        if rod.z != z:
            continue
        contrast = rod.hu - rod.around
        name = f"{2 * rod.kind[0]:g} mm, {100 * rod.kind[1]:+g} HU".replace("-", "−")
        try:
            found = task_transfer(
                mean,
                spacing,
                rod.centre,
                rod.radius,
                reach=rod.reach,
                inner=max(rod.radius - _INSIDE_MM, 0.0),
            )
        except NoRodError as error:
            notes.append(f"slice {z + 1}: {error}")
            continue
        if found.cnr >= FAINTEST_CNR and np.sign(found.contrast) == np.sign(contrast):
            yield name, found


class _SquareSums:
    """Means and noise power of the squares, by material and part, image by image."""

    def __init__(self, places: Places, spacing: tuple[float, float]) -> None:
        self._places, self._spacing = places, spacing
        self._sums: dict[tuple[int, str], RepeatedRegions] = {}
        self._means: dict[int, list[float]] = {}

    def add(self, z: int, image: Image) -> None:
        squares, side = self._places.squares[z], self._places.side
        for material in np.unique(squares.material):
            for part, chosen in (("centre", ~squares.outer), ("edge", squares.outer)):
                corners = squares.corners[chosen & (squares.material == material)]
                if len(corners):
                    key = int(material), part
                    self._sums.setdefault(key, RepeatedRegions(side, self._spacing)).add(z, image, corners)
                    means = [float(image[y : y + side, x : x + side].mean()) for y, x in corners]
                    self._means.setdefault(int(material), []).extend(means)

    @property
    def materials(self) -> dict[str, Material]:
        side = self._places.side
        found = {}
        for number, hu in enumerate(self._places.materials):
            sums = {part: one for (material, part), one in self._sums.items() if material == number}
            if not sums:
                continue
            n = sum(one.n_regions for one in sums.values())
            power = np.sum([one.power * one.n_regions for one in sums.values()], axis=0) / n
            spectra = {
                part: Spectrum(one.power, one.radial, side, one.n_regions) for part, one in sums.items()
            }
            name = f"{round(hu)} HU".replace("-", "−")
            noise = _noise_of(power, self._spacing)
            found[name] = Material(float(np.mean(self._means[number])), noise, n, spectra)
        return found


class _StructureSums:
    """Means and noise of the structures of a truth, and the transfer from it, image by image."""

    def __init__(self, truth: Truth, scan: Scan) -> None:
        self._truth = truth
        self._sums: dict[int, NDArray[np.float64]] = {}
        self._kept: tuple[int, Image, NDArray[np.intp]] | None = None
        self.transfer = TruthTransfer(scan.shape[1:], scan.spacing[1:])

    def add(self, z: int, image: Image) -> None:
        if self._kept is None or self._kept[0] != z:
            labels = np.rint(self._truth.labels.read(z).hu).astype(np.intp)
            self._kept = z, self._truth.hu.read(z).hu, labels
        _, true, labels = self._kept
        self.transfer.add(image, true)
        for number in np.unique(labels[labels > 0]):
            inside = binary_erosion(labels == number, iterations=_ERODED_PX)
            n = np.count_nonzero(inside)
            if n:
                error = image[inside].astype(np.float64) - true[inside]
                sums = np.array([n, true[inside].sum(), error.sum(), (error**2).sum()])
                self._sums[int(number)] = self._sums.get(int(number), 0) + sums

    @property
    def found(self) -> tuple[Structure, ...]:
        """All structures that are seen well enough."""
        found = []
        for number, (n, true, error, square) in sorted(self._sums.items()):
            if n >= _FEWEST_PX:
                noise = float(np.sqrt(max(square / n - (error / n) ** 2, 0.0)))
                name = self._truth.names.get(number, f"label {number}")
                found.append(Structure(name, true / n, (true + error) / n, noise, int(n)))
        return tuple(found)
