"""A variational autoencoder of noise: what its latents cannot say is noise of a learned texture.

Task-driven denoising (TDDL, ISICDM 2020) learns the noise of scans with a variational autoencoder, of which
no layers are published; those here are ours. A plain one smooths noise away, because what the decoder cannot
foresee counts as white. Here it counts as noise with a spectrum of its own, which is learned as well, and is
drawn again when noise is made. Everything is convolutional and the latents are as far apart as pixels are,
so that noise of any size comes out in one piece.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_SLOPE = 0.2
_STRIDE = 4
"""Pixels a latent."""
_MARGIN = 4
"""Latents around those that are asked for, which padding reaches."""


class NoiseVae(nn.Module):
    """Noise of unit level `(b, 1, y, x)` to latents and back, and noise of any size from nothing.

    `width` channels at full resolution, `latents` at a quarter of it, a texture of `kernel` squared pixels.
    """

    def __init__(self, *, width: int = 32, latents: int = 8, kernel: int = 15) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"the texture's kernel has {kernel} pixels along a side; it must be odd")
        self.latents = latents
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 5, padding=2),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(width, width, 4, stride=2, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(2 * width, 2 * latents, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latents, 2 * width, 3, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(width, 1, 5, padding=2),
        )
        texture = torch.zeros(1, 1, kernel, kernel)
        texture[..., kernel // 2, kernel // 2] = 1.0
        self.texture = nn.Parameter(texture)

    def encode(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the latents, `(b, latents, y / 4, x / 4)` each."""
        mean, log_variance = self.encoder(noise).chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 6.0)

    def spectrum(self, n_y: int, n_x: int) -> Tensor:
        """Power `(y, x / 2 + 1)` of the texture, by the frequencies of `torch.fft.rfft2`."""
        power: Tensor = torch.fft.rfft2(self.texture[0, 0], s=(n_y, n_x)).abs().square()
        return power

    def sample(self, n: int, n_y: int, n_x: int, generator: torch.Generator) -> Tensor:
        """`n` images of noise `(n, 1, y, x)` of about unit level."""
        device = self.texture.device
        rows, columns = (-(-length // _STRIDE) + 2 * _MARGIN for length in (n_y, n_x))
        latents = torch.randn(n, self.latents, rows, columns, generator=generator).to(device)
        margin = self.texture.shape[-1] // 2
        white = torch.randn(n, 1, n_y + 2 * margin, n_x + 2 * margin, generator=generator).to(device)
        edge = _MARGIN * _STRIDE
        foreseen: Tensor = self.decoder(latents)[..., edge : edge + n_y, edge : edge + n_x]
        return foreseen + functional.conv2d(white, self.texture)
