"""One header: a CT slice that can be used, one that can't and why, or no CT slice at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset
from pydicom.filewriter import dcmwrite

from lowdose.io.header import FaultySlice, NotAScan, PixelFormat, SliceHeader, read_slice_header
from lowdose.io.pixels import rescaled
from tests.io.ct_factory import ct_slice, header_of, save


def refusal(ds: FileDataset, folder: Path) -> str:
    found = read_slice_header(save(ds, folder / "slice.dcm"), "slice.dcm", {})
    assert isinstance(found, FaultySlice), found
    assert found.sentence.startswith("slice.dcm ")
    return found.sentence


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no slope": ({"RescaleSlope": None}, "no usable RescaleSlope"),
    "no intercept": ({"RescaleIntercept": None}, "no usable RescaleSlope and RescaleIntercept"),
    "slope 0": ({"RescaleSlope": 0}, "RescaleSlope of 0"),
    "other unit": ({"RescaleType": "MGML"}, "not in HU: its RescaleType is MGML"),
    "inverted": ({"PhotometricInterpretation": "MONOCHROME1"}, "MONOCHROME1"),
    "colour": ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "not a grey image"),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "not a grey image"),
    "no samples": ({"SamplesPerPixel": None}, "not a grey image"),
    "no rows": ({"Rows": 0}, "no rows and 16 columns"),
    "absurd rows": ({"Rows": 65535, "Columns": 65535}, "65535 rows"),
    "more rows than pixels": ({"Rows": 17}, "512 bytes of pixel data where 17 x 16 need 544"),
    "fewer rows than pixels": ({"Rows": 15}, "512 bytes of pixel data where 15 x 16 need 480"),
    "several frames": ({"NumberOfFrames": 2}, "several frames"),
    "12 allocated bits": ({"BitsAllocated": 12}, "BitsAllocated 12"),
    "32 allocated bits": ({"BitsAllocated": 32}, "BitsAllocated 32"),
    "high bit": ({"BitsStored": 12}, "HighBit 15"),
    "no sign": ({"PixelRepresentation": None}, "PixelRepresentation None"),
    "no position": ({"ImagePositionPatient": None}, "ImagePositionPatient"),
    "no orientation": ({"ImageOrientationPatient": None}, "ImageOrientationPatient"),
    "skew orientation": ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "not two perpendicular"),
    "no pixel spacing": ({"PixelSpacing": None}, "PixelSpacing"),
    "pixel spacing 0": ({"PixelSpacing": [0, 1]}, "PixelSpacing"),
    "no series": ({"SeriesInstanceUID": None}, "SeriesInstanceUID"),
    "no study": ({"StudyInstanceUID": None}, "StudyInstanceUID"),
    "empty study": ({"StudyInstanceUID": ""}, "StudyInstanceUID"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_header_has_its_sentence(tmp_path: Path, fault: str) -> None:
    attributes, words = FAULTS[fault]
    assert words in refusal(ct_slice(**attributes), tmp_path)


@pytest.mark.parametrize("uid", [None, ""])
def test_an_image_without_a_uid_of_its_own_is_refused(tmp_path: Path, uid: str | None) -> None:
    """A derived image would refer to nothing."""
    ds = ct_slice(SOPInstanceUID=uid)
    dcmwrite(tmp_path / "slice.dcm", ds, implicit_vr=False, little_endian=True)
    found = read_slice_header(tmp_path / "slice.dcm", "slice.dcm", {})
    assert isinstance(found, FaultySlice)
    assert "does not say which image it is (SOPInstanceUID)" in found.sentence


def test_an_image_that_another_program_derived_is_a_slice_like_any_other(tmp_path: Path) -> None:
    """pydicom rewrites elements of the header when a sequence in it is looked into."""
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113040", "DCM", "Lossy Compression"
    plain = header_of(ct_slice(), tmp_path)
    derived = header_of(ct_slice(DerivationCodeSequence=[code]), tmp_path)
    assert derived.format == plain.format
    assert derived.facts == plain.facts


@pytest.mark.parametrize("text", [b"nan ", b"abc ", b"1,0 ", b"inf "])
def test_a_slope_that_is_no_number_is_refused(tmp_path: Path, text: bytes) -> None:
    path = save(ct_slice(RescaleSlope="1.25"), tmp_path / "slice.dcm")
    content = path.read_bytes()
    assert content.count(b"1.25") == 1
    path.write_bytes(content.replace(b"1.25", text))
    found = read_slice_header(path, "slice.dcm", {})
    assert isinstance(found, FaultySlice)
    assert "no usable RescaleSlope" in found.sentence


def test_a_slope_that_hu_cannot_resolve_is_refused(tmp_path: Path) -> None:
    sentence = refusal(ct_slice(RescaleSlope="0.00001", RescaleIntercept="-1024"), tmp_path)
    assert "RescaleSlope of 1e-05" in sentence


@given(
    slope=st.floats(1e-6, 1e3) | st.floats(-1e3, -1e-6),
    intercept=st.floats(-1e5, 1e5),
    bits=st.integers(8, 16),
    signed=st.booleans(),
)
def test_what_is_accepted_can_be_turned_back_into_stored_values(
    tmp_path_factory: pytest.TempPathFactory, slope: float, intercept: float, bits: int, signed: bool
) -> None:
    ds = ct_slice(
        signed=signed, bits_stored=bits, RescaleSlope=f"{slope:.9g}", RescaleIntercept=f"{intercept:.9g}"
    )
    found = read_slice_header(save(ds, tmp_path_factory.getbasetemp() / "rescale.dcm"), "rescale.dcm", {})
    low = -(1 << (bits - 1)) if signed else 0
    stored = np.arange(low, low + (1 << bits))
    slope, intercept = float(ds.RescaleSlope), float(ds.RescaleIntercept)
    hu = rescaled(stored, slope, intercept).astype(np.float64)
    exact = np.array_equal(np.rint((hu - intercept) / slope), stored)
    if isinstance(found, SliceHeader):
        assert exact
    else:
        assert isinstance(found, FaultySlice)
        assert "single precision" in found.sentence


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    ds = ct_slice()
    path = save(ds, tmp_path / "slice.dcm")
    content = path.read_bytes().replace(b"\xe0\x7f\x10\x00OW", b"\xe0\x7f\x08\x00OF")
    path.write_bytes(content)
    found = read_slice_header(path, "slice.dcm", {})
    assert isinstance(found, FaultySlice)
    assert found.sentence.startswith("slice.dcm has floating-point pixel data")


LEFT_ASIDE: dict[str, tuple[dict[str, Any], str]] = {
    "localizer": ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
    "scout": ({"ScanOptions": "SCOUT MODE"}, "localizer"),
    "MIP": ({"ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "MIP"),
    "MPR": ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "CSA MPR"]}, "MPR"),
    "projection": ({"ImageType": ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]}, "PROJECTION"),
    "virtual mono": ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "MONO_70"]}, "MONO"),
    "PET": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.128"}, "Positron Emission Tomography"),
    "MR": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "MR Image Storage"),
    "secondary capture": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "Secondary Capture"),
    "structured report": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67"}, "Radiation Dose SR"),
    "enhanced CT": (
        {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"},
        "enhanced (multi-frame) CT is not supported",
    ),
    "other modality": ({"Modality": "PT"}, "modality is PT"),
}


@pytest.mark.parametrize("kind", LEFT_ASIDE)
def test_what_is_no_scan_is_left_aside(tmp_path: Path, kind: str) -> None:
    attributes, words = LEFT_ASIDE[kind]
    found = read_slice_header(save(ct_slice(**attributes), tmp_path / "slice.dcm"), "slice.dcm", {})
    assert isinstance(found, NotAScan), found
    assert words in found.reason


@pytest.mark.parametrize(
    "image_type",
    [
        ["DERIVED", "PRIMARY", "AXIAL"],
        ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 SPI"],
        ["ORIGINAL", "PRIMARY", "AXIAL", "HELIX"],
        None,
    ],
)
def test_derived_axial_slices_are_scans(tmp_path: Path, image_type: list[str] | None) -> None:
    assert header_of(ct_slice(ImageType=image_type), tmp_path).facts.orientation == (1, 0, 0, 0, 1, 0)


def test_an_unknown_character_set_is_tolerated(tmp_path: Path) -> None:
    path = save(ct_slice(SpecificCharacterSet="ISO_IR 192"), tmp_path / "slice.dcm")
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 192", b"ISO_IR 999"))
    found = read_slice_header(path, "slice.dcm", {})
    assert isinstance(found, SliceHeader)
    assert found.facts.description == "Chest 3.0"


def test_equal_facts_are_held_once(tmp_path: Path) -> None:
    pool: dict[Any, Any] = {}
    found = [
        read_slice_header(save(ct_slice(z=z, number=z), tmp_path / str(z)), str(z), pool) for z in (1, 2)
    ]
    first, second = found
    assert isinstance(first, SliceHeader)
    assert isinstance(second, SliceHeader)
    assert first.facts is second.facts
    assert first.format is second.format
    assert isinstance(first.format, PixelFormat)
    assert (first.tube_current, second.tube_current) == (201, 202)


@pytest.mark.parametrize("keyword", ["KVP", "XRayTubeCurrent", "SliceThickness", "SeriesNumber"])
def test_junk_that_is_not_needed_is_no_fault(tmp_path: Path, keyword: str) -> None:
    path = save(ct_slice(SOPInstanceUID="1.2.3", **{keyword: "7531"}), tmp_path / "slice.dcm")
    content = path.read_bytes()
    assert content.count(b"7531") == 1
    path.write_bytes(content.replace(b"7531", b"junk"))
    found = read_slice_header(path, "slice.dcm", {})
    assert isinstance(found, SliceHeader)
    facts = found.facts
    values = {
        "KVP": facts.kvp,
        "XRayTubeCurrent": found.tube_current,
        "SliceThickness": facts.slice_thickness,
        "SeriesNumber": facts.series_number,
    }
    assert [name for name, value in values.items() if value is None] == [keyword]


def test_an_empty_element_of_an_unknown_vr_is_as_good_as_absent(tmp_path: Path) -> None:
    path = save(ct_slice(ManufacturerModelName=""), tmp_path / "slice.dcm")
    content = path.read_bytes()
    assert content.count(b"\x90\x10LO\0\0") == 1
    path.write_bytes(content.replace(b"\x90\x10LO\0\0", b"\x90\x10L\x87\0\0"))
    found = read_slice_header(path, "slice.dcm", {})
    assert isinstance(found, SliceHeader)
    assert found.facts.model is None
