"""Noise power spectra, always with their frequencies: (1/mm, HU^2 mm^2).

ICRU Report 87 and AAPM TG-233: periodograms of detrended regions, scaled so that their integral is the
variance.
"""

from __future__ import annotations

from collections.abc import Hashable
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
        """Mean frequency in 1/mm of the radial curve, as in TG-233; NaN without noise."""
        total = float(np.sum(self.power))
        return float(np.sum(self.frequencies * self.power)) / total if total > 0 else float("nan")

    @property
    def peak_frequency(self) -> float:
        """Where in 1/mm the curve, smoothed over three rings, is highest; a parabola tells between rings."""
        smooth = np.convolve(np.pad(self.power, 1, mode="edge"), np.ones(3) / 3, mode="valid")
        top = int(smooth.argmax())
        if not 0 < top < len(smooth) - 1:
            return float(self.frequencies[top])
        before, at, after = smooth[top - 1 : top + 2]
        shift = 0.5 * (before - after) / (before - 2 * at + after) if before + after < 2 * at else 0.0
        step = (self.frequencies[top + 1] - self.frequencies[top - 1]) / 2
        return float(self.frequencies[top] + shift * step)


class RepeatedRegions:
    """The noise power of regions that are seen again and again, one image at a time.

    What the repeats of a place have in common is no noise and is taken off; a place seen once is only freed
    of its quadratic trend. Repeats of a place come one after the other: of those before, sums alone are kept,
    so that memory does not grow with their number.
    """

    def __init__(self, side: int, spacing: tuple[float, float]) -> None:
        self.side, self.spacing = side, spacing
        self.n_regions = 0
        self._place: Hashable = None
        self._waves: NDArray[np.complex128] = np.zeros((0, side, side), np.complex128)
        self._squares, self._n = np.zeros((side, side)), 0
        self._total, self._freedom = np.zeros((side, side)), 0

    def add(self, place: Hashable, image: NDArray[np.floating], corners: NDArray[np.intp]) -> None:
        """Take the squares at `corners` `[region, (y, x)]` out of `image` `[y, x]` in HU.

        The same `place` (a slice, say) must come with the same corners, and not again after another place.
        """
        cut = np.stack([image[y : y + self.side, x : x + self.side] for y, x in corners])
        waves = np.fft.fft2(detrended(cut))
        if self._n == 0 or place != self._place:
            self._total, self._freedom = self._folded()
            self._place, self._n = place, 0
            self._waves, self._squares = np.zeros_like(waves), np.zeros((self.side, self.side))
        self._waves += waves
        self._squares += (np.abs(waves) ** 2).sum(axis=0)
        self._n += 1
        self.n_regions += len(corners)

    def _folded(self) -> tuple[Floats, int]:
        """Power and degrees of freedom of all places, the last one among them."""
        if self._n == 0:
            return self._total, self._freedom
        common = (np.abs(self._waves) ** 2).sum(axis=0) / self._n if self._n > 1 else 0.0
        freedom = max(self._n - 1, 1) * len(self._waves)
        return self._total + self._squares - common, self._freedom + freedom

    @property
    def power(self) -> Floats:
        """`[fy, fx]` in HU^2 mm^2, the mean over all regions."""
        total, freedom = self._folded()
        return total * self.spacing[0] * self.spacing[1] / self.side**2 / freedom

    @property
    def radial(self) -> RadialSpectrum:
        return radial_average(self.power, self.spacing)


def squares_around(
    centre: tuple[float, float], distance: float, side: int, spacing: tuple[float, float], reach: float = 0.0
) -> NDArray[np.intp]:
    """Corners `[region, (y, x)]` of half-overlapping squares of `side` pixels.

    Their middles are `distance` mm from `centre` (y, x), in mm from the first pixel's middle, or, for the
    distance 0, wherever squares fit into a disc of `reach` mm.
    """
    size = side * max(spacing)
    if distance > 0:
        n = max(4, int(np.ceil(2 * np.pi * distance / (size / 2))))
        turns = 2 * np.pi * np.arange(n) / n
        middles = np.stack([distance * np.sin(turns), distance * np.cos(turns)], axis=1)
    else:
        n = int(max(reach - size / np.sqrt(2), 0.0) / (size / 2))
        steps = np.arange(-n, n + 1) * size / 2
        middles = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
        middles = middles[np.hypot(*middles.T) + size / np.sqrt(2) <= max(reach, size / np.sqrt(2)) + 1e-9]
    corners = (middles + centre) / spacing - (side - 1) / 2
    return np.asarray(np.rint(corners), np.intp)


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
    flat = regions.reshape(n_regions, n_y * n_x).astype(np.float64)
    residual: Floats = flat - (flat @ basis) @ basis.T
    return np.reshape(residual, regions.shape)
