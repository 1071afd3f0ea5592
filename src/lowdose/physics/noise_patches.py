"""Patches of a scan that show its noise and nothing else, wherever in the body they lie.

Blind denoising learns the noise of a scan from its smooth patches (Chen et al. 2018, CVPR: GCBD), chosen
there by comparing means and variances of sub-patches with those of the patch. Here flatness is judged on the
smoothed image, where the noise does not choose, and what anatomy is left is told from noise by comparing
patches with each other: it adds power at low frequencies, makes the noise uneven, or stands out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.scan_projection import sampled_slices
from lowdose.quality.noise_level import flat_matter
from lowdose.quality.spectra import detrended
from lowdose.scan import Scan, Slice

Floats = NDArray[np.float64]
Corners = NDArray[np.intp]

SIDE = 32
"""Pixels"""
SLICES = 60
"""Of a scan, evenly spaced, that are looked at."""
_FLAT_SHARE = 0.98
_COARSE_CYCLES = 2.5
"""Cycles along a patch up to which power tells of anatomy."""
_COARSE_EXCESS = 2.0
"""Times the median share of power there, above which a patch shows anatomy."""
_UNEVEN = 2.5
"""Largest ratio of the variances in the quarters of a patch."""
_OUTSTANDING = 6.0
"""Standard deviations of a pixel that is no noise: a vessel, a calcification."""
_SKEW_SPREADS, _KURTOSIS_SPREADS = 2.5, 3.5
"""Of skewness and kurtosis by chance, beyond which a patch is unlike noise."""
_NOISELESS_HU = 1e-3

REASONS = ("anatomy at low frequencies", "uneven", "something stands out", "skewed or peaked", "no noise")
"""Why candidates are left out."""


@dataclass(frozen=True, eq=False)
class NoisePatches:
    """The noise of one scan where it can be seen alone."""

    source: str
    kernel: str
    """As the header names it; empty where it does not."""
    spacing: tuple[float, float]
    """mm along y and x"""
    noise: NDArray[np.float32]
    """HU `[patch, y, x]`, less the quadratic surface that fits best"""
    places: Corners
    """`[patch, (z, y, x)]` of the first pixels"""
    means: Floats
    """HU of the patches before their surface was taken off"""
    n_candidates: int
    """Flat patches that were judged."""
    left_out: dict[str, int]
    """How many for which of `REASONS`."""

    @property
    def levels(self) -> Floats:
        """Standard deviation of every patch in HU."""
        return np.asarray(self.noise.std(axis=(1, 2), dtype=np.float64))

    @property
    def richest(self) -> int:
        """The slice with the most patches. ValueError if there are none."""
        if not len(self):
            raise ValueError(f"{self.source} shows no noise without anatomy")
        return int(np.bincount(self.places[:, 0]).argmax())

    def corners(self, z: int) -> Corners:
        """First pixels `[patch, (y, x)]` of the patches of slice `z`."""
        found: Corners = self.places[self.places[:, 0] == z, 1:]
        return found

    def __len__(self) -> int:
        return len(self.noise)


def find_noise(scan: Scan, *, side: int = SIDE, n_slices: int = SLICES) -> NoisePatches:
    """The structure-free patches of `side` squared pixels in evenly spaced slices of `scan`.

    Any tissue that is flat over a patch counts. Patches may overlap by half. A scan that has none gives an
    empty record.
    """
    cut, places = [], []
    for z, slice_ in sampled_slices(scan, n_slices):
        corners = flat_corners(slice_, side)
        cut += [slice_.hu[y : y + side, x : x + side] for y, x in corners]
        places += [(z, y, x) for y, x in corners]
    regions = np.stack(cut) if cut else np.zeros((0, side, side), np.float32)
    noise = detrended(regions)
    reasons = judged(noise)
    kept = reasons < 0
    counts = np.bincount(reasons[~kept], minlength=len(REASONS))
    return NoisePatches(
        scan.name,
        scan.acquisition.kernel or "",
        scan.spacing[1:],
        noise[kept].astype(np.float32),
        np.array(places, np.intp).reshape(-1, 3)[kept],
        regions[kept].mean(axis=(1, 2), dtype=np.float64),
        len(noise),
        {reason: int(n) for reason, n in zip(REASONS, counts, strict=True) if n},
    )


def flat_corners(slice_: Slice, side: int) -> Corners:
    """First pixels `[patch, (y, x)]` of all patches of flat matter on a grid of half a side."""
    flat = flat_matter(slice_.hu, slice_.padding)
    n_y, n_x = flat.shape
    if n_y < side or n_x < side:
        return np.empty((0, 2), np.intp)
    total = np.pad(flat.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    y, x = np.mgrid[0 : n_y - side + 1 : side // 2, 0 : n_x - side + 1 : side // 2]
    inside = total[y + side, x + side] - total[y, x + side] - total[y + side, x] + total[y, x]
    corners: Corners = np.stack([y, x], axis=-1)[inside >= _FLAT_SHARE * side**2]
    return corners


def judged(noise: Floats) -> NDArray[np.intp]:
    """For every patch `[patch, y, x]` the first of `REASONS` that speaks against it, -1 if none does.

    What is typical is the median over all patches, so a few with anatomy in them do not move it.
    """
    if not len(noise):
        return np.empty(0, np.intp)
    deviation = noise.std(axis=(1, 2))
    silent = deviation < _NOISELESS_HU
    scaled = noise / np.where(silent, 1.0, deviation)[:, None, None]
    coarse = coarse_share(scaled)
    typical = np.median(coarse[~silent]) if not silent.all() else 0.0
    quarters = _quarter_variances(scaled)
    uneven = quarters.max(axis=1) > _UNEVEN * np.maximum(quarters.min(axis=1), 1e-12)
    outstanding = np.abs(scaled).max(axis=(1, 2)) > _OUTSTANDING
    unlike = _skewed_or_peaked(scaled, ~silent)
    against = np.stack([coarse > _COARSE_EXCESS * typical, uneven, outstanding, unlike, silent])
    against[:-1, silent] = False
    return np.where(against.any(axis=0), against.argmax(axis=0), -1)


def coarse_share(noise: Floats) -> Floats:
    """Share of the power of every patch that lies within `2.5` cycles of the origin of its plane."""
    power = np.abs(np.fft.fft2(noise)) ** 2
    n_y, n_x = noise.shape[1:]
    cycles = np.hypot(np.fft.fftfreq(n_y, 1 / n_y)[:, None], np.fft.fftfreq(n_x, 1 / n_x)[None])
    whole = power.sum(axis=(1, 2))
    return np.asarray(power[:, cycles <= _COARSE_CYCLES].sum(axis=1) / np.where(whole > 0, whole, 1.0))


def _skewed_or_peaked(scaled: Floats, judged: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Patches of unit variance that are skewed, or whose kurtosis is not that of the rest, as with vessels.

    Noise may have heavy tails, but falls as far as it rises. How much both vary by chance follows from the
    correlation r of Gaussian noise: the variances of skewness and kurtosis of N pixels are 6 sum(r^3) / N and
    24 sum(r^4) / N.
    """
    if not judged.any():
        return np.zeros(len(scaled), bool)
    n_y, n_x = scaled.shape[1:]
    power = (np.abs(np.fft.fft2(scaled[judged])) ** 2).mean(axis=0)
    correlation = np.fft.ifft2(power).real
    correlation /= correlation[0, 0]
    n = n_y * n_x
    skewness, kurtosis = ((scaled**order).mean(axis=(1, 2)) for order in (3, 4))
    by_chance = [
        np.sqrt(factor * np.abs((correlation**order).sum()) / n) for order, factor in ((3, 6.0), (4, 24.0))
    ]
    usual = float(np.median(kurtosis[judged]))
    skewed = np.abs(skewness) > _SKEW_SPREADS * by_chance[0]
    found: NDArray[np.bool_] = skewed | (np.abs(kurtosis - usual) > _KURTOSIS_SPREADS * by_chance[1])
    return found


def _quarter_variances(noise: Floats) -> Floats:
    """Variance `[patch, quarter]`."""
    n_y, n_x = (n // 2 for n in noise.shape[1:])
    quarters: Iterable[Floats] = (noise[:, y : y + n_y, x : x + n_x] for y in (0, n_y) for x in (0, n_x))
    return np.stack([quarter.var(axis=(1, 2)) for quarter in quarters], axis=1)
