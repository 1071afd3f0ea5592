"""The generator of CTA-GAN: its size, what it keeps, and that it starts with nothing added."""

from __future__ import annotations

import torch

from lowdose.networks.translator import Translator


def test_it_has_as_many_weights_as_published() -> None:
    assert sum(weight.numel() for weight in Translator().parameters()) == 11_365_633


def test_what_it_adds_is_nothing_at_first() -> None:
    image = torch.randn(2, 3, 24, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = Translator(width=4, n_blocks=1, context=1, adds=True)(image)
    assert torch.equal(output, image[:, 1:2])


def test_what_it_paints_lies_within_the_scale() -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        output = Translator(width=4, n_blocks=2)(50 * torch.randn(1, 1, 16, 20))
    assert output.shape == (1, 1, 16, 20)
    assert output.abs().max() <= 1


def test_the_neighbours_are_looked_at() -> None:
    torch.manual_seed(1)
    network = Translator(width=4, n_blocks=1, context=1)
    image = torch.randn(1, 3, 16, 16)
    other = image.clone()
    other[:, 2] += torch.randn(16, 16)
    with torch.no_grad():
        assert not torch.equal(network(image), network(other))
