"""What everything is measured on: held-out patients, real pairs, and rods in water."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from entrants import GAIN, SEED
from numpy.typing import NDArray

from lowdose.io import InputError, open_input
from lowdose.phantoms.acquisition import PhantomScanner, Protocol
from lowdose.phantoms.phantom import Phantom
from lowdose.phantoms.primitives import upright_cylinder
from lowdose.physics.geometry import VolumeGrid
from lowdose.physics.scanners import SCANNERS
from lowdose.provenance import written_whole
from lowdose.quality.comparison import align
from lowdose.scan import Scan
from lowdose.training.dataset import NOISE_STEP, PreparedScan, cache_folder, prepare
from lowdose.training.plan import Source

N_SLICES = 8
"""Of a patient, evenly spaced;"""
MORE_SLICES = {"LIDC-IDRI-0001": 16}
"""and of those whose whole scan is there."""
SHOWN = "LIDC-IDRI-0001"
"""The patient in the figure."""

PAIRS = Path("mayo-l143") / "B30f_3mm"

ROD_RADIUS, ROD_DISTANCE, N_RODS = 6.0, 60.0, 6
"""mm, mm from the axis, and how many of each contrast."""
CONTRASTS = (400.0, 50.0)
"""HU"""
WATER_RADIUS = 90.0
N_SCANS = 24
DOSE = 0.018
"""Of the scanner's routine: it makes the noise that the inputs of the patients have."""
_GRID = VolumeGrid((N_SCANS, 256, 256), (3.0, 0.78, 0.78))


@dataclass(frozen=True)
class Patient:
    """One held-out patient, and where the prepared form of the scan is to be found."""

    name: str
    source: str
    path: Path


@dataclass(frozen=True)
class Case:
    """A scan, the same at a quarter of its dose with two independent noises, and the slices that count."""

    patient: Patient
    reference: NDArray[np.int16]
    """`[z, y, x]` in HU"""
    inputs: tuple[Scan, Scan]
    slices: tuple[int, ...]

    @property
    def spacing(self) -> tuple[float, float]:
        """Of the pixels along y and x, in mm."""
        return self.inputs[0].spacing[1:]


def held_out(sources: Sequence[dict[str, Any]], root: Path) -> list[Patient]:
    """The test patients of `sources.yaml`."""
    found = []
    for told in sources:
        source = Source.model_validate(told)
        where = root / source.path
        if source.patients == "folders":
            found += [Patient(name, source.name, where / name) for name in source.test_patients]
        elif source.split == "test":
            found.append(Patient(source.name, source.name, where))
    return found


def prepared(patient: Patient, cache: Path) -> PreparedScan:
    """The scan with its own noise simulated; ValueError or InputError where that cannot be."""
    with open_input(patient.path) as opened:
        scans = [case.scan for case in opened.cases if case.scan is not None]
        if len(scans) != 1:
            raise ValueError(f"{patient.path} holds {len(scans)} usable CT series, not one")
        where = cache_folder(cache, str(patient.path), scans[0])
        return prepare(scans[0], where, patient=patient.name, weight=1.0, seed=SEED)


def cases(patients: Sequence[Patient], cache: Path, most: int | None) -> Iterator[Case]:
    """One patient after the other; those that cannot be prepared are named and left out."""
    for patient in patients:
        try:
            scan = prepared(patient, cache)
        except (ValueError, InputError) as error:
            print(f"left out: {patient.name}: {error}", flush=True)
            continue
        inputs = [at_a_fraction(scan, k, GAIN) for k in (0, 1)]
        n_slices = min(most or math.inf, MORE_SLICES.get(patient.name, N_SLICES), len(scan.hu))
        yield Case(patient, scan.hu, (inputs[0], inputs[1]), evenly(len(scan.hu), int(n_slices)))


def at_a_fraction(scan: PreparedScan, realisation: int, gain: float) -> Scan:
    """`scan` at 1/`gain` of its own dose, in whole HU as a scanner stores them."""
    noise = scan.noise[:, realisation] * (NOISE_STEP * np.float32(math.sqrt(gain - 1.0)))
    name = f"{scan.patient} at 1/{gain:g} of its dose"
    return Scan.from_array(np.rint(scan.hu + noise), spacing=scan.spacing, name=name)


def evenly(n: int, n_chosen: int) -> tuple[int, ...]:
    """`n_chosen` places among `n`, each the middle of its share."""
    return tuple(int((k + 0.5) * n / n_chosen) for k in range(n_chosen))


def real_pair(root: Path, most: int | None) -> tuple[Scan, Scan]:
    """Full and quarter dose of the same slices of one patient, in memory."""
    with open_input(root / PAIRS / "full") as full_found, open_input(root / PAIRS / "quarter") as low_found:
        (full,), (low,) = ([case.scan for case in found.cases] for found in (full_found, low_found))
        if full is None or low is None:
            raise ValueError(f"{root / PAIRS} holds no pair of usable CT series")
        aligned = align(full, low, "the quarter dose")
        return _in_memory(full, most), _in_memory(aligned, most)


def _in_memory(scan: Scan, most: int | None) -> Scan:
    """The first `most` slices."""
    hu = np.stack([scan.read(z).without_padding() for z in range(min(most or len(scan), len(scan)))])
    return Scan.from_array(hu, spacing=scan.spacing, name=scan.name)


def rod_places(contrast: float) -> list[tuple[float, float]]:
    """Middles (y, x) of the rods of one contrast, in mm from the axis; contrasts take turns on a circle."""
    first, step = CONTRASTS.index(contrast), len(CONTRASTS)
    turns = 2 * np.pi * (first + step * np.arange(N_RODS)) / (step * N_RODS)
    return [(float(ROD_DISTANCE * np.sin(t)), float(ROD_DISTANCE * np.cos(t))) for t in turns]


def rods_in_water() -> Phantom:
    """The phantom: a cylinder of water and six rods of each contrast."""
    half = 0.6 * _GRID.shape[0] * _GRID.spacing[0]
    water = upright_cylinder("water", 0.0, (0.0, 0.0, 0.0), (WATER_RADIUS, WATER_RADIUS), half)
    rods = [
        upright_cylinder(f"rod, {hu:g} HU", hu, (0.0, y, x), (ROD_RADIUS, ROD_RADIUS), half)
        for hu in CONTRASTS
        for y, x in rod_places(hu)
    ]
    return Phantom("rods", "rods in water", (water, *rods))


def rods_scanned(work: Path) -> Scan:
    """The phantom at a low dose: every slice shows the same rods in noise of its own. Kept in `work`."""
    path = work / f"rods-{DOSE:g}.npy"
    if not path.exists():
        protocol = Protocol(SCANNERS["siemens-as+"], _GRID)
        scan = PhantomScanner(rods_in_water(), protocol, seed=SEED).scan(DOSE)
        with written_whole(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.rint(scan.hu).astype(np.int16))
    return Scan.from_array(np.load(path).astype(np.float32), spacing=_GRID.spacing, name="rods in water")


def distance_from(place: tuple[float, float]) -> NDArray[np.float64]:
    """Of every pixel of the phantom's slices from `place` (y, x) in mm from the axis."""
    y, x = ((np.arange(n) - (n - 1) / 2) * d for n, d in zip(_GRID.shape[1:], _GRID.spacing[1:], strict=True))
    return np.asarray(np.hypot(y[:, None] - place[0], x - place[1]))


def from_first_pixel(place: tuple[float, float]) -> tuple[float, float]:
    """`place` in mm from the middle of the first pixel."""
    y, x = (at + (n - 1) / 2 * d for at, n, d in zip(place, _GRID.shape[1:], _GRID.spacing[1:], strict=True))
    return y, x
