"""Outlines of a DICOM RT structure set, as lesions of a scan."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from lowdose.io.origin import COPY_AGAIN, InputError, one_line
from lowdose.io.scan_grid import ScanGrid

RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
MOST_POINTS = 100_000
"""Of one outline."""
PLANAR = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")


def add_structures(dataset: Dataset, grid: ScanGrid) -> None:
    """Add the outlines of every region that is a lesion; only closed planar ones count.

    Raises InputError for a damaged set.
    """
    names = {
        int(one.ROINumber): one_line(str(one.get("ROIName", "")))
        for one in dataset.get("StructureSetROISequence", ())
    }
    for region in dataset.get("ROIContourSequence", ()):
        number = int(region.ReferencedROINumber)
        kind = grid.kind_of(names.get(number) or f"region {number}")
        if kind is None:
            continue
        for outline in region.get("ContourSequence", ()):
            if outline.get("ContourGeometricType") in PLANAR:
                grid.add(kind, _points(outline, grid.label))


def _points(outline: Dataset, label: str) -> np.ndarray:
    try:
        values = np.asarray([float(value) for value in outline.ContourData], np.float64)
    except (TypeError, ValueError, AttributeError):
        values = np.full(1, np.nan)
    if len(values) % 3 or not len(values) or len(values) > 3 * MOST_POINTS or not np.isfinite(values).all():
        raise InputError(f"{label} has an outline whose points are no numbers in threes; {COPY_AGAIN}")
    return values.reshape(-1, 3)
