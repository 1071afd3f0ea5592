"""Synthetic CT files for the whole suite: known stored values, any fault that a test asks for."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from lowdose.io.header import SliceHeader, read_slice_header
from lowdose.io.pixels import read_slice
from lowdose.scan import Slice

_ENCODERS = {RLELossless: "pydicom", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}
_CATEGORIES = 17
"""Of differences in lossless JPEG."""

Edit = Callable[[FileDataset], None]


def disc(rows: int = 16, columns: int = 16, seed: int = 0) -> NDArray[np.int16]:
    """HU of a noisy water disc in air, `[y, x]`."""
    y, x = np.mgrid[:rows, :columns]
    inside = (y - rows / 2) ** 2 + (x - columns / 2) ** 2 < (min(rows, columns) / 2.5) ** 2
    noise = np.random.default_rng(seed).normal(0, 20, (rows, columns))
    return np.where(inside, noise, -1000 + np.abs(noise) / 4).round().astype(np.int16)


def ct_slice(
    hu: NDArray[np.int16] | None = None,
    *,
    z: float = 0.0,
    number: int = 1,
    series_uid: str = "1.2.826.0.1.3680043.8.498.1",
    intercept: int = -1024,
    signed: bool = True,
    bits_stored: int = 16,
    **attributes: Any,
) -> FileDataset:
    """One axial CT slice of slope 1, explicit little endian; `attributes` are set last, None deletes one."""
    values = disc(seed=number) if hu is None else hu
    stored = values.astype(np.int32) - intercept
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.2"
    ds.SeriesInstanceUID = series_uid
    ds.FrameOfReferenceUID = "1.2.826.0.1.3680043.8.498.3"
    ds.Modality = "CT"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20200101", "120000", "1", ""
    ds.SeriesDate, ds.SeriesTime = "20200101", "120000"
    ds.AcquisitionDate, ds.AcquisitionTime = "20200101", "120000"
    ds.ContentDate, ds.ContentTime = "20200101", "120000"
    ds.ReferringPhysicianName = ""
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Test^Phantom", "P1", "", "O"
    ds.Manufacturer, ds.ManufacturerModelName = "Maker", "Scanner 1"
    ds.SeriesDescription, ds.SeriesNumber, ds.InstanceNumber = "Chest 3.0", 2, number
    ds.AcquisitionNumber = 1
    ds.PositionReferenceIndicator = ""
    ds.PatientPosition = "HFS"
    ds.BodyPartExamined, ds.ConvolutionKernel = "CHEST", "B30f"
    ds.KVP, ds.XRayTubeCurrent, ds.SliceThickness = 120, 200 + number, 3
    ds.ImagePositionPatient = [-10, -20, z]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [0.5, 0.75]
    ds.Rows, ds.Columns = values.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits_stored, bits_stored - 1
    ds.PixelRepresentation = int(signed)
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, intercept, "HU"
    set_stored(ds, stored)
    for keyword, value in attributes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def set_stored(ds: FileDataset, stored: NDArray[Any]) -> None:
    """Put stored values `[y, x]` of any range into the pixel data, modulo 2^BitsStored."""
    mask = (1 << ds.BitsStored) - 1
    words = np.asarray(stored).astype(np.int64) & mask
    if ds.PixelRepresentation == 1 and ds.BitsStored < ds.BitsAllocated:
        words = np.where(words >> (ds.BitsStored - 1), words | (~mask & 0xFFFF), words)
    ds.PixelData = words.astype("<u2" if ds.BitsAllocated == 16 else "u1").tobytes()
    if len(ds.PixelData) % 2:
        ds.PixelData += b"\0"


def save(ds: FileDataset, path: Path, syntax: str | None = None) -> Path:
    """Write `ds`, re-encoded in an uncompressed `syntax` or as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if syntax is not None:
        ds.file_meta.TransferSyntaxUID = UID(syntax)
    big_endian = ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    if big_endian:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    ds["PixelData"].VR = "OW"
    dcmwrite(
        path,
        ds,
        implicit_vr=ds.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian,
        little_endian=not big_endian,
        enforce_file_format=True,
    )
    return path


def compress(ds: FileDataset, syntax: str) -> FileDataset:
    """Compress in place; JPEG 2000 needs 32 x 32 pixels."""
    if syntax in (JPEGLossless, JPEGLosslessSV1):
        words = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
        ds.PixelData = encapsulate([lossless_jpeg(words & ((1 << ds.BitsStored) - 1), ds.BitsStored)])
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = UID(syntax)
    else:
        ds.compress(UID(syntax), encoding_plugin=_ENCODERS[syntax], generate_instance_uid=False)
    return ds


def _predicted(image: NDArray[np.int64], y: int, x: int, predictor: int, first: int, top: int) -> int:
    """Table H.1 of ITU-T T.81; `top` is the first row of the restart interval."""
    if y == top:
        return first if x == 0 else int(image[y, x - 1])
    if x == 0:
        return int(image[y - 1, 0])
    a, b, c = int(image[y, x - 1]), int(image[y - 1, x]), int(image[y - 1, x - 1])
    return (a, b, c, a + b - c, a + (b - c) // 2, b + (a - c) // 2, (a + b) // 2)[predictor - 1]


def _scan_bytes(bits: str) -> bytes:
    padded = bits + "1" * (-len(bits) % 8)
    content = bytes(int(padded[i : i + 8], 2) for i in range(0, len(padded), 8))
    return content.replace(b"\xff", b"\xff\x00")


def lossless_jpeg(
    image: NDArray[Any], precision: int, predictor: int = 1, rows_per_restart: int = 0
) -> bytes:
    """ITU-T T.81, process 14, with a Huffman code that gives every category five bits."""
    rows, columns = image.shape
    coded, bits = b"", ""
    for y in range(rows):
        top = y - y % rows_per_restart if rows_per_restart else 0
        if y and y == top:
            coded += _scan_bytes(bits) + bytes((0xFF, 0xD0 + (y // rows_per_restart - 1) % 8))
            bits = ""
        for x in range(columns):
            value = (int(image[y, x]) - _predicted(image, y, x, predictor, 1 << (precision - 1), top)) % 65536
            difference = value if value <= 32768 else value - 65536
            category = abs(difference).bit_length()
            bits += f"{category:05b}"
            if 0 < category < 16:
                low = difference if difference > 0 else difference + (1 << category) - 1
                bits += f"{low:0{category}b}"
    coded += _scan_bytes(bits)
    table = bytes((0, *(_CATEGORIES if length == 5 else 0 for length in range(1, 17)), *range(_CATEGORIES)))
    frame = struct.pack(">BHHBBBB", precision, rows, columns, 1, 1, 0x11, 0)
    segments = [(0xC4, table), (0xC3, frame)]
    if rows_per_restart:
        segments.append((0xDD, struct.pack(">H", rows_per_restart * columns)))
    segments.append((0xDA, bytes((1, 1, 0, predictor, 0, 0))))
    head = b"".join(
        bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body for marker, body in segments
    )
    return b"\xff\xd8" + head + coded + b"\xff\xd9"


def ct_series(
    folder: Path,
    n_slices: int = 5,
    *,
    spacing: float = 3.0,
    names: Sequence[str] | None = None,
    edit: Edit | None = None,
    **attributes: Any,
) -> list[Path]:
    """Write a series of discs, slice i at z = i * `spacing` and InstanceNumber i + 1; paths in order of z."""
    paths = []
    for i in range(n_slices):
        ds = ct_slice(z=i * spacing, number=i + 1, **attributes)
        if edit is not None:
            edit(ds)
        paths.append(save(ds, folder / (names[i] if names else f"IM{i:04d}.dcm")))
    return paths


def full_range(bits: int, signed: bool, seed: int = 0) -> NDArray[np.int64]:
    """Random stored values with both extremes among them, of an odd shape."""
    low = -(1 << (bits - 1)) if signed else 0
    high = low + (1 << bits) - 1
    values = np.random.default_rng(seed).integers(low, high, (37, 33), endpoint=True)
    values[0, :2] = low, high
    return values


def header_of(ds: FileDataset, folder: Path, syntax: str | None = None) -> SliceHeader:
    """The record that the survey keeps of `ds`, written to `folder` as slice.dcm."""
    found = read_slice_header(save(ds, folder / "slice.dcm", syntax), "slice.dcm", {})
    assert isinstance(found, SliceHeader), found
    return found


def slice_of(ds: FileDataset, folder: Path, syntax: str | None = None) -> Slice:
    """HU and padding that are read back from `ds`."""
    return read_slice(header_of(ds, folder, syntax))
