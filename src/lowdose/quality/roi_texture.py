"""Texture of regions of interest, from the grey-level co-occurrence of neighbouring pixels.

Haralick et al., IEEE Trans Syst Man Cybern 1973;3:610, as LIDnet (ACM MM 2021) reports it: differences
between the denoised and the normal-dose region. Levels, distance and angles are ours: 32 levels over a stated
window, neighbours at distance 1 in four directions, averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from skimage.feature import graycomatrix, graycoprops

from lowdose.lesions import Box

N_LEVELS = 32
_ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)


@dataclass(frozen=True)
class RoiTexture:
    """Of one region, or a difference of two; all without a unit."""

    correlation: float
    """Of the levels of neighbours; 1 in a region of one level."""
    homogeneity: float
    """Mean of 1 / (1 + squared difference of neighbours)."""
    energy: float
    """Root of the sum of squared shares of all pairs of levels."""

    def difference(self, other: RoiTexture) -> RoiTexture:
        """Absolute differences, value by value."""
        return RoiTexture(
            abs(self.correlation - other.correlation),
            abs(self.homogeneity - other.homogeneity),
            abs(self.energy - other.energy),
        )


def roi_texture(hu: NDArray[np.floating], window: tuple[float, float]) -> RoiTexture:
    """Texture of a region `[y, x]` in HU; values outside `window` count as its ends.

    Raises ValueError for a region with fewer than 2 pixels along a side, values that are not finite, or a
    window without a width.
    """
    low, high = window
    region = np.asarray(hu, np.float64)
    if region.ndim != 2 or min(region.shape) < 2:
        raise ValueError(f"a region of {region.shape} pixels has no texture; 2 x 2 are needed")
    if not np.isfinite(region).all():
        raise ValueError("the region holds values that are no numbers")
    if not low < high:
        raise ValueError(f"the window {low:g} to {high:g} HU has no width")
    levels = np.clip((region - low) / (high - low) * N_LEVELS, 0, N_LEVELS - 1).astype(np.uint8)
    matrix, measure = cast(Any, graycomatrix), cast(Any, graycoprops)  # they have no types
    pairs = matrix(levels, [1], _ANGLES, N_LEVELS, symmetric=True, normed=True)
    correlation, homogeneity, energy = (
        float(measure(pairs, name).mean()) for name in ("correlation", "homogeneity", "energy")
    )
    return RoiTexture(correlation, homogeneity, energy)


def pixels_of(box: Box) -> tuple[slice, slice]:
    """The rows and columns of all pixels that a box covers, if only in part."""
    return (
        slice(int(np.floor(box.y0)), int(np.ceil(box.y1))),
        slice(int(np.floor(box.x0)), int(np.ceil(box.x1))),
    )


def texture_difference(
    reference: NDArray[np.floating],
    comparison: NDArray[np.floating],
    boxes: Sequence[Box],
    window: tuple[float, float],
) -> RoiTexture:
    """Mean absolute differences over the regions `boxes` of two images `[y, x]` in HU; NaN without any."""
    found = [
        roi_texture(reference[place], window).difference(roi_texture(comparison[place], window))
        for place in map(pixels_of, boxes)
    ]
    if not found:
        return RoiTexture(np.nan, np.nan, np.nan)
    return RoiTexture(
        float(np.mean([one.correlation for one in found])),
        float(np.mean([one.homogeneity for one in found])),
        float(np.mean([one.energy for one in found])),
    )
