"""The critic of DU-GAN (Huang et al. 2022, IEEE Trans. Instrum. Meas.): one score, and one for every pixel.

A residual U-Net (Schönfeld et al. 2020, CVPR): the encoder judges the image as a whole, the decoder pixel by
pixel, so the denoiser is told where it is wrong. Where the publication is silent, as about the way up, the
layers are ours.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2
"""Of the leaky ReLU."""


class Verdict(NamedTuple):
    """Logits: high for real."""

    whole: Tensor
    """`(b, 1)`"""
    pixels: Tensor
    """`(b, 1, y, x)`"""


class UnetCritic(nn.Module):
    """`n_stages` halvings with `width`, 2 `width`, 4 `width` and at most 8 `width` channels.

    Takes scaled HU `(b, 1, y, x)` with y and x multiples of 2^n_stages, 64 as published. Convolutions are
    spectrally normalised (Miyato et al. 2018, ICLR) unless they have up to four channels in or one out.
    """

    def __init__(self, *, width: int = 64, n_stages: int = 6) -> None:
        super().__init__()
        widths = [width * min(2**stage, 8) for stage in range(n_stages)]
        self.encode = nn.ModuleList(_Block(a, b) for a, b in zip([1, *widths[:-1]], widths, strict=True))
        self.down = nn.ModuleList(_convolution(n, n, 4, stride=2, padding=1) for n in widths)
        self.bottom = _Block(widths[-1], widths[-1])
        self.whole = nn.Linear(widths[-1], 1)
        below = [*widths[1:], widths[-1]]  # the channels that come up to each stage
        self.decode = nn.ModuleList(_Block(a + b, b) for a, b in zip(below, widths, strict=True))
        self.pixels = _convolution(width, 1, 1)

    def forward(self, image: Tensor) -> Verdict:
        features, stages = image, []
        for encode, down in zip(self.encode, self.down, strict=True):
            features = encode(features)
            stages.append(features)
            features = functional.leaky_relu(down(features), SLOPE)
        features = self.bottom(features)
        whole = self.whole(features.mean(dim=(2, 3)))
        for decode in reversed(self.decode):
            wide = functional.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)
            features = decode(torch.cat([wide, stages.pop()], dim=1))
        return Verdict(whole, self.pixels(features))


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside a 1 x 1 one."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.first = _convolution(n_in, n_out, 3, padding=1)
        self.second = _convolution(n_out, n_out, 3, padding=1)
        self.beside = _convolution(n_in, n_out, 1)

    def forward(self, features: Tensor) -> Tensor:
        change = functional.leaky_relu(self.first(features), SLOPE)
        change = functional.leaky_relu(self.second(change), SLOPE)
        together: Tensor = change + self.beside(features)
        return together


def _convolution(n_in: int, n_out: int, kernel: int, *, stride: int = 1, padding: int = 0) -> nn.Module:
    convolution = nn.Conv2d(n_in, n_out, kernel, stride=stride, padding=padding)
    return spectral_norm(convolution) if n_in > 4 and n_out != 1 else convolution
