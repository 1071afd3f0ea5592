"""How the latents of inputs are distributed, given their denoised image: a conditional invertible network.

Eulig et al. 2025, after Rombach et al. 2020 (ECCV): blocks of activation normalisation, an invertible leaky
ReLU, two affine couplings and a fixed permutation, all but the permutation's shuffle from FrEIA; each block
sees an embedding of the denoised image. Normal numbers become latents that fit the image, and the other way.
Where latents have places, couplings are convolutions that see the image at their own place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import FrEIA.framework as framework
import FrEIA.modules as blocks
import torch
from torch import Tensor, nn

from lowdose.invariances.representation import ActNorm

_SLOPE = 0.9
"""Of the invertible leaky ReLU."""


@dataclass(frozen=True)
class FlowSizes:
    """Of flow and embedding; the defaults are a small profile's, whose weights take less than 5 MB."""

    side: int = 64
    latents: int = 256
    places: int = 8
    """Along each side of the grid that latents lie on; 0 if they have no places."""
    condition: int = 24
    """Numbers that the embedding of the denoised image has, at each place."""
    n_blocks: int = 8
    hidden: int = 32
    n_hidden: int = 1
    """Layers of that width between the first and the last of a coupling's network."""
    embedding_width: int = 16
    seed: int = 0
    """Of the permutations."""


SMALL_FLOW = FlowSizes()
PUBLISHED_FLOW = FlowSizes(
    side=128, latents=256, places=0, condition=256, n_blocks=12, hidden=1024, n_hidden=2, embedding_width=64
)


class ConditionalFlow(nn.Module):
    """Latents `(b, latents)` to normal numbers and back, given the denoised image `(b, 1, y, x)`."""

    def __init__(self, sizes: FlowSizes = SMALL_FLOW) -> None:
        super().__init__()
        self.sizes = sizes
        self.embedding = _embedding(sizes)
        grid = (sizes.places, sizes.places) if sizes.places else ()
        self.shape = (sizes.latents // max(sizes.places, 1) ** 2, *grid)
        self.flow = framework.SequenceINN(*self.shape)
        order = torch.Generator().manual_seed(sizes.seed)
        for _ in range(sizes.n_blocks):
            self.flow.append(blocks.ActNorm)
            self.flow.append(InvertibleLeakyRelu)
            self.flow.append(
                DoubleCoupling, cond=0, cond_shape=(sizes.condition, *grid), hidden=sizes.hidden,
                n_hidden=sizes.n_hidden,
            )  # fmt: skip
            self.flow.append(Shuffle, order=torch.randperm(self.shape[0], generator=order))

    def start_from(self, latents: Tensor, denoised: Tensor) -> None:
        """Normalise activations by a first batch of `latents` `(b, latents)`, once and before training.

        A flow that is loaded keeps what it was saved with.
        """
        with torch.no_grad():
            self(latents, denoised)

    def forward(self, latents: Tensor, denoised: Tensor) -> tuple[Tensor, Tensor]:
        """Normal numbers `(b, latents)` and the logarithm of the Jacobian's determinant `(b,)`."""
        normal, log_determinant = self.flow(self._placed(latents), c=[self.embedding(denoised)])
        return normal.flatten(1), log_determinant

    def inverse(self, normal: Tensor, denoised: Tensor) -> Tensor:
        """Latents `(b, latents)` of normal numbers, as many."""
        condition = [self.embedding(denoised)]
        latents: Tensor = self.flow(self._placed(normal), c=condition, rev=True, jac=False)[0]
        return latents.flatten(1)

    def _placed(self, numbers: Tensor) -> Tensor:
        return numbers.reshape(len(numbers), *self.shape)


def negative_log_likelihood(normal: Tensor, log_determinant: Tensor) -> Tensor:
    """Mean over the batch of -log p(latents) in nats, less (n / 2) log 2 pi."""
    return (0.5 * normal.square().sum(dim=1) - log_determinant).mean()


class InvertibleLeakyRelu(blocks.InvertibleModule):  # type: ignore[misc]
    """x, or 0.9 x below zero."""

    def __init__(self, dims_in: Sequence[tuple[int, ...]], dims_c: Any = None) -> None:
        super().__init__(dims_in, dims_c)

    def forward(
        self, x_or_z: tuple[Tensor], _c: Any = None, rev: bool = False, **_jac: bool
    ) -> tuple[tuple[Tensor], Tensor]:
        (values,) = x_or_z
        slope = 1 / _SLOPE if rev else _SLOPE
        below = values < 0
        log_determinant = below.flatten(1).sum(dim=1).to(values.dtype) * math.log(slope)
        return (torch.where(below, slope * values, values),), log_determinant

    def output_dims(self, input_dims: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        return input_dims


class Shuffle(blocks.InvertibleModule):  # type: ignore[misc]
    """A fixed permutation, kept as a buffer: FrEIA's is a parameter, which a moving average would spoil."""

    order: Tensor

    def __init__(self, dims_in: Sequence[tuple[int, ...]], dims_c: Any = None, *, order: Tensor) -> None:
        super().__init__(dims_in, dims_c)
        self.register_buffer("order", order)

    def forward(
        self, x_or_z: tuple[Tensor], _c: Any = None, rev: bool = False, **_jac: bool
    ) -> tuple[tuple[Tensor], float]:
        order = torch.argsort(self.order) if rev else self.order
        return (x_or_z[0][:, order],), 0.0

    def output_dims(self, input_dims: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
        return input_dims


class DoubleCoupling(blocks.coupling_layers._BaseCouplingBlock):  # type: ignore[misc]
    """Two affine couplings, each half by the other; the logarithm of the scale is a hyperbolic tangent.

    Scale and shift have a network each, as published; FrEIA's RNVPCouplingBlock with a clamp of 1.
    """

    def __init__(
        self,
        dims_in: Sequence[tuple[int, ...]],
        dims_c: Sequence[tuple[int, ...]],
        *,
        hidden: int,
        n_hidden: int,
    ) -> None:
        super().__init__(dims_in, dims_c, clamp=1.0, clamp_activation="TANH")
        halves = (self.split_len1, self.split_len2)
        network = _convolutions if len(dims_in[0]) > 1 else _mlp
        self.scales, self.shifts = (
            nn.ModuleList(
                network(seen + self.condition_length, moved, hidden, n_hidden)
                for moved, seen in (halves, halves[::-1])
            )
            for _ in range(2)
        )

    def _coupling1(self, x1: Tensor, u2: Tensor, rev: bool = False) -> tuple[Tensor, Tensor]:
        return self._moved(0, x1, u2, rev)

    def _coupling2(self, x2: Tensor, u1: Tensor, rev: bool = False) -> tuple[Tensor, Tensor]:
        return self._moved(1, x2, u1, rev)

    def _moved(self, half: int, values: Tensor, seen: Tensor, rev: bool) -> tuple[Tensor, Tensor]:
        log_scale = self.clamp * self.f_clamp(self.scales[half](seen))
        shift = self.shifts[half](seen)
        if rev:
            return (values - shift) * torch.exp(-log_scale), -log_scale.flatten(1).sum(dim=1)
        return values * torch.exp(log_scale) + shift, log_scale.flatten(1).sum(dim=1)


def _mlp(n_in: int, n_out: int, hidden: int, n_hidden: int) -> nn.Sequential:
    steps: list[nn.Module] = [nn.Linear(n_in, hidden), nn.LeakyReLU(0.01)]
    for _ in range(n_hidden):
        steps += [nn.Linear(hidden, hidden), nn.LeakyReLU(0.01)]
    return nn.Sequential(*steps, _silent(nn.Linear(hidden, n_out)))


def _convolutions(n_in: int, n_out: int, hidden: int, n_hidden: int) -> nn.Sequential:
    steps: list[nn.Module] = [nn.Conv2d(n_in, hidden, 3, padding=1), nn.LeakyReLU(0.01)]
    for _ in range(n_hidden):
        steps += [nn.Conv2d(hidden, hidden, 1), nn.LeakyReLU(0.01)]
    return nn.Sequential(*steps, _silent(nn.Conv2d(hidden, n_out, 3, padding=1)))


def _silent(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    """`layer` without weights, so that every block starts as nothing but a permutation."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer


def _embedding(sizes: FlowSizes) -> nn.Sequential:
    """Halvings to the places of the latents; to 8 x 8 pixels and then all of it where they have none."""
    steps: list[nn.Module] = []
    n_in, side, width = 1, sizes.side, sizes.embedding_width
    while side > (sizes.places or 8):
        steps += [nn.Conv2d(n_in, width, 4, 2, 1), ActNorm(width), nn.LeakyReLU(0.2)]
        n_in, side, width = width, side // 2, 2 * width
    if sizes.places:
        return nn.Sequential(*steps, nn.Conv2d(n_in, sizes.condition, 3, padding=1))
    return nn.Sequential(*steps, nn.Conv2d(n_in, sizes.condition, side), nn.Flatten())
