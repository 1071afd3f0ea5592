"""Supervised denoising: the network sees a scan at a fraction of its dose and is shown the scan itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lowdose.losses import share_of_noise_left
from lowdose.models.card import HuScaling

Batch = tuple[NDArray[np.float32], NDArray[np.float32]]
"""`(input, target)`, each `(b, 1, y, x)` in HU."""


@dataclass(frozen=True)
class Supervised:
    """The step of supervised training: what `fit` minimises for one batch."""

    scaling: HuScaling

    def loss(self, network: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Squared error left, as a share of the noise that was added; one for a network that changes
        nothing.
        """
        noisy, target = (torch.from_numpy(self.scaling.scaled(images)).to(device) for images in batch)
        return share_of_noise_left(network(noisy), noisy, target)
