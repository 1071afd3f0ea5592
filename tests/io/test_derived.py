"""A derived series holds the new pixels exactly, says what was done, and is whole or absent."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from lowdose.io.derived import OutputError, write_derived
from lowdose.io.nifti import read_nifti
from lowdose.io.origin import InputError
from lowdose.scan import Scan, Slice, read_ahead
from tests.io.ct_factory import compress, ct_series, ct_slice, save, set_stored
from tests.io.identity import IDENTITY, derive, scan_from


def with_values(scan: Scan, change: Callable[[Any], Any]) -> Scan:
    """`scan` with every slice's HU changed."""
    return replace(scan, read=lambda z: Slice(change(scan.read(z).hu), scan.read(z).padding))


def extremes(ds: FileDataset) -> None:
    """Every end of the stored range, padding included, among the pixels."""
    bits = ds.BitsStored
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if ds.PixelRepresentation else (0, (1 << bits) - 1)
    stored = np.linspace(low, high, ds.Rows * ds.Columns).round().astype(np.int64)
    set_stored(ds, stored.reshape(ds.Rows, ds.Columns))


@pytest.mark.parametrize(
    "attributes",
    [
        {"signed": True, "intercept": 0, "PixelPaddingValue": -2000},
        {"signed": True, "intercept": -1024},
        {"signed": False, "intercept": -1024, "bits_stored": 12},
        {"signed": True, "intercept": -1024, "bits_stored": 12},
        {"signed": False, "RescaleSlope": "0.0625", "RescaleIntercept": "-1000.5"},
        {"signed": False, "RescaleSlope": "-0.1", "RescaleIntercept": "3000"},
        {"signed": True, "RescaleSlope": "1.37", "RescaleIntercept": "-0.3"},
        {"hu": np.zeros((15, 17), np.int16)},
    ],
    ids=lambda attributes: ",".join(f"{key}={value}" for key, value in attributes.items() if key != "hu"),
)
def test_identity_returns_every_stored_value(tmp_path: Path, attributes: dict[str, Any]) -> None:
    paths = ct_series(tmp_path / "in", 2, edit=extremes, **attributes)
    for path, derived in zip(paths, derive(paths, tmp_path / "out"), strict=True):
        source = pydicom.dcmread(path)
        np.testing.assert_array_equal(derived.pixel_array, source.pixel_array, strict=True)
        assert len(np.unique(derived.pixel_array)) > 200
        for keyword in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope"):
            assert derived[keyword] == source[keyword]


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEG2000Lossless,
    ],
    ids=lambda syntax: syntax.keyword,
)
def test_every_encoding_becomes_plain_little_endian(tmp_path: Path, syntax: Any) -> None:
    ds = ct_slice(np.arange(-1000, 24, dtype=np.int16).reshape(32, 32))
    truth = ds.pixel_array.copy()
    ds.PixelPaddingValue = -2000
    if syntax in (RLELossless, JPEG2000Lossless):
        path = save(compress(ds, syntax), tmp_path / "in" / "1")
    else:
        path = save(ds, tmp_path / "in" / "1", syntax)
    (derived,) = derive([path], tmp_path / "out")
    assert derived.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    np.testing.assert_array_equal(derived.pixel_array, truth)
    assert (derived["PixelPaddingValue"].VR, derived.PixelPaddingValue) == ("SS", -2000)
    assert derived.PatientName == "Test^Phantom"
    assert "LossyImageCompression" not in derived


def test_each_slice_keeps_its_own_rescale_and_place(tmp_path: Path) -> None:
    def own_rescale(ds: FileDataset) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = str(0.5 * ds.InstanceNumber), str(-1000 - ds.InstanceNumber)

    paths = ct_series(tmp_path / "in", 3, edit=own_rescale)
    scan = with_values(scan_from(paths), lambda hu: np.full_like(hu, 30))
    write_derived(scan, tmp_path / "out", IDENTITY)
    for i, path in enumerate(sorted((tmp_path / "out").iterdir()), start=1):
        derived = pydicom.dcmread(path)
        expected = round((30 + 1000 + i) / (0.5 * i))  # 2062, 1032, 689 and a third
        assert (derived.pixel_array == expected).all()
        assert derived.ImagePositionPatient[2] == 3 * (i - 1)
        assert derived.InstanceNumber == i


def test_new_values_round_half_to_even_and_clip_with_a_note(tmp_path: Path) -> None:
    paths = ct_series(tmp_path / "in", 1, hu=np.zeros((2, 3), np.int16), bits_stored=12, signed=False)
    row = np.array([[0.5, 1.5, -0.5], [-5000, 3072, 3071]], np.float32)
    written = write_derived(with_values(scan_from(paths), lambda _: row), tmp_path / "out", IDENTITY)
    (path,) = (tmp_path / "out").iterdir()
    stored = pydicom.dcmread(path).pixel_array
    # stored = HU + 1024: 1024.5 and 1023.5 go to 1024, 1025.5 to 1026; -3976 and 4096 do not fit 12 bits.
    np.testing.assert_array_equal(stored, [[1024, 1026, 1024], [0, 4095, 4095]])
    assert written.n_clipped == 2
    assert written.notes[0].startswith("2 of 6 values lay beyond")
    assert "0 to 4095" in written.notes[0]


def test_noise_below_the_lowest_value_is_counted_without_a_note(tmp_path: Path) -> None:
    paths = ct_series(tmp_path / "in", 1, hu=np.zeros((10, 10), np.int16), bits_stored=12, signed=False)
    values = np.zeros((10, 10), np.float32)
    values[0, :2] = -1030
    written = write_derived(with_values(scan_from(paths), lambda _: values), tmp_path / "out", IDENTITY)
    assert (written.n_clipped, written.notes) == (2, ())


def test_burned_in_text_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    paths = ct_series(tmp_path / "in", 1, BurnedInAnnotation="YES")
    scan = scan_from(paths)
    computed: list[int] = []
    watched = replace(scan, read=lambda z: computed.append(z) or scan.read(z))
    with pytest.raises(
        InputError, match=r"IM0000.dcm has text burnt into its image.*leave this series aside"
    ):
        write_derived(watched, tmp_path / "out", IDENTITY)
    assert not computed
    assert not (tmp_path / "out").exists()


def test_slices_are_read_once_in_order_and_written_as_they_come(tmp_path: Path) -> None:
    scan = scan_from(ct_series(tmp_path / "in", 6))
    events: list[tuple[str, int]] = []
    watched = replace(scan, read=lambda z: events.append(("read", z)) or scan.read(z))
    write_derived(watched, tmp_path / "out", IDENTITY, on_slice=lambda z: events.append(("written", z)))
    assert events == [(what, z) for z in range(6) for what in ("read", "written")]


def test_a_scan_that_reads_ahead_gives_the_same_files(tmp_path: Path) -> None:
    scan = scan_from(ct_series(tmp_path / "in", 6))
    write_derived(read_ahead(scan), tmp_path / "out", IDENTITY)
    for z, path in enumerate(sorted((tmp_path / "out").iterdir())):
        derived = pydicom.dcmread(path)
        np.testing.assert_array_equal(derived.pixel_array + derived.RescaleIntercept, scan.read(z).hu)


def nan(hu: Any) -> Any:
    hu = hu.copy()
    hu[3, 4] = np.nan
    return hu


def interrupted(hu: Any) -> Any:
    raise KeyboardInterrupt


def unreadable(hu: Any) -> Any:
    raise InputError("slice gone")


def cropped(hu: Any) -> Any:
    return hu[:-1]


@pytest.mark.parametrize(
    ("fault", "error", "sentence"),
    [
        (nan, OutputError, "slice 3 came out with NaN"),
        (lambda hu: np.where(hu > 0, np.inf, hu), OutputError, "slice 3 came out with NaN or infinite"),
        (cropped, OutputError, r"slice 3 came out as \(15, 16\)"),
        (unreadable, InputError, "slice gone"),
        (interrupted, KeyboardInterrupt, None),
    ],
)
@pytest.mark.parametrize("name", ["out", "out.nii", "out.nii.gz"])
def test_a_failure_leaves_nothing_and_spares_the_source(
    tmp_path: Path, fault: Callable[[Any], Any], error: type[BaseException], sentence: str | None, name: str
) -> None:
    paths = ct_series(tmp_path / "in", 4)
    before = [path.read_bytes() for path in paths]
    scan = scan_from(paths)

    def read(z: int) -> Slice:
        slice_ = scan.read(z)
        return slice_._replace(hu=fault(slice_.hu)) if z == 2 else slice_

    with pytest.raises(error, match=sentence):
        write_derived(replace(scan, read=read), tmp_path / name, IDENTITY)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert [path.read_bytes() for path in paths] == before


@pytest.mark.parametrize("name", ["out", "out.nii", "out.nii.gz"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    scan = scan_from(ct_series(tmp_path / "in", 3))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=rf"{name} cannot be written: no space is left in .*free some"):
        write_derived(scan, tmp_path / name, IDENTITY)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("name", ["out", "out.nii"])
def test_a_file_that_may_not_grow_is_one_sentence(tmp_path: Path, name: str) -> None:
    resource = pytest.importorskip("resource", reason="limits on file size are POSIX")
    scan = scan_from(ct_series(tmp_path / "in", 3))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, limits[1]))
    try:
        with pytest.raises(OutputError, match=f"{name} cannot be written: File too large; nothing was kept"):
            write_derived(scan, tmp_path / name, IDENTITY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_missing_folder_is_made_and_an_empty_one_filled(tmp_path: Path) -> None:
    paths = ct_series(tmp_path / "in", 2)
    (tmp_path / "empty").mkdir()
    assert len(derive(paths, tmp_path / "empty")) == 2
    assert len(derive(paths, tmp_path / "new" / "deep")) == 2


def test_one_slice_can_be_one_file(tmp_path: Path) -> None:
    paths = ct_series(tmp_path / "in", 1)
    write_derived(scan_from(paths), tmp_path / "in" / "out.dcm", IDENTITY)
    np.testing.assert_array_equal(
        pydicom.dcmread(tmp_path / "in" / "out.dcm").pixel_array, pydicom.dcmread(paths[0]).pixel_array
    )
    more = scan_from(ct_series(tmp_path / "more", 2))
    with pytest.raises(OutputError, match="named as one file for 2 slices"):
        write_derived(more, tmp_path / "two.dcm", IDENTITY)


def test_dicom_becomes_nifti_where_the_name_says_so(tmp_path: Path) -> None:
    scan = scan_from(ct_series(tmp_path / "in", 3))
    written = write_derived(scan, tmp_path / "out.nii.gz", IDENTITY)
    assert written.series_uid is None
    image = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), scan.hu)
    # The first pixel lies at LPS (-10, -20, 0): RAS (10, 20, 0). Columns are 0.75 mm apart, rows 0.5.
    np.testing.assert_allclose(
        image.affine, [[-0.75, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 3, 0], [0, 0, 0, 1]]
    )
    again = read_nifti(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(again.affine, scan.affine)
    np.testing.assert_array_equal(again.hu, scan.hu)


def test_nifti_stays_nifti(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.full((3, 4, 2), -7, np.int16), np.eye(4))
    nibabel.save(image, tmp_path / "scan.nii.gz")
    scan = read_nifti(tmp_path / "scan.nii.gz")
    written = write_derived(scan, tmp_path / "folder", IDENTITY)
    assert written.path == tmp_path / "folder" / "volume.nii.gz"
    assert b"[lowdose identity]" in bytes(nibabel.load(written.path).header["descrip"])
    with pytest.raises(OutputError, match="DICOM cannot be made from NIfTI"):
        write_derived(scan, tmp_path / "out.dcm", IDENTITY)


def test_a_scan_without_files_can_only_be_nifti(tmp_path: Path) -> None:
    phantom = Scan.from_array(np.zeros((2, 3, 4), np.float32), name="phantom")
    with pytest.raises(OutputError, match=r"phantom has no files behind it; name the output \*\.nii"):
        write_derived(phantom, tmp_path / "out", IDENTITY)
    assert write_derived(phantom, tmp_path / "out.nii", IDENTITY).n_slices == 2


@pytest.mark.skipif(
    shutil.which("dciodvfy") is None,
    reason="dciodvfy is absent: apt-get update; apt-get install -y dicom3tools",
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=lambda s: s.keyword)
def test_dciodvfy_finds_nothing_new(tmp_path: Path, syntax: Any) -> None:
    path = save(ct_slice(PixelPaddingValue=-2000), tmp_path / "in" / "1", syntax)
    derive([path], tmp_path / "out")

    def findings(file: Path) -> set[str]:
        return set(
            subprocess.run(
                ["dciodvfy", file], capture_output=True, text=True, check=False
            ).stderr.splitlines()
        )

    assert "CTImage" in findings(path)
    assert findings(tmp_path / "out" / "0001.dcm") <= findings(path)
