"""The scans: twins made with `lowdose simulate`, low-dose scans at hand, and pairs to test on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from experiments import GAIN, L143, LEARNED_FROM, MAYO, REAL, SARCOMA, Patients, Study

from lowdose.io import open_input
from lowdose.quality.comparison import align
from lowdose.scan import Scan
from lowdose.training.manifest import Row, write_manifest


@dataclass(frozen=True)
class Pair:
    """One scan at its dose and at a quarter of it, slice by slice."""

    name: str
    full: Scan
    low: Scan
    new: tuple[int, ...] | None = None
    """Slices that noise was not learned from; None where that is all of them."""


class Scans:
    """Where everything is."""

    def __init__(self, study: Study, root: Path, work: Path) -> None:
        self.study, self.root, self.work = study, root, work

    @property
    def patients(self) -> Patients:
        return self.study.patients

    @property
    def manifest(self) -> Path:
        """Of the true pairs of those patients whose low-dose scans are at hand."""
        return self.work / "pairs.csv"

    def full_of(self, patient: str) -> Path:
        return self.root / SARCOMA / patient / "CT"

    def low_of(self, patient: str) -> Path:
        """The scan of a patient of the twin at a quarter of its dose."""
        return self.work / "low-dose" / patient

    def make(self) -> None:
        """Simulate what is missing, and write the manifest."""
        wanted = (*self.patients.low_dose, *self.patients.test)
        for index, patient in enumerate(wanted):
            out = self.low_of(patient)
            if out.is_dir():
                continue
            print(f"{patient} at 1/{GAIN:g} of its dose ({index + 1} of {len(wanted)})", flush=True)
            made = out.with_name(f"{patient}.part")
            shutil.rmtree(made, ignore_errors=True)
            words = ["simulate", self.full_of(patient), made, "--dose", 1.0 / GAIN, "--seed", index + 1]
            subprocess.run([sys.executable, "-m", "lowdose", *map(str, words)], check=True)
            made.rename(out)
        rows = [
            Row(
                scan=path.resolve(),
                patient=patient,
                dose=dose,
                split="validation" if patient in self.patients.validation else "training",
            )
            for patient in self.patients.low_dose
            for dose, path in (("low", self.low_of(patient)), ("high", self.full_of(patient)))
        ]
        write_manifest(self.manifest, rows)

    def at_hand(self, experiment: str) -> Iterator[Scan]:
        """The low-dose scans that noise is learned from, one after the other; their partners stay closed."""
        if experiment == REAL:
            with only_scan(self.root / MAYO / "quarter") as scan:
                yield some_slices(scan, range(len(scan))[LEARNED_FROM])
            return
        for patient in self.patients.low_dose:
            with only_scan(self.low_of(patient)) as scan:
                yield scan

    def pairs(self, experiment: str) -> Iterator[Pair]:
        """What is tested on: patients of the twin, or the real pair."""
        if experiment == REAL:
            pair = _pair(L143, self.root / MAYO / "full", self.root / MAYO / "quarter")
            places = range(len(pair.full))
            yield replace(pair, new=tuple(sorted({*places} - {*places[LEARNED_FROM]})))
            return
        for patient in self.patients.test:
            yield _pair(patient, self.full_of(patient), self.low_of(patient))


def _pair(name: str, full_path: Path, low_path: Path) -> Pair:
    with only_scan(full_path) as full, only_scan(low_path) as low:
        return Pair(name, in_memory(full), in_memory(align(full, low, f"{name} at a quarter")))


@contextmanager
def only_scan(path: Path) -> Iterator[Scan]:
    """The one usable CT series of a folder; masks beside it don't count."""
    with open_input(path) as opened:
        scans = [case.scan for case in opened.cases if case.scan is not None]
        if len(scans) != 1:
            raise SystemExit(f"{path}: holds {len(scans)} usable CT series, not one; mend the folder")
        yield scans[0]


def in_memory(scan: Scan) -> Scan:
    """The scan, each slice read once."""
    slices = list(scan)
    return replace(scan, read=lambda z: slices[z])


def some_slices(scan: Scan, places: Sequence[int]) -> Scan:
    """Slices `places` of `scan` in memory, as if they lay side by side."""
    shape = (len(places), *scan.shape[1:])
    return in_memory(replace(scan, shape=shape, read=lambda k: scan.read(places[k])))
