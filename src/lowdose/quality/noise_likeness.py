"""How alike two samples of noise are, and whether they can be told apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowdose.quality.spectra import detrended, noise_power_spectrum, radial_average

Floats = NDArray[np.float64]

_RINGS, _SECTORS = 8, 4
_FOLDS = 5
_RIDGE = 0.1
_FALLS_TO = 0.5


@dataclass(frozen=True)
class NoiseLikeness:
    """Noise that was made, compared with real noise; ratios are made over real."""

    n_real: int
    n_made: int
    level_ratio: float
    """Of the standard deviations."""
    spectrum_mismatch: float
    """RMS difference of the radial spectra, each over its own integral, over the RMS of the real one."""
    skewness: tuple[float, float]
    """Real and made: the third moment over the cubed standard deviation; 0 for Gaussian noise."""
    kurtosis: tuple[float, float]
    """Real and made: the fourth moment over the squared variance; 3 for Gaussian noise."""
    correlation_length_ratio: float
    told_apart: float
    """Share of patches that a linear classifier of spectra and moments gets right, cross-validated; a half
    is chance."""


def compare_noise(real: Floats, made: Floats, spacing: tuple[float, float]) -> NoiseLikeness:
    """Compare patches `[patch, y, x]` in HU of one size, with pixels of `spacing` mm, by what they show.

    Both lose the quadratic surface that fits best, since real noise cannot be seen without. ValueError if one
    has fewer patches than the classifier has folds.
    """
    if min(len(real), len(made)) < _FOLDS:
        raise ValueError(f"{len(real)} and {len(made)} patches of noise; comparing takes {_FOLDS} of either")
    real, made = detrended(real), detrended(made)
    ours, theirs = (
        radial_average(noise_power_spectrum(noise, spacing), spacing).power for noise in (made, real)
    )
    ours, theirs = ours / ours.sum(), theirs / theirs.sum()
    return NoiseLikeness(
        n_real=len(real),
        n_made=len(made),
        level_ratio=float(made.std() / real.std()),
        spectrum_mismatch=float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)),
        skewness=(standardised_moment(real, 3), standardised_moment(made, 3)),
        kurtosis=(standardised_moment(real, 4), standardised_moment(made, 4)),
        correlation_length_ratio=correlation_length(made, spacing) / correlation_length(real, spacing),
        told_apart=told_apart(real, made),
    )


def standardised_moment(noise: Floats, order: int) -> float:
    """Mean over patches of the moment of each over its own standard deviation to that power."""
    centred = noise - noise.mean(axis=(1, 2), keepdims=True)
    deviation = centred.std(axis=(1, 2))
    seen = deviation > 0
    moments = (centred[seen] ** order).mean(axis=(1, 2)) / deviation[seen] ** order
    return float(moments.mean())


def correlation_length(noise: Floats, spacing: tuple[float, float]) -> float:
    """Distance in mm at which the autocorrelation has fallen to a half, the mean along y and x."""
    n_y, n_x = noise.shape[1:]
    padded = np.fft.rfft2(noise, s=(2 * n_y, 2 * n_x))
    sums = np.fft.irfft2((np.abs(padded) ** 2).mean(axis=0), s=(2 * n_y, 2 * n_x))[:n_y, :n_x]
    lengths = []
    for axis, n in enumerate((n_y, n_x)):
        along = sums[:, 0] if axis == 0 else sums[0]
        curve = along / (n - np.arange(n)) * n / sums[0, 0]
        after = int(np.argmax(curve <= _FALLS_TO))
        if curve[after] > _FALLS_TO:
            return float("inf")
        share = (curve[after - 1] - _FALLS_TO) / (curve[after - 1] - curve[after])
        lengths.append((after - 1 + share) * spacing[axis])
    return float(np.mean(lengths))


def told_apart(real: Floats, made: Floats) -> float:
    """Share of patches that a linear discriminant of `features` puts right, cross-validated.

    Samples count alike however many patches they have. Which patches are held back is fixed.
    """
    samples = [features(real), features(made)]
    every = np.concatenate(samples)
    samples = [(one - every.mean(axis=0)) / np.maximum(every.std(axis=0), 1e-9) for one in samples]
    folds = [np.arange(len(one)) % _FOLDS for one in samples]
    right = []
    for fold in range(_FOLDS):
        taught = [one[which != fold] for one, which in zip(samples, folds, strict=True)]
        held = [one[which == fold] for one, which in zip(samples, folds, strict=True)]
        means = [one.mean(axis=0) for one in taught]
        within = np.mean([np.cov(one, rowvar=False) for one in taught], axis=0)
        ridge = _RIDGE * np.trace(within) / len(within) * np.eye(len(within))
        direction = np.linalg.solve(within + ridge, means[1] - means[0])
        threshold = direction @ (means[0] + means[1]) / 2
        right.append([(held[0] @ direction <= threshold).mean(), (held[1] @ direction > threshold).mean()])
    return float(np.mean(right))


def feature_distance(real: Floats, made: Floats) -> float:
    """How far the distributions of two samples of `features` are apart; 0 where they are one.

    Frechet's distance of normal distributions with independent features (Heusel et al. 2017, NeurIPS), each
    in standard deviations of the real sample, as a root mean square over them.
    """
    spread = real.std(axis=0)
    varies = spread > 1e-9
    shift = (made.mean(axis=0) - real.mean(axis=0))[varies] / spread[varies]
    widening = made.std(axis=0)[varies] / spread[varies] - 1.0
    return float(np.sqrt((shift**2 + widening**2).mean()))


def features(noise: Floats) -> Floats:
    """What a patch shows, `[patch, feature]`: log power by frequency and direction, log level, moments."""
    n_y, n_x = noise.shape[1:]
    window = np.outer(np.hanning(n_y + 2)[1:-1], np.hanning(n_x + 2)[1:-1])
    power = np.abs(np.fft.fft2(noise * window)) ** 2
    f_y, f_x = np.fft.fftfreq(n_y)[:, None], np.fft.fftfreq(n_x)[None]
    ring = np.minimum((np.hypot(f_y, f_x) / 0.5 * _RINGS).astype(int), _RINGS - 1)
    sector = np.minimum((np.arctan2(f_y, f_x) % np.pi / np.pi * _SECTORS).astype(int), _SECTORS - 1)
    cell = ring * _SECTORS + sector
    cell[0, 0] = -1
    cells = [np.log(power[:, cell == one].mean(axis=1) + 1e-12) for one in np.unique(cell[cell >= 0])]
    deviation = np.maximum(noise.std(axis=(1, 2)), 1e-12)
    scaled = noise / deviation[:, None, None]
    return np.stack(
        [*cells, np.log(deviation), (scaled**3).mean(axis=(1, 2)), (scaled**4).mean(axis=(1, 2))], axis=1
    )
