from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from lowdose.models.card import HuScaling
from lowdose.training.supervised import Supervised

CPU = torch.device("cpu")


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    target = generator.normal(40, 200, (4, 1, 16, 16)).astype(np.float32)
    noise = generator.normal(0, 30, target.shape).astype(np.float32)
    return target + noise, target


class Gain(nn.Module):
    """Multiplies by one weight."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.gain * image


@pytest.mark.parametrize("gain", [0.9, 1.0, 1.05])
@pytest.mark.parametrize("scaling", [HuScaling(0.0, 500.0), HuScaling(480.0, 90.0)])
def test_the_loss_is_the_share_of_the_noise_that_is_left(batch, gain, scaling):
    noisy, target = (images.astype(np.float64) for images in batch)
    output = gain * (noisy - scaling.offset) + scaling.offset
    left = ((output - target) ** 2).mean(axis=(1, 2, 3)) / ((noisy - target) ** 2).mean(axis=(1, 2, 3))
    loss = Supervised(scaling).loss(Gain(gain), batch, CPU)
    assert float(loss.detach()) == pytest.approx(left.mean(), rel=1e-3)


def test_the_network_sees_scaled_hu(batch):
    seen = []

    class Watching(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            seen.append(image.numpy().copy())
            return image

    Supervised(HuScaling(100.0, 250.0)).loss(Watching(), batch, CPU)
    assert seen[0] == pytest.approx((batch[0] - 100) / 250, rel=1e-6, abs=1e-6)


def test_the_loss_falls_along_its_gradient(batch):
    method, network = Supervised(HuScaling(0.0, 500.0)), Gain(1.4)
    loss = method.loss(network, batch, CPU)
    loss.backward()
    assert float(network.gain.grad) > 0
    with torch.no_grad():
        network.gain -= 1e-4 * network.gain.grad
    assert float(method.loss(network, batch, CPU).detach()) < float(loss.detach())


def test_the_batch_is_not_changed(batch):
    before = [images.copy() for images in batch]
    Supervised(HuScaling(40.0, 500.0)).loss(Gain(0.5), batch, CPU)
    assert all(np.array_equal(images, copy) for images, copy in zip(batch, before, strict=True))
