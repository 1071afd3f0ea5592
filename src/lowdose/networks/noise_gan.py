"""A generator of noise that a critic judges: white noise through a texture, and what a network makes of both.

The second noise model of task-driven denoising (ICONIP 2020: a GAN; no layers are published, those here are
ours). The texture alone is Gaussian noise of one spectrum; the network adds how it varies, by latents that
say where, and what is not Gaussian. Nothing is padded, so noise of any size has no seam and no border.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowdose.networks.noise_vae import kernel_amplitude

_SLOPE = 0.2
_SIDE = 5


class NoiseGan(nn.Module):
    """White noise `(b, 1 + extra, y, x)` and latents to noise of unit level.

    The texture is a kernel of `kernel` squared pixels, the network has `depth` convolutions of `width`
    channels before its last one. ValueError if the kernel is even.
    """

    def __init__(
        self, *, latents: int = 4, kernel: int = 17, width: int = 24, depth: int = 2, extra: int = 1
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"a texture of {kernel} pixels has no middle; make its kernel odd")
        self.margin = (depth + 1) * (_SIDE // 2)
        self.n_latents, self.kernel, self.n_white = latents, kernel, 1 + extra
        self.texture = nn.Parameter(torch.zeros(1, 1, kernel, kernel))
        widths = [self.n_white + 1 + latents, *[width] * depth]
        self.convolutions = nn.ModuleList(nn.Conv2d(n_in, n_out, _SIDE) for n_in, n_out in pairwise(widths))
        self.change = nn.Conv2d(widths[-1], 1, _SIDE)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.texture[..., kernel // 2, kernel // 2] = 1.0

    def start_from(self, power: Tensor) -> None:
        """Take `power` `(y, x / 2 + 1)`, that of all noise to be learned, for that of the texture."""
        with torch.no_grad():
            amplitude = kernel_amplitude(power, self.kernel)
            kernel = torch.fft.fftshift(torch.fft.irfft2(amplitude, s=(self.kernel, self.kernel)))
            self.texture.copy_(kernel[None, None])

    def noise(self, latents: Tensor, n_y: int, n_x: int, generator: torch.Generator) -> Tensor:
        """Noise `(b, 1, n_y, n_x)` that follows a grid of latents `(b, latents, y, x)`.

        The grid spans the image, corners on corners.
        """
        half, margin = self.kernel // 2, self.margin
        around = (n_y + 2 * margin, n_x + 2 * margin)
        shape = (latents.shape[0], self.n_white, *(length + 2 * half for length in around))
        white = torch.randn(shape, generator=generator).to(latents.device)
        textured = functional.conv2d(white[:, :1], self.texture)
        spread = functional.interpolate(latents, around, mode="bilinear", align_corners=True)
        features = torch.cat([white[..., half:-half, half:-half], textured, spread], dim=1)
        for convolution in self.convolutions:
            features = functional.leaky_relu(convolution(features), _SLOPE)
        made: Tensor = textured[..., margin : margin + n_y, margin : margin + n_x] + self.change(features)
        return made


class NoiseCritic(nn.Module):
    """Scores `(b, 1)` of patches `(b, 1, y, x)` of noise, of any size from 29 pixels on.

    Three convolutions that stride, with the mean of the squares of their features beside that of the features
    themselves: what tells textures apart is power, wherever it lies.
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
        power = self.first(noise).square().mean(dim=(2, 3))
        features = noise
        for convolution in self.convolutions:
            features = functional.leaky_relu(convolution(features), _SLOPE)
        told = [features.mean(dim=(2, 3)), features.square().mean(dim=(2, 3)), power]
        scores: Tensor = self.score(torch.cat(told, dim=1))
        return scores
