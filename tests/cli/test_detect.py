from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from lowdose.io.coco import read_coco
from lowdose.quality.lesion_detection import intersection_over_union
from tests.cli.runner import lowdose
from tests.training.lesion_scans import SIDE, annotated_files, squares


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> Path:
    """Trained by the command for a quarter of a minute: it finds bright squares."""
    folder = tmp_path_factory.mktemp("detector")
    path = annotated_files(folder, tuple("ABCDEFGHIJ"), n_slices=12)
    words = ("train", "detector", path, "--out", folder / "run", "--steps", 200, "--patch", 64, "--width", 8)
    outcome = lowdose(*words)
    assert outcome.status == 0, outcome.err
    return folder / "run"


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scan")
    hu, _ = squares(999, n_slices=6)
    nibabel.save(nibabel.Nifti1Image(hu.T, np.diag([-1.0, -1.0, 3.0, 1.0])), folder / "new.nii")
    return folder / "new.nii"


def test_lesions_of_a_new_scan_are_found_shown_and_written(detector, scan, tmp_path):
    outcome = lowdose("detect", scan, detector, "--out", tmp_path / "found", "--json")
    assert outcome.status == 0, outcome.err
    found, _ = read_coco(tmp_path / "found" / "findings.json")[0], None
    assert found.size == (SIDE, SIDE)
    _, boxes = squares(999, n_slices=6)
    n_hit = 0
    for z, known in boxes.items():
        here = [box for lesion in found.lesions for box in lesion.boxes.get(z, ())]
        if here:
            n_hit += intersection_over_union(np.array(here), np.array(known)).max() > 0.5
    assert n_hit >= 4  # of five
    document = json.loads((tmp_path / "found" / "findings.json").read_text())
    assert all(0 < one["score"] <= 1 for one in document["annotations"])
    assert (tmp_path / "found" / "overlay.png").read_bytes().startswith(b"\x89PNG")
    assert "for a reader to judge" in (tmp_path / "found" / "report.html").read_text()
    assert outcome.json["cases"][0]["facts"]["findings"] == len(found.lesions)


def test_the_threshold_decides(detector, scan, tmp_path):
    counts = []
    for number, threshold in enumerate((0.02, 0.999)):
        out = tmp_path / str(number)
        assert lowdose("detect", scan, detector, "--out", out, "--threshold", threshold).status == 0
        counts.append(len(json.loads((out / "findings.json").read_text())["annotations"]))
    assert counts[0] > counts[1]


def test_pixels_unlike_the_training_are_told(detector, tmp_path):
    hu, _ = squares(5, n_slices=2)
    nibabel.save(nibabel.Nifti1Image(hu.T, np.diag([-3.0, -3.0, 3.0, 1.0])), tmp_path / "coarse.nii")
    outcome = lowdose("detect", tmp_path / "coarse.nii", detector, "--out", tmp_path / "found")
    assert outcome.status == 0
    assert (
        "pixels of 3.00 mm are not like those that the detector learned from, 1.00 to 1.00 mm" in outcome.err
    )


def test_wrong_use_leaves_nothing(detector, scan, tmp_path):
    missing = lowdose("detect", tmp_path / "no", detector, "--out", tmp_path / "found")
    assert missing.status == 2
    none = lowdose("detect", scan, tmp_path, "--out", tmp_path / "found")
    assert none.status == 2
    assert "holds no detector.json, so it is no detector" in none.error
    (tmp_path / "text.nii").write_text("no image")
    broken = lowdose("detect", tmp_path / "text.nii", detector, "--out", tmp_path / "found")
    assert broken.status == 1
    assert not (tmp_path / "found").exists()
