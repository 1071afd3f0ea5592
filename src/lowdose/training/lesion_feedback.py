"""What a plan with lesions needs beside a plan without: a detector, scans with boxes, and turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lowdose.models.card import TrainingData
from lowdose.quality.lesion_detection import match
from lowdose.training.adversarial import Adversarial
from lowdose.training.batches import Batch, batch_of_step
from lowdose.training.dataset import PreparedImages
from lowdose.training.detector_model import DetectorCard, DetectorError, load_detector, write_detector
from lowdose.training.lesion_detection import judged
from lowdose.training.lesion_inspired import LesionInspired, Turns, Watching
from lowdose.training.lesion_sampling import LesionSampler
from lowdose.training.lesion_sources import LesionData, LesionDataError, prepare_lesions
from lowdose.training.plan import LesionChoice, PlanError, TrainingPlan
from lowdose.training.sampling import PairSampler
from lowdose.training.sources import PreparedData, Watcher
from lowdose.training.supervised import Supervised

TRAINING_DETECTOR = "detector"
"""Folder of the detector that took part, in that of the run."""
_LOOKED_AT = 4
"""Batches in which the detector must find something."""
_FAR = 2**42
_LEAST_SENSITIVITY = 0.05


@dataclass(frozen=True)
class Feedback:
    """A method with a detector in it, and the scans that it learns from."""

    method: LesionInspired
    choice: LesionChoice
    card: DetectorCard
    data: LesionData

    @property
    def prepared(self) -> PreparedData:
        """The scans without their lesions."""
        training, validation = (
            tuple(one.prepared for one in scans if not isinstance(one.prepared, PreparedImages))
            for scans in (self.data.training, self.data.validation)
        )
        described = [
            TrainingData(
                name=self.choice.annotations.stem, use=use, licence="not stated", citation="not stated",
                patients=len({scan.patient for scan in scans}), slices=sum(scan.shape[0] for scan in scans),
            )
            for use, scans in (("training", training), ("validation", validation))
            if scans
        ]  # fmt: skip
        return PreparedData(training, validation, tuple(described))

    def sampler(self, plan: TrainingPlan, pairs: PairSampler) -> LesionSampler:
        """Patches with their lesions; PlanError if the detector finds next to none of them at normal dose.

        What it does not know it cannot teach. ValueError if a scan is smaller than the patches.
        """
        choice = self.choice
        sampler = LesionSampler(self.data.training, pairs, choice.with_lesion)
        if choice.pretraining_steps:
            return sampler
        samples = range(plan.schedule.batch_size)
        batches = [
            batch_of_step(sampler, plan.schedule.seed, _FAR + step, samples) for step in range(_LOOKED_AT)
        ]
        found, n_lesions = _found_at_normal_dose(self, batches)
        if n_lesions and found / n_lesions < _LEAST_SENSITIVITY:
            raise PlanError(
                f"lesions.detector: {choice.detector} finds {found} of {n_lesions} lesions at normal dose, "
                "so it has nothing to teach; train it longer, or on these lesions, or give pretraining_steps"
            )
        return sampler

    def write_detector(self, plan: TrainingPlan, folder: Path) -> None:
        """The detector as the run left it, in `folder/detector`: for the record, not to judge denoisers."""
        detector = self.method.watching.detector.cpu()
        told = self.card.model_dump(exclude={"weights_sha256", "metrics", "shown", "training"})
        turns = self.method.turns
        write_detector(
            detector, folder / TRAINING_DETECTOR, **told, metrics=None,
            training=f"{self.card.training}; then, beside {plan.name}, turns of {turns.detector} steps after "
            f"{turns.denoiser} of the denoiser",
            shown=f"images denoised by {plan.name} as it learned: do not judge denoisers with it",
        )  # fmt: skip


def feedback_of(
    plan: TrainingPlan, base: Supervised | Adversarial, root: Path, cache: Path, watcher: Watcher
) -> Feedback:
    """What `plan.lesions` adds to the method `base`; PlanError if detector or lesions cannot be used."""
    choice = plan.lesions
    assert choice is not None
    try:
        detector, card = load_detector(root / choice.detector)
    except DetectorError as error:
        raise PlanError(f"lesions.detector: {error}") from None
    if detector.context:
        raise PlanError(
            f"lesions.detector: {choice.detector} looks at {1 + 2 * detector.context} slices, and denoised "
            "patches have one; train a detector with context 0"
        )
    try:
        data = prepare_lesions(
            root / choice.annotations, cache, with_noise=True, seed=plan.schedule.seed, watcher=watcher,
            validation_patients=choice.validation_patients, kinds=card.kinds,
        )  # fmt: skip
    except LesionDataError as error:
        raise PlanError(f"lesions.annotations: {error}") from None
    detector.train().requires_grad_(True)
    turns = Turns(choice.pretraining_steps, choice.denoiser_steps, choice.detector_steps)
    method = LesionInspired(
        base, Watching(detector), turns, choice.detector_rate, choice.roi_share, choice.detection_share
    )
    return Feedback(method, choice, card, data)


def _found_at_normal_dose(feedback: Feedback, batches: Sequence[Batch]) -> tuple[int, int]:
    middles = []
    for batch in batches:
        images = batch.target if batch.target.ndim == 4 else batch.target[:, :, batch.target.shape[2] // 2]
        middles.append(Batch(images, images, batch.lesions))
    matching = match(judged(feedback.method.watching.detector, middles, torch.device("cpu")))
    sure = matching.scores >= min(feedback.card.threshold, 0.5)
    return int(np.count_nonzero(matching.hits & sure)), int(matching.n_lesions.sum())
