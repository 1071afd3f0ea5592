from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lowdose.models.card import HuScaling
from lowdose.networks.network import DenoisingNetwork
from lowdose.training.batches import Batch
from lowdose.training.loop import Turn
from lowdose.training.objective import Objective
from lowdose.training.supervised import Scaled, Supervised, last_level

CPU = torch.device("cpu")
TURN = Turn(0, torch.Generator(), slice(0, 4), 4, CPU)
SHARE = Objective({"share-of-noise-left": 1.0})


def loss_of(network: DenoisingNetwork, batch: Batch, scaling: HuScaling) -> torch.Tensor:
    """What a step goes down."""
    taken: list[torch.Tensor] = []

    def descend(name: str, loss: torch.Tensor) -> None:
        assert name == "denoiser"
        taken.append(loss)

    told = Supervised(network, scaling, SHARE).step(batch, TURN, descend)
    assert told == {"loss": float(taken[0].detach())}
    return taken[0]


@pytest.fixture
def batch() -> Batch:
    generator = np.random.default_rng(0)
    target = generator.normal(40, 200, (4, 1, 16, 16)).astype(np.float32)
    noise = generator.normal(0, 30, target.shape).astype(np.float32)
    return Batch(target + noise, target)


class Gain(DenoisingNetwork):
    """Multiplies by one weight."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.gain * image


@pytest.mark.parametrize("gain", [0.9, 1.0, 1.05])
@pytest.mark.parametrize("scaling", [HuScaling(0.0, 500.0), HuScaling(480.0, 90.0)])
def test_the_loss_is_the_share_of_the_noise_that_is_left(batch, gain, scaling):
    noisy, target = (images.astype(np.float64) for images in (batch.noisy, batch.target))
    output = gain * (noisy - scaling.offset) + scaling.offset
    left = ((output - target) ** 2).mean(axis=(1, 2, 3)) / ((noisy - target) ** 2).mean(axis=(1, 2, 3))
    loss = loss_of(Gain(gain), batch, scaling)
    assert float(loss.detach()) == pytest.approx(left.mean(), rel=1e-3)


def test_the_network_sees_scaled_hu(batch):
    seen = []

    class Watching(Gain):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            seen.append(image.numpy().copy())
            return super().forward(image)

    loss_of(Watching(1.0), batch, HuScaling(100.0, 250.0))
    assert seen[0] == pytest.approx((batch[0] - 100) / 250, rel=1e-6, abs=1e-6)


def test_the_loss_falls_along_its_gradient(batch):
    scaling, network = HuScaling(0.0, 500.0), Gain(1.4)
    loss = loss_of(network, batch, scaling)
    loss.backward()
    assert float(network.gain.grad) > 0
    with torch.no_grad():
        network.gain -= 1e-4 * network.gain.grad
    assert float(loss_of(network, batch, scaling).detach()) < float(loss.detach())


def test_the_batch_is_not_changed(batch):
    before = [batch.noisy.copy(), batch.target.copy()]
    loss_of(Gain(0.5), batch, HuScaling(40.0, 500.0))
    assert all(np.array_equal(images, copy) for images, copy in zip(batch[:2], before, strict=True))


def test_of_neighbours_the_noisy_slice_is_the_middle_one():
    shown = np.arange(3, dtype=np.float32)[None, :, None, None] * np.ones((1, 1, 4, 4), np.float32)
    scaled = Scaled(Batch(shown, shown[:, 1:2]), HuScaling(0.0, 1.0), 1, CPU)
    assert torch.equal(scaled.noisy, scaled.target)
    assert scaled.shown.shape == (1, 3, 4, 4)


def test_of_several_levels_the_last_one_counts():
    images = torch.arange(5.0)[None, :, None, None] * torch.ones(2, 5, 3, 3)
    assert torch.equal(last_level(images), torch.full((2, 1, 3, 3), 4.0))
    volumes = torch.randn(2, 1, 4, 3, 3)
    assert torch.equal(last_level(volumes), volumes)
