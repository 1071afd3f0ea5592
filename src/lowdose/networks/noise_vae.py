"""A variational autoencoder of noise: latents say which texture it has at a place, chance the rest.

Task-driven denoising (TDDL, ISICDM 2020) learns the noise of scans with a variational autoencoder, of which
no layers are published; those here are ours. A plain one smooths noise away, because whatever its decoder
cannot foresee counts as white. Noise of CT is close to Gaussian, and what varies from place to place is its
texture: rays through a leg or past a shoulder give it a direction. So the decoder gives a texture, a kernel
that white noise is filtered with, and a patch is as likely as its power is under that of the texture.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_SLOPE = 0.2
_RANK = 12
"""Of the space that the textures of an image are taken from."""
_OUTERMOST, _KNOTS = 3.0, 49
"""Of the normal numbers that quantiles of latents are kept for."""


class NoiseVae(nn.Module):
    """Patches of noise of unit level to latents, latents to textures, and noise of any size from either.

    The encoder sees the power behind `width` learned filters. The decoder gives amplitudes by frequency,
    which make a symmetric kernel of `kernel` squared pixels. ValueError if that is even.
    """

    amplitude: Tensor
    usual: Tensor
    axes: Tensor
    quantiles: Tensor

    def __init__(self, *, latents: int = 6, kernel: int = 17, width: int = 32, hidden: int = 64) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"a texture of {kernel} pixels has no middle; make its kernel odd")
        self.n_latents, self.kernel = latents, kernel
        self.filters = nn.Conv2d(1, width, 9, bias=False)
        self.encoder = nn.Sequential(
            nn.Linear(width, hidden), nn.LeakyReLU(_SLOPE), nn.Linear(hidden, 2 * latents)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latents, hidden), nn.LeakyReLU(_SLOPE), nn.Linear(hidden, kernel * (kernel // 2 + 1))
        )
        self.register_buffer("amplitude", torch.ones(kernel, kernel // 2 + 1))
        self.register_buffer("usual", torch.zeros(latents))
        self.register_buffer("axes", torch.eye(latents))
        self.register_buffer("quantiles", torch.linspace(-_OUTERMOST, _OUTERMOST, _KNOTS).repeat(latents, 1))

    def start_from(self, power: Tensor) -> None:
        """Take `power` `(y, x / 2 + 1)`, that of all noise to be learned, for the texture of no latents.

        By the frequencies of `torch.fft.rfft2`, of as many pixels as the kernel or more.
        """
        self.amplitude.copy_(kernel_amplitude(power, self.kernel))

    def encode(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the latents `(b, latents)` of patches `(b, 1, y, x)`."""
        power = self.filters(noise).square().mean(dim=(2, 3))
        mean, log_variance = self.encoder((power + 1e-6).log()).chunk(2, dim=1)
        return mean, log_variance.clamp(-12.0, 6.0)

    def texture(self, latents: Tensor) -> Tensor:
        """The kernels `(b, kernel, kernel)` that white noise of unit level is filtered with."""
        change = self.decoder(latents).reshape(-1, *self.amplitude.shape)
        amplitude = self.amplitude * change.clamp(-6.0, 6.0).exp()
        kernels = torch.fft.irfft2(amplitude, s=(self.kernel, self.kernel))
        centred: Tensor = torch.fft.fftshift(kernels, dim=(1, 2))
        return centred

    def settle(self, noise: Tensor) -> None:
        """Draw latents from now on as those of `noise` `(b, 1, y, x)` are distributed.

        After training, because what patches are encoded to is not quite what it was drawn to, independent
        normal numbers (Ghosh et al. 2020, ICLR: a density fitted afterwards makes better samples): here along
        their principal axes by their quantiles.
        """
        with torch.no_grad():
            # in pieces, since the filtered patches take many times the memory
            encoded = [self.encode(some) for some in torch.split(noise, 256)]
            mean, log_variance = (torch.cat(part) for part in zip(*encoded, strict=True))
            chance = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
            latents = mean + (0.5 * log_variance).exp() * chance.to(mean.device)
            self.usual.copy_(latents.mean(dim=0))
            _, axes = torch.linalg.eigh(torch.cov(latents.T))
            self.axes.copy_(axes)
            along = (latents - self.usual) @ axes
            shares = torch.special.ndtr(torch.linspace(-_OUTERMOST, _OUTERMOST, _KNOTS, device=along.device))
            self.quantiles.copy_(torch.quantile(along, shares, dim=0).T)

    def settled(self, normal: Tensor) -> Tensor:
        """Latents `(b, latents)` from independent normal numbers, as many."""
        place = (normal.clamp(-_OUTERMOST, _OUTERMOST) + _OUTERMOST) / (2 * _OUTERMOST) * (_KNOTS - 1)
        below = place.floor().clamp(max=_KNOTS - 2).long()
        columns = torch.arange(self.n_latents, device=normal.device)
        low, high = self.quantiles[columns, below], self.quantiles[columns, below + 1]
        return self.usual + (low + (place - below) * (high - low)) @ self.axes.T

    def noise(self, latents: Tensor, n_y: int, n_x: int, generator: torch.Generator) -> Tensor:
        """Noise `(b, 1, n_y, n_x)` of unit level, its texture by a grid of latents `(b, latents, y, x)`.

        The grid spans the image, corners on corners, and holds independent normal numbers. Textures lie in a
        space of few dimensions, so that white noise is filtered a dozen times and mixed at every pixel.
        """
        n_b, _, rows, columns = latents.shape
        settled = self.settled(latents.movedim(1, -1).reshape(-1, self.n_latents))
        kernels = self.texture(settled).flatten(1)
        middle = kernels.mean(dim=0, keepdim=True)
        _, _, basis = torch.linalg.svd(kernels - middle, full_matrices=False)
        basis = torch.cat([middle, basis[:_RANK]])
        shares = torch.cat([torch.ones_like(kernels[:, :1]), (kernels - middle) @ basis[1:].T], dim=1)
        shares = shares.reshape(n_b, rows, columns, -1).movedim(-1, 1)
        shares = functional.interpolate(shares, (n_y, n_x), mode="bilinear", align_corners=True)
        variance = torch.einsum("biyx,ij,bjyx->byx", shares, basis @ basis.T, shares)[:, None]
        half = self.kernel // 2
        white = torch.randn(n_b, 1, n_y + 2 * half, n_x + 2 * half, generator=generator)
        filters = basis.reshape(-1, 1, self.kernel, self.kernel)
        noise = (functional.conv2d(white.to(latents.device), filters) * shares).sum(dim=1, keepdim=True)
        unit: Tensor = noise / variance.clamp_min(1e-12).sqrt()
        return unit


def kernel_amplitude(power: Tensor, kernel: int) -> Tensor:
    """Amplitudes `(kernel, kernel / 2 + 1)` of the kernel that gives white noise a power `(y, x / 2 + 1)`."""
    n_y = power.shape[0]
    correlation = torch.fft.irfft2(power, s=(n_y, n_y))
    rows = torch.arange(-(kernel // 2), kernel // 2 + 1)
    window = torch.cos(torch.pi * rows / (kernel + 1)).clamp_min(0)
    cut = correlation[rows % n_y][:, rows % n_y] * window[:, None] * window
    kept = torch.fft.rfft2(torch.fft.ifftshift(cut)).real
    amplitude: Tensor = kept.clamp_min(1e-4 * float(kept.max())).sqrt()
    return amplitude


def latent_field(
    n: int, latents: int, n_y: int, n_x: int, reach: float, generator: torch.Generator
) -> Tensor:
    """Random latents `(n, latents, y, x)` of unit variance that hardly change within `reach` pixels."""
    margin = int(3 * reach)
    shape = (n_y + margin, n_x + margin)
    wave_y, wave_x = (torch.fft.fftfreq(length) for length in shape)
    square = wave_y[:, None] ** 2 + wave_x[: shape[1] // 2 + 1].abs() ** 2
    gain = torch.exp(-2 * (torch.pi * reach) ** 2 * square)
    white = torch.randn(n, latents, *shape, generator=generator)
    field: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * gain, s=shape)
    twice = torch.full_like(gain, 2.0)
    twice[:, 0] = 1.0
    if shape[1] % 2 == 0:
        twice[:, -1] = 1.0
    variance = (gain.square() * twice).sum() / (shape[0] * shape[1])
    return field[..., :n_y, :n_x] / variance.sqrt()
