"""From examples to a representation, and from that to the flow of one method; both can be resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lowdose.invariances.examples import DOSE, Examples
from lowdose.invariances.flow import (
    PUBLISHED_FLOW,
    SMALL_FLOW,
    ConditionalFlow,
    FlowSizes,
    negative_log_likelihood,
)
from lowdose.invariances.flow_learning import EncodedPatches, LearnFlow, encoded, shown_encoded
from lowdose.invariances.learning import (
    SCALING,
    ExamplePatches,
    LearnAsPublished,
    LearnRepresentation,
    Likelihood,
    divergence,
    shown,
    smooth,
)
from lowdose.invariances.models import (
    FlowCard,
    InvarianceError,
    RepresentationCard,
    load_representation,
    write_flow,
    write_representation,
)
from lowdose.invariances.representation import (
    PUBLISHED,
    SMALL,
    Critic,
    Representation,
    RepresentationSizes,
)
from lowdose.training.batches import Batch, batch_of_step
from lowdose.training.checkpoint import CHECKPOINT
from lowdose.training.experiment import make_fabric
from lowdose.training.loop import Method, Progress, Schedule, Validate, Validation, fit
from lowdose.training.perceptual import CT_ENCODER, feature_distance_of

_FAR = 2**40
"""Steps from those of training, so that no generator is used twice."""
_VALIDATED = 8
_FIRST = 256
"""Latents that a flow's activations are normalised by."""

Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class RepresentationPlan:
    """How a representation learns; the defaults are the small profile's."""

    sizes: RepresentationSizes = SMALL
    n_steps: int = 4000
    batch_size: int = 16
    learning_rate: float = 1e-3
    seed: int = 1
    as_published: bool = False
    """With the published losses, features from the encoder of CT in the place of VGG16's."""

    @property
    def schedule(self) -> Schedule:
        return _schedule(self.n_steps, self.batch_size, self.learning_rate, self.seed)


@dataclass(frozen=True)
class FlowPlan:
    """How a flow learns; the defaults are the small profile's."""

    sizes: FlowSizes = SMALL_FLOW
    n_patches: int = 12_000
    """That are encoded once, to learn from; no more than are drawn."""
    n_steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 1e-3
    seed: int = 1

    @property
    def schedule(self) -> Schedule:
        return _schedule(self.n_steps, self.batch_size, self.learning_rate, self.seed)


@dataclass(frozen=True)
class Profile:
    """How large everything is that learns, and how long it learns."""

    representation: RepresentationPlan
    flow: FlowPlan


PROFILES = {
    "small": Profile(RepresentationPlan(), FlowPlan()),
    "published": Profile(
        RepresentationPlan(PUBLISHED, n_steps=75_850, batch_size=64, learning_rate=1e-5, as_published=True),
        FlowPlan(PUBLISHED_FLOW, n_patches=25_000, n_steps=47_400, batch_size=128, learning_rate=1e-5),
    ),
}
"""By name; the published one has the authors' sizes, losses, rates and batches: days of a GPU."""


def learn_representation(
    training: Sequence[Examples],
    held_back: Sequence[Examples],
    methods: Sequence[str],
    folder: Path,
    plan: RepresentationPlan = RepresentationPlan(),
    *,
    dose: float = DOSE,
    resume: bool = False,
    max_seconds: float = math.inf,
    on_progress: Watch = lambda _progress: None,
) -> RepresentationCard | None:
    """Learn what inputs have that their denoised images lack, for `methods` at once; write it to `folder`.

    None if `max_seconds` ran out first: the same call with `resume` goes on. InvarianceError if a run is in
    the way or there is none to resume.
    """
    check_resumable(folder, resume=resume)
    torch.manual_seed(plan.seed)
    sigma_px = sum(one.sigma_px for one in training) / len(training)
    network, critic = Representation(plan.sizes), Critic(plan.sizes)
    likelihood = Likelihood(sigma_px)
    method: Method = (
        LearnAsPublished(network, critic, feature_distance_of(CT_ENCODER, SCALING))
        if plan.as_published
        else LearnRepresentation(network, critic, likelihood, n_steps=plan.n_steps)
    )
    draw = ExamplePatches(training, methods, plan.sizes.side)
    batches = _validation_batches(held_back, methods, plan.sizes.side, plan.schedule)
    folder.mkdir(parents=True, exist_ok=True)
    outcome = fit(
        make_fabric(), method, draw, _missed_structure(batches, sigma_px), plan.schedule, folder,
        architecture={"representation": asdict(plan.sizes), "as_published": plan.as_published},
        max_seconds=max_seconds, on_progress=on_progress,
    )  # fmt: skip
    if outcome.step < plan.n_steps:
        return None
    found = _missed_structure(batches, sigma_px)(outcome.network)
    spacing = [one for example in training for one in example.spacing]
    assert isinstance(outcome.network, Representation)
    return write_representation(
        outcome.network, folder, sigma_px=sigma_px, pixel_mm=(min(spacing), max(spacing)), dose=dose,
        scans=tuple(example.name for example in training), methods=tuple(methods),
        training=f"{plan.n_steps} steps of {plan.batch_size} patches of {plan.sizes.side} pixels",
        error=None if found is None else found.error, nats=_told_by_latents(batches, outcome.network),
    )  # fmt: skip


def learn_flow(
    training: Sequence[Examples],
    held_back: Sequence[Examples],
    method: str,
    representation: Path,
    folder: Path,
    plan: FlowPlan = FlowPlan(),
    *,
    digest: str | None = None,
    resume: bool = False,
    max_seconds: float = math.inf,
    on_progress: Watch = lambda _progress: None,
    on_encoded: Callable[[float], None] = lambda _share: None,
) -> FlowCard | None:
    """Learn which latents go with what `method` makes of an input, and write the flow to `folder`.

    `on_encoded` is told which share of the patches that it learns from are ready.

    None if `max_seconds` ran out first. InvarianceError as for `learn_representation`.
    """
    check_resumable(folder, resume=resume)
    torch.manual_seed(plan.seed)
    network, card = load_representation(representation)
    seen = network.sizes
    places = seen.first if seen.spatial else 0
    sizes = replace(plan.sizes, side=seen.side, latents=seen.latents, places=places)
    patches = ExamplePatches(training, [method], sizes.side)
    n = min(plan.n_patches, plan.n_steps * plan.batch_size)
    draw = encoded(patches, network, n, plan.seed, _FAR, on_encoded)
    flow = ConditionalFlow(sizes)
    flow.start_from(*_drawn(draw, plan.seed))
    held = ExamplePatches(held_back, [method], sizes.side)
    n_held = _VALIDATED * plan.batch_size if held_back else 0
    validate = _surprise(encoded(held, network, n_held, plan.seed, 2 * _FAR))
    folder.mkdir(parents=True, exist_ok=True)
    outcome = fit(
        make_fabric(), LearnFlow(flow), draw, validate, plan.schedule, folder,
        architecture={"flow": asdict(sizes)}, max_seconds=max_seconds, on_progress=on_progress,
    )  # fmt: skip
    if outcome.step < plan.n_steps:
        return None
    assert isinstance(outcome.network, ConditionalFlow)
    return write_flow(
        outcome.network, folder, method=method, method_digest=digest,
        scans=tuple(example.name for example in training),
        training=f"{plan.n_steps} steps of {plan.batch_size} patches",
        representation_sha256=card.weights_sha256,
    )  # fmt: skip


def check_resumable(folder: Path, *, resume: bool) -> None:
    """InvarianceError if `folder` holds a run that is not to go on, or none that could."""
    there = (folder / CHECKPOINT).exists()
    if there and not resume:
        raise InvarianceError(
            f"{folder}: holds a training run; give --resume to go on with it, or another --out"
        )
    if resume and not there:
        raise InvarianceError(f"{folder}: holds no checkpoint to resume; leave out --resume to start anew")


def _schedule(n_steps: int, batch_size: int, learning_rate: float, seed: int) -> Schedule:
    return Schedule(
        n_steps=n_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        warmup=min(200, n_steps),
        ema_decay=0.995,
        validate_every=min(500, n_steps),
        checkpoint_every=250,
        seed=seed,
        selection="last",
    )


def _validation_batches(
    held_back: Sequence[Examples], methods: Sequence[str], side: int, schedule: Schedule
) -> list[Batch]:
    if not held_back:
        return []
    draw = ExamplePatches(held_back, methods, side)
    samples = range(schedule.batch_size)
    return [batch_of_step(draw, schedule.seed, _FAR + step, samples) for step in range(1, 1 + _VALIDATED)]


def _missed_structure(batches: Sequence[Batch], sigma_px: float) -> Validate:
    """Root mean square of the smoothed difference of inputs and what becomes of them, in noise."""

    def validate(network: nn.Module) -> Validation | None:
        found = []
        for batch in batches:
            denoised, deviation, image = shown(batch, torch.device("cpu"))
            with torch.no_grad():
                difference = smooth(network(image, denoised) - image, sigma_px) / deviation
            found.append(float(difference.square().mean()))
        return Validation(math.sqrt(sum(found) / len(found)), None) if found else None

    return validate


def _told_by_latents(batches: Sequence[Batch], network: Representation) -> float | None:
    """Mean divergence in nats of the latents of `batches`; None without any."""
    found = []
    for batch in batches:
        denoised, _, image = shown(batch, torch.device("cpu"))
        with torch.no_grad():
            found.append(float(divergence(*network.encode(image, denoised)).mean()))
    return sum(found) / len(found) if found else None


def _drawn(patches: EncodedPatches, seed: int) -> tuple[Tensor, Tensor]:
    """Latents of some patches, and what the method made of them."""
    denoised, mean, log_variance = shown_encoded(batch_of_step(patches, seed, _FAR, range(_FIRST)))
    chance = torch.randn(mean.shape, generator=torch.Generator().manual_seed(seed))
    return mean + (0.5 * log_variance).exp() * chance, denoised


def _surprise(held_back: EncodedPatches) -> Validate:
    """Negative log-likelihood of the mean latents, nats a latent."""
    denoised = torch.from_numpy(SCALING.scaled(held_back.denoised[:, None].astype(np.float32)))
    latents = torch.from_numpy(held_back.posterior[:, 0])

    def validate(flow: nn.Module) -> Validation | None:
        if not len(latents):
            return None
        with torch.no_grad():
            found = negative_log_likelihood(*flow(latents, denoised)) / latents.shape[1]
        return Validation(float(found), None)

    return validate
