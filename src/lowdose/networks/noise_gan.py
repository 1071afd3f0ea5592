"""A generator of noise that a critic judges: white noise through textures, and what a network makes of it.

The second noise model of task-driven denoising (ICONIP 2020: a GAN; no layers are published, those here are
ours). A texture alone is Gaussian noise of one spectrum, and a mixture of a few, by latents that say how much
of each and where, is Gaussian noise whose spectrum changes; the network adds what is not Gaussian. Nothing is
padded, so noise of any size has no seam and no border.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowdose.networks.noise_vae import kernel_amplitude

_SLOPE = 0.2
_SIDE = 5
_FAINT = 1e-3
"""Power of features below which they are as good as none."""


class NoiseGan(nn.Module):
    """White noise `(b, 1 + extra, y, x)` and latents to noise of unit level.

    The textures are kernels of `kernel` squared pixels, `hidden` features of the latents say how they are
    mixed, and the network has `depth` convolutions of `width` channels before its last one. ValueError if the
    kernel is even.
    """

    def __init__(
        self,
        *,
        latents: int = 4,
        kernel: int = 17,
        hidden: int = 32,
        width: int = 24,
        depth: int = 2,
        extra: int = 1,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"a texture of {kernel} pixels has no middle; make its kernel odd")
        self.margin = (depth + 1) * (_SIDE // 2)
        self.n_latents, self.kernel, self.n_white = latents, kernel, 1 + extra
        self.textures = nn.Parameter(_bank(torch.ones(kernel, kernel // 2 + 1), kernel))
        self.shares = nn.Sequential(
            nn.Conv2d(latents, hidden, 1), nn.LeakyReLU(_SLOPE), nn.Conv2d(hidden, len(self.textures) - 1, 1)
        )
        widths = [self.n_white + 1 + latents, *[width] * depth]
        self.convolutions = nn.ModuleList(nn.Conv2d(n_in, n_out, _SIDE) for n_in, n_out in pairwise(widths))
        self.change = nn.Conv2d(widths[-1], 1, _SIDE)
        for last in (self.shares[-1], self.change):
            nn.init.zeros_(last.weight)  # type: ignore[arg-type]
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def start_from(self, power: Tensor) -> None:
        """Take `power` `(y, x / 2 + 1)`, that of all noise to be learned, for that of the first texture."""
        with torch.no_grad():
            self.textures.copy_(_bank(kernel_amplitude(power, self.kernel), self.kernel))

    def noise(self, latents: Tensor, n_y: int, n_x: int, generator: torch.Generator) -> Tensor:
        """Noise `(b, 1, n_y, n_x)` that follows a grid of latents `(b, latents, y, x)`.

        The grid spans the image, corners on corners.
        """
        half, margin = self.kernel // 2, self.margin
        around = (n_y + 2 * margin, n_x + 2 * margin)
        shape = (latents.shape[0], self.n_white, *(length + 2 * half for length in around))
        white = torch.randn(shape, generator=generator).to(latents.device)
        spread = functional.interpolate(latents, around, mode="bilinear", align_corners=True)
        textured = self._textured(white[:, :1], spread)
        features = torch.cat([white[..., half:-half, half:-half], textured, spread], dim=1)
        for convolution in self.convolutions:
            features = functional.leaky_relu(convolution(features), _SLOPE)
        made: Tensor = textured[..., margin : margin + n_y, margin : margin + n_x] + self.change(features)
        return made

    def _textured(self, white: Tensor, latents: Tensor) -> Tensor:
        """The mixture `(b, 1, y, x)` that `latents` ask for, of unit variance whatever they are."""
        others = self.shares(latents)
        shares = torch.cat([torch.ones_like(others[:, :1]), others], dim=1)
        mixed = (functional.conv2d(white, self.textures) * shares).sum(dim=1, keepdim=True)
        flat = self.textures.flatten(1)
        variance = torch.einsum("biyx,ij,bjyx->byx", shares, flat @ flat.T, shares)[:, None]
        unit: Tensor = mixed / variance.clamp_min(1e-6).sqrt()
        return unit


def _bank(amplitude: Tensor, kernel: int) -> Tensor:
    """Kernels `(n, 1, kernel, kernel)`: of an amplitude `(kernel, kernel / 2 + 1)`, and of ways it changes.

    By direction, twice and four times around, and from coarse to fine.
    """
    y = torch.fft.fftfreq(kernel)[:, None]
    x = torch.fft.rfftfreq(kernel).expand(kernel, -1)
    angle, coarse_to_fine = torch.atan2(y.expand_as(x), x), torch.hypot(y, x) / 0.25 - 1.0
    turns = [turn(n * angle) for n in (2, 4) for turn in (torch.cos, torch.sin)]
    ways = torch.stack([torch.ones_like(x), *turns, coarse_to_fine])
    ways[1:5, 0, 0] = 0.0  # the mean has no direction
    kernels: Tensor = torch.fft.irfft2(amplitude * ways, s=(kernel, kernel))
    kernels = torch.fft.fftshift(kernels, dim=(1, 2))
    return kernels[:, None]


class NoiseCritic(nn.Module):
    """Scores `(b, 1)` of patches `(b, 1, y, x)` of noise, of any size from 29 pixels on.

    Three convolutions that stride, with the logarithm of the power of their features beside the mean of the
    features themselves: what tells textures apart is power, wherever it lies, and by what factor.
    """

    def __init__(self, *, width: int = 32) -> None:
        super().__init__()
        widths = (1, width, 2 * width, 2 * width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(n_in, n_out, 5, stride=2) for n_in, n_out in pairwise(widths)
        )
        self.first = nn.Conv2d(1, width, 9)
        self.score = nn.Sequential(
            nn.Linear(4 * width + width, 4 * width), nn.LeakyReLU(_SLOPE), nn.Linear(4 * width, 1)
        )

    def forward(self, noise: Tensor) -> Tensor:
        power = self.first(noise)
        features = noise
        for convolution in self.convolutions:
            features = functional.leaky_relu(convolution(features), _SLOPE)
        powers = [_log_power(features), _log_power(power)]
        told = [features.mean(dim=(2, 3)), *powers]
        scores: Tensor = self.score(torch.cat(told, dim=1))
        return scores


def _log_power(features: Tensor) -> Tensor:
    """Of each channel `(b, channels)`."""
    return (features.square().mean(dim=(2, 3)) + _FAINT).log()
