"""The registration network: nothing moves at first, and it learns to find what was moved."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lowdose.losses import roughness, warped
from lowdose.networks.registration import RegistrationNetwork


def blobs(generator: torch.Generator, side: int = 64) -> Tensor:
    """Soft spots, `(4, 1, side, side)`."""
    noise = torch.randn(4, 1, side, side, generator=generator)
    kernel = torch.exp(-torch.linspace(-2, 2, 17).square())
    smooth = torch.nn.functional.conv2d(noise, (kernel[:, None] * kernel)[None, None], padding=8)
    return smooth / smooth.std()


def test_nothing_moves_at_first_whatever_the_size() -> None:
    torch.manual_seed(1)
    network = RegistrationNetwork(width=8, n_levels=3)
    with torch.no_grad():
        displacement = network(torch.randn(2, 1, 45, 70), torch.randn(2, 1, 45, 70))
    assert displacement.shape == (2, 2, 45, 70)
    assert displacement.abs().max() < 0.01


def test_an_image_that_cannot_be_halved_so_often_is_refused() -> None:
    with pytest.raises(ValueError, match="too small to register; 128 it takes"):
        RegistrationNetwork()(torch.zeros(1, 1, 127, 256), torch.zeros(1, 1, 127, 256))


def test_known_shifts_are_found_within_a_pixel_by_what_the_warp_leaves_alone() -> None:
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(3)
    image = blobs(generator)
    shift = (6 * torch.rand(4, 2, 1, 1, generator=generator) - 3).expand(-1, -1, 64, 64)
    fixed = warped(image, shift)
    network = RegistrationNetwork(width=8, n_levels=4, n_bottleneck=1)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(150):
        displacement = network(image, fixed)
        loss = 20 * (warped(image, displacement) - fixed).abs().mean() + 10 * roughness(displacement)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        missed = (network(image, fixed) - shift)[..., 8:-8, 8:-8].square().sum(dim=1).sqrt()
    assert float(shift[:, :, 0, 0].square().sum(dim=1).sqrt().mean()) > 1.5
    assert float(missed.mean()) < 0.5
