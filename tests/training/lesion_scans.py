"""Scans of bright squares in noise, whose boxes are known."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from lowdose.io.coco import AnnotatedScan, write_coco
from lowdose.lesions import Box, Lesion
from lowdose.training.dataset import PreparedImages
from lowdose.training.lesion_sampling import LesionScan

SIDE = 96
BACKGROUND, LESION = 0.0, 150.0


def squares(seed: int, n_slices: int = 4, noise: float = 10.0) -> tuple[np.ndarray, dict[int, list[Box]]]:
    """HU `[z, y, x]` and the boxes of every slice; the last slice has none."""
    generator = np.random.default_rng(seed)
    hu = np.full((n_slices, SIDE, SIDE), BACKGROUND, np.float32)
    boxes: dict[int, list[Box]] = {}
    for z in range(n_slices - 1):
        y, x = generator.integers(4, SIDE - 24, 2)
        high, wide = generator.integers(9, 17, 2)
        hu[z, y : y + high, x : x + wide] = LESION
        boxes[z] = [Box(float(y), float(x), float(y + high), float(x + wide))]
    return hu + generator.normal(0, noise, hu.shape).astype(np.float32), boxes


def lesion_scan(seed: int, patient: str = "P1", **changes) -> LesionScan:
    hu, boxes = squares(seed, **changes)
    prepared = PreparedImages(patient, 1.0, (3.0, 1.0, 1.0), np.rint(hu).astype(np.int16))
    rows = {z: np.array([(*box, 0.0) for box in found], np.float32) for z, found in boxes.items()}
    return LesionScan(prepared, tuple(range(len(hu))), rows)


def annotated_files(folder: Path, patients: tuple[str, ...] = ("A", "B", "C"), **changes) -> Path:
    """A NIfTI file for each patient and the COCO file of their lesions."""
    folder.mkdir(parents=True, exist_ok=True)
    scans = []
    for seed, patient in enumerate(patients):
        hu, boxes = squares(seed, **changes)
        image = nibabel.Nifti1Image(hu.T.astype(np.float32), np.diag([-1.0, -1.0, 3.0, 1.0]))
        nibabel.save(image, folder / f"{patient}.nii")
        lesions = tuple(Lesion("node", {z: tuple(found)}) for z, found in boxes.items())
        scans.append(AnnotatedScan(f"{patient}.nii", patient, (SIDE, SIDE), tuple(range(len(hu))), lesions))
    write_coco(folder / "lesions.json", scans)
    return folder / "lesions.json"
