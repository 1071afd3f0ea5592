"""Supervised denoising: the network sees a scan at a fraction of its dose and is shown the scan itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lowdose.models.card import HuScaling
from lowdose.networks.network import DenoisingNetwork
from lowdose.training.batches import Batch
from lowdose.training.loop import Descend, Trained, Turn
from lowdose.training.objective import Objective


class Scaled:
    """A batch as the network sees it: scaled HU on its device."""

    def __init__(self, batch: Batch, scaling: HuScaling, context: int, device: torch.device) -> None:
        self.shown, self.target = (
            torch.from_numpy(scaling.scaled(images)).to(device) for images in batch[:2]
        )
        self.noisy = self.shown if not context else self.shown[:, context : context + 1]
        """The slice of the target, without its neighbours."""


Beside = Callable[[Tensor, Scaled, Tensor, Batch, Turn], Tensor]
"""From the output, the images, what the objective makes of them, the batch and the turn: one more loss."""


@dataclass(frozen=True)
class Supervised:
    """What `fit` does to one network with pairs."""

    denoiser: DenoisingNetwork
    scaling: HuScaling
    objective: Objective
    beside: Beside | None = None
    """What else the denoiser is to lower."""

    @property
    def trained(self) -> Mapping[str, Trained]:
        return {"denoiser": Trained(self.denoiser, 1.0)}

    def step(self, batch: Batch, turn: Turn, descend: Descend) -> dict[str, float]:
        """Lower the objective on one batch."""
        scaled = Scaled(batch, self.scaling, self.denoiser.context, turn.device)
        output = last_level(self.denoiser(scaled.shown))
        loss = self.objective(output, scaled.noisy, scaled.target)
        if self.beside is not None:
            loss = loss + self.beside(output, scaled, loss, batch, turn)
        descend("denoiser", loss)
        return {"loss": float(loss.detach())}


def last_level(images: Tensor) -> Tensor:
    """The result of a network: the last of its images, `(b, 1, [z,] y, x)`."""
    return images[:, -1:]
