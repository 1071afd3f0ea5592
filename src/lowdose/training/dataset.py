"""Scans ready for training: as small integers on disk, mapped into memory and never read whole.

Real scans are noisy, so a target is noisy too. Where a scan is its own target, pairs are built around a
*dose gain* r: the input is the target at 1/r of its dose, with the scan's own noise spectrum, and the network
learns that gain (docs/decisions/0004). Everything costly is prepared once: every slice with a few independent
noise images of unit dose step. Where a scan was taken at two doses, both are kept as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.dose import dose_simulator
from lowdose.physics.noise_patches import SIDE, flat_corners
from lowdose.physics.scan_projection import sampled_places
from lowdose.quality.noise_level import MATTER_HU
from lowdose.scan import Scan, Slice

REALISATIONS = 3
"""Independent noise images kept of every slice; a pair uses random mixtures of them."""

_HALF_DOSE = 0.5
"""At half the dose the added variance equals the scan's own: the unit in which noise is kept."""

NOISE_STEP = np.float32(0.125)
"""HU a count of the stored noise."""

_LEVEL_SLICES = 12

FACTS = "facts.json"
"""Beside the arrays of a prepared scan: what they are."""

_A_DAY = 86400.0
"""Seconds after which nobody is still at work on one scan."""


@dataclass(frozen=True)
class PreparedPair:
    """The same slices at a low and a high dose: int16 `[z, y, x]` each, on disk."""

    patient: str
    weight: float
    spacing: tuple[float, float, float]
    low: NDArray[np.int16]
    high: NDArray[np.int16]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.high.shape


@dataclass(frozen=True)
class PreparedScan:
    """One scan that is its own target: int16, `hu` `[z, y, x]` and `noise` `[z, realisation, y, x]`, both
    on disk.
    """

    patient: str
    weight: float
    spacing: tuple[float, float, float]
    hu: NDArray[np.int16]
    noise: NDArray[np.int16]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.hu.shape

    @cached_property
    def own_level(self) -> float:
        """What patches of this scan typically show as the standard deviation of its noise, in HU.

        Of the places where `find_noise` would look; where there are none, of all matter but air.
        """
        levels, matter = [], []
        for z in sampled_places(len(self.hu), _LEVEL_SLICES):
            hu = self.hu[z].astype(np.float32)
            noise = self.noise[z].astype(np.float32) * NOISE_STEP
            for y, x in flat_corners(Slice(hu, np.zeros(hu.shape, bool)), SIDE):
                levels += list(noise[:, y : y + SIDE, x : x + SIDE].std(axis=(1, 2)))
            matter.append(noise[:, hu > MATTER_HU].std())
        return float(np.median(levels or matter))


@dataclass(frozen=True)
class PreparedImages:
    """The slices of a scan alone: int16 `[z, y, x]` on disk."""

    patient: str
    weight: float
    spacing: tuple[float, float, float]
    hu: NDArray[np.int16]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.hu.shape


Prepared = PreparedScan | PreparedPair


def prepare(
    scan: Scan,
    folder: Path,
    *,
    patient: str,
    weight: float,
    seed: int,
    on_slice: Callable[[], None] = lambda: None,
) -> PreparedScan:
    """`scan` with its own noise simulated, from `folder` if it was prepared there before.

    Padding becomes air. ValueError if the scan shows too little flat soft tissue to know its own noise.
    """
    wanted = {
        "shape": list(scan.shape),
        "spacing": list(scan.spacing),
        "seed": seed,
        "realisations": REALISATIONS,
    }
    _once(folder, wanted, lambda into: _write_noise(scan, into, seed, on_slice))
    return PreparedScan(patient, weight, scan.spacing, _mapped(folder, "hu"), _mapped(folder, "noise"))


def prepare_images(scan: Scan, folder: Path, *, patient: str, weight: float) -> PreparedImages:
    """`scan` as whole HU, from `folder` if it was prepared there before. Padding becomes air."""
    wanted = {"shape": list(scan.shape), "spacing": list(scan.spacing), "images": scan.name}
    _once(folder, wanted, lambda into: _write_images(into, {"hu": scan}))
    return PreparedImages(patient, weight, scan.spacing, _mapped(folder, "hu"))


def prepare_pair(low: Scan, high: Scan, folder: Path, *, patient: str, weight: float) -> PreparedPair:
    """The two scans as whole HU, from `folder` if they were prepared there before.

    Padding becomes air. They must be of one shape.
    """
    wanted = {"shape": list(high.shape), "spacing": list(high.spacing), "pair": [low.name, high.name]}

    _once(folder, wanted, lambda into: _write_images(into, {"low": low, "high": high}))
    return PreparedPair(patient, weight, high.spacing, _mapped(folder, "low"), _mapped(folder, "high"))


def _write_images(into: Path, scans: Mapping[str, Scan]) -> None:
    for name, scan in scans.items():
        stored = np.lib.format.open_memmap(into / f"{name}.npy", "w+", np.int16, scan.shape)
        for z, slice_ in enumerate(scan):
            stored[z] = _whole_hu(slice_)
        stored.flush()


def _once(folder: Path, wanted: dict[str, Any], write: Callable[[Path], None]) -> None:
    """Have `write` fill `folder`, unless it says that it holds just what is wanted.

    Another process may be at it, too: each writes for itself, and the first who is done has done it.
    """
    if _holds(folder, wanted):
        return
    for left_behind in folder.parent.glob(f".{folder.name}.*.part"):
        if time.time() - left_behind.stat().st_mtime > _A_DAY:
            shutil.rmtree(left_behind, ignore_errors=True)
    mine = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    mine.mkdir(parents=True, exist_ok=True)
    try:
        write(mine)
        (mine / FACTS).write_text(json.dumps(wanted))
        try:
            mine.rename(folder)
        except OSError:  # there is one already
            if not _holds(folder, wanted):
                shutil.rmtree(folder)
                mine.rename(folder)
    finally:
        shutil.rmtree(mine, ignore_errors=True)


def _holds(folder: Path, wanted: dict[str, Any]) -> bool:
    facts = folder / FACTS
    return facts.exists() and json.loads(facts.read_text()) == wanted


def _mapped(folder: Path, name: str) -> NDArray[np.int16]:
    mapped: NDArray[np.int16] = np.load(folder / f"{name}.npy", mmap_mode="r")
    return mapped


def _whole_hu(slice_: Slice) -> NDArray[np.int16]:
    """Whole HU, with air where nothing was measured."""
    rounded = np.rint(np.where(slice_.padding, -1024, slice_.hu))
    return np.clip(rounded, -32768, 32767).astype(np.int16)


def cache_folder(cache: Path, source: str, scan: Scan) -> Path:
    """Where the prepared form of `scan` from `source` is kept."""
    digest = hashlib.sha256(f"{source}\n{scan.name}\n{scan.shape}".encode()).hexdigest()[:16]
    return cache / digest


def _write_noise(scan: Scan, folder: Path, seed: int, on_slice: Callable[[], None]) -> None:
    simulator = dose_simulator(scan, seed=seed)
    if simulator.calibration.noise is None:
        raise ValueError(
            f"{scan.name}: too little flat soft tissue to measure its own noise; leave it out of the plan"
        )
    n_z, n_y, n_x = scan.shape
    hu = np.lib.format.open_memmap(folder / "hu.npy", "w+", np.int16, (n_z, n_y, n_x))
    noise = np.lib.format.open_memmap(folder / "noise.npy", "w+", np.int16, (n_z, REALISATIONS, n_y, n_x))
    for z in range(n_z):
        slice_, counts = simulator.counts(z)
        hu[z] = _whole_hu(slice_)
        for k in range(REALISATIONS):
            generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(z, k)))
            unit = simulator.missing_noise(counts, _HALF_DOSE, generator)
            noise[z, k] = np.clip(np.rint(unit / NOISE_STEP), -32767, 32767)
        on_slice()
    hu.flush()
    noise.flush()
