"""The mice and how they are scanned: cone-beam pairs at a low and at four times that dose; the manifest."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from animals import animal
from numpy.typing import NDArray

from lowdose.io.pixels import PADDING_BELOW_HU
from lowdose.phantoms.acquisition import PhantomScanner, Protocol
from lowdose.phantoms.mouse import N_MICE
from lowdose.physics.geometry import ConeBeam, VolumeGrid
from lowdose.physics.scanner import Scanner
from lowdose.physics.scanners import SCANNERS
from lowdose.provenance import write_json, written_whole
from lowdose.scan import Scan

Volume = NDArray[np.float32]
Labels = NDArray[np.uint8]

COLUMNS = ("scan", "patient", "split", "dose", "pair", "licence", "citation")
"""Of the manifest that `lowdose train` reads."""
MANIFEST = "digital-mice.csv"
GAIN = 4
"""The higher dose over the low one."""
SPLITS = ("training", "validation", "test")
LICENCE = "Apache-2.0"
CITATION = "digital mice of lowdose, seeds 1 to 38, made by studies/microct_dose_reduction"

_BED_MM = (-3.0, 5.0)
"""Where along the mouse the middle of the scan may lie: chest and upper belly are in all of them."""
_LOW, _HIGH = 0, 1
"""Repeats, which give each scan noise of its own."""
SPARE_REPEAT = 20
"""From here on repeats are free for scans beyond the pairs."""


@dataclass(frozen=True)
class Bench:
    """How large everything is."""

    shape: tuple[int, int, int] = (96, 256, 256)
    voxel: float = 0.14
    """mm"""
    n_views: int = 360
    panel: tuple[int, int] = (104, 256)
    """Rows and channels."""
    pixel: float = 0.3
    """mm on the panel"""
    photons: float = 640.0
    """Per channel and view before the mouse, at the low dose."""
    counts: tuple[int, int, int] = (30, 4, 4)
    """Mice for training, validation and test."""
    tv_iterations: int = 10
    margin: int = 12
    """Slices beyond either end that the projections meet, for iterative reconstruction."""

    @property
    def scanner(self) -> Scanner:
        """The catalogue's bench, its panel only as high as the volume needs."""
        known = SCANNERS["micro-ct"]
        assert isinstance(known.geometry, ConeBeam)
        geometry = replace(
            known.geometry, n_views=self.n_views, n_rows=self.panel[0], n_channels=self.panel[1],
            row_spacing=self.pixel, channel_spacing=self.pixel,
        )  # fmt: skip
        return replace(known, geometry=geometry)

    @property
    def low(self) -> float:
        """The low dose over the scanner's routine dose."""
        return self.photons / self.scanner.photons

    @property
    def high(self) -> float:
        return GAIN * self.low

    def grid(self, margin: int = 0) -> VolumeGrid:
        n_z, n_y, n_x = self.shape
        return VolumeGrid((n_z + 2 * margin, n_y, n_x), (self.voxel,) * 3)

    def protocol(self, middle: float) -> Protocol:
        return Protocol(self.scanner, self.grid(), middle, rays=2)

    @property
    def described(self) -> dict[str, Any]:
        """What the scans depend on."""
        return {
            "shape": list(self.shape), "voxel_mm": self.voxel, "views": self.n_views,
            "panel": list(self.panel), "pixel_mm": self.pixel, "photons": [self.photons, GAIN * self.photons],
            "electronic_noise_photons": self.scanner.electronic,
        }  # fmt: skip

    @property
    def mice(self) -> tuple[Mouse, ...]:
        """All of them, by their seeds from 1 on."""
        splits = [split for split, n in zip(SPLITS, self.counts, strict=True) for _ in range(n)]
        return tuple(Mouse(seed, split, self) for seed, split in enumerate(splits, 1))

    def of_split(self, split: str) -> tuple[Mouse, ...]:
        return tuple(one for one in self.mice if one.split == split)


FULL = Bench()
SMOKE = Bench(
    shape=(40, 128, 128), voxel=0.28, n_views=120, panel=(46, 128), pixel=0.6, photons=1000.0,
    counts=(3, 1, 3), tv_iterations=4, margin=8,
)  # fmt: skip
assert sum(FULL.counts) == N_MICE


@dataclass(frozen=True)
class Mouse:
    """One animal of the study."""

    seed: int
    split: str
    bench: Bench

    @property
    def name(self) -> str:
        return f"mouse-{self.seed:02d}"

    @property
    def bed(self) -> float:
        """z in mm of the mouse in the middle of the scan."""
        return float(np.random.default_rng([23, self.seed]).uniform(*_BED_MM))

    @cached_property
    def scanner(self) -> PhantomScanner:
        return PhantomScanner(animal(self.seed, self.bed), self.bench.protocol(self.bed), seed=self.seed)

    @property
    def is_known(self) -> bool:
        """Whether what it is without noise is written as well."""
        return self.split != "training"

    def wanted(self) -> Iterator[tuple[str, Scan]]:
        """The scans to write, by their names."""
        bench = self.bench
        yield "low", self.scanner.scan(bench.low, _LOW)
        yield "high", self.scanner.scan(bench.high, _HIGH)
        if self.is_known:
            yield "noise-free", self.scanner.noise_free()
            yield "truth", self.scanner.truth()
            yield "labels", self.scanner.labels()


def make_scans(bench: Bench, work: Path) -> None:
    """Scan every mouse that is not there yet, and write their manifest."""
    for one in bench.mice:
        folder = work / "scans" / one.name
        facts = {"seed": one.seed, "split": one.split, "bed_mm": round(one.bed, 3), **bench.described}
        done = folder / "facts.json"
        if done.is_file() and facts.items() <= json.loads(done.read_text()).items():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        clipped = {name: write_volume(scan, folder / f"{name}.nii") for name, scan in one.wanted()}
        phantom = one.scanner.phantom
        write_json(
            done, {**facts, **phantom.facts, "labels": list(phantom.labels), "clipped_voxels": clipped}
        )
        print(f"{one.name} ({one.split}) scanned", flush=True)
    write_manifest(manifest_rows(bench.mice), work / MANIFEST)


def manifest_rows(mice: Sequence[Mouse]) -> list[dict[str, str]]:
    """One row a scan; the two of a pair share `pair`."""
    return [
        {
            "scan": f"scans/{one.name}/{dose}.nii",
            "patient": one.name,
            "split": one.split,
            "dose": dose,
            "pair": one.name,
            "licence": LICENCE,
            "citation": CITATION,
        }
        for one in mice
        for dose in ("low", "high")
    ]


def write_manifest(rows: Sequence[dict[str, str]], path: Path) -> None:
    with written_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_volume(scan: Scan, path: Path) -> int:
    """Write `scan` as whole HU in 16 bits; how many voxels lay where readers see padding, and were raised.

    The noise of air reaches down to what `lowdose` takes for padding; a voxel in a million does.
    """
    hu = np.rint(scan.hu)
    n_clipped = int(np.count_nonzero(hu < PADDING_BELOW_HU))
    stored = np.clip(hu, PADDING_BELOW_HU, 32767).astype(np.int16)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ scan.affine[:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(stored.transpose(2, 1, 0), affine, dtype=np.int16)
    image.header.set_xyzt_units("mm")
    with written_whole(path) as temporary:
        temporary.write_bytes(image.to_bytes())
    return n_clipped


def read_volume(path: Path) -> Volume:
    """The values of what `write_volume` wrote, float32 `[z, y, x]`."""
    return np.ascontiguousarray(np.asarray(nibabel.load(path).dataobj, np.float32).transpose(2, 1, 0))
