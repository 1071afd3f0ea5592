"""Means and noise in circles of a phantom's image, and what is told by comparing them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Circle(NamedTuple):
    """What a circle of an image holds, in HU."""

    mean: float
    noise: float
    """Standard deviation."""
    n_pixels: int


class OutsideError(ValueError):
    """One sentence: which circle is not in the image."""


def circle_mask(
    shape: tuple[int, int], spacing: tuple[float, float], centre: tuple[float, float], radius: float
) -> NDArray[np.bool_]:
    """Pixels `[y, x]` whose middles are within `radius` mm of `centre`, (y, x) in mm from the first pixel's
    middle.

    `OutsideError` if the circle is not wholly in the image or holds fewer than four pixels.
    """
    inside = all(
        radius <= at + 0.5 * step and at + radius <= (n - 0.5) * step
        for at, step, n in zip(centre, spacing, shape, strict=True)
    )
    y, x = (np.arange(n) * step - at for n, step, at in zip(shape, spacing, centre, strict=True))
    mask = np.asarray(np.hypot(y[:, None], x[None, :]) <= radius)
    if not inside or np.count_nonzero(mask) < _FEWEST:
        raise OutsideError(
            f"a circle of {radius:.1f} mm at (y, x) = ({centre[0]:.1f}, {centre[1]:.1f}) mm "
            + ("is not in the image" if not inside else f"holds fewer than {_FEWEST} pixels")
        )
    return mask


_FEWEST = 4


def circle(
    images: NDArray[np.floating],
    spacing: tuple[float, float],
    centre: tuple[float, float],
    radius: float,
) -> Circle:
    """Mean and noise in a circle of `images`, `[y, x]` or `[image, y, x]` in HU.

    The noise is within each image about its own mean, with one degree of freedom less each.
    """
    stack = np.asarray(images, np.float64)
    stack = stack[None] if stack.ndim == 2 else stack
    values = stack[:, circle_mask(stack.shape[1:], spacing, centre, radius)]
    variance = values.var(axis=1, ddof=1).mean()
    return Circle(float(values.mean()), float(np.sqrt(variance)), int(values.shape[1]))


class RepeatedCircle:
    """Mean and noise in a circle of many images, added one by one.

    Of a place (a slice, say) that is seen more than once, the noise is what differs between the repeats, so
    that shading and structure are none; of a place seen once it is that about the circle's mean. Repeats of a
    place come one after the other: of those before, sums alone are kept.
    """

    def __init__(
        self, shape: tuple[int, int], spacing: tuple[float, float], centre: tuple[float, float], radius: float
    ) -> None:
        self.mask = circle_mask(shape, spacing, centre, radius)
        self._n_pixels = int(np.count_nonzero(self.mask))
        self._place: Hashable = None
        self._sums, self._squares, self._n = np.zeros(self._n_pixels), 0.0, 0
        self._before = _Pooled()

    def add(self, place: Hashable, image: NDArray[np.floating]) -> None:
        """Take in one image `[y, x]` in HU; a `place` must not come again after another one."""
        values = image[self.mask].astype(np.float64)
        if self._n == 0 or place != self._place:
            self._before = self._folded()
            self._place, self._sums, self._squares, self._n = place, np.zeros(self._n_pixels), 0.0, 0
        self._sums += values
        self._squares += float(values @ values)
        self._n += 1

    def _folded(self) -> _Pooled:
        """The sums of all places, the last one among them."""
        n, before = self._n, self._before
        if n == 0:
            return before
        common = (
            float(self._sums @ self._sums) / n if n > 1 else float(self._sums.sum()) ** 2 / self._n_pixels
        )
        return _Pooled(
            before.scatter + self._squares - common,
            before.freedom + ((n - 1) * self._n_pixels if n > 1 else self._n_pixels - 1),
            before.means + float(self._sums.mean()) / n,
            before.places + 1,
        )

    @property
    def circle(self) -> Circle:
        found = self._folded()
        noise = float(np.sqrt(max(found.scatter, 0.0) / found.freedom))
        return Circle(found.means / found.places, noise, self._n_pixels)


class _Pooled(NamedTuple):
    """Sums over places."""

    scatter: float = 0.0
    """HU^2, of squared deviations"""
    freedom: int = 0
    means: float = 0.0
    places: int = 0


def acr_uniformity(centre: float, edges: Sequence[float]) -> float:
    """The largest difference in HU of an edge from the centre, as the American College of Radiology has it:
    up to 5 passes, above 7 fails.
    """
    return float(np.abs(np.subtract(edges, centre)).max())


def integral_non_uniformity(means: Sequence[float]) -> float:
    """``(max - min) / (max + min + 2000)``: half the range of the attenuations over their middle."""
    low, high = min(means), max(means)
    return (high - low) / (high + low + 2000.0)


def uniformity_index(centre: float, edges: Sequence[float]) -> float:
    """Of the edges, the largest deviation of the attenuation from the centre's in per cent, with its sign."""
    deviations = 100.0 * np.subtract(edges, centre) / (centre + 1000.0)
    return float(deviations[np.abs(deviations).argmax()])


def noise_non_uniformity(noises: Sequence[float]) -> float:
    """``(max - min) / (max + min)``: 0 where the noise is the same everywhere, or nowhere any."""
    low, high = min(noises), max(noises)
    return (high - low) / (high + low) if high > 0 else 0.0


@dataclass(frozen=True)
class Linearity:
    """The straight line of measured on nominal HU."""

    slope: float
    intercept: float
    """HU"""
    r_squared: float
    largest_residual: float
    """HU, without sign"""


def hu_linearity(nominal: Sequence[float], measured: Sequence[float]) -> Linearity:
    """The line through `measured` HU on `nominal` HU that fits best.

    ValueError with fewer than three inserts, or without two different nominal values.
    """
    x, y = np.asarray(nominal, np.float64), np.asarray(measured, np.float64)
    if x.size != y.size or x.size < 3 or np.ptp(x) == 0:
        raise ValueError(f"a line of HU needs three inserts of different HU; there are {x.size}")
    slope, intercept = np.polyfit(x, y, 1)
    residual = y - (slope * x + intercept)
    spread = ((y - y.mean()) ** 2).sum()
    r_squared = 1.0 if spread == 0 else 1.0 - float((residual**2).sum() / spread)
    return Linearity(float(slope), float(intercept), r_squared, float(np.abs(residual).max()))


def acr_contrast_to_noise(insert: Circle, background: Circle) -> float:
    """The difference of the means over the noise of the background alone."""
    return abs(insert.mean - background.mean) / background.noise


def contrast_to_noise(insert: Circle, background: Circle) -> float:
    """The difference of the means over the noise of both, ``sqrt((s1^2 + s2^2) / 2)``."""
    return abs(insert.mean - background.mean) / float(np.hypot(insert.noise, background.noise) / np.sqrt(2))
