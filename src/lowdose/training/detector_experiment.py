"""One detector from a file of lesions to a folder: prepare the scans, train, judge, write."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from lowdose.networks.lesion_detector import LesionDetector
from lowdose.quality.lesion_detection import (
    average_precision,
    false_positives,
    match,
    threshold_for,
)
from lowdose.training.batches import Batch, batch_of_step
from lowdose.training.checkpoint import CHECKPOINT
from lowdose.training.detector_model import DetectorCard, DetectorMetrics, write_detector
from lowdose.training.experiment import make_fabric
from lowdose.training.lesion_detection import Detecting, judged, validation_by_lesions
from lowdose.training.lesion_sampling import LesionSampler, LesionScan
from lowdose.training.lesion_sources import LesionData, LesionDataError, prepare_lesions
from lowdose.training.loop import Schedule, fit
from lowdose.training.sampling import PairSampler, PatchShape
from lowdose.training.sources import Watcher

_VALIDATION_BATCHES = 10
_FAR = 2**41
"""From the steps of training, so that no generator is used twice."""
_FALSE_POSITIVES = 0.25
"""Per patch of validation, that the threshold of a detector allows."""
_NO_VALIDATION_THRESHOLD = 0.5
_LEAST_TISSUE = 0.02
"""Of patches without a lesion: a detector must be silent on a blanket, too."""
WINDOWS = {"nodule": (-1000.0, 400.0)}
"""HU that detectors of a kind see."""
SOFT_TISSUE_WINDOW = (-160.0, 240.0)


@dataclass(frozen=True)
class DetectorPlan:
    """How to train a detector."""

    n_steps: int = 2000
    batch_size: int = 8
    patch: int = 128
    learning_rate: float = 1e-3
    window: tuple[float, float] | None = None
    """HU; None for the one that suits the kind of lesion."""
    sizes: tuple[tuple[str, Any], ...] = ()
    """Of `LesionDetector`."""
    with_lesion: float = 0.7
    validation_patients: tuple[str, ...] = ()
    seed: int = 1

    @property
    def schedule(self) -> Schedule:
        return Schedule(
            n_steps=self.n_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup=min(100, self.n_steps),
            ema_decay=0.99,
            validate_every=200,
            checkpoint_every=200,
            seed=self.seed,
        )


def train_detector(
    annotations: Path,
    folder: Path,
    plan: DetectorPlan,
    *,
    resume: bool = False,
    max_seconds: float = math.inf,
    watcher: Watcher | None = None,
    cache: Path | None = None,
) -> DetectorCard | None:
    """Train a detector on the scans of a COCO file, at their own dose, and write it to `folder`.

    None if `max_seconds` ran out first: the same call with `resume` goes on from the checkpoint.
    LesionDataError if the lesions cannot be learned from, or a run is in the way.
    """
    watcher = watcher or Watcher()
    if (folder / CHECKPOINT).exists() != resume:
        raise LesionDataError(
            f"{folder}: holds no checkpoint to resume; leave out --resume to start anew"
            if resume
            else f"{folder}: holds a training run; give --resume to go on with it, or another --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    data = prepare_lesions(
        annotations, cache or folder / "cache", with_noise=False, seed=plan.seed, watcher=watcher,
        validation_patients=plan.validation_patients,
    )  # fmt: skip
    window = plan.window or WINDOWS.get(data.kinds[0], SOFT_TISSUE_WINDOW)
    torch.manual_seed(plan.seed)
    sizes = dict(plan.sizes)
    try:
        detector = LesionDetector(window=window, n_kinds=len(data.kinds), **sizes)
    except (TypeError, ValueError) as error:
        raise LesionDataError(f"the sizes do not fit a detector: {error}") from None
    shape = PatchShape(plan.patch, plan.patch, context=detector.context)
    fabric = make_fabric()
    held_back = _held_back(data.validation, shape, plan)
    outcome = fit(
        fabric, Detecting(detector), _sampler(data.training, shape, plan.with_lesion),
        validation_by_lesions(held_back, fabric.device), plan.schedule, folder,
        architecture={"detector": sizes, "kinds": data.kinds, "window": window}, max_seconds=max_seconds,
        on_progress=watcher.on_progress,
    )  # fmt: skip
    if outcome.step < plan.n_steps:
        return None
    trained = cast(LesionDetector, outcome.network.cpu().requires_grad_(False))
    threshold, metrics = _judgement(trained, held_back, data)
    spacings = [size for scan in data.training for size in scan.prepared.spacing[1:]]
    return write_detector(
        trained, folder,
        kinds=data.kinds, window_hu=window, pixel_mm=(min(spacings), max(spacings)), sizes=sizes,
        patch=plan.patch, threshold=threshold, metrics=metrics,
        training=f"{outcome.selected_step} of {plan.n_steps} steps of {plan.batch_size} patches of "
        f"{plan.patch} x {plan.patch} pixels",
        patients=tuple(sorted({scan.prepared.patient for scan in data.training})),
    )  # fmt: skip


def _sampler(scans: Sequence[LesionScan], shape: PatchShape, with_lesion: float) -> LesionSampler:
    try:
        return LesionSampler(scans, PairSampler((), 2.0, shape), with_lesion, least_tissue=_LEAST_TISSUE)
    except ValueError as error:
        raise LesionDataError(f"{error}; choose a smaller patch, or leave those scans out") from None


def _held_back(scans: Sequence[LesionScan], shape: PatchShape, plan: DetectorPlan) -> list[Batch]:
    """The same patches at every validation, half of them with a lesion."""
    if not any(scan.boxes for scan in scans):
        return []
    sampler = _sampler(scans, shape, 0.5)
    samples = range(max(16, plan.batch_size))
    return [batch_of_step(sampler, plan.seed, _FAR + step, samples) for step in range(_VALIDATION_BATCHES)]


def _judgement(
    detector: LesionDetector, held_back: Sequence[Batch], data: LesionData
) -> tuple[float, DetectorMetrics | None]:
    """The threshold of few false positives, and how the detector does; a guess and None without patients."""
    images = judged(detector, held_back, torch.device("cpu"))
    if not images:
        return _NO_VALIDATION_THRESHOLD, None
    matching = match(images)
    threshold = min(threshold_for(matching, _FALSE_POSITIVES), 1.0)
    n_lesions = int(matching.n_lesions.sum())
    found = int(np.count_nonzero(matching.hits & (matching.scores >= threshold)))
    return threshold, DetectorMetrics(
        patients=len({scan.prepared.patient for scan in data.validation}),
        patches=sum(len(batch.noisy) for batch in held_back),
        ap_50=average_precision(matching),
        ap_75=average_precision(match(images, 0.75)),
        sensitivity=found / n_lesions if n_lesions else 0.0,
        false_positives=false_positives(matching, threshold),
    )
