"""A U-Net for slices, with or without the slices beside them.

Muller et al. 2023, Med. Phys., denoise micro-CT with a "four-layer" 2-D U-Net trained on the mean absolute
error. The abstract gives no sizes. Four layers is read here as four resolution levels, and widths, pooling
and the residual output are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lowdose.networks.network import DenoisingNetwork


class Unet2d(DenoisingNetwork):
    """`n_levels` resolution levels with `width`, 2 `width`, 4 `width`, ... channels and no normalisation.

    Takes scaled HU `(b, 1 + 2 context, y, x)`, gives `(b, 1, y, x)`; y and x must be multiples of
    2^(n_levels - 1). With `residual` the output is the middle slice minus the predicted noise, and the
    untrained network is the identity; without, the output is predicted directly. Max pooling and transposed
    convolutions of stride 2 keep it exactly equivariant to shifts by `multiple`, away from the borders.
    """

    def __init__(
        self, *, width: int = 32, n_levels: int = 4, context: int = 0, residual: bool = True
    ) -> None:
        super().__init__()
        self.context = context
        self.multiple = 2 ** (n_levels - 1)
        self.reach = unet_reach(n_levels)
        self.residual = residual
        widths = [width * 2**level for level in range(n_levels)]
        n_in = [1 + 2 * context, *widths[:-1]]
        self.encode = nn.ModuleList(_convolutions(a, b) for a, b in zip(n_in, widths, strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * n, n, 2, stride=2) for n in widths[:-1])
        self.decode = nn.ModuleList(_convolutions(2 * n, n) for n in widths[:-1])
        self.head = nn.Conv2d(width, 1, 1)
        self.pool = nn.MaxPool2d(2)
        if residual:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        levels = [self.encode[0](image)]  # (b, width 2^level, y / 2^level, x / 2^level) each
        for encode in self.encode[1:]:
            levels.append(encode(self.pool(levels[-1])))
        features = levels.pop()
        while levels:
            level = len(levels) - 1
            features = torch.cat([levels.pop(), self.up[level](features)], dim=1)
            features = self.decode[level](features)
        predicted: Tensor = self.head(features)
        return image[:, self.context : self.context + 1] - predicted if self.residual else predicted


def unet_reach(n_levels: int) -> int:
    """How far the layers of a U-Net of this kind see, in voxels: 51 for four levels.

    Walks from one output voxel to the lowest input voxel on which it depends: two 3-wide convolutions a
    stage, halved going down the decoder, doubled going up the encoder. The answer depends on where the voxel
    lies in its pooling cell, so the farthest of all places counts; the upper side mirrors the lower one.
    """
    farthest = 0
    for start in range(2 ** (n_levels - 1)):
        lowest = start - 2
        for _ in range(n_levels - 1):
            lowest = lowest // 2 - 2
        for _ in range(n_levels - 1):
            lowest = 2 * lowest - 2
        farthest = max(farthest, start - lowest)
    return farthest


def _convolutions(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(n_out, n_out, 3, padding=1),
        nn.ReLU(inplace=True),
    )
