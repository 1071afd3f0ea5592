import json

import nibabel
import numpy as np
import pytest
import torch

from lowdose.io.coco import AnnotatedScan, read_coco, write_coco
from lowdose.networks.lesion_detector import LesionDetector
from lowdose.training.detector_model import load_detector, write_detector
from lowdose.training.experiment import train
from lowdose.training.lesion_feedback import TRAINING_DETECTOR
from lowdose.training.plan import PlanError, TrainingPlan
from tests.training.lesion_scans import annotated_files

SIZES = {"width": 8, "anchors": ((8, 12), (16, 24), (32, 48))}


def detector(folder, *, kinds=("node",), **sizes):
    torch.manual_seed(1)
    network = LesionDetector(window=(-160.0, 240.0), n_kinds=len(kinds), **(SIZES | sizes))
    write_detector(
        network, folder, kinds=kinds, window_hu=(-160.0, 240.0), pixel_mm=(1.0, 1.0), sizes=SIZES | sizes,
        patch=48, training="none", patients=("X",), threshold=0.5,
    )  # fmt: skip
    return folder


@pytest.fixture
def data(tmp_path):
    """Scans at two doses with the boxes of their lesions, and an untrained detector."""
    path = annotated_files(tmp_path, ("A", "B", "C"))
    scans = []
    for scan in read_coco(path):
        image = nibabel.load(tmp_path / scan.source)
        noise = np.random.default_rng(1).normal(0, 40, image.shape)
        nibabel.save(
            nibabel.Nifti1Image(image.get_fdata() + noise, image.affine), tmp_path / f"low-{scan.source}"
        )
        scans.append(
            AnnotatedScan(
                scan.source, scan.patient, scan.size, scan.searched, scan.lesions, f"low-{scan.source}"
            )
        )
    write_coco(path, scans)
    detector(tmp_path / "detector")
    return tmp_path


def plan(**changes) -> TrainingPlan:
    lesions = {"annotations": "lesions.json", "detector": "detector", "pretraining_steps": 2,
               "denoiser_steps": 2, "detector_steps": 1}  # fmt: skip
    settings = {
        "name": "seen", "version": "1", "summary": "of a test",
        "network": {"name": "cpce-2d", "sizes": {"width": 4}},
        "losses": {"mse": 1.0}, "patch": 48, "lesions": lesions | changes.pop("lesions", {}),
        "schedule": {"n_steps": 8, "batch_size": 2, "warmup": 1, "validate_every": 4, "checkpoint_every": 4},
    }  # fmt: skip
    return TrainingPlan.model_validate(settings | changes)


def run(data, one: TrainingPlan, name: str = "run", **changes):
    settings = {"resume": False, "max_seconds": float("inf")}
    return train(one, data, data / name, **(settings | changes))


def test_a_plan_with_lesions_gives_a_model_and_the_detector_that_took_part(data):
    model = run(data, plan())
    card = json.loads((model / "card.json").read_text())
    assert [(one["name"], one["use"], one["patients"]) for one in card["data"]] == [
        ("lesions", "training", 2), ("lesions", "validation", 1)
    ]  # fmt: skip
    took_part, told = load_detector(data / "run" / TRAINING_DETECTOR)
    before, _ = load_detector(data / "detector")
    assert any(
        not torch.equal(now, was)
        for now, was in zip(took_part.state_dict().values(), before.state_dict().values(), strict=True)
    )
    assert "images denoised by seen" in told.shown
    assert "turns of 1 steps after 2 of the denoiser" in told.training
    log = [json.loads(line) for line in (data / "run" / "log.jsonl").read_text().splitlines()]
    assert log[-1]["weight of regions"] > 0
    assert log[-1]["weight of detection"] > 0


def test_it_goes_on_where_it_stopped_to_the_bit(data):
    whole = run(data, plan(), "whole")
    assert run(data, plan(), "parts", max_seconds=0.0) is None
    parts = run(data, plan(), "parts", resume=True)
    assert (whole / "weights.safetensors").read_bytes() == (parts / "weights.safetensors").read_bytes()


def test_without_detector_steps_the_detector_stays_as_it_is(data):
    run(data, plan(lesions={"detector_steps": 0, "pretraining_steps": 1}))
    run_of = {"pretraining_steps": 0, "detector_steps": 0, "roi_share": 0.0, "detection_share": 0.0}
    with pytest.raises(PlanError, match=r"finds 0 of \d+ lesions at normal dose, so it has nothing to teach"):
        run(data, plan(lesions=run_of), "other")


def test_a_detector_that_cannot_teach_is_refused(data):
    detector(data / "context", context=1)
    with pytest.raises(
        PlanError, match="looks at 3 slices, and denoised patches have one; train a detector wi"
    ):
        run(data, plan(lesions={"detector": "context"}))
    detector(data / "other", kinds=("nodule",))
    with pytest.raises(PlanError, match="lesions of the kind node, and the detector knows nodule"):
        run(data, plan(lesions={"detector": "other"}))
    with pytest.raises(PlanError, match=r"lesions.detector: .*nowhere: holds no detector.json"):
        run(data, plan(lesions={"detector": "nowhere"}))


def test_boxes_that_do_not_fit_are_refused(data):
    nibabel.save(nibabel.Nifti1Image(np.zeros((48, 48, 4), np.float32), np.eye(4)), data / "low-A.nii")
    with pytest.raises(PlanError, match=r"lesions.annotations: .* so the boxes do not fit the low dose"):
        run(data, plan())


def test_a_plan_has_one_kind_of_data(data):
    with pytest.raises(ValueError, match="give either 'sources' or a 'manifest' or 'lesions'"):
        plan(manifest="data.csv")


@pytest.mark.parametrize(
    ("network", "sizes", "patch"),
    [
        ("wgan-vgg", {"width": 4}, 48),
        ("map-nn", {"width": 4, "depth": 2}, 48),
        ("ssms", {"width": 2}, [3, 48, 48]),
        ("res-hlf", {"width": 4}, 48),
        ("residual-unet", {"width": 4}, 48),
        ("cpce-3d", {"width": 4}, 48),
    ],
)
def test_it_is_around_any_denoiser(data, network, sizes, patch):
    one = plan(network={"name": network, "sizes": sizes}, patch=patch, lesions={"pretraining_steps": 1})
    assert run(data, one).is_dir()


def test_it_is_around_critics_too(data):
    critic = {"name": "patch-critic", "sizes": {"width": 4}, "weight": 0.01}
    one = plan(method="adversarial", adversarial={"kind": "lsgan", "critics": [critic]})
    assert run(data, one).is_dir()
