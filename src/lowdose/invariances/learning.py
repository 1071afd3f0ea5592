"""Learning a representation from examples.

In the small profile an input is as likely as its structure is: differences are smoothed until little noise is
left and counted in standard deviations of the noise, an evidence lower bound in nats in which an anatomy that
noise does not hide is worth a place among the latents. Texture is the critic's affair. The published losses
are there as well; under them the divergence outweighs small structures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lowdose.invariances.examples import Examples
from lowdose.invariances.representation import Critic, Representation
from lowdose.losses import gradient_penalty, wgan_critic_loss, wgan_generator_loss
from lowdose.models.card import HuScaling
from lowdose.training.batches import Batch, Images
from lowdose.training.loop import Descend, Trained, Turn
from lowdose.training.objective import FeatureDistance

SCALING = HuScaling(-300.0, 500.0)
"""Of what representation and flow see."""
IDENTITY = "identity"
"""What needs no file: the input itself."""

_TISSUE_HU = -950.0
_LEAST_TISSUE = 0.3
_FREEDOM = 8.0
"""Of Student's distribution: an edge that is gone counts for more than noise, but not for all."""
_SETTLED, _WEIGHED = 0.4, 0.8
"""Shares of the steps between which the divergence comes to count."""
_LEAST_WEIGHT, _MOST_WEIGHT = 0.003, 0.3
"""What it counts then. The flow learns how latents are distributed, so that they need not be independent."""


@dataclass(frozen=True)
class ExamplePatches:
    """Draws patches of examples: `noisy` holds what a method made of it and the noise, `target` the input.

    `methods` are drawn from evenly. Each is float32 `(2, y, x)` and `(1, y, x)`, in HU.
    """

    examples: Sequence[Examples]
    methods: Sequence[str]
    side: int

    def __call__(self, generator: np.random.Generator) -> tuple[Images, Images]:
        example = self.examples[int(generator.integers(len(self.examples)))]
        method = self.methods[int(generator.integers(len(self.methods)))]
        z, number, window = self._place(example, generator)
        image = example.input[z, number][window].astype(np.float32)
        output = image
        if method != IDENTITY:
            output = example.output(method)[z, number][window].astype(np.float32)
        both = np.stack([output, example.deviation[z][window].astype(np.float32), image])
        both = np.rot90(both, int(generator.integers(4)), axes=(1, 2))
        if generator.integers(2):
            both = both[:, :, ::-1]
        both = np.ascontiguousarray(both)
        return both[:2], both[2:]

    def _place(
        self, example: Examples, generator: np.random.Generator
    ) -> tuple[int, int, tuple[slice, slice]]:
        """Slice, realisation and window; places that are mostly air are drawn again a few times."""
        n_z, n_realisations, n_y, n_x = example.input.shape
        for _ in range(8):
            z, number = int(generator.integers(n_z)), int(generator.integers(n_realisations))
            y, x = (int(generator.integers(n - self.side + 1)) for n in (n_y, n_x))
            window = (slice(y, y + self.side), slice(x, x + self.side))
            if (example.input[z, number][window] > _TISSUE_HU).mean() >= _LEAST_TISSUE:
                break
        return z, number, window


@dataclass(frozen=True)
class Likelihood:
    """How unlikely an input is as another one with noise, by its structure."""

    sigma_px: float

    def __call__(self, made: Tensor, image: Tensor, deviation: Tensor) -> Tensor:
        """Nats for each sample `(b,)`; scaled images and the noise of smoothed ones `(b, 1, y, x)`.

        Smoothed noise is correlated: so many pixels as its blur covers count once.
        """
        difference = smooth(made - image, self.sigma_px) / deviation
        penalty = (_FREEDOM + 1) / 2 * torch.log1p(difference.square() / _FREEDOM)
        found: Tensor = penalty.flatten(1).sum(dim=1) / (4 * torch.pi * self.sigma_px**2)
        return found


@dataclass(frozen=True)
class LearnRepresentation:
    """The evidence lower bound, and a critic whose gradient at the last layer is a share of the bound's."""

    model: Representation
    critic: Critic
    likelihood: Likelihood
    critic_share: float = 0.3
    n_steps: int = 1
    """In all: for some of them latents alone learn to be of use, without critic and divergence."""
    penalty: float = 10.0
    betas: tuple[float, float] = (0.9, 0.99)
    critic_betas: tuple[float, float] = (0.5, 0.99)

    @property
    def trained(self) -> Mapping[str, Trained]:
        return {
            "representation": Trained(self.model, 1.0, self.betas),
            "critic": Trained(self.critic, 2.0, self.critic_betas),
        }

    def step(self, batch: Batch, turn: Turn, descend: Descend) -> dict[str, float]:
        """Teach encoder and decoder, and the critic before them once it has a say, on one batch."""
        denoised, deviation, image = shown(batch, turn.device)
        mean, log_variance = self.model.encode(image, denoised)
        made = self.model.decode(sampled(mean, log_variance, turn), denoised, turn.generator)
        unlikely = self.likelihood(made, image, deviation).mean()
        surprise = divergence(mean, log_variance).mean()
        counted = weight_of_divergence(turn.step / self.n_steps)
        told = {"unlikely": float(unlikely.detach()), "surprise": float(surprise.detach())}
        loss = unlikely + counted * surprise
        if counted > 0:
            critical = critic_loss(self.critic, image, made.detach(), denoised, self.penalty, turn)
            descend("critic", critical)
            pleading = wgan_generator_loss(self.critic(made, denoised))
            weight = self._weight(unlikely, pleading)
            loss = loss + weight * pleading
            told |= {"critic": float(critical.detach()), "critic_weight": float(weight)}
        descend("representation", loss / image[0].numel())
        return {"loss": told["unlikely"] + counted * told["surprise"]} | told

    def _weight(self, unlikely: Tensor, pleading: Tensor) -> Tensor:
        last = self.model.decoder.last.weight
        of_bound, of_critic = (
            torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (unlikely, pleading)
        )
        weight: Tensor = self.critic_share * of_bound / of_critic.clamp_min(1e-8)
        return weight.detach().clamp_max(1e4)


@dataclass(frozen=True)
class LearnAsPublished:
    """The losses of the authors' public configuration; features are compared where there is a distance."""

    model: Representation
    critic: Critic
    features: FeatureDistance | None = None
    absolute: float = 0.0011852
    """Of the sum over pixels"""
    perceptual: float = 0.12102
    surprise: float = 0.57504
    penalty: float = 10.0
    betas: tuple[float, float] = (0.5, 0.999)

    @property
    def trained(self) -> Mapping[str, Trained]:
        return {
            "representation": Trained(self.model, 1.0, self.betas),
            "critic": Trained(self.critic, 4.0, self.betas),
        }

    def step(self, batch: Batch, turn: Turn, descend: Descend) -> dict[str, float]:
        """Teach the critic, then encoder and decoder, on one batch."""
        denoised, _, image = shown(batch, turn.device)
        mean, log_variance = self.model.encode(image, denoised)
        made = self.model.decode(sampled(mean, log_variance, turn), denoised, turn.generator)
        critical = critic_loss(self.critic, image, made.detach(), denoised, self.penalty, turn)
        descend("critic", critical)
        surprise = divergence(mean, log_variance).mean()
        loss = self.absolute * (made - image).abs().sum() / len(image) + self.surprise * surprise
        if self.features is not None:
            loss = loss + self.perceptual * self.features(made, image)
        loss = loss + wgan_generator_loss(self.critic(made, denoised))
        descend("representation", loss)
        return {
            "loss": float(loss.detach()),
            "surprise": float(surprise.detach()),
            "critic": float(critical.detach()),
        }


def critic_loss(
    critic: Critic, real: Tensor, fake: Tensor, denoised: Tensor, penalty: float, turn: Turn
) -> Tensor:
    """Of a Wasserstein critic with a gradient penalty, which sees the denoised image beside either input."""
    slope = gradient_penalty(lambda one: critic(one, denoised), real, fake, turn.uniform())
    return wgan_critic_loss(critic(real, denoised), critic(fake, denoised)) + penalty * slope


def weight_of_divergence(done: float) -> float:
    """For the share `done` of the steps: nothing for two fifths, then rising until four fifths.

    However little it counts from the start, latents never become of use: nothing else moves them yet, and
    Adam makes steps of one size whatever the gradient's.
    """
    if done < _SETTLED:
        return 0.0
    risen = min((done - _SETTLED) / (_WEIGHED - _SETTLED), 1.0)
    return float(_LEAST_WEIGHT ** (1.0 - risen) * _MOST_WEIGHT**risen)


def shown(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """What the method made, the noise, and the input, `(b, 1, y, x)` each, in scaled HU."""
    denoised = torch.from_numpy(SCALING.scaled(batch.noisy[:, :1]))
    deviation = torch.from_numpy(batch.noisy[:, 1:] / np.float32(SCALING.scale))
    image = torch.from_numpy(SCALING.scaled(batch.target))
    return denoised.to(device), deviation.to(device), image.to(device)


def sampled(mean: Tensor, log_variance: Tensor, turn: Turn) -> Tensor:
    """Latents drawn from their posterior, with this process's part of the step's randomness."""
    chance = torch.randn(turn.batch_size, mean.shape[1], generator=turn.generator)[turn.samples]
    return mean + (0.5 * log_variance).exp() * chance.to(mean.device)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Of the posterior from independent normal numbers, nats for each sample `(b,)`."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)


def smooth(images: Tensor, sigma_px: float) -> Tensor:
    """`(b, 1, y, x)` smoothed by a Gaussian; edges repeat."""
    reach = int(4 * sigma_px + 0.5)
    places = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-places.square() / (2 * sigma_px**2))
    kernel = kernel / kernel.sum()
    padded = functional.pad(images, (reach, reach, reach, reach), mode="replicate")
    along_y = functional.conv2d(padded, kernel.reshape(1, 1, -1, 1))
    along_both: Tensor = functional.conv2d(along_y, kernel.reshape(1, 1, 1, -1))
    return along_both
