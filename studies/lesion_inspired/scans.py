"""The scans with their lesions: nodules inserted through the projections, tumours from their masks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from experiments import LUNG, NODULES, SARCOMA, SARCOMAS, SEED, LungScan, Study

from lowdose.io import open_input
from lowdose.io.annotations import read_annotations
from lowdose.io.coco import AnnotatedScan, write_coco
from lowdose.io.lidc import NODULE, outline_box
from lowdose.io.nifti import write_nifti
from lowdose.lesions import Box, Lesion, consensus
from lowdose.physics.dose import dose_simulator
from lowdose.physics.lesion_insertion import with_lesions
from lowdose.physics.lesion_sites import draw_lesions
from lowdose.scan import Scan

AGREEING = 2
"""Readers who make a nodule one; slices where fewer saw something are not searched."""


class Scans:
    """Where everything is, and how it comes there."""

    def __init__(self, study: Study, root: Path, work: Path) -> None:
        self.study, self.root, self.work = study, root, work

    def annotations(self, kind: str, split: str) -> Path:
        """The lesions of a set for `learning` (training and validation) or `test`."""
        return self.work / "scans" / f"{kind}-{split}.json"

    def make(self) -> None:
        """Write what is missing."""
        (self.work / "scans").mkdir(parents=True, exist_ok=True)
        study = self.study
        for split, lungs in (("learning", (*study.training, *study.validation)), ("test", study.test)):
            path = self.annotations(LUNG, split)
            if not path.exists():
                write_coco(path, [one for scan in lungs for one in self._with_nodules(scan)])
        for split in ("learning", "test"):
            path = self.annotations(SARCOMA, split)
            if not path.exists():
                write_coco(path, [self._with_tumour(name) for name in self.sarcomas(split)])

    def sarcomas(self, split: str) -> list[str]:
        """Names of the patients."""
        study = self.study
        test = _named(study.sarcoma_test)
        if split == "test":
            return test
        everyone = sorted(folder.name for folder in (self.root / SARCOMAS).glob("STS_*"))
        if study.sarcoma_training is not None:
            everyone = _named((*study.sarcoma_training, *study.sarcoma_validation))
        return [name for name in everyone if name not in test]

    def held_back(self, kind: str) -> tuple[str, ...]:
        """Patients of `learning` that are for validation."""
        if kind == SARCOMA:
            return tuple(_named(self.study.sarcoma_validation))
        return tuple(dict.fromkeys(scan.patient for scan in self.study.validation))

    def _with_nodules(self, wanted: LungScan) -> Iterator[AnnotatedScan]:
        with _only(self.root / wanted.path) as scan:
            print(f"inserting nodules: {wanted.patient} {wanted.path.name}", flush=True)
            simulator = dose_simulator(scan, seed=SEED)
            known, unsure = self._known(wanted, scan)
            searched = range(*wanted.searched) if wanted.searched else range(len(scan))
            for copy in range(wanted.copies):
                name = f"{wanted.patient}-{wanted.path.stem}-{copy}.nii"
                digest = int.from_bytes(name.encode(), "little") % 2**63
                models = draw_lesions(scan, NODULES, wanted.nodules, np.random.default_rng([SEED, digest]))
                inserted, lesions = with_lesions(simulator, models)
                path = self.work / "scans" / name
                if not path.exists():
                    write_nifti(inserted.scan, path, None, description="inserted nodules")
                places = [z for z in searched if z not in unsure]
                yield AnnotatedScan(
                    name, wanted.patient, (scan.shape[1], scan.shape[2]), tuple(places),
                    tuple(_within(lesion, places) for lesion in (*known, *lesions)),
                )  # fmt: skip

    def _known(self, wanted: LungScan, scan: Scan) -> tuple[tuple[Lesion, ...], set[int]]:
        """The nodules that readers agree on, and slices where too few saw one."""
        if wanted.known is None:
            return (), set()
        told = json.loads((self.root / "lidc_annotations.json").read_text())[wanted.known]["annotations"]
        readings = [[_reading(one, scan)] for one in told]
        agreed = consensus(readings, AGREEING)
        sure = {z for lesion in agreed for z in lesion.boxes}
        seen = {z for reading in readings for lesion in reading for z in lesion.boxes}
        return agreed, seen - sure

    def _with_tumour(self, patient: str) -> AnnotatedScan:
        folder = self.root / SARCOMAS / patient
        with _only(folder / "CT") as scan:
            found = read_annotations(folder / "mask" / "CT_mask.nii.gz", scan, {"1": "tumour"})
            source = str((folder / "CT").resolve())
            size = (scan.shape[1], scan.shape[2])
            return AnnotatedScan(source, patient, size, tuple(range(len(scan))), found.lesions)


def _named(numbers: Sequence[int]) -> list[str]:
    return [f"STS_{number:03d}" for number in numbers]


def _within(lesion: Lesion, places: Sequence[int]) -> Lesion:
    return Lesion(lesion.kind, {z: boxes for z, boxes in lesion.boxes.items() if z in places})


def _reading(annotation: dict[str, list[dict[str, str]]], scan: Scan) -> Lesion:
    """One reader's nodule from its outlines, which give columns and rows, and z in mm."""
    step, first = float(scan.affine[2, 0]), float(scan.affine[2, 3])
    boxes: dict[int, tuple[Box, ...]] = {}
    for outline in annotation["contours"]:
        z = (float(outline["image_z_position"]) - first) / step
        points = [tuple(map(float, line.split(","))) for line in outline["coords"].split()]
        if abs(z - round(z)) < 0.26 and 0 <= round(z) < len(scan) and len(points) > 1:
            columns, rows = map(list, zip(*points, strict=True))
            boxes[round(z)] = (outline_box(rows, columns),)
    return Lesion(NODULE, boxes)


@contextmanager
def _only(path: Path) -> Iterator[Scan]:
    with open_input(path) as found:
        (scan,) = (case.scan for case in found.cases if case.scan is not None)
        yield scan
