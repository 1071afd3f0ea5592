"""A model goes on from where it was, on noise that was learned, and what it gains is measured honestly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lowdose.io import open_input
from lowdose.models.card import bundled_models, load_card
from lowdose.models.denoiser import ModelDenoiser
from lowdose.physics.noise_patches import find_noise
from lowdose.training.adaptation import (
    AdaptationError,
    Wish,
    adapted,
    clean_rows,
    plan_of,
    with_metrics,
)
from lowdose.training.evidence import measured
from lowdose.training.noise_model import NoiseModelError
from lowdose.training.plan import PlanError
from tests.io.body_series import body_series

START = bundled_models()["ct-default"]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Two clean patients with a folder each, and one low-dose scan with twice their noise."""
    folder = tmp_path_factory.mktemp("scans")
    for seed, name in enumerate(("anna", "ben"), start=1):
        body_series(folder / "clean" / name, 3, seed=seed, side=160)
    body_series(folder / "low" / "carl", 9, seed=3, side=160)
    return folder


@pytest.fixture(scope="module")
def low(scans):
    """The scan, with noise of 60 HU more."""
    with open_input(scans / "low") as found:
        (case,) = found.cases
        hu = case.scan.hu + 60 * np.random.default_rng(1).standard_normal(case.scan.shape).astype(np.float32)
        yield replace(case.scan, read=lambda z: case.scan.read(z)._replace(hu=hu[z]))


def wish(**changes):
    return Wish(name="adapted", start=START, noise_steps=5, n_steps=2, **changes)


def test_clean_scans_are_listed_by_patient(scans):
    rows = clean_rows([scans / "clean", scans / "low" / "carl"], seed=1)
    assert sorted(row.patient for row in rows) == ["carl", "clean/anna", "clean/ben"]
    assert sorted(row.split for row in rows) == ["training", "training", "validation"]
    (only,) = clean_rows([scans / "low" / "carl"], seed=1)
    assert only.split == "training"
    with pytest.raises(AdaptationError, match="not found"):
        clean_rows([scans / "nowhere"], seed=1)


def test_the_plan_goes_on_from_the_model_as_it_sees_hu(tmp_path):
    card = load_card(START)
    plan = plan_of(wish(), tmp_path / "noise", tmp_path / "clean.csv", ["a", "b", "c", "d"], 5)
    assert (plan.network.name, plan.network.sizes) == (card.architecture, card.sizes)
    assert (plan.offset_hu, plan.scale_hu, plan.dose_gain) == (card.offset_hu, card.scale_hu, card.dose_gain)
    assert plan.network.start == START
    assert plan.summary == "ct-default adapted to the noise of a, b, c and 1 more"
    assert plan.schedule.selection == "error"
    with pytest.raises(AdaptationError, match="start from a 2-D model"):
        plan_of(
            replace(wish(), start=bundled_models()["microct-3d"]), tmp_path, tmp_path, ["a"], 2
        )  # fmt: skip


def test_an_adapted_model_denoises_and_a_stopped_run_goes_on(scans, low, tmp_path):
    noise, rows = [find_noise(low)], clean_rows([scans / "clean"], seed=1)
    assert adapted(wish(), noise, rows, tmp_path / "out", max_seconds=0.0) is None
    with pytest.raises(PlanError, match="give --resume"):
        adapted(wish(), noise, rows, tmp_path / "out")
    learned = adapted(wish(), noise, rows, tmp_path / "out", resume=True)
    assert len(learned.card.sources) == 1
    card = load_card(tmp_path / "out")
    assert card.name == "adapted"
    assert card.data[0].patients == 1
    assert "noise that was learned" in card.training
    denoiser = ModelDenoiser(tmp_path / "out")
    found = measured(low, noise[0], ModelDenoiser(START), denoiser, gain=4.0, seed=1, n_slices=2)
    own, left = with_metrics(tmp_path / "out", [found], 4.0).metrics
    assert (own.name, own.value) == ("error at own dose", round(found.at_own_dose["after"], 3))
    assert (left.name, left.value) == ("error left", round(found.error_left("after"), 4))
    assert load_card(tmp_path / "out").metrics[1].value < 1.0


def test_too_little_noise_is_refused_before_anything_is_written(low, scans, tmp_path):
    few = find_noise(low, n_slices=1)
    with pytest.raises(NoiseModelError, match="learning takes 100"):
        adapted(wish(), [few], clean_rows([scans / "clean"], seed=1), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_clean_scans_noisier_than_the_low_dose_ones_are_refused(scans, tmp_path):
    with open_input(scans / "low") as found:
        scan = found.cases[0].scan
        quiet = replace(
            scan, read=lambda z: scan.read(z)._replace(hu=(scan.read(z).hu - 40.0) * np.float32(0.3) + 40.0)
        )
        noise = find_noise(quiet)
    with pytest.raises(AdaptationError, match="give cleaner scans"):
        adapted(wish(), [noise], clean_rows([scans / "clean"], seed=1), tmp_path / "out")
