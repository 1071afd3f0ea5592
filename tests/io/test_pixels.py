"""From stored bytes to HU and padding: every value exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from lowdose.io.origin import InputError
from lowdose.io.pixels import read_slice
from tests.io.ct_factory import ct_slice, disc, full_range, header_of, set_stored, slice_of

UNCOMPRESSED = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
]


@pytest.mark.parametrize("bits", [8, 10, 12, 13, 16])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", UNCOMPRESSED, ids=lambda uid: uid.name[:32])
def test_every_stored_value_comes_through(tmp_path: Path, syntax: Any, signed: bool, bits: int) -> None:
    stored = full_range(bits, signed)
    ds = ct_slice(disc(37, 33), signed=signed, bits_stored=bits)
    set_stored(ds, stored)
    hu = slice_of(ds, tmp_path, syntax).hu
    assert hu.dtype == np.float32
    np.testing.assert_array_equal(hu, stored - 1024)


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_eight_allocated_bits_and_a_padding_byte(tmp_path: Path, signed: bool) -> None:
    stored = np.arange(15).reshape(3, 5) * 17 - (128 if signed else 0)
    ds = ct_slice(disc(3, 5), signed=signed, bits_stored=8)
    ds.BitsAllocated = 8
    set_stored(ds, stored)
    assert len(ds.PixelData) == 16
    np.testing.assert_array_equal(slice_of(ds, tmp_path).hu, stored - 1024)


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_dirty_high_bits_do_not_count(tmp_path: Path, signed: bool) -> None:
    stored = full_range(12, signed)
    ds = ct_slice(disc(37, 33), signed=signed, bits_stored=12)
    set_stored(ds, stored)
    dirt = np.random.default_rng(2).integers(0, 16, stored.shape) << 12
    ds.PixelData = (
        ((np.frombuffer(ds.PixelData, "<u2").reshape(stored.shape) & 0xFFF) | dirt).astype("<u2").tobytes()
    )
    np.testing.assert_array_equal(slice_of(ds, tmp_path).hu, stored - 1024)


def test_every_slice_has_its_own_rescale(tmp_path: Path) -> None:
    stored = full_range(12, signed=False)
    ds = ct_slice(disc(37, 33), signed=False, bits_stored=12, RescaleSlope="0.3", RescaleIntercept="-1000.5")
    set_stored(ds, stored)
    np.testing.assert_array_equal(slice_of(ds, tmp_path).hu, (stored * 0.3 - 1000.5).astype(np.float32))


@pytest.mark.parametrize(
    ("signed", "bits", "padding_word", "stored_padding"),
    [(True, 16, 63536, -2000), (True, 12, 63536, -2000), (False, 16, 63536, 63536), (False, 16, 0, 0)],
)
def test_padding_is_found_whatever_the_vr_says(
    tmp_path: Path, signed: bool, bits: int, padding_word: int, stored_padding: int
) -> None:
    stored = np.full((4, 4), 1000)
    stored[0, 1:3] = stored_padding
    for vr, value in (
        ("US", padding_word),
        ("SS", padding_word - 65536 if padding_word > 32767 else padding_word),
    ):
        ds = ct_slice(disc(4, 4), signed=signed, bits_stored=bits)
        set_stored(ds, stored)
        ds.add_new("PixelPaddingValue", vr, value)
        found = slice_of(ds, tmp_path)
        np.testing.assert_array_equal(found.padding, stored == stored_padding)
        np.testing.assert_array_equal(found.hu, stored - 1024)


def test_a_range_of_padding(tmp_path: Path) -> None:
    stored = np.arange(16).reshape(4, 4)
    ds = ct_slice(disc(4, 4), signed=False)
    set_stored(ds, stored)
    ds.add_new("PixelPaddingValue", "US", 5)
    ds.add_new("PixelPaddingRangeLimit", "US", 3)
    np.testing.assert_array_equal(slice_of(ds, tmp_path).padding, (stored >= 3) & (stored <= 5))


def test_values_far_below_air_are_padding_without_any_tag(tmp_path: Path) -> None:
    hu = np.array([[-3024, -2000, -1501], [-1500, -1024, 0]], np.int16)
    found = slice_of(ct_slice(hu), tmp_path)
    np.testing.assert_array_equal(found.padding, hu < -1500)
    np.testing.assert_array_equal(found.hu, hu)


def test_padding_that_does_not_fit_its_bits_is_refused(tmp_path: Path) -> None:
    ds = ct_slice(disc(4, 4), signed=False, bits_stored=12)
    ds.add_new("PixelPaddingValue", "US", 63536)
    assert not slice_of(ds, tmp_path).padding.any()
    words = np.frombuffer(ds.PixelData, "<u2").copy()
    words[0] = 63536
    ds.PixelData = words.tobytes()
    with pytest.raises(InputError, match=r"slice\.dcm has padding that needs more than its BitsStored"):
        slice_of(ds, tmp_path)


def test_a_file_that_goes_away_is_named(tmp_path: Path) -> None:
    header = header_of(ct_slice(), tmp_path)
    (tmp_path / "slice.dcm").unlink()
    with pytest.raises(InputError, match=r"slice\.dcm cannot be read: No such file"):
        read_slice(header)
