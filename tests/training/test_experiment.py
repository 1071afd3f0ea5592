"""From a plan and DICOM folders to a model folder that denoises, and every way in which that is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lowdose.denoising import denoise
from lowdose.io import open_input
from lowdose.models.card import load_card
from lowdose.models.denoiser import ModelDenoiser
from lowdose.training.experiment import train
from lowdose.training.loop import Progress
from lowdose.training.plan import PlanError, TrainingPlan
from lowdose.training.sources import Watcher
from tests.training.ward import WARD, plan


def run(plan: TrainingPlan, root: Path, folder: Path, **options) -> Path | None:
    settings = {"resume": False, "max_seconds": float("inf"), "cache": root.parent / "cache"}
    return train(plan, root, folder, **(settings | options))


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory) -> tuple[Path, list[Progress], list[str]]:
    told: list[Progress] = []
    scans: list[str] = []
    watcher = Watcher(
        on_scan=lambda name, index, n: scans.append(f"{name} {index}/{n}"), on_progress=told.append
    )
    folder = run(plan(), root, tmp_path_factory.mktemp("run") / "new", watcher=watcher)
    assert folder is not None
    return folder, told, scans


def test_a_plan_becomes_a_model_that_denoises(root, finished):
    folder, _, _ = finished
    with open_input(root / "ward" / "cleo") as found:
        scan = found.cases[0].scan
        assert scan is not None
        denoised = denoise(scan, ModelDenoiser(folder))
        change = denoised.hu - scan.hu
    assert 0 < np.abs(change).max() < 200
    assert denoised.history[-1].name == "tiny"


def test_the_card_counts_patients_and_slices_by_their_use(finished):
    card = load_card(finished[0])
    assert [(item.name, item.use, item.patients, item.slices) for item in card.data] == [
        ("ward", "training", 2, 4),
        ("ward", "validation", 1, 2),
    ]
    assert card.training.startswith("4 steps of 2 patches of 32 x 32 voxels")
    assert card.sizes == {"width": 8, "blocks": [1, 1, 1]}


def test_whoever_watches_is_told(finished):
    folder, told, scans = finished
    assert scans == ["ward anna 0/3", "ward ben 1/3", "ward cleo 2/3"]
    assert [progress.step for progress in told] == [1, 2, 3, 4]
    assert [progress.validation is not None for progress in told] == [False, True, False, True]
    log = [json.loads(line) for line in (folder.parent / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4]
    assert log[-1]["validation_error"] == pytest.approx(told[-1].validation.error, abs=1e-6)


def test_a_run_out_of_time_is_resumed_to_the_same_network(root, finished, tmp_path):
    assert run(plan(), root, tmp_path / "run", max_seconds=-1.0) is None
    assert not (tmp_path / "run" / "tiny").exists()
    with pytest.raises(PlanError, match="holds no checkpoint to resume"):
        run(plan(), root, tmp_path / "elsewhere", resume=True)

    class Stopped(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.step == 3:
            raise Stopped

    with pytest.raises(Stopped):
        run(plan(), root, tmp_path / "run", resume=True, watcher=Watcher(on_progress=stop))
    with pytest.raises(PlanError, match="holds a training run; give --resume"):
        run(plan(), root, tmp_path / "run")
    resumed = run(plan(), root, tmp_path / "run", resume=True)
    assert resumed == tmp_path / "run" / "tiny"
    assert load_card(resumed).weights_sha256 == load_card(finished[0]).weights_sha256


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (plan({"name": "air", "path": "air"}), "no scan below .* can be used for training"),
        (plan({"name": "gone", "path": "gone"}), "gone: the source 'gone' is not there"),
        (plan(WARD | {"path": "single/0001.dcm"}), "is no folder of patients; mend the source 'ward'"),
        (plan(network={"name": "magic"}), "unknown network 'magic'; known are residual-unet"),
        (
            plan(patch=80),
            r"patches of 1 x 80 x 80 .* do not fit into the 2 x 72 x 72 .*; choose a smaller patch",
        ),
        (plan(network={"name": "residual-unet", "sizes": {"depth": 3}}), "sizes do not fit residual-unet"),
        (plan(network={"name": "residual-unet", "sizes": {"width": "8"}}), "sizes do not fit residual-unet"),
        (plan(network={"name": "residual-unet", "sizes": {"width": -8}}), "sizes do not fit residual-unet"),
        (plan(network={"name": "residual-unet", "sizes": {"blocks": [1]}}), "sizes do not fit residual-unet"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(root, tmp_path, made, sentence):
    with pytest.raises(PlanError, match=sentence) as caught:
        run(made, root, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
    assert not (tmp_path / "run" / "tiny").exists()
