"""How sharp an image is: the task transfer function of a rod, at the contrast and the noise that it has.

The task transfer function (TTF) of AAPM TG-233 is the transfer of a system at one contrast and one dose,
which for anything nonlinear is not that of another. TG-233 differentiates the edge of a rod as if it were
straight, and smooths what noise does to the derivative. Here a disc of about known size is fitted instead,
blurred by a Gaussian times the first terms of the series (Gram and Charlier) that makes of it any other blur
or sharpening. So small rods come out right as well, and noise is not smoothed into the result: where it does
not allow to tell the terms, there are none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.stats import ncx2

Floats = NDArray[np.float64]

_N_RADII = 500
_N_FREQUENCIES = 512
_WORTH_TERMS = 25.0
"""By how many variances of the noise the terms must lower the sum of squares; neighbouring pixels have noise
in common.
"""
_MOST_TRIALS = 40
_FAINTEST = 60.0
"""By how many a rod that is there does."""


@dataclass(frozen=True)
class TaskTransfer:
    """The transfer of one rod."""

    frequencies: Floats
    """1/mm, from 0 to the Nyquist frequency of the pixels"""
    transfer: Floats
    """1 at frequency 0"""
    centre: tuple[float, float]
    """(y, x) of the rod in mm from the middle of the first pixel"""
    radius: float
    """mm, as fitted"""
    contrast: float
    """HU of the rod over its surroundings"""
    noise: float
    """Standard deviation in HU of what the fit leaves"""

    @property
    def cnr(self) -> float:
        """Contrast over noise, of the averaged image."""
        return abs(self.contrast) / self.noise if self.noise > 0 else float("inf")

    @property
    def f50(self) -> float:
        """1/mm at which the transfer falls to a half; NaN where it does not before the Nyquist frequency."""
        return self.falls_to(0.5)

    @property
    def f10(self) -> float:
        """The same for a tenth."""
        return self.falls_to(0.1)

    def falls_to(self, level: float) -> float:
        """The first frequency in 1/mm at which the transfer is below `level`, linearly interpolated."""
        below = np.flatnonzero(self.transfer < level)
        if not below.size or below[0] == 0:
            return float("nan")
        k = int(below[0])
        high, low = self.transfer[k - 1], self.transfer[k]
        share = (high - level) / (high - low)
        return float(self.frequencies[k - 1] + share * (self.frequencies[k] - self.frequencies[k - 1]))


class NoRodError(ValueError):
    """One sentence: why no transfer could be measured here."""


def task_transfer(
    images: NDArray[np.floating],
    spacing: tuple[float, float],
    centre: tuple[float, float],
    radius: float,
    *,
    reach: float | None = None,
    inner: float = 0.0,
) -> TaskTransfer:
    """The TTF of a rod in `images`, `[y, x]` or `[image, y, x]` in HU, which are averaged first.

    `spacing` is the pixel size (y, x) in mm; `centre` (y, x) in mm from the middle of the first pixel is
    refined, as is `radius` in mm. Pixels up to `reach` mm from the centre take part, which must hold the rod
    and nothing else; twice the radius, but at least 4 mm beyond it, unless given. Pixels less than `inner` mm
    from it are left out: of a cylinder with other things inside, its rim is then the rod. `NoRodError` where
    these are not inside the image or show no rod above the noise.
    """
    image = np.asarray(images, np.float64)
    image = image.mean(axis=0) if image.ndim == 3 else image
    reach = reach or max(2 * radius, radius + 4.0)
    y, x, values = _pixels_near(image, spacing, centre, reach, inner)
    first = centre if inner else _centroid(y, x, values, centre, radius)
    place = np.array([*first, radius, max(spacing)])
    reaches = np.array([0.5, 0.5, 0.2]) * radius
    low = np.append(place[:3] - reaches, 0.15 * min(spacing))
    high = np.append(place[:3] + reaches, max(radius, 3 * max(spacing)))
    place, noise = _fitted(np.append(place, np.zeros(0)), low, high, y, x, values, reach)
    refined, less_noise = _fitted(np.append(place, np.zeros(3)), low, high, y, x, values, reach)
    if len(values) * (noise**2 - less_noise**2) > _WORTH_TERMS * less_noise**2:
        place, noise = refined, less_noise
    place = np.append(place, np.zeros(7 - place.size))
    contrast = float(_linear_part(place, y, x, values, reach)[0][0])
    plane = np.stack([np.ones_like(y), y, x], axis=1)
    without = values - plane @ np.linalg.lstsq(plane, values, rcond=None)[0]
    if (without**2).sum() <= (len(values) + _FAINTEST) * noise**2:
        raise NoRodError(
            f"no rod stands out of the noise at (y, x) = ({centre[0]:.1f}, {centre[1]:.1f}) mm: "
            f"{contrast:.1f} HU in {noise:.1f} HU of noise; average more slices or repeats"
        )
    frequencies = np.linspace(0.0, 0.5 / max(spacing), _N_FREQUENCIES)
    phase = (2 * np.pi * place[3] * frequencies) ** 2
    transfer = np.exp(-phase / 2) * (1 + place[4] * phase + place[5] * phase**2 + place[6] * phase**3)
    return TaskTransfer(
        frequencies, transfer, (float(place[0]), float(place[1])), float(place[2]), contrast, noise
    )


def blurred_disc(distances: Floats, radius: float, width: float) -> Floats:
    """A disc of value one and `radius`, blurred by a Gaussian of standard deviation `width`, at `distances`
    from its centre: the chance that a normal deviate lands in it.
    """
    return np.asarray(ncx2.cdf((radius / width) ** 2, 2, (np.asarray(distances) / width) ** 2))


def _pixels_near(
    image: Floats, spacing: tuple[float, float], centre: tuple[float, float], reach: float, inner: float
) -> tuple[Floats, Floats, Floats]:
    """y, x in mm and HU of the pixels from `inner` to `reach` mm away from `centre`."""
    y, x = np.meshgrid(*(np.arange(n) * d for n, d in zip(image.shape, spacing, strict=True)), indexing="ij")
    edges = [(centre[k] - reach, centre[k] + reach, (image.shape[k] - 1) * spacing[k]) for k in (0, 1)]
    if any(low < 0 or high > last for low, high, last in edges):
        raise NoRodError(
            f"the rod at (y, x) = ({centre[0]:.1f}, {centre[1]:.1f}) mm and {reach:.1f} mm around it are not "
            "inside the image; check the place, or choose a shorter reach"
        )
    distance = np.hypot(y - centre[0], x - centre[1])
    near = (distance <= reach) & (distance >= inner)
    values = image[near]
    if not np.isfinite(values).all():
        raise NoRodError("the rod's surroundings hold values that are no numbers")
    return y[near], x[near], values


def _centroid(
    y: Floats, x: Floats, values: Floats, centre: tuple[float, float], radius: float
) -> tuple[float, float]:
    """A first centre: that of the contrast in twice the rod's area."""
    distance = np.hypot(y - centre[0], x - centre[1])
    background = float(np.median(values[distance > 1.2 * radius]))
    near = distance < 1.4 * radius
    contrast = values[near] - background
    contrast = contrast * (
        np.abs(contrast) > 0.3 * abs(float(np.median(values[distance < 0.6 * radius]) - background))
    )
    total = contrast.sum()
    if not np.isfinite(total) or abs(total) < 1e-9:
        return centre
    found = float((contrast * y[near]).sum() / total), float((contrast * x[near]).sum() / total)
    return found if np.hypot(found[0] - centre[0], found[1] - centre[1]) < 0.4 * radius else centre


def _fitted(
    start: Floats, low: Floats, high: Floats, y: Floats, x: Floats, values: Floats, reach: float
) -> tuple[Floats, float]:
    """The parameters that fit best, `start` among what they may be, and the noise that they leave."""
    n_terms = start.size - low.size
    bounds = np.append(low, np.full(n_terms, -1.0)), np.append(high, np.full(n_terms, 1.0))
    steps = np.append(np.full(low.size, 0.05), np.full(n_terms, 0.02))
    found = least_squares(
        lambda place: _linear_part(place, y, x, values, reach)[1],
        start,
        bounds=bounds,
        x_scale=steps,
        ftol=1e-6,
        xtol=1e-6,
        max_nfev=_MOST_TRIALS,
    )
    return found.x, float(np.sqrt(2 * found.cost / max(len(values) - start.size - 4, 1)))


def _linear_part(
    parameters: Floats, y: Floats, x: Floats, values: Floats, reach: float
) -> tuple[Floats, Floats]:
    """Contrast and plane that fit best, and what they leave.

    `parameters` are y, x, the radius, the width of the Gaussian, and the terms of the series.
    """
    distance = np.hypot(y - parameters[0], x - parameters[1])
    radii = np.linspace(float(distance.min()), float(distance.max()), _N_RADII)
    profile = _blurred(radii, float(parameters[2]), float(parameters[3]), parameters[4:])
    rod = np.interp(distance, radii, profile)
    design = np.stack(
        [rod, np.ones_like(y), (y - parameters[0]) / reach, (x - parameters[1]) / reach], axis=1
    )
    shares = np.linalg.lstsq(design, values, rcond=None)[0]
    return shares, values - design @ shares


def _blurred(radii: Floats, radius: float, width: float, terms: Floats) -> Floats:
    """A disc whose blur has the transfer ``exp(-p / 2) (1 + t0 p + t1 p^2 + t2 p^3)``, with ``p = (2 pi width
    f)^2`` and the `terms` t.

    Multiplication by p is ``-2 t d/dt`` for the variance t of the Gaussian; derivatives are differences.
    """
    profile = blurred_disc(radii, radius, width)
    if not terms.any():
        return profile
    variance, step = width**2, 0.05
    far_below, below, above, far_above = (
        blurred_disc(radii, radius, float(np.sqrt(variance * (1 + k * step)))) for k in (-2, -1, 1, 2)
    )
    first = (above - below) / (2 * step)
    second = (above - 2 * profile + below) / step**2
    third = (far_above - 2 * above + 2 * below - far_below) / (2 * step**3)
    return np.asarray(profile - 2 * terms[0] * first + 4 * terms[1] * second - 8 * terms[2] * third)
