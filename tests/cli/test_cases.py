"""Scans in, scans out: every series by itself, nothing changed unasked, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from lowdose.provenance import Run
from tests.cli.runner import everything_below, lowdose
from tests.io.body_series import body_series, stored_hu
from tests.io.nifti_factory import oriented_affine, saved, stored_volume


def identity(source: Path, output: Path, *words: object):
    return lowdose("denoise", source, output, "--method", "identity", *words)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two series in nested folders, among what else lies on the disks of a hospital."""
    source = tmp_path / "in"
    body_series(source / "study" / "lung", 3, seed=1, SeriesDescription="Lung", SeriesNumber=4)
    body_series(source / "study" / "deep" / "soft", 2, seed=2, SeriesDescription="Soft", SeriesNumber=5)
    (source / "notes.txt").write_text("call back on Monday")
    (source / "study" / "empty.dcm").touch()
    (source / "study" / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(300))
    (source / "study" / ".DS_Store").write_bytes(bytes(50))
    localizer = body_series(
        source / "study" / "scout", 1, seed=3, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    assert localizer.is_dir()
    return source


def test_every_series_of_a_nested_folder_comes_back_to_the_bit(mixed, tmp_path):
    before = everything_below(mixed)
    outcome = identity(mixed, tmp_path / "out", "--json")
    assert outcome.status == 0
    folders = {"series-01": mixed / "study" / "deep" / "soft", "series-02": mixed / "study" / "lung"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*folders, "run.json"}
    for name, source in folders.items():
        truth = [pydicom.dcmread(path) for path in sorted(source.iterdir())]
        derived = [pydicom.dcmread(path) for path in sorted((tmp_path / "out" / name).iterdir())]
        assert [ds.PixelData for ds in derived] == [ds.PixelData for ds in truth]
        for was, now in zip(truth, derived, strict=True):
            assert was.SOPInstanceUID == now.SourceImageSequence[0].ReferencedSOPInstanceUID
            assert was.SeriesInstanceUID != now.SeriesInstanceUID
            assert was.ImagePositionPatient == now.ImagePositionPatient
            assert was.PatientID == now.PatientID
    assert everything_below(mixed) == before


def test_the_record_tells_what_became_of_everything(mixed, tmp_path):
    outcome = identity(mixed, tmp_path / "out", "--json")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    finished = outcome.json.pop("finished")
    assert finished >= record.pop("finished")
    assert {key: value for key, value in outcome.json.items() if key != "finished"} == record
    assert record["command"] == "denoise"
    assert record["options"]["method"] == "identity"
    assert [case["case"] for case in record["cases"]] == ["Soft", "Lung"]
    for case, n_slices in zip(record["cases"], (2, 3), strict=True):
        files = list(Path(case["output"]).iterdir())
        assert case["error"] is None
        assert case["facts"]["slices"] == len(files) == n_slices
        assert case["facts"]["clipped_pixels"] == 0
        assert case["facts"]["series_uid"] == pydicom.dcmread(files[0]).SeriesInstanceUID
        assert case["history"] == [{"name": "identity", "parameters": {"strength": 1.0}}]
    aside = {Path(item["source"]).name: item["reason"] for item in record["left_aside"]}
    assert {"notes.txt", "photo.jpg", "empty.dcm"} <= set(aside)
    assert "0001.dcm" in aside  # the localizer
    assert all(f"left aside: {item['source']}" in outcome.err for item in record["left_aside"])


def test_a_broken_series_is_named_and_the_other_one_is_done(mixed, tmp_path):
    broken = mixed / "study" / "lung" / "0002.dcm"
    broken.write_bytes(broken.read_bytes()[:-3000])
    outcome = identity(mixed, tmp_path / "out", "--json")
    assert outcome.status == 1
    assert str(broken) in outcome.error
    soft, lung = outcome.json["cases"]
    assert (lung["error"], lung["output"]) == (outcome.error, None)
    assert soft["error"] is None
    assert np.array_equal(stored_hu(tmp_path / "out" / "series-01"), stored_hu(mixed / "study/deep/soft"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["run.json", "series-01"]


def test_when_all_fail_nothing_is_left(tmp_path):
    for seed in (1, 2):
        file = body_series(tmp_path / "in" / str(seed), seed=seed) / "0001.dcm"
        file.write_bytes(file.read_bytes()[:-3000])
    outcome = identity(tmp_path / "in", tmp_path / "out", "--json")
    assert outcome.status == 1
    assert [Path(case["source"]).name for case in outcome.json["cases"]] == ["1", "2"]
    assert all("0001.dcm" in case["error"] for case in outcome.json["cases"])
    assert not (tmp_path / "out").exists()


def test_a_fault_in_the_middle_of_every_series_leaves_no_empty_folder(mixed, tmp_path, monkeypatch):
    monkeypatch.setattr("lowdose.denoising.Identity.__call__", lambda self, hu: hu * np.nan)
    outcome = identity(mixed, tmp_path / "out")
    assert outcome.status == 1
    assert outcome.err.count("error: ") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("content", "reason"), [({}, "it is empty"), ({"a.txt": b"x" * 500}, "1 x not DICOM")], ids=str
)
def test_a_folder_without_ct_is_one_sentence(tmp_path, content, reason):
    (tmp_path / "in").mkdir()
    for name, data in content.items():
        (tmp_path / "in" / name).write_bytes(data)
    outcome = identity(tmp_path / "in", tmp_path / "out", "--json")
    assert outcome.status == 1
    assert outcome.error.startswith(f"{tmp_path / 'in'} holds no CT series")
    assert outcome.out == ""
    assert not (tmp_path / "out").exists()


def test_places_that_must_not_be_written_to(tmp_path):
    source = body_series(tmp_path / "data" / "in")
    file = saved(tmp_path / "volume.nii", stored_volume(np.int16))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    (tmp_path / "alias").symlink_to(tmp_path / "data")
    before = everything_below(tmp_path)
    for given, output, sentence in (
        (source, source, "is the input itself"),
        (source, tmp_path / "alias" / "in", "is the input itself"),
        (source, source / "out", "lies inside the input folder"),
        (source, source / "new" / "out.nii.gz", "lies inside the input folder"),
        (source, tmp_path / "alias" / "in" / "out", "lies inside the input folder"),
        (source, tmp_path / "data", "holds the input"),
        (source, tmp_path / "full", "exists and is not empty"),
        (source, tmp_path / "full" / "note.txt", "exists already"),
        (file, file, "is the input itself"),
        (file, tmp_path, "holds the input"),
    ):
        outcome = identity(given, output, "--json")
        assert (outcome.status, outcome.out) == (2, "")
        assert sentence in outcome.error
        assert outcome.error.startswith(str(output))
    assert everything_below(tmp_path) == before


def test_a_missing_input_is_wrong_use(tmp_path):
    outcome = identity(tmp_path / "nothing", tmp_path / "out")
    assert outcome.status == 2
    assert outcome.error.startswith(f"{tmp_path / 'nothing'}: not found; give a DICOM folder")


def test_an_empty_folder_may_stand_there_already(tmp_path):
    (tmp_path / "out").mkdir()
    assert identity(body_series(tmp_path / "in"), tmp_path / "out").status == 0
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 2


@pytest.mark.parametrize("name", ["out.nii.gz", "out.nii", "out.dcm"])
def test_several_series_do_not_fit_into_one_file(mixed, tmp_path, name):
    outcome = identity(mixed, tmp_path / name)
    assert outcome.status == 2
    assert outcome.error.endswith(f"{name}: is named as one file for 2 CT series; name a folder instead")
    assert not (tmp_path / name).exists()


def test_a_zip_is_read_like_the_folder_in_it(mixed, tmp_path):
    packed = tmp_path / "in.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in everything_below(mixed).items():
            archive.writestr(name, content)
    assert identity(packed, tmp_path / "out").status == 0
    for name, source in (("series-01", "study/deep/soft"), ("series-02", "study/lung")):
        assert np.array_equal(stored_hu(tmp_path / "out" / name), stored_hu(mixed / source))


def test_one_dicom_file_becomes_one_dicom_file_with_its_record_beside_it(tmp_path):
    source = body_series(tmp_path / "in", 1)
    outcome = identity(source / "0001.dcm", tmp_path / "results" / "one.dcm")
    assert outcome.status == 0
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["one.dcm", "one.dcm.run.json"]
    assert np.array_equal(stored_hu(tmp_path / "results"), stored_hu(source))


@pytest.mark.parametrize("letters", ["LPS", "RAS", "PIR"])
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_nifti_comes_back_with_its_place_and_values_to_the_bit(tmp_path, letters, name):
    values = stored_volume(np.int16, (6, 5, 4))
    source = saved(tmp_path / name, values, oriented_affine(letters, values.shape))
    outcome = identity(source, tmp_path / f"out-{name}")
    assert outcome.status == 0
    was, now = nibabel.load(source), nibabel.load(tmp_path / f"out-{name}")
    assert np.array_equal(np.asanyarray(now.dataobj), values)
    assert now.get_data_dtype() == was.get_data_dtype()
    for field in ("srow_x", "srow_y", "srow_z", "sform_code", "qform_code", "quatern_b", "pixdim"):
        assert now.header[field].tobytes() == was.header[field].tobytes()
    record = json.loads((tmp_path / f"out-{name}.run.json").read_text())
    assert record["cases"][0]["facts"]["series_uid"] is None


def test_nifti_may_go_into_a_folder_and_dicom_into_nifti(tmp_path):
    values = stored_volume(np.int16)
    assert identity(saved(tmp_path / "v.nii.gz", values), tmp_path / "folder").status == 0
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {"volume.nii.gz", "run.json"}
    source = body_series(tmp_path / "in", 3)
    assert identity(source, tmp_path / "series.nii.gz").status == 0
    volume = nibabel.as_closest_canonical(nibabel.load(tmp_path / "series.nii.gz"))
    truth = stored_hu(source)[:, ::-1, ::-1].transpose(2, 1, 0)  # LPS [z, y, x] as RAS [x, y, z]
    assert np.array_equal(np.asanyarray(volume.dataobj), truth)
    assert volume.header.get_zooms() == pytest.approx((0.75, 0.5, 3.0))


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("n_before", [0, 1, 2, 3])
def test_a_full_disk_is_one_sentence_and_nothing_is_left(tmp_path, monkeypatch, n_before):
    """Whether the first slice does not fit, or the last one, or not even the folder's list of names."""
    source = body_series(tmp_path / "in", 3)
    calls, sync = [], os.fsync

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > n_before:
            full_disk()
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    outcome = lowdose("simulate", source, tmp_path / "out", "--dose", "1", "--json")
    assert outcome.status == 1
    assert outcome.error.startswith(f"{tmp_path / 'out'} cannot be written: no space is left in {tmp_path}")
    assert outcome.json["cases"][0]["error"] == outcome.error
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_disk_that_is_really_full(tmp_path):
    source = body_series(tmp_path / "in", 4, side=256)
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None or os.name == "nt" or os.geteuid() != 0:
        pytest.skip("needs the right to mount a small disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    try:
        outcome = identity(source, disk / "out")
        left = list(disk.iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)
    assert outcome.status == 1
    assert "no space is left" in outcome.error
    assert left == []


def test_a_record_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    source = body_series(tmp_path / "in")
    monkeypatch.setattr(Run, "write", full_disk)
    outcome = identity(source, tmp_path / "out")
    assert outcome.status == 1
    assert "run.json cannot be written: no space is left" in outcome.error


def test_a_folder_that_must_not_be_read_is_left_aside(mixed, tmp_path, monkeypatch):
    closed, scandir = str(mixed / "study" / "lung"), os.scandir

    def refuse(path="."):
        if str(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", closed)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    outcome = identity(mixed, tmp_path / "out", "--json")
    assert outcome.status == 0
    assert [case["case"] for case in outcome.json["cases"]] == ["Soft"]
    assert {"source": closed, "reason": "a folder that cannot be read: Permission denied"} in (
        outcome.json["left_aside"]
    )
    closed = str(mixed)
    outcome = identity(mixed, tmp_path / "out2")
    assert outcome.status == 1
    assert outcome.error == f"{mixed} cannot be read: Permission denied; check its permissions"


@pytest.mark.filterwarnings("ignore:Found unknown escape sequence:UserWarning")
def test_names_from_the_input_never_lead_out_of_the_output(tmp_path):
    for seed in (1, 2):
        body_series(tmp_path / "in" / str(seed), seed=seed, SeriesDescription="../../[red]evil\x1b[31m")
    outcome = identity(tmp_path / "in", tmp_path / "a" / "out")
    assert outcome.status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "in"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]
    assert "\x1b" not in outcome.err
    assert "[red]evil" in outcome.err
