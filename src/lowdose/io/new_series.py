"""CT series of our own making, as of virtual scanners: no source, no patient, and a header that says so."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage

from lowdose import __version__
from lowdose.io.derivation import IMPLEMENTATION_UID, new_uid
from lowdose.io.derived import encoded_file
from lowdose.io.output import (
    OutputError,
    Written,
    check_output,
    checked_slice,
    clipping_notes,
    explained,
    whole_folder,
)
from lowdose.scan import Scan

_LOW, _HIGH = -32768, 32767


@dataclass(frozen=True)
class Study:
    """What the series of one virtual examination share."""

    patient: str
    """Name and ID; letters, digits, dots and hyphens."""
    description: str
    started: datetime = field(default_factory=lambda: datetime.now().astimezone())
    uid: UID = field(default_factory=new_uid)
    frame_of_reference: UID = field(default_factory=new_uid)


def write_new_series(
    scan: Scan,
    output: Path,
    study: Study,
    *,
    number: int,
    description: str,
    on_slice: Callable[[int], None] | None = None,
) -> Written:
    """Write `scan` as a new CT series into the folder `output`, slice by slice, whole or not at all.

    HU are stored as they are, rounded half to even. OutputError if the folder cannot be written, or a slice
    holds values that are no numbers.
    """
    check_output(output, [])
    uid, n_clipped = new_uid(), 0
    with whole_folder(output) as folder:
        for z in range(len(scan)):
            stored = np.rint(checked_slice(scan, z).hu)
            n_clipped += int(np.count_nonzero((stored < _LOW) | (stored > _HIGH)))
            header = _header(scan, z, study, uid, number, description)
            encoded = encoded_file(header, stored.clip(_LOW, _HIGH).astype("<i2"))
            with explained(output), (folder / f"{z + 1:04d}.dcm").open("xb") as file:
                file.write(encoded)
                file.flush()
                os.fsync(file.fileno())
            if on_slice is not None:
                on_slice(z)
    notes = clipping_notes(n_clipped, math.prod(scan.shape), _LOW, _HIGH)
    return Written(output, len(scan), n_clipped, str(uid), notes)


def _header(scan: Scan, z: int, study: Study, series: UID, number: int, description: str) -> Dataset:
    axes = scan.affine[:3, :3] / np.linalg.norm(scan.affine[:3, :3], axis=0)
    if abs(np.linalg.det(axes)) < 1 - 1e-6:
        raise OutputError(f"{scan.name} is sheared, which a DICOM series cannot be; write NIfTI instead")
    origin = scan.affine @ np.array([z, 0.0, 0.0, 1.0])
    d_z, d_y, d_x = scan.spacing
    made, acquisition = datetime.now(study.started.tzinfo), scan.acquisition
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.InstanceCreationDate, header.InstanceCreationTime = (
        made.strftime("%Y%m%d"),
        made.strftime("%H%M%S"),
    )
    header.InstanceCreatorUID = IMPLEMENTATION_UID
    header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, new_uid()
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(header, keyword, study.started.strftime("%Y%m%d"))
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(header, keyword, study.started.strftime("%H%M%S"))
    header.AccessionNumber, header.ReferringPhysicianName = "", ""
    header.Modality, header.Manufacturer = "CT", acquisition.manufacturer or "lowdose"
    header.ManufacturerModelName = (acquisition.model or "virtual scanner")[:64]
    header.SoftwareVersions, header.DeviceSerialNumber = __version__, "virtual"
    header.StudyDescription, header.SeriesDescription = study.description[:64], description[:64]
    header.PatientName, header.PatientID = f"{study.patient[:60]}^", study.patient[:64]
    header.PatientBirthDate, header.PatientSex = "", ""
    header.QualityControlSubject = "YES"
    header.Laterality = ""
    header.SliceThickness = _decimal(acquisition.slice_thickness or d_z)
    header.KVP = "" if acquisition.kvp is None else _decimal(acquisition.kvp)
    if acquisition.source_to_detector is not None and acquisition.source_to_axis is not None:
        header.DistanceSourceToDetector = _decimal(acquisition.source_to_detector)
        header.DistanceSourceToPatient = _decimal(acquisition.source_to_axis)
    if acquisition.kernel:
        header.ConvolutionKernel = acquisition.kernel[:16]
    header.PatientPosition = "HFS"
    header.StudyInstanceUID, header.SeriesInstanceUID = study.uid, series
    header.StudyID, header.SeriesNumber, header.AcquisitionNumber = "1", number, number
    header.InstanceNumber = z + 1
    header.ImagePositionPatient = [_decimal(value) for value in origin[:3]]
    header.ImageOrientationPatient = [_decimal(value) for value in (*axes[:, 2], *axes[:, 1])]
    header.FrameOfReferenceUID, header.PositionReferenceIndicator = study.frame_of_reference, ""
    header.SliceLocation = _decimal(origin[2])
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    _, header.Rows, header.Columns = scan.shape
    header.PixelSpacing = [_decimal(d_y), _decimal(d_x)]
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
    header.PixelRepresentation = 1
    header.BurnedInAnnotation = "NO"
    header.RescaleIntercept, header.RescaleSlope, header.RescaleType = "0", "1", "HU"
    header.WindowCenter, header.WindowWidth = "40", "400"
    return header


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters."""
    return f"{float(value):.10g}" if abs(value) >= 1e-9 else "0"
