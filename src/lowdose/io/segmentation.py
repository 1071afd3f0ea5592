"""Segments of a DICOM segmentation, as lesions of a scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from lowdose.io.origin import COPY_AGAIN, EXPORT_AGAIN, InputError, one_line
from lowdose.io.scan_grid import Floats, ScanGrid, corners
from lowdose.lesions import boxes_of_mask

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
MOST_PIXELS = 2**31
"""Of all frames together."""
HALF = 0.5
"""From this share or probability on a pixel of a fractional segment belongs to it."""


def add_segments(path: Path, header: Dataset, grid: ScanGrid) -> None:
    """Add the connected parts, frame by frame, of every segment that is a lesion.

    Binary segments, and fractional ones from a half on. Raises InputError for a damaged or a too large file,
    and for frames that do not say where they lie.
    """
    n_frames, size = int(header.get("NumberOfFrames", 0) or 0), (int(header.Rows), int(header.Columns))
    if n_frames * size[0] * size[1] > MOST_PIXELS:
        raise InputError(f"{grid.label} has more than {MOST_PIXELS} pixels; export fewer segments at once")
    kinds: dict[int, str | None] = {}
    for one in header.get("SegmentSequence", ()):
        number = int(one.SegmentNumber)
        kinds[number] = grid.kind_of(one_line(str(one.get("SegmentLabel", ""))) or f"segment {number}")
    try:
        dataset = pydicom.dcmread(path)
        frames = np.asarray(dataset.pixel_array).reshape(n_frames, *size)
    except Exception as error:  # pydicom and its decoders raise a dozen kinds
        raise InputError(f"{grid.label} has pixels that cannot be read; {COPY_AGAIN}") from error
    most = float(header.get("MaximumFractionalValue", 1) or 1)
    own = dataset.get("PerFrameFunctionalGroupsSequence", ())
    for number, (frame, groups) in enumerate(zip(frames, own, strict=False)):
        kind = kinds.get(_segment(groups, dataset, grid.label, number))
        if kind is not None:
            plane = _plane(groups, dataset, grid.label, number)
            for box in boxes_of_mask(frame >= HALF * most):
                grid.add(kind, corners(plane, box))


def _segment(groups: Dataset, dataset: Dataset, label: str, number: int) -> int:
    found = _shared_or_own(groups, dataset, "SegmentIdentificationSequence", label, number)
    return int(found.ReferencedSegmentNumber)


def _plane(groups: Dataset, dataset: Dataset, label: str, number: int) -> Floats:
    position = _shared_or_own(groups, dataset, "PlanePositionSequence", label, number)
    orientation = _shared_or_own(groups, dataset, "PlaneOrientationSequence", label, number)
    measures = _shared_or_own(groups, dataset, "PixelMeasuresSequence", label, number)
    cosines = np.array([float(value) for value in orientation.ImageOrientationPatient])
    row, column = (float(value) for value in measures.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 1], affine[:3, 2] = cosines[3:] * row, cosines[:3] * column
    affine[:3, 0] = np.cross(cosines[:3], cosines[3:])
    affine[:3, 3] = [float(value) for value in position.ImagePositionPatient]
    return affine


def _shared_or_own(groups: Dataset, dataset: Dataset, keyword: str, label: str, number: int) -> Dataset:
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    for holder in (groups, shared[0]):
        if holder.get(keyword):
            found: Dataset = holder[keyword][0]
            return found
    raise InputError(f"{label} does not say {keyword} of its frame {number + 1}; {EXPORT_AGAIN}")
