"""Searching along gradients, where a method is a network of ours.

Looks for the largest structural change of an input at a bounded change of the output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from lowdose.invariances.candidates import CLIMBED, Candidate, Place, judged
from lowdose.invariances.learning import smooth
from lowdose.models.card import WEIGHTS, ModelCard
from lowdose.models.denoiser import model_card
from lowdose.networks import NETWORKS

Images = NDArray[np.float32]

_POWER = 8
"""Of the norm that stands for the largest value, so that all large ones have a say."""
_RESPONSE_LIMIT = 0.9
"""What outputs may change by: a little less than what noise reaches."""


class DifferentiableMethod(nn.Module):
    """A network of ours in HU: `(b, 1 + 2 context, y, x)` to `(b, 1, y, x)`, as the package runs it."""

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.network, self.card = network, card

    def forward(self, hu: Tensor) -> Tensor:
        card = self.card
        n_y, n_x = hu.shape[-2:]
        scaled = (hu.clamp(*card.trained_range_hu) - card.offset_hu) / card.scale_hu
        padded = functional.pad(scaled, (0, -n_x % card.multiple, 0, -n_y % card.multiple), mode="replicate")
        output = self.network(padded)
        if isinstance(output, tuple | list):
            output = output[-1]
        levels: Tensor = output[:, -1:, :n_y, :n_x] * card.scale_hu + card.offset_hu
        return levels


def differentiable(folder: Path) -> DifferentiableMethod | None:
    """The network of a model folder; None for others: what came as ONNX, or looks along z."""
    if not (folder / WEIGHTS).is_file():
        return None
    card = model_card(folder)
    if card.architecture not in NETWORKS or card.dimensions != 2:
        return None
    network = NETWORKS[card.architecture](**card.sizes)
    network.load_state_dict(load_file(folder / WEIGHTS))
    network.eval().requires_grad_(False)
    return DifferentiableMethod(network, card)


@dataclass(frozen=True)
class Ascent:
    """How far and how fast to climb."""

    n_starts: int = 2
    n_steps: int = 25
    first: float = 2.0
    """Change that is begun with, as a multiple of what noise reaches."""
    rate: float = 0.1
    """Of learning, as a share of the beginning's largest value."""


def found_by_gradients(
    place: Place, method: DifferentiableMethod, ascent: Ascent = Ascent(), seed: int = 0
) -> list[Candidate]:  # fmt: skip
    """Candidates from random structures, changed to be larger in the input and smaller in the output."""
    chance = torch.Generator().manual_seed(seed)
    side = place.input.shape[0]
    rim = side // 4
    inside = torch.zeros(1, 1, side, side)
    inside[..., rim:-rim, rim:-rim] = 1.0
    change_in, change_out = _changes(place)
    respond = respondent(place, method)
    start = smooth(torch.randn(ascent.n_starts, 1, side, side, generator=chance) * inside, 1.5)
    start = start * (ascent.first / change_in(start)).reshape(-1, 1, 1, 1)
    parameters = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([parameters], lr=ascent.rate * float(start.abs().max()))
    before = respond(torch.zeros(1, 1, side, side))
    for _ in range(ascent.n_steps):
        added = smooth(parameters * inside, 1.0)
        structural, response = change_in(added), change_out(respond(added) - before)
        excess = torch.relu(response.log() - float(np.log(_RESPONSE_LIMIT)))
        loss = (4 * excess - structural.log()).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        climbed = smooth(parameters * inside, 1.0)[:, 0].numpy()
    weaker = np.concatenate([np.float32(share) * climbed for share in (1.0, 0.85, 0.7, 0.5)])
    return judged(place, place.input + weaker, CLIMBED)


def respondent(place: Place, method: DifferentiableMethod) -> Callable[[Tensor], Tensor]:
    """What the method makes of the window with `(b, 1, y, x)` in HU added to it."""
    around = torch.from_numpy(place.method.surroundings)[None]
    rows, columns = place.method.inner
    middle = around.shape[1] // 2

    def respond(added: Tensor) -> Tensor:
        left, right = columns.start, around.shape[3] - columns.stop
        top, bottom = rows.start, around.shape[2] - rows.stop
        placed = functional.pad(added, (left, right, top, bottom))
        shown = torch.cat(
            [around[:, :middle].expand(len(added), -1, -1, -1), around[:, middle : middle + 1] + placed,
             around[:, middle + 1 :].expand(len(added), -1, -1, -1)], dim=1,
        )  # fmt: skip
        window: Tensor = method(shown)[..., rows, columns]
        return window

    return respond


def _changes(place: Place) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """The change of input and output as multiples of what noise reaches, `(b,)`; nearly the largest value."""
    found = []
    for null in (place.of_input, place.of_output):
        unit = torch.from_numpy(null.deviation[place.window] * np.float32(null.limit))

        def change(difference: Tensor, unit: Tensor = unit, sigma_px: float = null.sigma_px) -> Tensor:
            values = (smooth(difference, sigma_px)[:, 0] / unit).abs().flatten(1)
            largest: Tensor = torch.linalg.vector_norm(values, ord=_POWER, dim=1)
            return largest

        found.append(change)
    return found[0], found[1]
