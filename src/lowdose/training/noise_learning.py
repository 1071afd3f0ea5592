"""Learning noise from patches of it: by how likely they are, or by what a critic can tell.

Task-driven denoising (TDDL, ISICDM 2020; ICONIP 2020) learns the noise of scans that have no clean partners
with a variational autoencoder, or with a generator and a critic. Losses, weights and schedules are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lowdose.losses import gradient_penalty, wgan_critic_loss, wgan_generator_loss
from lowdose.losses.noise import expected_periodogram, spectrum_distance, whittle_loss, without_surface
from lowdose.networks.noise_gan import NoiseCritic, NoiseGan
from lowdose.networks.noise_vae import NoiseVae
from lowdose.training.batches import Batch, Images
from lowdose.training.loop import Descend, Trained, Turn

_WINDOWED = 0.375
"""Share of the pixels of a patch that count under a Hann window along each axis, on average."""


@dataclass(frozen=True)
class PatchDraw:
    """Draws patches of noise of unit level, half of them turned around.

    `fit` wants pairs, so each comes twice. `noise` is `[patch, y, x]`, one level for all. Noise has a
    direction, which only half a turn keeps.
    """

    noise: NDArray[np.float32]

    def __call__(self, generator: np.random.Generator) -> tuple[Images, Images]:
        patch = self.noise[generator.integers(len(self.noise))]
        way = int(generator.integers(2)) * 2 - 1
        drawn = np.ascontiguousarray(patch[::way, ::way])[None]
        return drawn, drawn


@dataclass(frozen=True)
class VariationalNoise:
    """The evidence lower bound: Whittle's likelihood of a patch, and the surprise of its latents."""

    model: NoiseVae

    @property
    def trained(self) -> Mapping[str, Trained]:
        return {"noise model": Trained(self.model, 1.0)}

    def step(self, batch: Batch, turn: Turn, descend: Descend) -> dict[str, float]:
        """Raise the bound on one batch."""
        noise = torch.from_numpy(batch.target).to(turn.device)
        mean, log_variance = self.model.encode(noise)
        chance = torch.randn(turn.batch_size, mean.shape[1], generator=turn.generator)[turn.samples]
        textures = self.model.texture(mean + (0.5 * log_variance).exp() * chance.to(turn.device))
        n_y, n_x = noise.shape[-2:]
        unlikely = whittle_loss(noise, expected_periodogram(textures, n_y, n_x))
        surprise = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
        loss = unlikely + surprise / (n_y * n_x * _WINDOWED)
        descend("noise model", loss)
        return {"loss": float(loss.detach()), "surprise": float(surprise.detach())}


@dataclass(frozen=True)
class AdversarialNoise:
    """A Wasserstein critic with a gradient penalty, and the distance of the mean spectra as a guide.

    The critic learns from every batch, the generator from every `critic_steps`-th.
    """

    model: NoiseGan
    critic: NoiseCritic = field(default_factory=NoiseCritic)
    critic_steps: int = 3
    penalty: float = 10.0
    spectral: float = 5.0
    """Weight of the distance of the spectra."""
    betas: tuple[float, float] = (0.5, 0.9)

    @property
    def trained(self) -> Mapping[str, Trained]:
        return {
            "noise model": Trained(self.model, 1.0, self.betas),
            "critic": Trained(self.critic, 1.0, self.betas),
        }

    def step(self, batch: Batch, turn: Turn, descend: Descend) -> dict[str, float]:
        """Teach the critic, then, when it is its turn, the generator."""
        real = torch.from_numpy(batch.target).to(turn.device)
        learns = (turn.step + 1) % self.critic_steps == 0
        with torch.set_grad_enabled(learns):
            made = self._made(real, turn)
        fake = made.detach()
        critical = wgan_critic_loss(self.critic(real), self.critic(fake))
        critical = critical + self.penalty * gradient_penalty(self.critic, real, fake, turn.uniform())
        descend("critic", critical)
        losses = {"critic": float(critical.detach())}
        if learns:
            loss = wgan_generator_loss(self.critic(made)) + self.spectral * spectrum_distance(made, real)
            descend("noise model", loss)
            losses["loss"] = float(loss.detach())
        return losses

    def _made(self, real: Tensor, turn: Turn) -> Tensor:
        """As many patches as this process was given, each of one texture, and seen as the real ones are."""
        n_y, n_x = real.shape[-2:]
        latents = torch.randn(turn.batch_size, self.model.n_latents, 1, 1, generator=turn.generator)
        made = self.model.noise(latents.to(turn.device), n_y, n_x, turn.generator)
        return at_unit_level(made[turn.samples])


def at_unit_level(noise: Tensor) -> Tensor:
    """Patches `(b, 1, y, x)` as real ones are given: without their surface, and each of unit level.

    Made ones that were not would be told by their levels.
    """
    seen = without_surface(noise)
    return seen / seen.std(dim=(2, 3), correction=0, keepdim=True).clamp_min(1e-6)
