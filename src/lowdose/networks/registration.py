"""Where each pixel of one image lies in another: a residual U-Net (Arar et al. 2020, CVPR; in Reg-GAN).

Kong et al. 2021 (NeurIPS) train it beside a generator whose targets are misaligned, and Lyu et al. 2023
(Radiology 309(2)) take it over for CTA-GAN.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

_SLOPE = 0.2
_START = 1e-5
"""Standard deviation of the weights of the last layer, so that nothing moves at first."""


class RegistrationNetwork(nn.Module):
    """From a moving and a fixed image `(b, 1, y, x)` to a displacement `(b, 2, y, x)` along y, x in pixels.

    The moving image at `place + displacement` shows what the fixed one shows at `place`. `n_levels` halvings,
    `width` channels at the first level and twice as many below; as published 32 and 7, for images of 128
    pixels or more.
    """

    def __init__(self, *, width: int = 32, n_levels: int = 7, n_bottleneck: int = 3) -> None:
        super().__init__()
        widths = [width] + [2 * width] * (n_levels - 1)
        self.least = 2**n_levels
        """Pixels along an axis that an image must have."""
        self.downs = nn.ModuleList(
            nn.Sequential(_convolution(n_in, n_out), _Block(n_out)) for n_in, n_out in pairwise([2, *widths])
        )
        deepest = widths[-1]
        self.bottleneck = nn.Sequential(
            nn.Conv2d(deepest, 2 * deepest, 1),
            *(_Block(2 * deepest) for _ in range(n_bottleneck)),
            nn.Conv2d(2 * deepest, deepest, 1),
        )
        self.ups = nn.ModuleList(
            _convolution(below + n_out, n_out) for below, n_out in pairwise([deepest, *widths[::-1]])
        )
        self.refine = nn.Sequential(_Block(width), nn.Conv2d(width, width, 1), nn.LeakyReLU(_SLOPE))
        self.last = nn.Conv2d(width, 2, 3, padding=1)
        nn.init.normal_(self.last.weight, std=_START)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """ValueError for images too small to be halved so often."""
        if min(moving.shape[-2:]) < self.least:
            n_y, n_x = moving.shape[-2:]
            raise ValueError(
                f"images of {n_y} x {n_x} pixels are too small to register; {self.least} it takes"
            )
        features = torch.cat((moving, fixed), dim=1)
        seen = []
        for down in self.downs:
            features = down(features)
            seen.append(features)
            features = nn.functional.max_pool2d(features, 2)
        features = self.bottleneck(features)
        for up, beside in zip(self.ups, reversed(seen), strict=True):
            larger = interpolate(features, beside.shape[-2:], mode="bilinear", align_corners=False)
            features = up(torch.cat((larger, beside), dim=1))
        displacement: Tensor = self.last(self.refine(features))
        return displacement


class _Block(nn.Module):
    """Two convolutions beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_convolution(width, width), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        change: Tensor = self.layers(features)
        return nn.functional.leaky_relu(features + change, _SLOPE)


def _convolution(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, padding=1), nn.LeakyReLU(_SLOPE))
