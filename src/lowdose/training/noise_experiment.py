"""One noise model from scans to folder: find their noise, learn it, and see whether it can be told apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lowdose.losses.noise import periodogram
from lowdose.networks.noise_gan import NoiseCritic, NoiseGan
from lowdose.networks.noise_vae import NoiseVae
from lowdose.physics.noise_patches import NoisePatches
from lowdose.quality.noise_likeness import NoiseLikeness, compare_noise, feature_distance, features
from lowdose.quality.spectra import detrended
from lowdose.training.checkpoint import CHECKPOINT
from lowdose.training.experiment import make_fabric
from lowdose.training.loop import Method, Progress, Schedule, Validate, Validation, fit
from lowdose.training.noise_learning import AdversarialNoise, PatchDraw, VariationalNoise, at_unit_level
from lowdose.training.noise_model import (
    NOISE_NETWORKS,
    Kind,
    NoiseCard,
    NoiseModel,
    NoiseModelError,
    NoiseOrigin,
    levels_of,
    write_noise_model,
)

Floats = NDArray[np.float64]

FEWEST_PATCHES = 100
"""Below which a texture cannot be told from chance."""
_MOST_PATCHES = 8000
"""That are learned from: more say nothing new, and an archive has millions."""
_COMPARED = 2000
"""Patches at most on either side of the comparison."""
_LEVELLED = 256
"""Patches that the level of a model is taken from."""
_JUDGED = 512
"""Patches that a generator is chosen by."""
_AT_ONCE = 64
"""Images that are made together."""

STEPS: dict[Kind, int] = {"vae": 1500, "gan": 2000}
_BATCH = 32


@dataclass(frozen=True, eq=False)
class LearnedNoise:
    """A noise model, and patches of its noise compared with those that it learned from."""

    model: NoiseModel
    card: NoiseCard
    made: Floats
    """`[patch, y, x]` in HU, at the levels of the scans."""
    likeness: NoiseLikeness


def check_noise(found: Sequence[NoisePatches]) -> None:
    """NoiseModelError if there is too little noise to learn from, or that of several kernels."""
    n_patches = sum(len(one) for one in found)
    if n_patches < FEWEST_PATCHES:
        names = ", ".join(one.source for one in found) or "the scans"
        raise NoiseModelError(
            f"{names}: show {n_patches} patches of noise without anatomy in all, and learning takes "
            f"{FEWEST_PATCHES}; give more scans, or ones with larger organs in them"
        )
    kernels = sorted({one.kernel for one in found if one.kernel and len(one)})
    if len(kernels) > 1:
        listed = "; ".join(
            f"{kernel}: {', '.join(one.source for one in found if one.kernel == kernel)}"
            for kernel in kernels
        )
        raise NoiseModelError(f"the scans are of {len(kernels)} kernels ({listed}); learn one at a time")


def learn_noise(
    found: Sequence[NoisePatches],
    folder: Path,
    *,
    kind: Kind = "vae",
    n_steps: int | None = None,
    seed: int = 1,
    resume: bool = False,
    max_seconds: float = math.inf,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> LearnedNoise | None:
    """Learn the noise of `found` and write a noise model to `folder`.

    None if `max_seconds` ran out first: the same call with `resume` goes on from the checkpoint.
    NoiseModelError if there is too little noise, or a run in the way.
    """
    check_noise(found)
    found = [one for one in found if len(one)]
    if (folder / CHECKPOINT).exists() and not resume:
        raise NoiseModelError(
            f"{folder}: holds a training run; give --resume to go on with it, or another --out"
        )
    if resume and not (folder / CHECKPOINT).exists():
        raise NoiseModelError(f"{folder}: holds no checkpoint to resume; leave out --resume to start anew")
    noise = _at_most(np.concatenate([one.noise for one in found]), _MOST_PATCHES, seed)
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {}
    network = NOISE_NETWORKS[kind](**sizes)
    unit = noise / noise.std(axis=(1, 2), keepdims=True)
    with torch.no_grad():
        network.start_from(periodogram(torch.from_numpy(unit)[:, None]).mean(dim=0))
    folder.mkdir(parents=True, exist_ok=True)
    schedule = _schedule(n_steps or STEPS[kind], seed)
    outcome = fit(
        make_fabric(), _method(network), PatchDraw(unit), _validate(unit, seed), schedule, folder,
        architecture={"noise model": kind, "sizes": sizes}, max_seconds=max_seconds, on_progress=on_progress,
    )  # fmt: skip
    if outcome.step < schedule.n_steps:
        return None
    trained: Any = outcome.network.cpu().requires_grad_(False)
    if isinstance(trained, NoiseVae):
        trained.settle(torch.from_numpy(unit)[:, None])
    sources = tuple(_source(one) for one in found)
    model = NoiseModel(trained, levels_of(sources))
    model = replace(model, scale=1.0 / _level_of_patches(model, unit.shape[1], seed))
    made, likeness = _compared(model, noise, found[0].spacing, seed)
    card = write_noise_model(
        trained,
        kind,
        sizes,
        folder,
        sources=sources,
        scale=model.scale,
        training=f"{schedule.n_steps} steps of {_BATCH} patches of {unit.shape[1]} x {unit.shape[2]} pixels",
        likeness=likeness,
    )
    return LearnedNoise(model, card, made, likeness)


def _source(found: NoisePatches) -> NoiseOrigin:
    """How the card tells of a scan."""
    return NoiseOrigin(
        name=found.source,
        kernel=found.kernel,
        pixel_mm=found.spacing,
        patches=len(found),
        left_out=found.left_out,
        level_hu=float(np.median(found.levels)),
    )


def _compared(
    model: NoiseModel, real: NDArray[np.float32], spacing: tuple[float, float], seed: int
) -> tuple[Floats, NoiseLikeness]:
    """Patches of `model` at the levels of `real` ones `[patch, y, x]` in HU, and how alike they are."""
    generator = np.random.default_rng([seed, 7])
    real = _at_most(real, _COMPARED, seed)
    levels = real.std(axis=(1, 2))[generator.permutation(len(real))]
    made = _patches_of(model, len(real), real.shape[1], generator) * levels[:, None, None]
    return made, compare_noise(real.astype(np.float64), made, spacing)


def _at_most(patches: NDArray[np.float32], n: int, seed: int) -> NDArray[np.float32]:
    """All of them, or `n` drawn at random."""
    if len(patches) <= n:
        return patches
    return patches[np.random.default_rng([seed, 6]).choice(len(patches), n, replace=False)]


def _level_of_patches(model: NoiseModel, side: int, seed: int) -> float:
    """Standard deviation that patches show once their quadratic surface is off."""
    made = _patches_of(model, _LEVELLED, side, np.random.default_rng([seed, 8]))
    return float(detrended(made).std())


def _patches_of(model: NoiseModel, n: int, side: int, generator: np.random.Generator) -> Floats:
    """The middles `[n, side, side]` of images of twice their side, as training sees them."""
    middle = slice(side // 2, side // 2 + side)
    at_once = [min(_AT_ONCE, n - first) for first in range(0, n, _AT_ONCE)]
    images = (model.unit(some, 2 * side, 2 * side, generator) for some in at_once)
    return np.concatenate([image[:, middle, middle] for image in images]).astype(np.float64)


def _schedule(n_steps: int, seed: int) -> Schedule:
    return Schedule(
        n_steps=n_steps,
        batch_size=_BATCH,
        learning_rate=1e-3,
        warmup=min(50, n_steps),
        ema_decay=0.99,
        validate_every=100,
        checkpoint_every=250,
        selection="error",
        seed=seed,
    )


def _validate(unit: NDArray[np.float32], seed: int) -> Validate:
    """What a generator is chosen by: how far what its patches show is from what real ones show.

    A generator and its critic chase each other and do not come to rest, and with few patches the critic ends
    up knowing each. A variational model has its likelihood, and its last weights are the best.
    """
    real, side = features(unit.astype(np.float64)), unit.shape[1]

    def validate(network: nn.Module) -> Validation | None:
        if not isinstance(network, NoiseGan):
            return None
        chance = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            latents = torch.randn(_JUDGED, network.n_latents, 1, 1, generator=chance)
            noise = network.noise(latents.to(network.textures.device), side, side, chance)
            made = at_unit_level(noise)[:, 0].cpu().numpy()
        return Validation(error=feature_distance(real, features(made.astype(np.float64))), ssim=None)

    return validate


def _method(network: NoiseVae | NoiseGan) -> Method:
    if isinstance(network, NoiseVae):
        return VariationalNoise(network)
    return AdversarialNoise(network, NoiseCritic())
