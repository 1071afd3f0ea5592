"""Derived series: the source's files with new pixels, written slice by slice, whole or not at all."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from lowdose import __version__
from lowdose.io.derivation import IMPLEMENTATION_UID, Derivation, derived_header, element_text, new_uid
from lowdose.io.nifti import is_nifti_name, write_nifti, write_volume
from lowdose.io.origin import DicomOrigin, InputError, NiftiOrigin, TiffOrigin, one_line
from lowdose.io.output import (
    OutputError,
    Written,
    check_output,
    checked_slice,
    clipping_notes,
    explained,
    whole_file,
    whole_folder,
)
from lowdose.scan import Scan

__all__ = ["Derivation", "OutputError", "Written", "write_derived"]


def write_derived(
    scan: Scan, output: Path, derivation: Derivation, *, on_slice: Callable[[int], None] | None = None
) -> Written:
    """Write `scan` as its source's kind, or as NIfTI where `output` is named *.nii or *.nii.gz.

    Slices are read once, in order, and written as they come, so any length needs the memory of a few slices.
    `on_slice(z)` is called after each. DICOM makes `output` a folder of files (a scan of one slice may be a
    single file named *.dcm), NIfTI a file, or a folder holding one file, TIFF what its source is. On any
    failure nothing is left.

    InputError if the source cannot be read or must not be derived from; OutputError if the output cannot be
    written or a slice holds values that are no numbers.
    """
    if is_nifti_name(output):
        return write_nifti(scan, output, on_slice, description=derivation.marker)
    if isinstance(scan.origin, NiftiOrigin):
        return _write_nifti_folder(scan, output, derivation, on_slice)
    if isinstance(scan.origin, TiffOrigin):
        _refuse_dicom(output, "TIFF")
        from lowdose.io.tiff import write_tiff  # tifffile, which DICOM need not wait for

        return write_tiff(scan, output, on_slice)
    if not isinstance(scan.origin, DicomOrigin):
        raise OutputError(
            f"{output} cannot be written: {scan.name} has no files behind it; "
            "name the output *.nii or *.nii.gz"
        )
    if len(scan.origin.paths) != len(scan):
        raise ValueError(f"{len(scan.origin.paths)} files for {len(scan)} slices")
    check_output(output, scan.origin.paths)
    series = _Series(derivation, output, new_uid(), datetime.now().astimezone())
    if output.suffix.lower() == ".dcm":
        if len(scan) != 1:
            raise OutputError(f"{output} is named as one file for {len(scan)} slices; name a folder instead")
        with whole_file(output) as temporary:
            n_clipped, bounds = _write_slice(scan, 0, temporary, series, on_slice)
    else:
        n_clipped, bounds = 0, (0, 0)
        with whole_folder(output) as folder:
            for z in range(len(scan)):
                clipped, bounds = _write_slice(scan, z, folder / f"{z + 1:04d}.dcm", series, on_slice)
                n_clipped += clipped
    notes = clipping_notes(n_clipped, math.prod(scan.shape), *bounds)
    return Written(output, len(scan), n_clipped, str(series.uid), notes)


def _write_nifti_folder(
    scan: Scan, output: Path, derivation: Derivation, on_slice: Callable[[int], None] | None
) -> Written:
    """A NIfTI volume in a folder of its own, compressed if its source is."""
    _refuse_dicom(output, "NIfTI")
    check_output(output, [scan.origin.path])
    name = "volume.nii.gz" if scan.origin.path.name.lower().endswith(".gz") else "volume.nii"
    with whole_folder(output) as folder:
        written = write_volume(scan, folder / name, on_slice, derivation.marker)
    return replace(written, path=output / name)


def _refuse_dicom(output: Path, kind: str) -> None:
    if output.suffix.lower() in {".dcm", ".dicom", ".ima"}:
        raise OutputError(
            f"{output} cannot be written: DICOM cannot be made from {kind}, which has no patient, study or "
            "acquisition; name the output *.nii or *.nii.gz"
        )


@dataclass(frozen=True)
class _Series:
    """What all instances of one derived series share."""

    derivation: Derivation
    output: Path
    uid: UID
    started: datetime


def _write_slice(
    scan: Scan, z: int, path: Path, series: _Series, on_slice: Callable[[int], None] | None
) -> tuple[int, tuple[int, int]]:
    """Write slice `z`; the number of clipped values, and the range that they were clipped to."""
    source = scan.origin.paths[z]
    # The header comes first: a source that must not be derived from costs no computing.
    with _faults_of(source):
        header = derived_header(
            source, series.derivation, series.uid, series.started, lossy=scan.origin.lossy
        )
    hu = checked_slice(scan, z).hu
    with _faults_of(source):
        stored, n_clipped, bounds = _stored_values(hu, header)
        encoded = encoded_file(header, stored)
    with explained(series.output), path.open("xb") as file:
        file.write(encoded)
        file.flush()
        os.fsync(file.fileno())
    if on_slice is not None:
        on_slice(z)
    return n_clipped, bounds


_FAULTS = (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError)
"""What pydicom raises on values that it cannot read or write again."""


@contextmanager
def _faults_of(source: Path) -> Iterator[None]:
    """Name the source where its header holds what cannot be carried over; pydicom's warnings stay quiet."""
    try:
        with config.disable_value_validation():
            yield
    except _FAULTS as error:
        raise InputError(
            f"{one_line(str(source))} has a header that cannot be carried over to a derived image "
            f"({one_line(str(error), 120)}); repair it or leave this series aside"
        ) from error


def _stored_values(hu: NDArray[np.float32], header: Dataset) -> tuple[NDArray[Any], int, tuple[int, int]]:
    """Stored values for `hu`, how many were clipped, and the range they were clipped to.

    Rounds half to even with the slice's own slope and intercept, in double precision: HU that were read
    from the source and not changed give the source's stored values exactly.
    """
    slope = float(element_text(header, "RescaleSlope"))
    intercept = float(element_text(header, "RescaleIntercept"))
    bits, allocated, signed = header.BitsStored, header.BitsAllocated, header.PixelRepresentation == 1
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    stored = hu.astype(np.float64)
    stored -= intercept
    stored /= slope
    np.rint(stored, out=stored)
    n_clipped = 0
    if stored.size and (stored.min() < low or stored.max() > high):
        n_clipped = int(np.count_nonzero((stored < low) | (stored > high)))
        np.clip(stored, low, high, out=stored)
    kind = f"<{'i' if signed else 'u'}{allocated // 8}"
    return stored.astype(kind), n_clipped, (low, high)


def encoded_file(header: Dataset, stored: NDArray[Any]) -> bytes:
    """The file's bytes, Explicit VR Little Endian, uncompressed."""
    if stored.shape != (header.Rows, header.Columns):
        raise ValueError(f"{header.Rows} x {header.Columns} pixels for a slice of {stored.shape}")
    pixels = stored.tobytes()
    header.add(DataElement(0x7FE00010, "OW", pixels + b"\0" * (len(pixels) % 2)))
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = f"LOWDOSE_{__version__}"[:16]
    header.file_meta = meta
    header.preamble = b"\0" * 128
    buffer = BytesIO()
    dcmwrite(buffer, header, implicit_vr=False, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()
