"""Self-supervised training of an encoder of CT: it paints in what was masked (Pathak et al. 2016, CVPR)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lowdose.models.card import HuScaling
from lowdose.networks.features import CtAutoencoder, with_blocks_masked
from lowdose.training.batches import Batch
from lowdose.training.loop import Descend, Trained, Turn

SEEN_WEIGHT = 0.1
"""Of the error where nothing was masked: the encoder shall keep what it sees, noise and texture included."""


@dataclass(frozen=True)
class Inpainting:
    """What `fit` does to an autoencoder with images alone: the noisy ones of every batch."""

    autoencoder: CtAutoencoder
    scaling: HuScaling

    @property
    def trained(self) -> Mapping[str, Trained]:
        return {"autoencoder": Trained(self.autoencoder, 1.0)}

    def step(self, batch: Batch, turn: Turn, descend: Descend) -> dict[str, float]:
        """Lower the error of what is painted in."""
        image = torch.from_numpy(self.scaling.scaled(batch.noisy)).to(turn.device)
        masked, mask = with_blocks_masked(image, turn.generator)
        loss = inpainting_error(self.autoencoder(masked), image, mask)
        descend("autoencoder", loss)
        return {"loss": float(loss.detach())}


def inpainting_error(output: Tensor, image: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute error where masked, and a little of it elsewhere."""
    error = (output - image).abs()
    hidden, seen = (error * mask).sum() / mask.sum(), (error * (1 - mask)).sum() / (1 - mask).sum()
    return hidden + SEEN_WEIGHT * seen
