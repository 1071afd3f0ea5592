"""`lowdose train noise-model` on scans of water."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lowdose.training.noise_model import load_noise_model, read_noise_card
from tests.cli.runner import lowdose
from tests.io.body_series import body_series


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("low-dose")
    for seed, name in enumerate(("anna", "ben"), start=1):
        body_series(folder / name, 6, seed=seed, side=160)
    return folder


@pytest.mark.parametrize("kind", ["vae", "gan"])
def test_noise_is_learned_from_scans_and_reported(scans, tmp_path, kind):
    out = tmp_path / "noise"
    outcome = lowdose("train", "noise-model", scans, "--out", out, "--kind", kind, "--steps", "5")
    assert outcome.status == 0, outcome.err
    card = read_noise_card(out)
    assert card.kind == kind
    assert len(card.sources) == 2
    assert load_noise_model(out).unit(1, 40, 40, np.random.default_rng(1)).shape == (1, 40, 40)
    assert "patches of noise without anatomy" in outcome.err
    assert json.loads((out / "run.json").read_text())["command"] == "train noise-model"
    assert "Noise that was learned" in (out / "report.html").read_text(encoding="utf-8")


def test_a_run_out_of_time_says_how_to_go_on(scans, tmp_path):
    words = ("train", "noise-model", scans, "--out", tmp_path / "noise", "--steps", "5")
    outcome = lowdose(*words, "--max-minutes", "0")
    assert outcome.status == 0
    assert "time is up; go on with: lowdose train noise-model" in outcome.err
    assert lowdose(*words).status == 2
    assert lowdose(*words, "--resume").status == 0


def test_bad_calls_end_with_one_sentence(scans, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no CT series" in lowdose("train", "noise-model", empty, "--out", tmp_path / "a").error
    mixed = tmp_path / "mixed"
    body_series(mixed / "soft", 6, seed=1, side=160, ConvolutionKernel="B30f")
    body_series(mixed / "sharp", 6, seed=2, side=160, ConvolutionKernel="B70f")
    outcome = lowdose("train", "noise-model", mixed, "--out", tmp_path / "b")
    assert outcome.status == 2
    assert "2 kernels" in outcome.error
    small = body_series(tmp_path / "small", 2, seed=3, side=48)
    outcome = lowdose("train", "noise-model", small, "--out", tmp_path / "c")
    assert outcome.status == 1
    assert "no scan shows noise without anatomy" in outcome.error


def test_help_names_both_ways_to_train():
    assert "noise-model" in lowdose("train", "--help").out
    assert "--kind" in lowdose("train", "noise-model", "--help").out
