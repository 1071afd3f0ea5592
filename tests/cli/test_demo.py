from __future__ import annotations

import csv
import errno
import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from lowdose.io import InputError
from lowdose.io.public_data import CITATION
from tests.cli.runner import everything_below, lowdose
from tests.io.body_series import body_series, stored_hu

_CITED = "https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX"
assert _CITED in CITATION


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Path:
    return body_series(tmp_path_factory.mktemp("in") / "series", 2)


@pytest.fixture(scope="module")
def shown(series, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "out"
    outcome = lowdose("demo", "--input", series, "--out", folder, "--no-open")
    assert outcome.status == 0
    assert str(folder / "report.html") in outcome.err
    return folder


def test_it_leaves_both_series_the_numbers_and_the_report(series, shown):
    names = {"low-dose", "denoised", "cases.csv", "report.html", "run.json"}
    assert {path.name for path in shown.iterdir()} == names
    was, low, denoised = (stored_hu(folder) for folder in (series, shown / "low-dose", shown / "denoised"))
    assert was.shape == low.shape == denoised.shape
    inside = (slice(None), slice(20, 52), slice(20, 52))
    assert low[inside].std() > 1.6 * was[inside].std()
    assert denoised[inside].std() < 0.7 * low[inside].std()
    header = pydicom.dcmread(shown / "denoised" / "0001.dcm")
    assert header.SeriesDescription == "Chest 3.0 [lowdose dose 0.25 sim] [lowdose ct-default s1]"


def test_the_numbers_are_of_the_files_that_were_written(series, shown):
    with (shown / "cases.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["arm"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["a quarter of the dose", "denoised"]
    for arm, name in (("a quarter of the dose", "low-dose"), ("denoised", "denoised")):
        first, second = (np.clip(stored_hu(folder), -160, 240) for folder in (series, shown / name))
        error = np.sqrt(np.mean((second - first) ** 2))
        assert float(rows[arm]["rmse_hu"]) == pytest.approx(error, rel=1e-4)


def test_report_and_record_tell_how_it_was_made(shown):
    page = (shown / "report.html").read_text(encoding="utf-8")
    for fact in ("Chest 3.0", "ct-default", "Known limit", "simulate"):
        assert fact in page
    assert _CITED not in page  # it is a series of one's own
    record = json.loads((shown / "run.json").read_text())
    assert record["options"] == {"dose": 0.25, "seed": 1, "method": "ct-default"}
    assert [step["name"] for step in record["cases"][0]["history"]] == ["simulate", "ct-default"]


def test_public_data_is_cited_and_the_next_free_name_is_taken(series, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lowdose-demo").mkdir()
    (tmp_path / "lowdose-demo-2").mkdir()
    monkeypatch.setattr("lowdose.io.public_data.fetch_demo_series", lambda *_args, **_options: series)
    outcome = lowdose("demo", "--no-open")
    assert outcome.status == 0
    assert CITATION in outcome.err
    page = (tmp_path / "lowdose-demo-3" / "report.html").read_text(encoding="utf-8")
    assert _CITED in page
    assert "A chest CT at a quarter of its dose" in page


def test_of_several_series_the_longest_is_shown(tmp_path):
    body_series(tmp_path / "in" / "short", 1, seed=4, SeriesDescription="Short")
    body_series(tmp_path / "in" / "long", 2, seed=5, SeriesDescription="Long")
    assert lowdose("demo", "--input", tmp_path / "in", "--out", tmp_path / "out", "--no-open").status == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [case["case"] for case in record["cases"]] == ["Long"]


def test_a_nifti_volume_gives_nifti_volumes(series, tmp_path):
    volume = tmp_path / "chest.nii.gz"
    assert lowdose("denoise", series, volume, "--method", "identity").status == 0
    assert lowdose("demo", "--input", volume, "--out", tmp_path / "out", "--no-open").status == 0
    was = nibabel.load(volume)
    for name in ("low-dose.nii.gz", "denoised.nii.gz"):
        now = nibabel.load(tmp_path / "out" / name)
        assert now.shape == was.shape
        assert np.array_equal(now.affine, was.affine)
    assert (tmp_path / "out" / "report.html").is_file()


def test_without_a_network_it_says_what_to_do(tmp_path, monkeypatch):
    def offline(*_args, **_options):
        raise InputError("the public chest CT could not be fetched; give a CT series with --input FOLDER")

    monkeypatch.setattr("lowdose.io.public_data.fetch_demo_series", offline)
    outcome = lowdose("demo", "--out", tmp_path / "out", "--no-open")
    assert outcome.status == 1
    assert outcome.error.endswith("give a CT series with --input FOLDER")
    assert not (tmp_path / "out").exists()


def test_wrong_use_is_one_sentence_and_touches_nothing(series, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    before = everything_below(series)
    for source, out, sentence in (
        (tmp_path / "nothing", tmp_path / "out", "not found; give a DICOM folder"),
        (series, tmp_path / "full", "exists and is not empty"),
        (series, series / "demo", "lies inside the input folder"),
        (series, series, "is the input itself"),
    ):
        outcome = lowdose("demo", "--input", source, "--out", out, "--no-open")
        assert outcome.status == 2
        assert sentence in outcome.error
    assert everything_below(series) == before
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_broken_series_is_one_sentence(tmp_path):
    file = body_series(tmp_path / "in") / "0002.dcm"
    file.write_bytes(file.read_bytes()[:-500])
    outcome = lowdose("demo", "--input", tmp_path / "in", "--out", tmp_path / "out", "--no-open")
    assert outcome.status == 1
    assert outcome.error.startswith(str(file))
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_sentence(series, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lowdose.report.write_report", full)
    outcome = lowdose("demo", "--input", series, "--out", tmp_path / "out", "--no-open")
    assert outcome.status == 1
    assert outcome.error.startswith(f"{tmp_path / 'out'} cannot be written: no space is left")
