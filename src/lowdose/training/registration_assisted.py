"""From one kind of image to another, learned from pairs that do not quite lie on each other.

Registration-assisted training (Kong et al. 2021, NeurIPS; CTA-GAN: Lyu et al. 2023, Radiology 309(2)): a
second network moves what the generator made onto the target before the two are compared, so that the
generator need not blur what lies elsewhere. Pix2pix (Isola et al. 2017, CVPR), CycleGAN (Zhu et al. 2017,
ICCV), Reg-GAN, which has a registration network and the way back, and the plain absolute error are the same
step with other parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from lowdose.losses import absolute_error_within, lsgan_loss, roughness, warped
from lowdose.models.card import HuScaling
from lowdose.networks.critics.whole_critic import WholeCritic
from lowdose.networks.registration import RegistrationNetwork
from lowdose.networks.translator import Translator
from lowdose.training.batches import Batch
from lowdose.training.loop import Descend, Trained, Turn
from lowdose.training.supervised import Scaled

Way = Literal["registration-assisted", "reg-gan", "pix2pix", "cyclegan", "direct"]

PUBLISHED_SCALING = HuScaling(1023.5, 2047.5)
"""-1024..3071 HU to -1..1."""
BRIGHT_HU = 110.0
"""Above it lies what the second stage looks at: three tenths of a window of 400 HU around 50 HU."""


@dataclass(frozen=True)
class Weights:
    """Of each loss; none counts where it is zero."""

    aligned: float = 0.0
    """Absolute error, once moved where there is a registration network."""
    smooth: float = 0.0
    """Roughness of the displacement."""
    adversarial: float = 0.0
    cycle: float = 0.0
    bright: float = 0.0
    """Absolute error where the target is bright, in the second stage."""


WEIGHTS: Mapping[Way, Weights] = {
    "registration-assisted": Weights(aligned=20.0, smooth=10.0, adversarial=1.0, bright=2.0),
    "reg-gan": Weights(aligned=20.0, smooth=10.0, adversarial=1.0, cycle=10.0),
    "pix2pix": Weights(aligned=100.0, adversarial=1.0),
    "cyclegan": Weights(adversarial=1.0, cycle=10.0),
    "direct": Weights(aligned=20.0),
}
"""As published."""


class Translators(nn.Module):
    """What learns together: the generator, and with some ways a registration network or a way back."""

    def __init__(
        self, generator: Translator, registration: RegistrationNetwork | None, back: Translator | None
    ) -> None:
        super().__init__()
        self.generator, self.registration, self.back = generator, registration, back

    def forward(self, image: Tensor) -> Tensor:
        """What the generator makes of `(b, 1 + 2 context, y, x)`."""
        made: Tensor = self.generator(image)
        return made


@dataclass(frozen=True)
class Translation:
    """What `fit` does to a generator and what learns beside it.

    Batches hold a slice of one kind with its neighbours, and the slice of the other kind.
    """

    translators: Translators
    critic: nn.Module | None
    """Of the target's kind; it sees the input beside the image where it is `conditional`."""
    back_critic: nn.Module | None
    """Of the input's kind."""
    weights: Weights
    scaling: HuScaling = PUBLISHED_SCALING
    conditional: bool = False
    bright_from: int = 0
    """Step from which on the bright regions count by themselves: the second stage."""
    betas: tuple[float, float] = (0.5, 0.999)

    @property
    def trained(self) -> Mapping[str, Trained]:
        critics = {"critic": self.critic, "critic of the way back": self.back_critic}
        return {"generator": Trained(self.translators, 1.0, self.betas)} | {
            name: Trained(one, 1.0, self.betas) for name, one in critics.items() if one is not None
        }

    def step(self, batch: Batch, turn: Turn, descend: Descend) -> dict[str, float]:
        """Teach the generator and its companions, then the critics."""
        scaled = Scaled(batch, self.scaling, self.translators.generator.context, turn.device)
        made = self.translators(scaled.shown)
        losses = self._compared(made, scaled.target, turn.step)
        if self.critic is not None:
            losses["adversarial"] = lsgan_loss(self.critic(self._judged(made, scaled.noisy)), 1.0)
        back = self.translators.back
        returned = None
        if back is not None and self.back_critic is not None:
            returned = back(scaled.target)
            beside = returned.expand(-1, scaled.shown.shape[1], -1, -1)
            around = l1_loss(back(made), scaled.noisy) + l1_loss(self.translators(beside), scaled.target)
            losses["cycle"] = around
            losses["adversarial"] = losses["adversarial"] + lsgan_loss(self.back_critic(returned), 1.0)
        total = sum((getattr(self.weights, name) * loss for name, loss in losses.items()), made.new_zeros(()))
        descend("generator", total)
        told = {name: float(loss.detach()) for name, loss in losses.items()}
        if self.critic is not None:
            real, fake = (self._judged(one, scaled.noisy) for one in (scaled.target, made.detach()))
            told["critic"] = self._taught("critic", self.critic, real, fake, descend)
        if self.back_critic is not None and returned is not None:
            name = "critic of the way back"
            told[name] = self._taught(name, self.back_critic, scaled.noisy, returned.detach(), descend)
        return {"loss": float(total.detach())} | told

    def _compared(self, made: Tensor, target: Tensor, step: int) -> dict[str, Tensor]:
        """The losses between what was made and the target, of which some may have no weight."""
        losses: dict[str, Tensor] = {}
        if not self.weights.aligned:
            return losses
        if self.translators.registration is not None:
            displacement = self.translators.registration(made, target)
            made = warped(made, displacement)
            losses["smooth"] = roughness(displacement)
        losses["aligned"] = l1_loss(made, target)
        if self.weights.bright and step >= self.bright_from:
            threshold = (BRIGHT_HU - self.scaling.offset) / self.scaling.scale
            losses["bright"] = absolute_error_within(made, target, target > threshold)
        return losses

    def _judged(self, image: Tensor, source: Tensor) -> Tensor:
        return torch.cat((source, image), dim=1) if self.conditional else image

    def _taught(self, name: str, critic: nn.Module, real: Tensor, fake: Tensor, descend: Descend) -> float:
        loss = lsgan_loss(critic(fake), 0.0) + lsgan_loss(critic(real), 1.0)
        descend(name, loss)
        return float(loss.detach())


@dataclass(frozen=True)
class TranslationSizes:
    """Of all networks; the defaults are those published."""

    width: int = 64
    n_blocks: int = 9
    context: int = 0
    adds: bool = False
    critic_width: int = 64
    registration_width: int = 32
    registration_levels: int = 7


def translation(
    way: Way,
    sizes: TranslationSizes = TranslationSizes(),
    *,
    scaling: HuScaling = PUBLISHED_SCALING,
    bright_from: int = 0,
) -> Translation:
    """The networks of one `way` of learning with the published weights, started from the global seed."""
    weights = WEIGHTS[way]
    generator = Translator(width=sizes.width, n_blocks=sizes.n_blocks, context=sizes.context, adds=sizes.adds)
    registration = back = None
    if weights.smooth:
        registration = RegistrationNetwork(width=sizes.registration_width, n_levels=sizes.registration_levels)
    if weights.cycle:
        back = Translator(width=sizes.width, n_blocks=sizes.n_blocks, adds=sizes.adds)
    conditional = way == "pix2pix"

    def critic(n_images: int) -> nn.Module:
        return WholeCritic(width=sizes.critic_width, n_images=n_images)

    return Translation(
        Translators(generator, registration, back),
        critic(2 if conditional else 1) if weights.adversarial else None,
        critic(1) if weights.cycle else None,
        weights, scaling, conditional, bright_from,
    )  # fmt: skip
