"""How much two images differ in structure, measured by what noise alone makes differ.

Two inputs that a denoiser maps to the same output, but for noise, show what it ignores (Eulig et al. 2025).
So a difference is smoothed until little noise is left, divided by what re-noising the same anatomy changes at
the place, and its largest value in a window is compared with the largest of such pairs. The measure is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Images = NDArray[np.float32]
Window = tuple[slice, slice]

SCALE_MM = 1.2
"""Standard deviation of the Gaussian that a difference is smoothed with, in mm."""
_LEVEL_PX = 10.0
"""Over which the level of the noise is smoothed."""
_FEWEST = 4
_LEVEL = 0.95
"""Share of re-noised pairs that stay below the limit."""
_LEAST_HU = 0.5
"""Standard deviation below which noise does not count: half a HU of a stored image."""


@dataclass(frozen=True, eq=False)
class NoiseNull:
    """What re-noising one slice changes, once it is smoothed."""

    sigma_px: float
    deviation: Images
    """Standard deviation in HU of the difference of two noise realisations, `[y, x]`."""
    limit: float
    """How many of these the largest difference in a window reaches in one of twenty pairs."""

    def change(self, difference: Images, window: Window) -> Images:
        """`[..., y, x]` in HU of `window`, as multiples of what noise reaches; 1 is the limit.

        Nothing is told of the rim, where smoothing lacks what lies beyond.
        """
        return _in_deviations(difference, self.sigma_px, self.deviation[window]) / np.float32(self.limit)


def scale_px(spacing: tuple[float, float]) -> float:
    """`SCALE_MM` in pixels, but never less than one pixel: below it noise would count as structure."""
    return max(1.0, SCALE_MM / float(np.sqrt(spacing[0] * spacing[1])))


def smoothed(images: NDArray[np.floating], sigma_px: float) -> Images:
    """`[..., y, x]` smoothed along its last two axes; edges repeat."""
    sigmas = [0.0] * (images.ndim - 2) + [sigma_px, sigma_px]
    return np.asarray(gaussian_filter(np.asarray(images, np.float32), sigmas, mode="nearest"))


def noise_null(realisations: Images, sigma_px: float, windows: Sequence[Window]) -> NoiseNull:
    """Of `[r, y, x]`, the same anatomy with independent noise; changes are sought in `windows`.

    The limit is taken over all pairs of realisations and all windows, each pair by the deviation of the
    others: by its own it would look smaller than it is. ValueError for fewer than four realisations or
    without a window.
    """
    n = len(realisations)
    if n < _FEWEST or not windows:
        raise ValueError(f"{n} realisations and {len(windows)} windows tell too little of noise; give more")
    smooth = smoothed(realisations, sigma_px)
    largest = []
    for pair in combinations(range(n), 2):
        one, other = realisations[list(pair)]
        deviation = _deviation(np.delete(smooth, pair, axis=0))
        largest += [
            float(_in_deviations(one[window] - other[window], sigma_px, deviation[window]).max())
            for window in windows
        ]
    limit = max(float(np.quantile(largest, _LEVEL)), 1e-6)
    return NoiseNull(sigma_px, _deviation(smooth), limit)


def _in_deviations(difference: Images, sigma_px: float, deviation: Images) -> Images:
    """`difference` `[..., y, x]` smoothed, over `deviation`, without sign; the rim is 0."""
    rim = int(np.ceil(2 * sigma_px))
    inside = (..., slice(rim, -rim), slice(rim, -rim))
    found = np.zeros(difference.shape, np.float32)
    found[inside] = np.abs(smoothed(difference, sigma_px))[inside] / deviation[inside[1:]]
    return found


def _deviation(smooth: Images) -> Images:
    """Standard deviation of the difference of two of `[r, y, x]`, `[y, x]`."""
    variance = gaussian_filter(smooth.var(axis=0, ddof=1), _LEVEL_PX, mode="nearest")
    return np.asarray(np.maximum(np.sqrt(2 * variance), _LEAST_HU), np.float32)


@dataclass(frozen=True)
class Change:
    """What tells one input from another in a window, and what tells their outputs."""

    structural: float
    """Largest difference of the inputs, as a multiple of what noise reaches."""
    response: float
    """The same of the outputs: up to 1 they are equal but for noise."""
    place: tuple[int, int]
    """Row and column in the window where the inputs differ most."""

    @property
    def consistent(self) -> bool:
        """Whether a reader could not tell the outputs apart."""
        return self.response <= 1.0


def change_of(
    difference: Images, response: Images, of_input: NoiseNull, of_output: NoiseNull, window: Window
) -> Change:
    """Of one pair of inputs and their outputs, both differences `[y, x]` in HU of `window`."""
    structural = of_input.change(difference, window)
    place = np.unravel_index(int(structural.argmax()), structural.shape)
    return Change(
        float(structural.max()),
        float(of_output.change(response, window).max()),
        (int(place[0]), int(place[1])),
    )
