from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from lowdose.io.coco import AnnotatedScan, read_coco, write_coco
from lowdose.lesions import Lesion
from tests.cli.runner import lowdose
from tests.training.lesion_scans import annotated_files


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Ten patients, a detector of nine of them trained by the command, and three others at two doses."""
    folder = tmp_path_factory.mktemp("evaluate")
    learning = annotated_files(folder / "learning", tuple("ABCDEFGHIJ"), n_slices=10)
    words = ("--out", folder / "detector", "--steps", 160, "--patch", 64, "--width", 8)
    assert lowdose("train", "detector", learning, *words).status == 0
    test = annotated_files(folder / "test", ("X", "Y", "Z"), n_slices=5)
    scans = []
    for scan in read_coco(test):
        image = nibabel.load(folder / "test" / scan.source)
        noise = np.random.default_rng(1).normal(0, 90, image.shape)
        low = nibabel.Nifti1Image((image.get_fdata() + noise).astype(np.float32), image.affine)
        nibabel.save(low, folder / "test" / f"low-{scan.source}")
        scans.append(
            AnnotatedScan(
                scan.source, scan.patient, scan.size, scan.searched, scan.lesions, f"low-{scan.source}"
            )
        )
    write_coco(test, scans)
    return folder


def test_arms_are_measured_side_by_side(place, tmp_path):
    outcome = lowdose(
        "lesions", "evaluate", place / "test" / "lesions.json", place / "detector", "--out", tmp_path / "out",
        "--method", "gaussian", "--json",
    )  # fmt: skip
    assert outcome.status == 0, outcome.err
    own, low, denoised = outcome.json["arms"]
    assert [one["arm"] for one in (own, low, denoised)] == ["own dose", "low dose", "gaussian"]
    assert own["patients"] == 3
    assert own["images"] == 15
    assert own["lesions"] == 12
    assert own["ap_50"] > 0.6
    assert low["ap_50"] < own["ap_50"]
    assert low["ap_50_change"] == pytest.approx(low["ap_50"] - own["ap_50"])
    assert own["false_positives"] is not None
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == outcome.json
    assert "AP-50 is" in (tmp_path / "out" / "report.html").read_text()


def test_wrong_use_is_one_sentence_and_leaves_nothing(place, tmp_path):
    test, out = place / "test" / "lesions.json", tmp_path / "out"
    unknown = lowdose("lesions", "evaluate", test, place / "detector", "--out", out, "--method", "magic")
    assert unknown.status == 2
    missing = lowdose("lesions", "evaluate", tmp_path / "no.json", place / "detector", "--out", out)
    assert missing.status == 2
    scans = read_coco(test)
    moved = [
        AnnotatedScan(
            str(place / "test" / s.source), s.patient, s.size, s.searched,
            tuple(Lesion("wart", one.boxes) for one in s.lesions),
        )
        for s in scans
    ]  # fmt: skip
    write_coco(tmp_path / "warts.json", moved)
    other = lowdose("lesions", "evaluate", tmp_path / "warts.json", place / "detector", "--out", out)
    assert (other.status, "of the kind wart" in other.error) == (2, True)
    longer = [AnnotatedScan(str(place / "test" / "X.nii"), "X", (96, 96), tuple(range(9)), ())]
    write_coco(tmp_path / "longer.json", longer)
    misfit = lowdose("lesions", "evaluate", tmp_path / "longer.json", place / "detector", "--out", out)
    assert misfit.status == 1
    assert "do not fit the 5 slices of 96 x 96" in misfit.error
    assert not out.exists()


def test_a_scan_without_free_slices_has_no_false_positive_rate_and_still_is_json(place, tmp_path):
    scans = [
        AnnotatedScan(str(place / "test" / s.source), s.patient, s.size, s.searched[:-1], s.lesions)
        for s in read_coco(place / "test" / "lesions.json")
    ]
    write_coco(tmp_path / "lesions.json", scans)
    outcome = lowdose(
        "lesions",
        "evaluate",
        tmp_path / "lesions.json",
        place / "detector",
        "--out",
        tmp_path / "o",
        "--json",
    )
    assert outcome.status == 0, outcome.err
    assert outcome.json["arms"][0]["false_positives"] is None
