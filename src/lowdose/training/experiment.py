"""One training run from plan to model folder: prepare the scans, train, export."""

from __future__ import annotations

import inspect
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import nn

from lowdose.losses import PIXEL_LOSSES
from lowdose.models.card import HuScaling
from lowdose.networks import NETWORKS
from lowdose.networks.critics import CRITICS
from lowdose.networks.network import DenoisingNetwork
from lowdose.training.adversarial import Adversarial, Critic
from lowdose.training.batches import Draw
from lowdose.training.checkpoint import CHECKPOINT
from lowdose.training.export import export_model
from lowdose.training.initial_weights import start_from
from lowdose.training.loop import Method, fit
from lowdose.training.noise_model import NoiseModel, NoiseModelError, load_noise_model
from lowdose.training.objective import Objective
from lowdose.training.perceptual import feature_distance_of
from lowdose.training.plan import PlanError, TrainingPlan
from lowdose.training.sampling import NoiseSource, PairSampler, PatchShape
from lowdose.training.sources import Watcher, prepare_data
from lowdose.training.supervised import Supervised
from lowdose.training.validation import validation_batches, validation_of

if TYPE_CHECKING:
    from lowdose.training.lesion_feedback import Feedback

_PATIENCE = timedelta(days=2)
"""How long processes wait for each other: for all of an archive to be prepared, if need be."""


def train(
    plan: TrainingPlan,
    root: Path,
    folder: Path,
    *,
    resume: bool,
    max_seconds: float,
    cache: Path | None = None,
    watcher: Watcher | None = None,
    noise: NoiseSource | None = None,
) -> Path | None:
    """Train the model of `plan` on scans below `root` and export it to `folder/NAME`; return that folder.

    `noise` is put on scans that are their own target; without it, that of the plan's noise model.
    None if `max_seconds` ran out first: the same call with `resume` goes on from the checkpoint in `folder`.
    PlanError if the plan does not fit the data, or if `folder` holds a run and `resume` is not given;
    TrainingError and CheckpointError as `fit` raises them.
    """
    watcher = watcher or Watcher()
    if (folder / CHECKPOINT).exists() and not resume:
        raise PlanError(f"{folder}: holds a training run; give --resume to go on with it, or another --out")
    if resume and not (folder / CHECKPOINT).exists():
        raise PlanError(f"{folder}: holds no checkpoint to resume; leave out --resume to start anew")
    torch.manual_seed(plan.schedule.seed)
    denoiser = network_of(plan)
    if plan.network.start is not None and not resume:
        start_from(denoiser, root / plan.network.start)
    base = method_of(plan, denoiser)
    noise = noise or noise_of(plan, root)
    folder.mkdir(parents=True, exist_ok=True)
    fabric = make_fabric()
    if not fabric.is_global_zero:
        watcher = Watcher()
    shape, cache = patch_shape(plan, denoiser), cache or folder / "cache"
    with fabric.rank_zero_first():  # the others find what the first has prepared
        feedback = _feedback(plan, base, root, cache, watcher)
        data = prepare_data(plan, root, cache, watcher) if feedback is None else feedback.prepared
    try:
        pairs = PairSampler(data.training, plan.dose_gain, shape, **plan.drawing.model_dump(), noise=noise)
        draw: Draw = pairs if feedback is None else feedback.sampler(plan, pairs)
        held_back = validation_batches(plan, shape, data.validation, noise)
    except ValueError as error:
        raise PlanError(f"{error}; choose a smaller patch, or leave those scans out") from None
    method: Method = base if feedback is None else feedback.method
    outcome = fit(
        fabric,
        method,
        draw,
        validation_of(held_back, denoiser, HuScaling(plan.offset_hu, plan.scale_hu), fabric.device),
        plan.schedule.schedule(),
        folder,
        architecture=_architecture(plan),
        max_seconds=max_seconds,
        on_progress=watcher.on_progress,
    )
    if outcome.step < plan.schedule.n_steps:
        return None
    model = folder / plan.name
    if fabric.is_global_zero:
        pixels = [size for scan in data.training for size in scan.spacing[1:]]
        export_model(
            cast(DenoisingNetwork, outcome.network.cpu()),
            plan,
            data.described,
            outcome.selected_step,
            model,
            pixel_size_mm=(min(pixels), max(pixels)),
        )
        if feedback is not None:
            feedback.write_detector(plan, folder)
    fabric.barrier()
    return model


def _feedback(
    plan: TrainingPlan, base: Supervised | Adversarial, root: Path, cache: Path, watcher: Watcher
) -> Feedback | None:
    """What the plan's lesions add; PlanError where torchvision is missing."""
    if plan.lesions is None:
        return None
    try:
        from lowdose.training.lesion_feedback import feedback_of
    except ModuleNotFoundError as error:
        raise PlanError(
            f"lesions: detectors need {error.name}; install it with: pip install 'lowdose[train,detect]'"
        ) from None
    return feedback_of(plan, base, root, cache, watcher)


def network_of(plan: TrainingPlan) -> DenoisingNetwork:
    """The untrained network of a plan; PlanError if there is none of that name, or its sizes do not fit."""
    name, sizes = plan.network.name, plan.network.sizes
    if name not in NETWORKS:
        raise PlanError(f"unknown network '{name}'; known are {', '.join(NETWORKS)}")
    network: DenoisingNetwork = _made(NETWORKS[name], sizes, f"network.sizes do not fit {name}")
    n_z, n_y, n_x = plan.patch
    lengths = plan.patch if network.dimensions == 3 else (n_y, n_x)
    if network.dimensions == 2 and n_z != 1:
        raise PlanError(f"patch: {name} sees single slices, not {n_z}; give its side alone")
    if network.dimensions == 3 and n_z == 1:
        raise PlanError(f"patch: {name} sees volumes; give its lengths along z, y, x, as in [32, 64, 64]")
    if any(n % network.multiple for n in lengths):
        raise PlanError(f"patch: {name} needs multiples of {network.multiple}, not {list(lengths)}")
    return network


def method_of(plan: TrainingPlan, denoiser: DenoisingNetwork) -> Supervised | Adversarial:
    """The training method of a plan; PlanError for unknown losses, features or critics."""
    unknown = sorted(set(plan.losses) - set(PIXEL_LOSSES))
    if unknown:
        raise PlanError(f"losses: unknown are {', '.join(unknown)}; known are {', '.join(PIXEL_LOSSES)}")
    scaling = HuScaling(plan.offset_hu, plan.scale_hu)
    perceptual = None
    if plan.perceptual is not None:
        perceptual = feature_distance_of(plan.perceptual.features, scaling)
    weight = 0.0 if plan.perceptual is None else plan.perceptual.weight
    objective = Objective(plan.losses, perceptual, weight)
    if plan.adversarial is None:
        return Supervised(denoiser, scaling, objective)
    choice = plan.adversarial
    settings = choice.model_dump(exclude={"critics"})
    critics = [Critic(_critic(one.name, one.sizes, plan), one.shown, one.weight) for one in choice.critics]
    return Adversarial(denoiser, scaling, objective, critics, **settings)


def _critic(name: str, sizes: dict[str, Any], plan: TrainingPlan) -> nn.Module:
    if name not in CRITICS:
        raise PlanError(f"unknown critic '{name}'; known are {', '.join(CRITICS)}")
    n_z, n_y, _ = plan.patch
    known = inspect.signature(CRITICS[name]).parameters
    implied = {key: n for key, n in (("patch", n_y), ("depth", n_z)) if key in known and n > 1}
    critic: nn.Module = _made(CRITICS[name], implied | sizes, f"adversarial.critics: sizes do not fit {name}")
    return critic


def _made(architecture: Any, sizes: dict[str, Any], complaint: str) -> Any:
    try:
        return architecture(**sizes)
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        raise PlanError(f"{complaint}: {str(error).splitlines()[0]}; mend them") from None


def noise_of(plan: TrainingPlan, root: Path) -> NoiseModel | None:
    """The noise model of a plan, None if it names none; PlanError if it cannot be read."""
    if plan.noise_model is None:
        return None
    try:
        return load_noise_model(root / plan.noise_model)
    except NoiseModelError as error:
        raise PlanError(f"noise_model: {error}") from None


def patch_shape(plan: TrainingPlan, network: DenoisingNetwork) -> PatchShape:
    """What the network of a plan is shown of a scan at once."""
    n_z, n_y, n_x = plan.patch
    return PatchShape(n_y, n_x, n_z, network.context, volume=network.dimensions == 3)


def _architecture(plan: TrainingPlan) -> dict[str, Any]:
    """What must be the same for a checkpoint to fit."""
    critics = [] if plan.adversarial is None else [one.model_dump() for one in plan.adversarial.critics]
    trained = {"network": plan.network.name, "sizes": plan.network.sizes, "critics": critics}
    return trained if plan.lesions is None else trained | {"detector": str(plan.lesions.detector)}


def make_fabric() -> Fabric:
    """One process, or those that torchrun started."""
    n_here, n_processes = (int(os.environ.get(key, "1")) for key in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    if n_processes == 1:
        fabric = Fabric(accelerator="auto", devices=1)
    else:
        patient = DDPStrategy(timeout=_PATIENCE)
        fabric = Fabric(accelerator="auto", devices=n_here, num_nodes=n_processes // n_here, strategy=patient)
    fabric.launch()
    return fabric
