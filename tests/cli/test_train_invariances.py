from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.cli.runner import lowdose
from tests.invariances.chests import chest

pytest.importorskip("FrEIA")


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("scans")
    paths = [folder / f"{number}.nii" for number in range(2)]
    for number, path in enumerate(paths):
        hu = chest(n=4, side=112, seed=number).hu
        nibabel.save(nibabel.Nifti1Image(hu.T, np.diag([-1.5, -1.5, 3.0, 1.0])), path)
    return paths


def test_from_scans_to_an_explanation_by_what_was_learned(scans, tmp_path):
    shared, learned, out = (tmp_path / name for name in ("shared", "learned", "explained"))
    few = ("--steps", 2, "--slices", 2)
    first = lowdose("train", "representation", *scans, "--out", shared, "--method", "gaussian", *few)
    assert first.status == 0, first.err
    second = lowdose(
        "train", "invariances", "gaussian", *scans, "--representation", shared, "--out", learned, *few
    )
    assert second.status == 0, second.err
    third = lowdose("explain", "gaussian", scans[0], "--invariances", learned, "--out", out, "--slices", 1)
    assert third.status == 0, third.err
    told = json.loads((out / "explanation.json").read_text())
    assert [gate["name"] for gate in told["gates"]][2:] == [
        "representation: structure missed", "flow: there and back", "flow: normal numbers",
        "samples: consistent", "latents: what they tell", "representation: pixels",
    ]  # fmt: skip
    failed = [gate["name"] for gate in told["gates"] if not gate["passed"]]
    assert failed  # after two steps nothing was learned
    for name in failed:
        assert f"what was learned does not count: {name} is " in third.err
    other = lowdose("explain", "median", scans[0], "--invariances", learned, "--out", tmp_path / "other")
    assert other.status == 2
    assert "was learned of gaussian, not of median" in other.error


def test_one_scan_is_too_few(scans, tmp_path):
    outcome = lowdose("train", "representation", scans[0], "--out", tmp_path / "out", "--steps", 2)
    assert outcome.status == 2
    assert "two scans or more" in outcome.error


def test_an_unknown_profile_is_wrong_use(scans, tmp_path):
    outcome = lowdose("train", "representation", *scans, "--out", tmp_path / "out", "--profile", "huge")
    assert outcome.status == 2
    assert "unknown profile 'huge'; there are small and published" in outcome.error
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_cut_is_resumed(scans, tmp_path):
    words = ("train", "representation", *scans, "--out", tmp_path / "out", "--method", "gaussian")
    words = (*words, "--steps", 2, "--slices", 2)
    cut = lowdose(*words, "--max-minutes", 1e-6)
    assert cut.status == 0
    assert "--resume" in cut.err
    assert lowdose(*words).status == 2
    assert lowdose(*words, "--resume").status == 0
    assert (tmp_path / "out" / "representation.json").exists()
