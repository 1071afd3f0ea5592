"""A residual network that predicts the noise (Missert et al. 2018, CT Meeting, 399).

It has batch normalisation, so it sees other statistics in training than when it is used. Sizes as in
ldct-benchmark.
"""

from __future__ import annotations

from torch import Tensor, nn

from lowdose.networks.network import DenoisingNetwork


class ResNet(DenoisingNetwork):
    """`n_blocks` residual blocks of `width` channels between a 9 x 9 and a 3 x 3 convolution.

    Takes and gives scaled HU `(b, 1, y, x)` of any size; `width` is a multiple of 8, the number of groups of
    each block's second convolution. 1,843,329 weights as published.
    """

    def __init__(self, *, width: int = 128, n_blocks: int = 10) -> None:
        super().__init__()
        self.reach = 4 + 2 * n_blocks + 1
        self.first = nn.Conv2d(1, width, 9, padding=4)
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(n_blocks)))
        self.last = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        noise: Tensor = self.last(self.blocks(self.first(image)))
        return image - noise


class _Block(nn.Module):
    """Three convolutions beside an identity; no ReLU after the sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, groups=8),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        change: Tensor = self.layers(features)
        return features + change
