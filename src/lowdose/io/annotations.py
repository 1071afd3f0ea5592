"""Annotations of a scan: DICOM segmentations and structure sets, XML of LIDC-IDRI, label maps in NIfTI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lowdose.io.dicom import read_dataset
from lowdose.io.lidc import readings_of
from lowdose.io.nifti import is_nifti_name, read_nifti
from lowdose.io.origin import InputError, one_line
from lowdose.io.rtstruct import RT_STRUCTURE_SET, add_structures
from lowdose.io.scan_grid import ScanGrid, corners
from lowdose.io.segmentation import SEGMENTATION, add_segments
from lowdose.lesions import Lesion, boxes_of_mask, consensus, linked
from lowdose.scan import Scan

KNOWN = "a DICOM segmentation or structure set, XML of LIDC-IDRI or a label map in NIfTI"


@dataclass(frozen=True)
class Annotated:
    """The lesions of a scan, and sentences about what was left aside."""

    lesions: tuple[Lesion, ...]
    notes: tuple[str, ...]


def read_annotations(
    path: Path, scan: Scan, kinds: Mapping[str, str] | None = None, *, at_least: int = 3
) -> Annotated:
    """The lesions that a file marks in `scan`, whose place in the patient counts, not its UID.

    So the annotations of a scan are also those of its simulated or denoised series. `kinds` gives the kind of
    lesion by a pattern for names of regions or segments, or for the values of a label map; without it every
    region is a lesion, its name its kind (`lesion` in a label map). Of the readers of an LIDC-IDRI file
    `at_least` must agree, or all where there are fewer. Raises InputError for a file that is nothing of the
    kind, is damaged, does not fit the scan or marks nothing in it.
    """
    label = one_line(str(path))
    if not path.is_file():
        raise InputError(f"{label} is no file; give {KNOWN}")
    grid = ScanGrid(scan, label, kinds or {})
    notes: tuple[str, ...] = ()
    if path.suffix.lower() == ".xml":
        readings, notes = readings_of(path, grid)
        agreeing = min(at_least, len(readings))
        lesions = consensus(readings, agreeing) if readings else ()
    else:
        if is_nifti_name(path):
            _add_label_map(path, grid)
        else:
            _add_dicom(path, grid)
        lesions = tuple(one for kind, boxes in grid.boxes.items() for one in linked(boxes, kind))
    notes = (*notes, *grid.notes())
    if not lesions:
        why = f" ({'; '.join(notes)})" if notes else ""
        raise InputError(f"{label} marks no lesion in {scan.name}{why}; leave it out or give another one")
    return Annotated(lesions, notes)


def _add_dicom(path: Path, grid: ScanGrid) -> None:
    dataset = read_dataset(path)
    kind = str(dataset.get("SOPClassUID", ""))
    if kind == RT_STRUCTURE_SET:
        add_structures(dataset, grid)
    elif kind == SEGMENTATION:
        add_segments(path, dataset, grid)
    else:
        raise InputError(f"{grid.label} marks no lesions: it is neither {KNOWN}")


def _add_label_map(path: Path, grid: ScanGrid) -> None:
    labels = read_nifti(path)
    for z in range(len(labels)):
        values = labels.read(z).hu
        for value in np.unique(values[values > 0]):
            name = f"{value:g}" if grid.kinds else "lesion"
            kind = grid.kind_of(name)
            for box in boxes_of_mask(values == value) if kind is not None else ():
                grid.add(str(kind), corners(labels.affine, box, z))
