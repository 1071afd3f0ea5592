"""Losses for models of noise: how likely a residual is under a spectrum, and how unlike two spectra are."""

from __future__ import annotations

import torch
from torch import Tensor

LOWEST_CYCLES = 1.5
"""Along an image: below it, what is left of a quadratic surface says nothing of noise."""


def periodogram(noise: Tensor) -> Tensor:
    """Power `(b, y, x / 2 + 1)` of images `(b, 1, y, x)` by the frequencies of `torch.fft.rfft2`.

    Under a Hann window, so that frequencies do not leak into each other across the borders; white noise of
    unit variance has power one.
    """
    n_y, n_x = noise.shape[-2:]
    window = _window(n_y, n_x, noise.device)
    power: Tensor = torch.fft.rfft2(noise[:, 0] * window).abs().square()
    return power / window.square().sum()


def expected_periodogram(textures: Tensor, n_y: int, n_x: int) -> Tensor:
    """What `periodogram` is on average for white noise filtered with `textures` `(b, k, k)`, exactly.

    The window blurs a spectrum: by Wiener and Khinchin the autocorrelation of the noise is multiplied with
    that of the window.
    """
    shape = (2 * n_y, 2 * n_x)
    window = _window(n_y, n_x, textures.device)
    ours, windows = (
        torch.fft.irfft2(torch.fft.rfft2(image, s=shape).abs().square(), s=shape)
        for image in (textures, window)
    )
    product = ours * windows / window.square().sum()
    folded = product.reshape(-1, 2, n_y, 2, n_x).sum(dim=(1, 3))
    expected: Tensor = torch.fft.rfft2(folded).real.clamp_min(0.0)
    return expected


def _window(n_y: int, n_x: int, device: torch.device) -> Tensor:
    rows, columns = (torch.hann_window(n, periodic=True, device=device) for n in (n_y, n_x))
    return rows[:, None] * columns


def whittle_loss(residual: Tensor, spectrum: Tensor) -> Tensor:
    """Negative log-likelihood, in nats a pixel and less a constant, of stationary Gaussian noise.

    `residual` is `(b, 1, y, x)`, `spectrum` `(b, y, x / 2 + 1)` or without `b` its expected power (P. Whittle
    1953, Ark. Mat. 2, 423).
    """
    taken, weights = _frequencies(residual)
    expected = spectrum[..., taken].clamp_min(1e-5)
    power = periodogram(residual)[:, taken]
    nats = 0.5 * (power / expected + expected.log())
    return (nats * weights).sum(dim=1).mean() / weights.sum()


def spectrum_distance(made: Tensor, real: Tensor) -> Tensor:
    """Mean squared difference of the logarithms of the mean power of two batches `(b, 1, y, x)`."""
    taken, weights = _frequencies(real)
    ours, theirs = (periodogram(noise)[:, taken].mean(dim=0).clamp_min(1e-6).log() for noise in (made, real))
    return ((ours - theirs).square() * weights).sum() / weights.sum()


def without_surface(noise: Tensor) -> Tensor:
    """Images `(b, 1, y, x)` less the quadratic surface that fits each best, as real noise is seen."""
    n_y, n_x = noise.shape[-2:]
    y, x = (torch.linspace(-1.0, 1.0, n, device=noise.device) for n in (n_y, n_x))
    terms = [y[:, None] ** i * x**j for i in range(3) for j in range(3 - i)]
    basis, _ = torch.linalg.qr(torch.stack([term.expand(n_y, n_x).reshape(-1) for term in terms], dim=1))
    flat = noise.reshape(len(noise), -1)
    left: Tensor = flat - (flat @ basis) @ basis.T
    return left.reshape(noise.shape)


def _frequencies(noise: Tensor) -> tuple[Tensor, Tensor]:
    """Which of `rfft2`'s frequencies count, and how often each stands for itself and its mirror image."""
    n_y, n_x = noise.shape[-2:]
    device = noise.device
    y = torch.fft.fftfreq(n_y, 1 / n_y, device=device)[:, None]
    x = torch.fft.rfftfreq(n_x, 1 / n_x, device=device)
    taken = torch.hypot(y, x) >= LOWEST_CYCLES
    twice = (x > 0) & (x < n_x / 2)
    return taken, (1.0 + twice.float()).expand(n_y, -1)[taken]
