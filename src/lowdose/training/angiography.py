"""From pairs of scans without and with contrast agent to a generator; a run that is cut goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lowdose.models.card import HuScaling
from lowdose.networks.translator import Translator
from lowdose.training.batches import Batch
from lowdose.training.checkpoint import CHECKPOINT
from lowdose.training.dataset import PreparedPair
from lowdose.training.experiment import make_fabric
from lowdose.training.loop import Progress, Schedule, TrainingError, Validate, Validation, fit
from lowdose.training.paired_patches import PairedPatches
from lowdose.training.registration_assisted import (
    PUBLISHED_SCALING,
    TranslationSizes,
    Translators,
    Way,
    translation,
)
from lowdose.training.supervised import Scaled

_VALIDATED = 16
"""Slices of each pair that is held back."""


@dataclass(frozen=True)
class AngiographyPlan:
    """How a generator learns; networks, batches, rate and losses are as published."""

    way: Way = "registration-assisted"
    sizes: TranslationSizes = field(default_factory=TranslationSizes)
    scaling: HuScaling = PUBLISHED_SCALING
    side: int = 512
    """Pixels of a patch"""
    n_steps: int = 70_000
    batch_size: int = 1
    learning_rate: float = 1e-4
    second_stage: float = 0.93
    """Share of the steps after which bright regions count by themselves: the last 5 of 70 epochs"""
    seed: int = 1

    @property
    def schedule(self) -> Schedule:
        return Schedule(
            n_steps=self.n_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup=min(50, self.n_steps),
            ema_decay=0.995,
            validate_every=min(500, self.n_steps),
            checkpoint_every=250,
            seed=self.seed,
            selection="last",
        )


def learn_angiography(
    training: Sequence[PreparedPair],
    held_back: Sequence[PreparedPair],
    folder: Path,
    plan: AngiographyPlan = AngiographyPlan(),
    *,
    resume: bool = False,
    max_seconds: float = math.inf,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> Translator | None:
    """Learn to make the second of every pair from the first; `held_back` tell how far that is.

    None if `max_seconds` ran out first: the same call with `resume` goes on. TrainingError if a run is in the
    way, or there is none to resume. ValueError for slices smaller than a patch.
    """
    there = (folder / CHECKPOINT).exists()
    if there != resume:
        raise TrainingError(
            f"{folder}: holds a training run; give --resume to go on with it, or another --out"
            if there
            else f"{folder}: holds no checkpoint to resume; leave out --resume to start anew"
        )
    torch.manual_seed(plan.seed)
    method = translation(
        plan.way, plan.sizes, scaling=plan.scaling, bright_from=round(plan.second_stage * plan.n_steps)
    )
    draw = PairedPatches(training, plan.side, plan.sizes.context)
    folder.mkdir(parents=True, exist_ok=True)
    outcome = fit(
        make_fabric(), method, draw, change_missed(held_back, plan), plan.schedule, folder,
        architecture={"translation": plan.way, **asdict(plan.sizes)}, max_seconds=max_seconds,
        on_progress=on_progress,
    )  # fmt: skip
    if outcome.step < plan.n_steps:
        return None
    assert isinstance(outcome.network, Translators)
    return outcome.network.generator


def change_missed(pairs: Sequence[PreparedPair], plan: AngiographyPlan) -> Validate:
    """Mean absolute error of what was made of `pairs`, as a share of that of the input itself.

    Of whole slices, cut to a multiple of what the network takes. None without pairs.
    """
    context = plan.sizes.context
    batches = []
    for pair in pairs:
        n = min(_VALIDATED, pair.shape[0])
        side = min(pair.shape[1:]) // Translator.multiple * Translator.multiple
        whole = PairedPatches([pair], side, context)
        drawn = [whole.patch(pair, z) for z in np.linspace(0, pair.shape[0] - 1, n).round().astype(int)]
        batches += [Batch(shown[None], target[None]) for shown, target in drawn]

    def validate(network: nn.Module) -> Validation | None:
        missed, all_of_it = 0.0, 0.0
        for batch in batches:
            scaled = Scaled(batch, plan.scaling, context, torch.device("cpu"))
            with torch.no_grad():
                made = network(scaled.shown)
            missed += float((made - scaled.target).abs().mean())
            all_of_it += float((scaled.noisy - scaled.target).abs().mean())
        return Validation(missed / all_of_it, None) if all_of_it else None

    return validate
