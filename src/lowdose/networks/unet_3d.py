"""A U-Net for volumes: `unet_2d.py` with a third axis and half its width.

The 3-D network of Muller et al. 2023, Med. Phys.; sizes as far as they are published, the rest ours, as
there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lowdose.networks.network import DenoisingNetwork
from lowdose.networks.unet_2d import unet_reach


class Unet3d(DenoisingNetwork):
    """`n_levels` resolution levels with `width`, 2 `width`, 4 `width`, ... channels and no normalisation.

    Takes and gives scaled HU `(b, 1, z, y, x)`; z, y and x must be multiples of 2^(n_levels - 1). With
    `residual` the output is the volume minus the predicted noise, and the untrained network is the identity.
    """

    dimensions = 3

    def __init__(self, *, width: int = 16, n_levels: int = 4, residual: bool = True) -> None:
        super().__init__()
        self.multiple = 2 ** (n_levels - 1)
        self.reach = unet_reach(n_levels)
        self.residual = residual
        widths = [width * 2**level for level in range(n_levels)]
        n_in = [1, *widths[:-1]]
        self.encode = nn.ModuleList(_convolutions(a, b) for a, b in zip(n_in, widths, strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose3d(2 * n, n, 2, stride=2) for n in widths[:-1])
        self.decode = nn.ModuleList(_convolutions(2 * n, n) for n in widths[:-1])
        self.head = nn.Conv3d(width, 1, 1)
        self.pool = nn.MaxPool3d(2)
        if residual:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        levels = [self.encode[0](image)]  # (b, width 2^level, z / 2^level, y / 2^level, x / 2^level) each
        for encode in self.encode[1:]:
            levels.append(encode(self.pool(levels[-1])))
        features = levels.pop()
        while levels:
            level = len(levels) - 1
            features = torch.cat([levels.pop(), self.up[level](features)], dim=1)
            features = self.decode[level](features)
        predicted: Tensor = self.head(features)
        return image - predicted if self.residual else predicted


def _convolutions(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(n_in, n_out, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv3d(n_out, n_out, 3, padding=1),
        nn.ReLU(inplace=True),
    )
