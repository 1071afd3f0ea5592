"""Noise power spectra, always with their frequencies: (1/mm, HU^2 mm^2).

ICRU Report 87 and AAPM TG-233: periodograms of detrended regions, scaled so that their integral is the
variance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RadialSpectrum:
    """A noise power spectrum averaged over directions: `frequencies` in 1/mm, `power` in HU^2 mm^2."""

    frequencies: Floats
    power: Floats

    @property
    def variance(self) -> float:
        """HU^2 of noise below the last frequency: the integral of the power over the plane."""
        edges = np.concatenate(
            [[0.0], (self.frequencies[1:] + self.frequencies[:-1]) / 2, self.frequencies[-1:]]
        )
        return float(np.sum(self.power * np.pi * np.diff(edges**2)))

    @property
    def mean_frequency(self) -> float:
        """Mean frequency in 1/mm of the radial curve, as in TG-233."""
        return float(np.sum(self.frequencies * self.power) / np.sum(self.power))


def noise_power_spectrum(regions: NDArray[np.floating], spacing: tuple[float, float]) -> Floats:
    """Power `[region, fy, fx]` in HU^2 mm^2 of `regions` `[region, y, x]` in HU after removing a quadratic
    trend.

    `spacing` is the pixel size along (y, x) in mm; frequencies are those of `numpy.fft.fftfreq`.
    """
    n_y, n_x = regions.shape[1:]
    power: Floats = np.abs(np.fft.fft2(detrended(regions))) ** 2
    power *= spacing[0] * spacing[1] / (n_y * n_x)
    return power


def radial_average(power: Floats, spacing: tuple[float, float], n_bins: int | None = None) -> RadialSpectrum:
    """Average `power` `[..., fy, fx]` over directions, and over leading axes, up to the lower Nyquist
    frequency.
    """
    frequencies, members = radial_bins(power.shape[-2:], spacing, n_bins)
    mean = power.reshape(-1, *power.shape[-2:]).mean(axis=0)
    return RadialSpectrum(frequencies, np.array([mean[member].mean() for member in members]))


def radial_bins(
    shape: tuple[int, ...], spacing: tuple[float, float], n_bins: int | None = None
) -> tuple[Floats, list[tuple[NDArray[np.intp], ...]]]:
    """Mean frequency in 1/mm of every ring of the plane, without the origin, and the indices of its
    members.
    """
    n_y, n_x = shape
    f_y, f_x = np.fft.fftfreq(n_y, spacing[0]), np.fft.fftfreq(n_x, spacing[1])
    radius = np.hypot(f_y[:, None], f_x[None, :])
    nyquist = min(0.5 / spacing[0], 0.5 / spacing[1])
    n_bins = n_bins or min(n_y, n_x) // 2
    edges = np.linspace(0.0, nyquist, n_bins + 1)
    ring = np.digitize(radius, edges) - 1
    ring[0, 0] = -1
    members = [np.nonzero(ring == index) for index in range(n_bins)]
    members = [member for member in members if len(member[0])]
    return np.array([radius[member].mean() for member in members]), members


def detrended(regions: NDArray[np.floating]) -> Floats:
    """`regions` `[region, y, x]` less the quadratic surface that fits each of them best."""
    n_regions, n_y, n_x = regions.shape
    y, x = np.meshgrid(np.linspace(-1, 1, n_y), np.linspace(-1, 1, n_x), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]).reshape(6, -1)
    basis = np.linalg.qr(terms.T)[0]
    flat = regions.reshape(n_regions, -1).astype(np.float64)
    residual: Floats = flat - (flat @ basis) @ basis.T
    return np.reshape(residual, regions.shape)
