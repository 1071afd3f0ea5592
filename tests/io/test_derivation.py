"""The header of a derived image says what was done, keeps what holds and drops what is stale."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSNearLossless,
)

from lowdose.io.derivation import STATEMENT, derived_header, new_uid
from lowdose.io.derived import Derivation, write_derived
from lowdose.io.origin import InputError
from tests.io.ct_factory import ct_series, ct_slice, save
from tests.io.identity import IDENTITY, derive, scan_from


def test_the_header_says_what_was_done_and_keeps_the_rest(tmp_path: Path) -> None:
    derivation = Derivation(
        "[lowdose ct-default s0.5]", "Denoised by ct-default.", ("DN001", "Noise"), "DENOISED", 7
    )
    paths = ct_series(tmp_path / "in", 2, TimezoneOffsetFromUTC="+0530", PixelPaddingValue=-2000)
    written = write_derived(scan_from(paths), tmp_path / "out", derivation)
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == ["0001.dcm", "0002.dcm"]
    assert (written.path, written.n_slices, written.n_clipped) == (tmp_path / "out", 2, 0)
    source, derived = pydicom.dcmread(paths[1]), pydicom.dcmread(files[1])

    assert list(derived.ImageType) == ["DERIVED", "SECONDARY", "AXIAL", "", "DENOISED"]
    assert derived.SOPClassUID == source.SOPClassUID
    assert derived.SOPInstanceUID.startswith("2.25.")
    assert derived.SOPInstanceUID == derived.file_meta.MediaStorageSOPInstanceUID
    assert derived.SOPInstanceUID != pydicom.dcmread(files[0]).SOPInstanceUID
    assert derived.SeriesInstanceUID == written.series_uid == pydicom.dcmread(files[0]).SeriesInstanceUID
    assert derived.SeriesInstanceUID != source.SeriesInstanceUID
    assert derived.SeriesDescription == "Chest 3.0 [lowdose ct-default s0.5]"
    assert derived.SeriesNumber == 207
    assert derived.DerivationDescription == f"Denoised by ct-default. {STATEMENT}"
    (code,) = derived.DerivationCodeSequence
    assert (code.CodingSchemeDesignator, code.CodeMeaning) == ("99LOWDOSE", "Noise")
    (reference,) = derived.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
    (equipment,) = derived.ContributingEquipmentSequence
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert equipment.Manufacturer == "lowdose"
    assert re.fullmatch(r"\d{14}\.\d{6}[+-]\d{4}", equipment.ContributionDateTime)

    ours = {
        *("ImageType", "SOPInstanceUID", "SeriesInstanceUID", "SeriesDescription", "SeriesNumber"),
        *("DerivationDescription", "DerivationCodeSequence", "SourceImageSequence"),
        *("ContributingEquipmentSequence", "SeriesDate", "SeriesTime", "ContentDate", "ContentTime"),
        *("InstanceCreationDate", "InstanceCreationTime", "InstanceCreatorUID", "PixelData"),
    }
    kept = {element.keyword for element in source} - ours
    assert {element.keyword for element in derived} == kept | ours
    for keyword in kept:
        assert derived[keyword] == source[keyword], keyword


def test_times_are_told_in_the_time_zone_of_the_file(tmp_path: Path) -> None:
    # Two zones 26 hours apart always show different days.
    east = derive(ct_series(tmp_path / "a", 1, TimezoneOffsetFromUTC="+1400"), tmp_path / "east")[0]
    west = derive(ct_series(tmp_path / "b", 1, TimezoneOffsetFromUTC="-1200"), tmp_path / "west")[0]
    assert east.InstanceCreationDate > west.InstanceCreationDate


def test_what_spoke_of_the_old_pixels_is_gone(tmp_path: Path) -> None:
    def add_stale(ds: FileDataset) -> None:
        ds.SmallestImagePixelValue, ds.LargestImagePixelValue = 0, 100
        ds["SmallestImagePixelValue"].VR = ds["LargestImagePixelValue"].VR = "SS"
        ds.IconImageSequence = Sequence([Dataset()])
        ds.OriginalAttributesSequence = Sequence([Dataset()])
        ds.DigitalSignaturesSequence = Sequence([Dataset()])
        ds.add_new(0x60000010, "US", 16)
        ds.add_new(0x50000005, "US", 1)
        ds.add_new(0x00090010, "LO", "MAKER")
        ds.add_new(0x00091001, "LO", "secret")
        inner = Dataset()
        inner.add_new(0x00090010, "LO", "MAKER")
        inner.add_new(0x00091001, "LO", "secret")
        inner.CodeMeaning = "kept"
        ds.ProcedureCodeSequence = Sequence([inner])
        ds.WindowCenter, ds.WindowWidth = 40, 400

    paths = ct_series(tmp_path / "in", 1, edit=add_stale)
    assert "secret" in str(pydicom.dcmread(paths[0]))
    (derived,) = derive(paths, tmp_path / "out")
    groups = {element.tag.group for element in derived}
    assert not {0x5000, 0x6000, 0x0009, 0xFFFA} & groups
    assert not {"SmallestImagePixelValue", "IconImageSequence", "OriginalAttributesSequence"} & set(
        derived.dir()
    )
    assert "secret" not in str(derived)
    assert derived.ProcedureCodeSequence[0].CodeMeaning == "kept"
    assert (derived.WindowCenter, derived.WindowWidth) == (40, 400)


def test_a_derivation_of_a_derivation_tells_of_both(tmp_path: Path) -> None:
    first = derive(ct_series(tmp_path / "in", 1), tmp_path / "first")[0]
    path = tmp_path / "first" / "0001.dcm"
    again = derived_header(path, IDENTITY, new_uid(), datetime.now().astimezone())
    assert len(again.DerivationCodeSequence) == len(again.ContributingEquipmentSequence) == 2
    assert f"Before that: {first.DerivationDescription}" in again.DerivationDescription
    (reference,) = again.SourceImageSequence
    assert reference.ReferencedSOPInstanceUID == first.SOPInstanceUID


@pytest.mark.parametrize(
    ("charset", "text"),
    [("ISO_IR 100", "Schädel nativ "), ("ISO_IR 192", "胸部単純 "), (["", "ISO 2022 IR 87"], "胸部 ")],
)
def test_a_long_description_loses_its_end_never_the_marker(tmp_path: Path, charset: Any, text: str) -> None:
    paths = ct_series(tmp_path / "in", 1, SpecificCharacterSet=charset, SeriesDescription=(text * 40)[:64])
    (derived,) = derive(paths, tmp_path / "out")
    assert derived.SeriesDescription.endswith(" [lowdose identity]")
    assert derived.SeriesDescription.startswith(text.strip())
    assert 60 <= len(derived.SeriesDescription) <= 64
    assert derived.SpecificCharacterSet == charset or list(derived.SpecificCharacterSet) == charset


@pytest.mark.parametrize(
    ("source", "expected"),
    [(3, 309), (None, 9), (3000566, 300056609), (2147483647, 9), (-4, 9), (0, 9)],
)
def test_the_series_number_stays_a_dicom_integer(tmp_path: Path, source: int | None, expected: int) -> None:
    (derived,) = derive(ct_series(tmp_path / "in", 1, SeriesNumber=source), tmp_path / "out")
    assert derived.SeriesNumber == expected


def test_a_padding_value_of_the_wrong_vr_keeps_its_bits(tmp_path: Path) -> None:
    def as_unsigned(ds: FileDataset) -> None:
        ds.add_new("PixelPaddingValue", "US", 63536)

    (derived,) = derive(ct_series(tmp_path / "in", 1, edit=as_unsigned), tmp_path / "out")
    assert (derived["PixelPaddingValue"].VR, derived.PixelPaddingValue) == ("SS", -2000)


def test_once_lossy_always_lossy(tmp_path: Path) -> None:
    paths = ct_series(
        tmp_path / "in", 1, LossyImageCompression="01", LossyImageCompressionMethod="ISO_15444_1"
    )
    (derived,) = derive(paths, tmp_path / "out")
    assert derived.LossyImageCompression == "01"
    assert derived.LossyImageCompressionMethod == "ISO_15444_1"


def test_a_file_compressed_with_loss_says_so_once_it_is_not(tmp_path: Path) -> None:
    ds = ct_slice(np.random.default_rng(0).integers(-100, 100, (64, 64)).astype(np.int16))
    ds.compress(JPEGLSNearLossless, jls_error=8, generate_instance_uid=False)
    path = save(ds, tmp_path / "in" / "1")
    (derived,) = derive([path], tmp_path / "out")
    assert derived.LossyImageCompression == "01"
    assert derived.LossyImageCompressionMethod == "ISO_14495_1"
    assert 1 < derived.LossyImageCompressionRatio < 8


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=lambda s: s.keyword)
def test_values_that_break_the_rules_are_carried_along(tmp_path: Path, syntax: Any) -> None:
    path = save(ct_slice(PatientWeight="70.5", AccessionNumber="ACC"), tmp_path / "in" / "1", syntax)
    content = path.read_bytes()
    assert content.count(b"70.5") == 1
    path.write_bytes(content.replace(b"70.5", b"fat "))
    derive([path], tmp_path / "out")
    assert b"fat " in (tmp_path / "out" / "0001.dcm").read_bytes()


@pytest.mark.parametrize("levels", [64, 65])
def test_sequences_of_known_length_may_be_nested_64_deep(tmp_path: Path, levels: int) -> None:
    def nest(ds: FileDataset) -> None:
        item = Dataset()
        for _ in range(levels):
            outer = Dataset()
            outer.RequestAttributesSequence = Sequence([item])
            item = outer
        ds.RequestAttributesSequence = item.RequestAttributesSequence

    paths = ct_series(tmp_path / "in", 1, edit=nest)
    if levels == 64:
        assert len(derive(paths, tmp_path / "out")) == 1
    else:
        with pytest.raises(InputError, match=r"IM0000\.dcm has sequences nested more than 64 deep; leave"):
            derive(paths, tmp_path / "out")


@pytest.mark.parametrize(
    "wrong",
    [
        {"marker": ""},
        {"marker": "x" * 33},
        {"marker": "a\\b"},
        {"description": "x" * 1025},
        {"code": ("DN001", "Rauschunterdrückung")},
        {"image_type": "denoised"},
        {"series_offset": 100},
    ],
)
def test_a_derivation_that_dicom_cannot_hold_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        replace(IDENTITY, **wrong)
