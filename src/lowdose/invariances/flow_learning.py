"""Learning the flow of one method from patches that the representation encoded once, before.

The representation no longer changes, so that its latents need not be found anew at every step; what is drawn
anew is which of them, from their posterior.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lowdose.invariances.flow import ConditionalFlow, negative_log_likelihood
from lowdose.invariances.learning import SCALING, sampled, shown
from lowdose.invariances.representation import Representation
from lowdose.training.batches import Batch, Draw, Images, batch_of_step
from lowdose.training.loop import Descend, Trained, Turn

_AT_ONCE = 16
"""Patches that are encoded together."""


@dataclass(frozen=True, eq=False)
class EncodedPatches:
    """Draws patches that have been encoded: `noisy` holds what the method made, `target` the posterior."""

    denoised: NDArray[np.float16]
    """`[n, y, x]` in HU, whole numbers that half precision holds exactly up to 2048 HU."""
    posterior: Images
    """`[n, 2, latents]`: mean and log variance."""

    def __call__(self, generator: np.random.Generator) -> tuple[Images, Images]:
        number = int(generator.integers(len(self.denoised)))
        return self.denoised[number][None].astype(np.float32), self.posterior[number]


def encoded(
    draw: Draw, representation: Representation, n: int, seed: int, first_step: int,
    on_share: Callable[[float], None] = lambda _share: None,
) -> EncodedPatches:  # fmt: skip
    """`n` patches of `draw` with their latents; `first_step` keeps their randomness apart from others'."""
    side, latents = representation.sizes.side, representation.sizes.latents
    denoised = np.empty((n, side, side), np.float16)
    posterior = np.empty((n, 2, latents), np.float32)
    for step, start in enumerate(range(0, n, _AT_ONCE)):
        some = slice(start, min(start + _AT_ONCE, n))
        batch = batch_of_step(draw, seed, first_step + step, range(some.stop - some.start))
        scaled, _, image = shown(batch, torch.device("cpu"))
        with torch.no_grad():
            posterior[some] = torch.stack(representation.encode(image, scaled), dim=1).numpy()
        denoised[some] = batch.noisy[:, 0]
        on_share(some.stop / n)
    return EncodedPatches(denoised, posterior)


@dataclass(frozen=True)
class LearnFlow:
    """The likelihood of latents drawn from their posterior."""

    model: ConditionalFlow
    betas: tuple[float, float] = (0.9, 0.999)

    @property
    def trained(self) -> Mapping[str, Trained]:
        return {"flow": Trained(self.model, 1.0, self.betas)}

    def step(self, batch: Batch, turn: Turn, descend: Descend) -> dict[str, float]:
        """Raise the likelihood on one batch of encoded patches."""
        denoised, mean, log_variance = (one.to(turn.device) for one in shown_encoded(batch))
        latents = sampled(mean, log_variance, turn)
        normal, log_determinant = self.model(latents, denoised)
        loss = negative_log_likelihood(normal, log_determinant) / latents.shape[1]
        descend("flow", loss)
        return {"loss": float(loss.detach())}


def shown_encoded(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scaled denoised image `(b, 1, y, x)`, mean and log variance `(b, latents)` of encoded patches."""
    mean, log_variance = torch.from_numpy(batch.target).unbind(dim=1)
    return torch.from_numpy(SCALING.scaled(batch.noisy)), mean, log_variance
