"""From a plan and DICOM folders to a model folder that denoises, and every way in which that is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lowdose.denoising import ModelDenoiser, denoise
from lowdose.io import open_input
from lowdose.models.card import load_card
from lowdose.training.experiment import (
    VALIDATION_BATCHES,
    Watcher,
    prepare_sources,
    train,
    validation_batches,
)
from lowdose.training.loop import Progress
from lowdose.training.plan import PlanError, TrainingPlan
from tests.io.body_series import body_series
from tests.io.ct_factory import ct_slice, save

SOURCE = {"licence": "CC0", "citation": "made for this test"}


def plan(*sources: dict, **changes) -> TrainingPlan:
    content = {
        "name": "tiny",
        "version": "1",
        "summary": "A test.",
        "network": {"name": "residual-unet", "sizes": {"width": 8, "blocks": [1, 1, 1]}},
        "patch": 32,
        "schedule": {
            "n_steps": 4,
            "batch_size": 2,
            "warmup": 1,
            "ema_decay": 0.5,
            "validate_every": 2,
            "checkpoint_every": 2,
        },
        "sources": [SOURCE | source for source in sources] or [SOURCE | WARD],
    }
    return TrainingPlan.model_validate(content | changes)


WARD = {"name": "ward", "path": "ward", "patients": "folders", "validation_patients": ["cleo"], "weight": 3}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A ward of three patients, a single scan, a scan of air, and a folder without any CT."""
    root = tmp_path_factory.mktemp("data")
    for seed, patient in enumerate(("anna", "ben", "cleo"), start=1):
        body_series(root / "ward" / patient, seed=seed)
    body_series(root / "single", seed=9, n_slices=1)
    for z in range(2):
        air = np.full((72, 72), -1000, np.int16)
        save(ct_slice(air, z=3.0 * z, number=z + 1), root / "air" / f"{z}.dcm")
    (root / "notes").mkdir()
    (root / "notes" / "readme.txt").write_text("nothing to see")
    return root


@pytest.fixture(scope="module")
def cache(root) -> Path:
    """Shared by all tests, so that each scan is prepared once."""
    return root.parent / "cache"


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
    assert card.training.startswith("4 steps of 2 patches of 32 px")
    assert card.sizes == {"width": 8, "blocks": [1, 1, 1]}


def test_whoever_watches_is_told(finished):
    folder, told, scans = finished
    assert scans == ["ward anna 0/3", "ward ben 1/3", "ward cleo 2/3"]
    assert [progress.step for progress in told] == [1, 2, 3, 4]
    assert [progress.validation is not None for progress in told] == [False, True, False, True]
    log = [json.loads(line) for line in (folder.parent / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4]
    assert log[-1]["validation_share_left"] == told[-1].validation


def test_a_run_out_of_time_is_resumed_to_the_same_network(root, finished, tmp_path):
    assert run(plan(), root, tmp_path / "run", max_seconds=-1.0) is None
    assert not (tmp_path / "run" / "tiny").exists()
    # Nothing was trained, so there is no checkpoint yet: the same call starts anew.
    with pytest.raises(PlanError, match="holds no checkpoint to resume"):
        run(plan(), root, tmp_path / "run", resume=True)

    class Stopped(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.step == 3:
            raise Stopped

    with pytest.raises(Stopped):
        run(plan(), root, tmp_path / "run", watcher=Watcher(on_progress=stop))
    with pytest.raises(PlanError, match="holds a training run; give --resume"):
        run(plan(), root, tmp_path / "run")
    resumed = run(plan(), root, tmp_path / "run", resume=True)
    assert resumed == tmp_path / "run" / "tiny"
    assert load_card(resumed).weights_sha256 == load_card(finished[0]).weights_sha256


def test_validation_is_always_on_the_same_patches(root, cache):
    data = prepare_sources(plan(), root, cache, Watcher())
    first, again = (validation_batches(plan(), data.validation) for _ in range(2))
    assert len(first) == VALIDATION_BATCHES
    for (noisy, target), (noisy_again, target_again) in zip(first, again, strict=True):
        assert noisy.tobytes() == noisy_again.tobytes()
        assert target.tobytes() == target_again.tobytes()
    hu = {float(value) for scan in data.validation for value in np.unique(scan.hu)}
    assert {float(value) for _, target in first for value in np.unique(target)} <= hu
    assert validation_batches(plan(), ()) == []


def test_patients_are_split_and_share_the_weight_of_their_source(root, cache):
    sources = WARD, {"name": "single", "path": "single", "weight": 0.5}
    data = prepare_sources(plan(*sources), root, cache, Watcher())
    weights = {scan.patient: scan.weight for scan in data.training}
    assert weights == pytest.approx({"anna": 1.0, "ben": 1.0, "single": 0.5})
    assert [scan.patient for scan in data.validation] == ["cleo"]


def test_a_patient_in_both_splits_is_refused(root, cache):
    both = plan(WARD | {"validation_patients": []}, WARD | {"name": "again", "split": "validation"})
    with pytest.raises(PlanError, match="patients in both splits: anna, ben, cleo; give each one split"):
        prepare_sources(both, root, cache, Watcher())


def test_a_patient_to_hold_back_who_is_not_there_is_refused(root, cache):
    """Or a slip of the pen would train on the patients that were meant for validation."""
    with pytest.raises(PlanError, match=r"ward: holds no patient claire; mend validation_patients"):
        prepare_sources(plan(WARD | {"validation_patients": ["anna", "claire"]}), root, cache, Watcher())


def test_scans_that_cannot_be_used_are_left_out_with_a_sentence(root, cache):
    left_out: list[str] = []
    watcher = Watcher(on_left_out=left_out.append)
    sources = [{"name": name, "path": name} for name in ("air", "notes", "single")]
    data = prepare_sources(plan(*sources), root, cache, watcher)
    assert [scan.patient for scan in data.training] == ["single"]
    assert len(left_out) == 2
    assert "too little flat soft tissue" in left_out[0]
    assert "notes holds no CT series" in left_out[1]


def test_a_broken_file_leaves_out_its_scan_alone(root, cache, tmp_path):
    body_series(tmp_path / "ward" / "anna", seed=1)
    file = body_series(tmp_path / "ward" / "ben", seed=2) / "0001.dcm"
    file.write_bytes(file.read_bytes()[:-5000])
    left_out: list[str] = []
    source = WARD | {"validation_patients": []}
    data = prepare_sources(plan(source), tmp_path, tmp_path / "cache", Watcher(on_left_out=left_out.append))
    assert [scan.patient for scan in data.training] == ["anna"]
    assert len(left_out) == 1
    assert "0001.dcm" in left_out[0]


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (plan({"name": "air", "path": "air"}), "no scan below .* can be trained on"),
        (plan({"name": "gone", "path": "gone"}), "gone: the source 'gone' is not there"),
        (plan(WARD | {"path": "single/0001.dcm"}), "is no folder of patients; mend the source 'ward'"),
        (plan(network={"name": "magic"}), "unknown network 'magic'; known are residual-unet"),
        (plan(patch=80), r"patches of 80 px do not fit into slices of \(72, 72\); choose a smaller patch"),
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
