"""The critic of whole images: its size, and one score an image."""

from __future__ import annotations

import torch

from lowdose.networks.critics import WholeCritic


def test_it_has_as_many_weights_as_published() -> None:
    assert sum(weight.numel() for weight in WholeCritic().parameters()) == 2_762_689


def test_every_image_has_a_score_of_its_own() -> None:
    torch.manual_seed(1)
    critic = WholeCritic(width=4, n_images=2)
    images = torch.randn(3, 2, 64, 80)
    with torch.no_grad():
        scores = critic(images)
        alone = torch.cat([critic(one[None]) for one in images])
    assert scores.shape == (3, 1)
    assert torch.allclose(scores, alone, atol=1e-6)
