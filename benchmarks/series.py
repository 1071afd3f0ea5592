"""Long uncompressed CT series to measure with: a noisy phantom, or a real series repeated."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.ndimage import gaussian_filter

MATRIX = 512
N_IMAGES = 16
"""Different images of a phantom series; longer series repeat them under headers of their own."""
NOISE_HU = 25.0
_SPACING_MM = 0.75
_THICKNESS_MM = 1.0

PHANTOM = (
    f"{MATRIX} x {MATRIX} uncompressed slices of an elliptical phantom (fat, soft tissue, lungs, spine) with "
    f"{NOISE_HU:g} HU of noise; {N_IMAGES} images, repeated under headers of their own"
)


def write_series(folder: Path, n_slices: int, like: Path | None = None) -> str:
    """Fill `folder` with one series of `n_slices` files; returns what it is, in words.

    Without `like` it shows the phantom. With it, that folder's DICOM files are decompressed and repeated.
    """
    folder.mkdir(parents=True)
    templates = [_phantom_slice(image) for image in range(N_IMAGES)] if like is None else _decompressed(like)
    series_uid = generate_uid()
    thickness = float(templates[0].SliceThickness or 1.0)
    for number in range(n_slices):
        # Shallow: the pixels are shared, and only elements that are replaced below differ.
        image = copy.copy(templates[number % len(templates)])
        image.SeriesInstanceUID, image.SOPInstanceUID = series_uid, generate_uid()
        image.file_meta = copy.copy(image.file_meta)
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.InstanceNumber = number + 1
        x, y, _ = templates[0].ImagePositionPatient
        image.ImagePositionPatient = [x, y, round(number * thickness, 3)]
        image.SliceLocation = round(number * thickness, 3)
        image.save_as(folder / f"{number + 1:05d}.dcm", enforce_file_format=True)
    if like is None:
        return PHANTOM
    rows, columns = templates[0].Rows, templates[0].Columns
    return f"{rows} x {columns} uncompressed slices, the {len(templates)} of a real series repeated"


def phantom(generator: np.random.Generator) -> NDArray[np.int16]:
    """HU of one slice `[y, x]`, air at -1000, with noise whose grain is a pixel or two, as in scans."""
    y, x = (np.mgrid[:MATRIX, :MATRIX] - (MATRIX - 1) / 2) * _SPACING_MM
    hu = np.full((MATRIX, MATRIX), -1000.0)
    ellipses: Sequence[tuple[float, float, float, float, float]] = (
        (0, 0, 170, 120, -100),
        (0, 0, 155, 105, 45),
        (-75, -10, 50, 65, -850),
        (75, -10, 50, 65, -850),
        (0, 75, 18, 18, 400),
    )
    for centre_x, centre_y, half_x, half_y, value in ellipses:
        hu[((x - centre_x) / half_x) ** 2 + ((y - centre_y) / half_y) ** 2 < 1] = value
    noise = gaussian_filter(generator.standard_normal(hu.shape), 0.6)
    noise *= NOISE_HU / noise.std()
    noisy: NDArray[np.float64] = np.maximum(gaussian_filter(hu, 0.8) + noise, -1024)
    return noisy.round().astype(np.int16)


def _decompressed(folder: Path) -> list[Dataset]:
    """The images below `folder`, along z, without compression."""
    images = [pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))]
    images = [image for image in images if image.get("Modality") == "CT" and "PixelData" in image]
    if not images:
        raise SystemExit(f"{folder} holds no *.dcm file with a CT image")
    for image in images:
        image.decompress(generate_instance_uid=False)
    return sorted(images, key=lambda image: float(image.ImagePositionPatient[2]))


def _phantom_slice(number: int) -> Dataset:
    """Image `number` of the phantom with the header of a classic CT slice."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.preamble = b"\0" * 128
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.StudyInstanceUID, ds.FrameOfReferenceUID = "2.25.1", "2.25.2"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20200101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "120000"
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "CT", "Phantom", "Synthetic"
    ds.StudyDescription, ds.SeriesDescription = "Benchmark", "Noisy phantom"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Benchmark^Phantom", "B1", "", "O"
    ds.ReferringPhysicianName = ds.AccessionNumber = ds.PositionReferenceIndicator = ""
    ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber, ds.PatientPosition = "1", 2, 1, "HFS"
    ds.BodyPartExamined, ds.ConvolutionKernel = "CHEST", "B30f"
    ds.KVP, ds.XRayTubeCurrent, ds.SliceThickness = 120, 200, _THICKNESS_MM
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-192, -192, 0], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [_SPACING_MM, _SPACING_MM]
    ds.Rows = ds.Columns = MATRIX
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
    stored = phantom(np.random.default_rng(number)) + np.int16(1024)
    ds.PixelData = stored.astype("<i2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds
