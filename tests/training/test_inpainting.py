from __future__ import annotations

import numpy as np
import pytest
import torch

from lowdose.models.card import HuScaling
from lowdose.networks.features import CtAutoencoder
from lowdose.training.batches import Batch
from lowdose.training.inpainting import SEEN_WEIGHT, Inpainting, inpainting_error
from lowdose.training.loop import Turn


def test_the_error_by_hand():
    """One of four pixels is hidden and 3 wrong; the others are 1 wrong."""
    image = torch.zeros(1, 1, 2, 2)
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    output = torch.tensor([[[[3.0, 1.0], [-1.0, 1.0]]]])
    assert float(inpainting_error(output, image, mask)) == pytest.approx(3.0 + SEEN_WEIGHT)


def test_it_learns_to_paint_in_what_is_hidden():
    torch.manual_seed(0)
    autoencoder = CtAutoencoder(width=4, n_stages=2)
    method = Inpainting(autoencoder, HuScaling(0.0, 500.0))
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=5e-3)
    rows = np.linspace(-400, 400, 32, dtype=np.float32)[:, None] * np.ones((1, 32), np.float32)
    images = np.stack([rows, rows.T])[:, None]

    def descend(name: str, loss: torch.Tensor) -> None:
        assert name == "autoencoder"
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    losses = []
    for step in range(80):
        turn = Turn(step, torch.Generator().manual_seed(step), slice(0, 2), 2, torch.device("cpu"))
        losses.append(method.step(Batch(images, images), turn, descend)["loss"])
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:5])
