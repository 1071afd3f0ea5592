"""The comparator of the papers: independent Poisson noise in every pixel of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]

_WATER = 1000.0
"""HU of water above those of air."""


@dataclass(frozen=True)
class ImageSpacePoisson:
    """Counts drawn in the image by the attenuation: white noise, strongest in bone, none in air.

    It is given the levels of the same low-dose scans as noise that is learned.
    """

    levels: tuple[float, ...]
    """Standard deviations in HU that the low-dose scans show in soft tissue, one each."""

    def level(self, generator: np.random.Generator) -> float:
        """That of one of the scans."""
        return float(generator.choice(self.levels))

    def __call__(self, levels: Images, hu: Images, generator: np.random.Generator, /) -> Images:
        """Noise for the anatomy `hu` `[z, y, x]`, in water as strong as `levels` are on average."""
        variance = float(np.mean(np.square(levels, dtype=np.float64)))
        if variance == 0:
            return np.zeros_like(hu)
        counts_of_water = _WATER**2 / variance
        expected = counts_of_water * np.maximum(hu.astype(np.float64) + _WATER, 0.0) / _WATER
        noise = (generator.poisson(expected) - expected) * (_WATER / counts_of_water)
        return noise.astype(np.float32)
