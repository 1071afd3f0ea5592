"""The gate: whole files pass, everything else is refused in one sentence, quickly and in little memory."""

from __future__ import annotations

import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from lowdose.io.dicom import MAX_INFLATED_BYTES, MAX_NESTING, NotDicomError, read_dataset, read_header
from lowdose.io.header import FaultySlice, NotAScan, SliceHeader, read_slice_header
from lowdose.io.origin import InputError
from lowdose.io.pixels import read_slice
from tests.io.ct_factory import compress, ct_slice, disc, save

WHEEL = Path(pydicom.__file__).parent / "data" / "test_files"
READABLE = ("693_J2KI.dcm", "CT_small.dcm", "J2K_pixelrep_mismatch.dcm")
SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGLSLossless,
]


def sentence_about(path: Path) -> str | None:
    """Why the file gives no CT slice, None if it gives one; nothing but InputError may be raised."""
    try:
        header = read_slice_header(path, path.name, {})
        if isinstance(header, NotAScan):
            return header.reason
        if isinstance(header, FaultySlice):
            return header.sentence
        read_slice(header)
    except InputError as error:
        return str(error)
    return None


def usable(path: Path) -> bool:
    return sentence_about(path) is None


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def saved_as(path: Path, syntax: str) -> Path:
    ds = ct_slice(disc(16, 17))
    if syntax == JPEGLSLossless:
        return save(compress(ds, syntax), path)
    return save(ds, path, syntax)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_header_is_all_that_stands_before_the_pixels(tmp_path: Path, syntax: str) -> None:
    path = saved_as(tmp_path / "a", syntax)
    dataset, pixels = read_header(path)
    assert dataset.PatientID == "P1"
    assert dataset.RescaleIntercept == -1024
    assert "PixelData" not in dataset
    assert pixels is not None
    assert pixels.deflated == (syntax == DeflatedExplicitVRLittleEndian)
    assert pixels.length == (None if syntax == JPEGLSLossless else 16 * 17 * 2)
    assert read_dataset(path).SOPInstanceUID == dataset.SOPInstanceUID


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_no_truncation_passes(tmp_path: Path, syntax: str) -> None:
    whole = saved_as(tmp_path / "whole", syntax).read_bytes()
    assert usable(tmp_path / "whole")
    cuts = {*range(0, len(whole), max(1, len(whole) // 150)), *range(len(whole) - 12, len(whole))}
    passed = {cut for cut in cuts if usable(written(tmp_path / "cut", whole[:cut]))}
    # A deflated file is padded to an even length, and is whole without its padding.
    assert passed <= ({len(whole) - 1} if syntax == DeflatedExplicitVRLittleEndian else set())


def test_no_truncation_of_a_scanners_file_passes(tmp_path: Path) -> None:
    whole = (WHEEL / "CT_small.dcm").read_bytes()  # has an element behind its pixels
    assert usable(WHEEL / "CT_small.dcm")
    cuts = {*range(0, len(whole), 211), *range(len(whole) - 140, len(whole))}
    # A cut right behind the pixels leaves a whole file.
    end_of_pixels = 6300 + 128 * 128 * 2
    passed = {cut for cut in cuts if usable(written(tmp_path / "cut", whole[:cut]))}
    assert passed <= {end_of_pixels}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_flipped_bytes_raise_nothing_but_input_errors(tmp_path: Path, syntax: str) -> None:
    whole = saved_as(tmp_path / "whole", syntax).read_bytes()
    rng = np.random.default_rng(1)
    n_refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(128, len(whole), 3):
            damaged[place] = rng.integers(256)
        n_refused += not usable(written(tmp_path / "damaged", bytes(damaged)))
    assert n_refused > 10


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "a.dcm is an empty file; leave this file out"),
        (b"x", "a.dcm is not a DICOM file (no mark DICM at byte 128); leave this file out"),
        (b"<html>" * 100, "a.dcm is not a DICOM file (no mark DICM at byte 128); leave this file out"),
        (b"\0" * 128 + b"DICM", "not a CT image: a DICOM file that does not say what it is"),
    ],
)
def test_what_is_no_image_is_named_so(tmp_path: Path, content: bytes, reason: str) -> None:
    assert sentence_about(written(tmp_path / "a.dcm", content)) == reason


def test_a_file_without_preamble_is_not_guessed_at() -> None:
    with pytest.raises(NotDicomError, match="no mark DICM at byte 128"):
        read_header(WHEEL / "no_meta.dcm")


def test_trailing_zero_bytes_are_no_harm(tmp_path: Path) -> None:
    whole = saved_as(tmp_path / "whole", ExplicitVRLittleEndian).read_bytes()
    assert usable(written(tmp_path / "padded", whole + b"\0"))
    assert not usable(written(tmp_path / "garbage", whole + b"\xfc\xff\xfc"))


def element(tag: int, vr: bytes, length: int, value: bytes = b"") -> bytes:
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, length) + value


def with_element_in_front(tmp_path: Path, content: bytes) -> Path:
    """A CT file whose first data element behind the meta group is `content`."""
    whole = saved_as(tmp_path / "whole", ExplicitVRLittleEndian).read_bytes()
    start = whole.index(b"\x08\x00\x08\x00CS")
    return written(tmp_path / "hostile.dcm", whole[:start] + content + whole[start:])


ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
NESTED = element(0x00080001, b"SQ", 0xFFFFFFFF) + ITEM
HOSTILE = {
    "a length beyond the file": element(0x00080001, b"UN", 0xFFFFFFF0),
    "a length beyond the file in a wanted element": element(0x00080008, b"UT", 0x7FFFFFF0),
    "an undefined length without end": element(0x00080001, b"OB", 0xFFFFFFFF),
    "nested sequences": NESTED * 10_000,
    "nested items of unknown kind": (element(0x00090001, b"UN", 0xFFFFFFFF) + ITEM) * 10_000,
    "too many elements": b"".join(struct.pack("<HH2sH", 9, i, b"CS", 0) for i in range(0x10, 0xFFFF)) * 3,
    "too many elements in a sequence": element(0x00080001, b"SQ", 0xFFFFFFFF)
    + ITEM
    + b"".join(struct.pack("<HH2sH", 9, i, b"CS", 0) for i in range(0x10, 0xFFFF)) * 3,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_headers_are_refused_quickly(tmp_path: Path, kind: str) -> None:
    path = with_element_in_front(tmp_path, HOSTILE[kind])
    started = time.thread_time()  # other threads of the process may still be spinning
    sentence = sentence_about(path)
    assert time.thread_time() - started < 2
    assert sentence is not None
    assert sentence.startswith("hostile.dcm has ")


def nested(levels: int) -> bytes:
    """Sequences of undefined length, each in the one before, closed as they should be."""
    ends = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return NESTED * levels + ends * levels


def test_sequences_may_be_nested_64_deep(tmp_path: Path) -> None:
    assert usable(with_element_in_front(tmp_path, nested(MAX_NESTING)))
    assert sentence_about(with_element_in_front(tmp_path, nested(MAX_NESTING + 1))) == (
        "hostile.dcm has sequences nested more than 64 deep; leave this file out"
    )


def test_many_sequences_side_by_side_are_not_nested(tmp_path: Path) -> None:
    assert usable(with_element_in_front(tmp_path, nested(1) * (MAX_NESTING + 1)))


def test_a_length_that_lies_allocates_nothing(tmp_path: Path) -> None:
    path = with_element_in_front(tmp_path, HOSTILE["a length beyond the file in a wanted element"])
    tracemalloc.start()
    try:
        assert not usable(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_deflate_bomb_is_not_inflated(tmp_path: Path) -> None:
    whole = saved_as(tmp_path / "whole", DeflatedExplicitVRLittleEndian).read_bytes()
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    chunk = bytes(2**20)
    bomb = b"".join(deflater.compress(chunk) for _ in range(2 * MAX_INFLATED_BYTES // len(chunk)))
    start = whole.index(b"1.2.840.10008.1.2.1.99") + 22
    length = struct.unpack("<L", whole[140:144])[0]
    path = written(tmp_path / "bomb.dcm", whole[: 144 + length] + bomb + deflater.flush())
    assert start < 144 + length
    with pytest.raises(InputError, match=r"bomb\.dcm inflates to more than"):
        read_header(path)


@pytest.mark.parametrize("path", sorted(WHEEL.glob("*.dcm")), ids=lambda path: path.name)
def test_pydicoms_odd_files_give_an_answer(path: Path) -> None:
    sentence = sentence_about(path)
    assert (sentence is None) == (path.name in READABLE)
    if sentence is None:
        header = read_slice_header(path, path.name, {})
        assert isinstance(header, SliceHeader)
        reference = pydicom.dcmread(path)
        expected = reference.pixel_array * float(reference.RescaleSlope) + float(reference.RescaleIntercept)
        np.testing.assert_array_equal(read_slice(header).hu, expected.astype(np.float32))
