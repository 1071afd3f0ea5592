"""Adversarial denoising: critics tell denoised images from real ones while the denoiser learns to pass.

Wasserstein critics with a gradient penalty (Gulrajani et al. 2017) as in WGAN-VGG, CPCE, MAP-NN and SMGAN, or
least squares (Mao et al. 2017) as in DU-GAN, whose U-Net critics judge every pixel, see the image and its
gradient, and are kept consistent under CutMix (Huang et al. 2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lowdose.losses import (
    cutmix,
    cutmix_inconsistency,
    gradient_penalty,
    lsgan_loss,
    sobel,
    wgan_critic_loss,
    wgan_generator_loss,
)
from lowdose.models.card import HuScaling
from lowdose.networks.network import DenoisingNetwork
from lowdose.training.batches import Batch
from lowdose.training.loop import Descend, Trained, Turn
from lowdose.training.objective import Objective
from lowdose.training.supervised import Beside, Scaled, last_level

Kind = Literal["wgan-gp", "lsgan"]


@dataclass(frozen=True)
class Critic:
    """A critic, what it is shown, and how much its opinion counts."""

    module: nn.Module
    shown: Literal["image", "gradient"]
    weight: float

    def view(self, images: Tensor) -> Tensor:
        """What it is shown of `images`."""
        return sobel(images) if self.shown == "gradient" else images

    def opinions(self, images: Tensor) -> tuple[Tensor, ...]:
        """Its logits: one, or with a U-Net critic one of the whole and one of every pixel."""
        judged = self.module(self.view(images))
        return judged if isinstance(judged, tuple) else (judged,)


@dataclass(frozen=True)
class Adversarial:
    """What `fit` does to a denoiser and its critics.

    The critics learn from every batch; the denoiser from every `critic_steps`-th, after `warmup` steps also
    from the critics.
    """

    denoiser: DenoisingNetwork
    scaling: HuScaling
    objective: Objective
    critics: Sequence[Critic]
    kind: Kind
    critic_steps: int = 1
    critic_rate: float = 1.0
    """Learning rate of the critics as a share of the denoiser's."""
    betas: tuple[float, float] = (0.5, 0.9)
    penalty: float = 10.0
    """Weight of the gradient penalty, with `wgan-gp`."""
    low_dose_is_fake: bool = False
    """Whether the critics also learn to reject the noisy input, with `lsgan`."""
    cutmix_weight: float = 0.0
    cutmix_probability: float = 0.5
    warmup: int = 0
    """Steps"""
    beside: Beside | None = None
    """What else the denoiser is to lower."""

    @property
    def trained(self) -> Mapping[str, Trained]:
        critics = {
            f"{critic.shown} critic": Trained(critic.module, self.critic_rate, self.betas)
            for critic in self.critics
        }
        return {"denoiser": Trained(self.denoiser, 1.0, self.betas), **critics}

    def step(self, batch: Batch, turn: Turn, descend: Descend) -> dict[str, float]:
        """Teach the critics, then, when it is its turn, the denoiser."""
        scaled = Scaled(batch, self.scaling, self.denoiser.context, turn.device)
        denoiser_learns = (turn.step + 1) % self.critic_steps == 0
        with torch.set_grad_enabled(denoiser_learns):
            output = last_level(self.denoiser(scaled.shown))
        losses: dict[str, float] = {}
        if turn.step >= self.warmup:
            for critic in self.critics:
                loss = self._critic_loss(critic, scaled, output.detach(), turn)
                descend(f"{critic.shown} critic", loss)
                losses[f"{critic.shown} critic"] = float(loss.detach())
        if denoiser_learns:
            loss = reconstruction = self.objective(output, scaled.noisy, scaled.target)
            if self.beside is not None:
                loss = loss + self.beside(output, scaled, reconstruction, batch, turn)
            if turn.step >= self.warmup:
                for critic in self.critics:
                    loss = loss + critic.weight * self._pleading(critic.opinions(output))
            descend("denoiser", loss)
            losses["loss"] = float(loss.detach())
        return losses

    def _critic_loss(self, critic: Critic, scaled: Scaled, output: Tensor, turn: Turn) -> Tensor:
        real, fake = critic.opinions(scaled.target), critic.opinions(output)
        if self.kind == "wgan-gp":
            alpha = turn.uniform()
            loss = sum(
                (wgan_critic_loss(r, f) for r, f in zip(real, fake, strict=True)), output.new_zeros(())
            )
            if critic.shown == "gradient":
                penalised = gradient_penalty(critic.module, sobel(scaled.target), sobel(output), alpha)
            else:
                penalised = gradient_penalty(critic.module, scaled.target, output, alpha)
            return loss + self.penalty * penalised
        loss = output.new_zeros(())
        fakes = [fake, critic.opinions(scaled.noisy)] if self.low_dose_is_fake else [fake]
        for opinion in real:
            loss = loss + lsgan_loss(opinion, 1.0)
        for opinions in fakes:
            for opinion in opinions:
                loss = loss + lsgan_loss(opinion, 0.0) / len(fakes)
        return loss + self._cutmix_loss(critic, scaled.target, output, turn)

    def _cutmix_loss(self, critic: Critic, real: Tensor, fake: Tensor, turn: Turn) -> Tensor:
        """The critic must judge every pixel of a mixture as it judges where the pixel is from."""
        wanted = torch.rand((), generator=turn.generator) < self.cutmix_probability
        if not self.cutmix_weight or not wanted:
            return real.new_zeros(())
        mixed, mask = cutmix(real, fake, turn.generator)
        (_, on_real), (_, on_fake), (whole, pixels) = (critic.opinions(one) for one in (real, fake, mixed))
        loss = lsgan_loss(whole, 0.0) + lsgan_loss(pixels, mask)
        return loss + self.cutmix_weight * cutmix_inconsistency(pixels, on_real, on_fake, mask)

    def _pleading(self, opinions: tuple[Tensor, ...]) -> Tensor:
        """What the denoiser lowers so that a critic takes its images for real."""
        loss = opinions[0].new_zeros(())
        for opinion in opinions:
            loss = loss + (
                wgan_generator_loss(opinion) if self.kind == "wgan-gp" else lsgan_loss(opinion, 1.0)
            )
        return loss
