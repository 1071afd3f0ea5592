from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from lowdose.io import open_input
from lowdose.io.coco import read_coco
from lowdose.lesions import Box
from tests.cli.runner import lowdose
from tests.io.body_series import body_series, stored_hu


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Path:
    return body_series(tmp_path_factory.mktemp("in") / "series", 4, side=160)


@pytest.fixture(scope="module")
def inserted(series, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out") / "inserted"
    outcome = lowdose(
        "lesions", "insert", series, out, "--kind", "soft-tissue-lesion", "--number", 2, "--dose", "0.25",
        "--seed", "3", "--patient", "P1",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    return out


def label_map(series: Path, path: Path, box: Box, z: int = 1) -> Path:
    """A NIfTI mask of one box on the grid of `series`."""
    with open_input(series) as found:
        scan = found.cases[0].scan
        values = np.zeros(scan.shape, np.uint8)
        values[z, int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = 1
        ras = np.diag([-1, -1, 1, 1]) @ scan.affine[:, [2, 1, 0, 3]]
        nibabel.save(nibabel.Nifti1Image(values.transpose(2, 1, 0), ras), path)
    return path


def test_the_boxes_hold_what_was_added_and_nothing_else_changed(series, inserted):
    (scan,) = read_coco(inserted / "lesions.json")
    assert scan.patient == "P1"
    assert scan.searched == (0, 1, 2, 3)
    assert len(scan.lesions) == 2
    added = stored_hu(inserted / "own-dose") - stored_hu(series)
    inside = np.zeros(added.shape, bool)
    for lesion in scan.lesions:
        for z, boxes in lesion.boxes.items():
            for y0, x0, y1, x1 in boxes:
                inside[z, int(y0) : round(y1), int(x0) : round(x1)] = True
    assert added[inside].mean() < -12
    far = ~np.isin(np.arange(4), [z for lesion in scan.lesions for z in lesion.boxes])
    assert np.abs(added[~inside]).mean() < 1.5
    assert np.abs(added[far]).max(initial=0) < 20


def test_the_low_dose_series_lies_beside_it_and_is_named(series, inserted):
    (scan,) = read_coco(inserted / "lesions.json")
    assert (scan.source, scan.low) == ("own-dose", "low-dose")
    own, low = (stored_hu(inserted / name) for name in ("own-dose", "low-dose"))
    middle = (slice(None), slice(60, 100), slice(60, 100))
    assert (low - own)[middle].std() == pytest.approx(np.sqrt(3) * stored_hu(series)[middle].std(), rel=0.35)


def test_the_header_says_that_lesions_were_put_in(inserted):
    header = pydicom.dcmread(next((inserted / "own-dose").glob("*.dcm")))
    assert header.SeriesDescription.endswith("[lowdose 2 soft-tissue- sim]")
    assert header.ImageType[4] == "LESIONS_SIM"
    assert "2 lesions inserted (soft-tissue-lesion), seed 3. SIMULATED" in header.DerivationDescription
    record = json.loads((inserted / "run.json").read_text())
    steps = [step["name"] for step in record["cases"][0]["history"]]
    assert steps == ["insert-lesions"]


def test_the_seed_decides(series, inserted, tmp_path):
    words = ("lesions", "insert", series, tmp_path / "again", "--kind", "soft-tissue-lesion", "--number", 2)
    assert lowdose(*words, "--seed", "3").status == 0
    (again,), (first,) = read_coco(tmp_path / "again" / "lesions.json"), read_coco(inserted / "lesions.json")
    assert again.lesions == first.lesions
    assert np.array_equal(stored_hu(tmp_path / "again" / "own-dose"), stored_hu(inserted / "own-dose"))


def test_annotations_become_boxes_and_a_file_grows(series, tmp_path):
    mask = label_map(series, tmp_path / "mask.nii", Box(50, 60, 62, 80))
    out = tmp_path / "lesions.json"
    words = ("lesions", "read", series, mask, "--out", out)
    assert lowdose(*words, "--patient", "A", "--kind", "1=tumour").status == 0
    (scan,) = read_coco(out)
    assert scan.lesions[0].kind == "tumour"
    assert scan.lesions[0].boxes == {1: (Box(50, 60, 62, 80),)}
    with open_input(out.parent / scan.source) as found:
        assert found.cases[0].scan.shape == (4, 160, 160)
    other = body_series(tmp_path / "other", 4, seed=2, side=160)
    assert lowdose("lesions", "read", other, mask, "--out", out, "--patient", "B").status == 0
    assert [one.patient for one in read_coco(out)] == ["A", "B"]
    assert lowdose(*words, "--patient", "C").status == 0
    assert [one.patient for one in read_coco(out)] == ["B", "C"]  # the same scan again takes its own place


def test_files_are_merged_wherever_they_lie(series, inserted, tmp_path):
    mask = label_map(series, tmp_path / "mask.nii", Box(50, 60, 62, 80))
    assert lowdose("lesions", "read", series, mask, "--out", tmp_path / "a.json").status == 0
    out = tmp_path / "deep" / "both.json"
    assert (
        lowdose("lesions", "merge", tmp_path / "a.json", inserted / "lesions.json", "--out", out).status == 0
    )
    scans = read_coco(out)
    assert len(scans) == 2
    for scan in scans:
        with open_input(out.parent / scan.source, own=True) as found:
            assert found.cases[0].scan.shape == (4, 160, 160)
    assert (out.parent / scans[1].low).is_dir()


def test_wrong_use_is_one_sentence(series, tmp_path):
    out = tmp_path / "out"
    unknown = lowdose("lesions", "insert", series, out, "--kind", "wart")
    assert (unknown.status, unknown.error) == (
        2, "--kind wart: unknown; known are nodule, soft-tissue-lesion"
    )  # fmt: skip
    assert lowdose("lesions", "insert", series, out, "--dose", "2").status == 2
    nowhere = lowdose("lesions", "insert", series, out, "--kind", "nodule")
    assert nowhere.status == 1
    assert "finds no place of -960 to -680 HU; ask for fewer or smaller ones" in nowhere.error
    assert not out.exists()
    missing = lowdose("lesions", "read", series, tmp_path / "no.nii", "--out", tmp_path / "a.json")
    assert (missing.status, missing.error) == (2, f"{tmp_path / 'no.nii'}: not found")
    mask = label_map(series, tmp_path / "mask.nii", Box(50, 60, 62, 80))
    pattern = lowdose("lesions", "read", series, mask, "--out", tmp_path / "a.json", "--kind", "tumour")
    assert pattern.status == 2
    assert "is not PATTERN=KIND" in pattern.error
    empty = label_map(series, tmp_path / "empty.nii", Box(5, 5, 5, 5))
    nothing = lowdose("lesions", "read", series, empty, "--out", tmp_path / "a.json")
    assert nothing.status == 1
    assert "marks no lesion" in nothing.error
    assert not (tmp_path / "a.json").exists()


def test_slices_too_thick_for_any_lesion_are_told_in_a_sentence(tmp_path):
    thick = body_series(tmp_path / "thick", 4, side=160, SliceThickness=60.0)
    outcome = lowdose(
        "lesions", "insert", thick, tmp_path / "out", "--kind", "soft-tissue-lesion", "--number", 1
    )
    assert outcome.status == 1
    assert "no slice shows half of the contrast of a soft-tissue-lesion" in outcome.error
    assert not (tmp_path / "out").exists()
