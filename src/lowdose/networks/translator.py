"""From one kind of image to another: a residual generator (Johnson et al. 2016, ECCV), as in CTA-GAN.

Lyu et al. 2023 (Radiology 309(2)) take non-contrast CT to CT angiography with it; 11,365,633 weights as
published.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lowdose.networks.network import DenoisingNetwork


class Translator(DenoisingNetwork):
    """Two halvings, `n_blocks` residual blocks of 4 `width` channels, two doublings; instance normalisation.

    Takes scaled HU `(b, 1 + 2 context, y, x)`, a slice with its neighbours, and gives `(b, 1, y, x)`. As
    published it paints the whole image, in -1..1. With `adds` it gives the slice itself and what is added to
    it, as a contrast agent is: nothing at the start of training.
    """

    multiple = 4

    def __init__(self, *, width: int = 64, n_blocks: int = 9, context: int = 0, adds: bool = False) -> None:
        super().__init__()
        self.context, self.adds = context, adds
        layers: list[nn.Module] = [
            nn.Conv2d(1 + 2 * context, width, 7, padding=3, padding_mode="reflect"), *_normalised(width)
        ]  # fmt: skip
        for n in (width, 2 * width):
            layers += [nn.Conv2d(n, 2 * n, 3, stride=2, padding=1), *_normalised(2 * n)]
        layers += [_Block(4 * width) for _ in range(n_blocks)]
        for n in (4 * width, 2 * width):
            up = nn.ConvTranspose2d(n, n // 2, 3, stride=2, padding=1, output_padding=1)
            layers += [up, *_normalised(n // 2)]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(width, 1, 7, padding=3, padding_mode="reflect")
        if adds:
            nn.init.zeros_(self.last.weight)
            assert self.last.bias is not None
            nn.init.zeros_(self.last.bias)

    def forward(self, image: Tensor) -> Tensor:
        painted: Tensor = self.last(self.layers(image))
        if self.adds:
            return image[:, self.context : self.context + 1] + painted
        return torch.tanh(painted)


class _Block(nn.Module):
    """Two convolutions beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"),
            *_normalised(width),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect"),
            nn.InstanceNorm2d(width),
        )

    def forward(self, features: Tensor) -> Tensor:
        change: Tensor = self.layers(features)
        return features + change


def _normalised(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(width), nn.ReLU()
