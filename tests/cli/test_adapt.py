"""`lowdose adapt` from scans to a model that denoises."""

from __future__ import annotations

import json

import pytest

from lowdose.cli.adapt import _measured
from lowdose.cli.train_noise_model import found_noise
from lowdose.models.card import bundled_models, load_card
from lowdose.training.adaptation import Wish
from tests.cli.runner import lowdose
from tests.io.body_series import body_series, stored_hu


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for seed, name in enumerate(("anna", "ben"), start=1):
        body_series(folder / "clean" / name, 3, seed=seed, side=160)
    body_series(folder / "own" / "carl", 9, seed=3, side=160)
    assert lowdose("simulate", folder / "own", folder / "low", "--dose", "0.3").status == 0
    return folder


def words(scans, out, *more):
    return (
        "adapt",
        scans / "low",
        "--clean",
        scans / "clean",
        "--out",
        out,
        "--noise-steps",
        "5",
        "--steps",
        "2",
        *more,
    )


def test_a_model_is_adapted_reported_and_denoises(scans, tmp_path):
    out = tmp_path / "model"
    outcome = lowdose(*words(scans, out, "--json", "--name", "ours"))
    assert outcome.status == 0, outcome.err
    assert outcome.json["adaptation"] in ("helped", "hurt", "makes no difference")
    assert len(outcome.json["scans"]) == 1
    assert load_card(out).name == "ours"
    assert outcome.json.items() <= json.loads((out / "run.json").read_text()).items()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Adapted to your scans" in page
    assert lowdose("denoise", scans / "own", tmp_path / "denoised", "--method", out).status == 0
    assert stored_hu(tmp_path / "denoised").shape == (9, 160, 160)
    assert "give --resume" in lowdose(*words(scans, out)).error


def test_scans_of_one_name_are_measured_each_by_itself(scans, tmp_path):
    """Series of two inputs may share their name, as those of one protocol do."""
    again = tmp_path / "again"
    body_series(tmp_path / "more", 9, seed=4, side=160)
    assert lowdose("simulate", tmp_path / "more", again, "--dose", "0.3").status == 0
    found = found_noise([scans / "low", again])
    assert len({one.source for one in found.noise}) == 1
    start = bundled_models()["ct-default"]
    seen = _measured(found, Wish(name="same", start=start), start, 4.0)
    assert len(seen) == 2
    assert seen[0].itself["before"].rmse != seen[1].itself["before"].rmse
    assert [bool(one.shown) for one in seen] == [True, False]


def test_a_run_out_of_time_goes_on(scans, tmp_path):
    out = tmp_path / "model"
    outcome = lowdose(*words(scans, out, "--max-minutes", "0"))
    assert outcome.status == 0
    assert "go on with the same command and --resume" in outcome.err
    assert lowdose(*words(scans, out, "--resume")).status == 0
    assert load_card(out).name == "ct-adapted"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("--start", "gaussian"), "unknown method 'gaussian'"),
        (("--start", "nothing"), "unknown method 'nothing'"),
        (("--clean", "nowhere"), "nowhere: not found"),
        (("--name", "No Name"), "name"),
    ],
)
def test_bad_calls_end_with_one_sentence(scans, tmp_path, change, complaint):
    outcome = lowdose(*words(scans, tmp_path / "model", *change))
    assert outcome.status == 2
    assert complaint in outcome.error
