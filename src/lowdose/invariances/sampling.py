"""Inputs that a method should map to the same output, sampled from what was learned of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lowdose.invariances.candidates import SAMPLED, SWEPT, Candidate, Place, corrected, judged
from lowdose.invariances.flow import ConditionalFlow
from lowdose.invariances.learning import SCALING
from lowdose.invariances.representation import Representation

Images = NDArray[np.float32]

N_SAMPLES = 32


@dataclass(frozen=True, eq=False)
class Learned:
    """A representation and the flow of one method."""

    representation: Representation
    flow: ConditionalFlow
    nats: float | None = None
    """What the latents of the representation tell, over all its methods; None if nobody measured it."""
    pixel_mm: tuple[float, float] = (0.0, float("inf"))
    """The smallest and the largest pixels that the representation has seen."""

    def latents(self, place: Place, n: int, seed: int) -> Tensor:
        """`n` latents that go with the output of `place`, `(n, latents)`."""
        chance = torch.Generator().manual_seed(seed)
        normal = torch.randn(n, self.representation.sizes.latents, generator=chance)
        with torch.no_grad():
            return self.flow.inverse(normal, _scaled(place.output).expand(n, -1, -1, -1))

    def own_latents(self, place: Place) -> Tensor:
        """The mean latents of the input of `place`, `(1, latents)`."""
        with torch.no_grad():
            mean, _ = self.representation.encode(_scaled(place.input), _scaled(place.output))
        return mean

    def decoded(self, place: Place, latents: Tensor, seed: int) -> Images:
        """Inputs `[n, y, x]` in HU of latents `(n, latents)`; the white noise is the same for all."""
        found = []
        with torch.no_grad():
            for one in latents:
                chance = torch.Generator().manual_seed(seed)
                found.append(
                    self.representation.decode(one[None], _scaled(place.output), chance)[0, 0].numpy()
                )
        return SCALING.unscaled(np.stack(found))

    def moved(self, place: Place, latents: Tensor, seed: int) -> Images:
        """The input of `place` with what differs between `latents` and its own, `[n, y, x]` in HU.

        So what the representation misses of the input stays in it, and its noise does, too.
        """
        own = self.decoded(place, self.own_latents(place), seed)
        return np.asarray(place.input + self.decoded(place, latents, seed) - own, np.float32)


@dataclass(frozen=True, eq=False)
class Direction:
    """One principal direction of the latents that go with an output, followed to both sides."""

    share: float
    """Of the variance of the latents."""
    towards: tuple[Candidate, ...]
    """The input moved by so many standard deviations, from the negative end to the positive one."""


def sampled(place: Place, learned: Learned, n: int = N_SAMPLES, seed: int = 0) -> list[Candidate]:
    """`n` candidates for `place`, corrected by the method itself."""
    inputs = learned.moved(place, learned.latents(place, n, seed), seed)
    return judged(place, corrected(place, inputs), SAMPLED)


def directions(
    place: Place, learned: Learned, n: int = N_SAMPLES, seed: int = 0, *, n_directions: int = 4,
    strengths: tuple[float, ...] = (-2.0, -1.0, 1.0, 2.0),
) -> list[Direction]:  # fmt: skip
    """The principal directions of `n` sampled latents, and where the input goes along each."""
    latents = learned.latents(place, n, seed)
    centred = latents - latents.mean(dim=0)
    _, scales, axes = torch.linalg.svd(centred, full_matrices=False)
    variances = scales.square() / max(n - 1, 1)
    own = learned.own_latents(place)
    found = []
    for axis, variance in list(zip(axes, variances, strict=True))[:n_directions]:
        steps = torch.tensor(strengths)[:, None] * variance.sqrt() * axis
        inputs = corrected(place, learned.moved(place, own + steps, seed))
        share = float(variance / variances.sum().clamp_min(1e-12))
        found.append(Direction(share, tuple(judged(place, inputs, SWEPT))))
    return found


def _scaled(image: Images) -> Tensor:
    """`[y, x]` in HU as `(1, 1, y, x)` scaled."""
    return torch.from_numpy(SCALING.scaled(image[None, None]))
