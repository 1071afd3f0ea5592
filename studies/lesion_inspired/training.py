"""Detectors and denoisers; what is there is not made again, what was stopped goes on."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from experiments import (
    ALONE,
    ANCHORS,
    BASE,
    DETECTORS,
    GAINS,
    HALVED,
    LID,
    LUNG_WHITE,
    PATCH,
    SIZES,
    WHITE_HU,
    WINDOWS,
    Cell,
)
from measuring import measure_cell, measure_undenoised
from numpy.typing import NDArray
from scans import Scans

from lowdose.cli.train import template_text
from lowdose.training.checkpoint import CHECKPOINT
from lowdose.training.detector_experiment import DetectorPlan, train_detector
from lowdose.training.detector_model import DETECTOR_CARD
from lowdose.training.experiment import train
from lowdose.training.lesion_inspired import Turns
from lowdose.training.plan import TrainingPlan
from lowdose.training.sampling import NoiseSource

Images = NDArray[np.float32]

ROLES = {"training": (1, 24), "frozen": (2, 16)}
"""Seed and width of the detector that takes part and of the one that judges alone."""
CRITIC = {"wgan-critic": {"width": 16, "n_hidden": 64}, "patch-critic": {"width": 16}}
CRITIC_STEPS = 2
RATE = 4e-4
PLAIN = {"offset_hu": 0.0, "scale_hu": 500.0, "drawing": {"lowest_target_dose": 1.0, "averaged": 0.0,
         "kernels": 0.0}}  # fmt: skip


@dataclass(frozen=True)
class White:
    """White Gaussian noise in the image."""

    hu: float

    def level(self, _generator: np.random.Generator) -> float:
        return self.hu

    def __call__(self, levels: Images, _hu: Images, generator: np.random.Generator, /) -> Images:
        return np.asarray(levels * generator.standard_normal(levels.shape), np.float32)


def noise_of(which: str) -> NoiseSource | None:
    """What is put on the scans of a set; None for the noise of their own scanners."""
    return White(WHITE_HU) if which == LUNG_WHITE else None


def detector_folder(scans: Scans, which: str, role: str) -> Path:
    return scans.work / "detectors" / f"{DETECTORS[which]}-{role}"


def train_detectors(scans: Scans, part: slice) -> None:
    """Those that take part, and those that judge alone, on images at their own dose."""
    kinds = dict.fromkeys(DETECTORS[which] for which in scans.study.sets)
    for kind, role in [(kind, role) for kind in kinds for role in ROLES][part]:
        folder = detector_folder(scans, kind, role)
        if (folder / DETECTOR_CARD).exists():
            continue
        print(f"training the detector {folder.name}", flush=True)
        seed, width = ROLES[role]
        steps = scans.study.steps
        card = train_detector(
            scans.annotations(kind, "learning"), folder,
            DetectorPlan(
                n_steps=steps.detector if role == "training" else steps.frozen, patch=PATCH[kind], seed=seed,
                window=WINDOWS[kind], sizes=(("width", width), ("anchors", ANCHORS[kind])),
                validation_patients=scans.held_back(kind), batch_size=8,
            ),
            resume=(folder / CHECKPOINT).exists(), cache=scans.work / "cache",
        )  # fmt: skip
        assert card is not None  # it had all the time it takes
        print(f"  {card.metrics}", flush=True)


def model_folder(scans: Scans, cell: Cell) -> Path:
    return scans.work / "models" / cell.name / cell.network


def start_of(cell: Cell) -> Cell:
    """What all arms of a network start from."""
    return Cell(cell.set, cell.network, "start")


def train_and_measure(scans: Scans, part: slice) -> None:
    """Every denoiser, each measured as soon as it is there; all arms of one network in one part."""
    for which in list(scans.study.sets)[part]:
        measure_undenoised(scans, which)
    pairs = list(dict.fromkeys((cell.set, cell.network) for cell in scans.study.cells()))
    for which, network in pairs[part]:
        for cell in scans.study.cells():
            if (cell.set, cell.network) == (which, network):
                train_cell(scans, start_of(cell))
                train_cell(scans, cell)
                measure_cell(scans, cell, model_folder(scans, cell))


def train_cell(scans: Scans, cell: Cell) -> None:
    """One denoiser, whole."""
    folder = model_folder(scans, cell).parent
    if model_folder(scans, cell).is_dir():
        return
    print(f"training {cell.name}", flush=True)
    plan = TrainingPlan.model_validate(plan_of(scans, cell))
    train(
        plan, scans.root, folder, resume=(folder / CHECKPOINT).exists(), max_seconds=math.inf,
        cache=scans.work / "cache", noise=noise_of(cell.set),
    )  # fmt: skip
    (folder / CHECKPOINT).unlink(missing_ok=True)
    shutil.rmtree(folder / "cache", ignore_errors=True)


def plan_of(scans: Scans, cell: Cell) -> dict[str, Any]:
    """The published recipe made small, or what LIDnet makes of it."""
    steps, fewer = scans.study.steps, 2 if (cell.network, cell.set) in HALVED else 1
    template: dict[str, Any] = yaml.safe_load(template_text(cell.network) or "")
    side = PATCH[cell.set]
    plan: dict[str, Any] = {
        "name": cell.network, "version": "1", "summary": "of the study lesion_inspired", **PLAIN,
        "network": {"name": cell.network, "sizes": SIZES[cell.network]},
        "dose_gain": GAINS[cell.set], "patch": [3, side, side] if cell.network == "ssms" else side,
    }  # fmt: skip
    turns, shares = Turns(steps.pretraining, steps.turn, 0), 0.0
    if cell.arm == "start":
        plan |= {"losses": {"l1": 1.0}}
        n_steps, rate = steps.start // fewer, 1e-3
    else:
        adversarial = _small(template["adversarial"])
        n_critic = adversarial.get("critic_steps", 1)
        plan |= {"method": "adversarial", "adversarial": adversarial, "losses": template["losses"]}
        plan["network"]["start"] = str(model_folder(scans, start_of(cell)))
        if cell.arm == BASE:
            plan["perceptual"] = template.get("perceptual")
        else:  # the perceptual loss of regions takes the place of that of the whole
            plan["losses"] = template["losses"] or {"l1": 1.0}
            shares = 0.3 if cell.arm in (ALONE, LID) else 0.0
        of_detector = steps.turn_of_detector if cell.arm == LID else 0
        turns = Turns(steps.pretraining, steps.turn * n_critic, of_detector)
        n_steps, rate = turns.steps_for(steps.denoiser // fewer * n_critic), RATE
    plan["lesions"] = {
        "annotations": str(scans.annotations(DETECTORS[cell.set], "learning")),
        "detector": str(detector_folder(scans, cell.set, "training")),
        "validation_patients": scans.held_back(DETECTORS[cell.set]),
        "pretraining_steps": turns.pretraining,
        "denoiser_steps": turns.denoiser, "detector_steps": turns.detector,
        "roi_share": shares, "detection_share": shares,
    }  # fmt: skip
    plan["schedule"] = {
        "n_steps": n_steps, "batch_size": scans.study.batch, "learning_rate": rate,
        "warmup": min(20, n_steps),
        "decay": "cosine", "ema_decay": 0.98, "validate_every": n_steps, "checkpoint_every": 100,
        "selection": "last",
    }  # fmt: skip
    return plan


def _small(adversarial: dict[str, Any]) -> dict[str, Any]:
    """The same with narrow critics, and less often taught."""
    small = dict(adversarial)
    small["critics"] = [one | {"sizes": CRITIC[one["name"]]} for one in adversarial["critics"]]
    if "critic_steps" in small:
        small["critic_steps"] = CRITIC_STEPS
    return small
