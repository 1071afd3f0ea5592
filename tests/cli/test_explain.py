from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from lowdose.models.card import bundled_models, load_card
from tests.cli.runner import lowdose
from tests.invariances.chests import chest


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "chest.nii"
    nibabel.save(nibabel.Nifti1Image(chest(n=4, side=160).hu.T, np.diag([-1.5, -1.5, 3.0, 1.0])), path)
    return path


def test_a_filter_is_explained_by_page_and_numbers(scan, tmp_path):
    out = tmp_path / "explained"
    outcome = lowdose("explain", "median", scan, "--out", out, "--slices", 1, "--set", "size-px=7", "--json")
    assert outcome.status == 0, outcome.err
    told = json.loads((out / "explanation.json").read_text())
    assert told["method"] == "median"
    assert told["convicted"] is True  # of spots that are smaller than seven pixels
    assert "What the denoiser ignores" in (out / "report.html").read_text()
    assert outcome.json["cases"][0]["facts"]["verdict"] == told["verdict"]
    assert json.loads((out / "run.json").read_text())["options"]["settings"] == {"size_px": 7.0}


def test_what_changes_nothing_is_acquitted(scan, tmp_path):
    out = tmp_path / "explained"
    assert lowdose("explain", "identity", scan, "--out", out, "--slices", 1).status == 0
    told = json.loads((out / "explanation.json").read_text())
    assert told["convicted"] is False
    assert told["changes"] == []


def test_the_verdict_goes_onto_the_card_of_a_model_of_ones_own(scan, tmp_path):
    model = tmp_path / "mine"
    shutil.copytree(
        bundled_models()["ct-default"], model, ignore=shutil.ignore_patterns("invariances", "*.safetensors")
    )
    words = ("explain", model, scan, "--slices", 1, "--card")
    outcome = lowdose(*words, "--out", tmp_path / "out")
    assert outcome.status == 0
    assert "pixels of 1.5 mm are far from" in outcome.err
    told = json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert load_card(model).ignores == (f"chest: {told['verdict']}",)
    assert told["verdict"] in lowdose("methods", model).out
    refused = lowdose("explain", "ct-default", scan, "--out", tmp_path / "other", "--card")
    assert refused.status == 2
    assert "ct-default is none" in refused.error


def test_what_was_learned_of_a_model_goes_along_when_its_folder_is_copied(scan, tmp_path):
    pytest.importorskip("FrEIA")
    model = tmp_path / "copied"
    shutil.copytree(bundled_models()["ct-default"], model)
    outcome = lowdose("explain", model, scan, "--slices", 1, "--out", tmp_path / "out")
    assert outcome.status == 0, outcome.err
    told = json.loads((tmp_path / "out" / "explanation.json").read_text())
    assert "flow: there and back" in {gate["name"] for gate in told["gates"]}
    assert "what was learned does not count: representation: pixels is 1.50 mm" in outcome.err


def test_wrong_use_leaves_nothing(scan, tmp_path):
    out = tmp_path / "explained"
    unknown = lowdose("explain", "nothing-like-it", scan, "--out", out)
    assert unknown.status == 2
    assert "unknown method" in unknown.error
    setting = lowdose("explain", "median", scan, "--out", out, "--set", "strange=1")
    assert setting.status == 2
    small = tmp_path / "small.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((40, 40, 3), np.float32), np.eye(4)), small)
    refused = lowdose("explain", "median", small, "--out", out)
    assert refused.status == 1
    assert "40 x 40 pixels are smaller than the 64" in refused.err
    assert not out.exists()


def test_what_was_learned_of_another_method_is_refused(scan, tmp_path):
    pytest.importorskip("FrEIA")
    nothing = lowdose("explain", "median", scan, "--out", tmp_path / "out", "--invariances", tmp_path)
    assert nothing.status == 2
    assert "holds no flow.json" in nothing.error
