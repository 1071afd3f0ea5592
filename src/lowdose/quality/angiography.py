"""How good a synthetic angiography is: the published measures, and those that say what became of the vessels.

Images `[z, y, x]` in HU on one grid. The published measures (Lyu et al. 2023, Radiology 309(2)) leave out
the background of the *real* angiography, which nobody has where the synthetic one is used: give `mask` for
others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, label

from lowdose.quality import fidelity

Image = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

PUBLISHED_RANGE = (-1024.0, 3071.0)
"""HU that are scaled to 0..1 before anything is measured."""
_HIGHEST_DB = 100.0
_LUMEN_SHARE = 0.5
"""Of the enhancement of blood, from which on a voxel counts as lumen."""


def published_mask(reference: Image) -> Mask:
    """Where the real angiography is above the lowest value that its scale has."""
    return np.asarray(reference > PUBLISHED_RANGE[0])


def nmae(reference: Image, comparison: Image, mask: Mask | None = None) -> float:
    """Normalised mean absolute error: that of images clipped to the range, as a share of it.

    Over the published mask where none is given; NaN where no pixel counts.
    """
    low, high = PUBLISHED_RANGE
    mask = published_mask(reference) if mask is None else mask
    first, second = (np.clip(one[mask].astype(np.float64), low, high) for one in (reference, comparison))
    return float(np.abs(second - first).mean() / (high - low)) if first.size else math.nan


def psnr(reference: Image, comparison: Image, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB, the peak being the range; at most 100 dB. Masks as for `nmae`."""
    mask = published_mask(reference) if mask is None else mask
    decibels = fidelity.psnr(reference, comparison, PUBLISHED_RANGE, mask)
    return decibels if math.isnan(decibels) else min(decibels, _HIGHEST_DB)


def structural_similarity(reference: Image, comparison: Image) -> float:
    """Mean SSIM of whole slices over the whole range."""
    return fidelity.ssim(reference, comparison, PUBLISHED_RANGE)


def lumen(plain: Image, enhanced: Image, added: float) -> Mask:
    """Voxels where `enhanced` is above `plain` by half of the `added` HU of blood or more: by subtraction, so
    that bone is none. ValueError if nothing was added.
    """
    if not added > 0:
        raise ValueError(f"an agent that adds {added:g} HU shows no vessels; give what it adds to blood")
    return np.asarray(enhanced - plain >= _LUMEN_SHARE * added)


@dataclass(frozen=True)
class LumenError:
    """Of the vessels that lie in single slices, weighted alike."""

    n: int
    """Cross-sections that were measured"""
    missed: int
    """Of these, without any lumen in the other image"""
    diameter: float
    """Mean difference of the diameters of discs of the same area, in mm, of those not missed"""
    absolute_diameter: float
    """mm"""


def lumen_error(
    truth: Mask, found: Mask, spacing: tuple[float, float], smallest_mm: float = 4.0
) -> LumenError:
    """Every cross-section of `truth` of `smallest_mm` or more against what `found` has where it lies.

    What belongs to a cross-section of `truth` are the connected parts of `found` that touch it and no other.
    """
    area = spacing[0] * spacing[1]
    differences, n, missed = [], 0, 0
    for true, other in zip(truth, found, strict=True):
        parts, n_parts = label(true)
        theirs, n_theirs = label(other)
        touching = [set(np.unique(parts[theirs == k])) - {0} for k in range(1, n_theirs + 1)]
        sizes = np.bincount(theirs.ravel(), minlength=n_theirs + 1)
        for number in range(1, n_parts + 1):
            diameter = _diameter(np.count_nonzero(parts == number) * area)
            if diameter < smallest_mm:
                continue
            n += 1
            here = [k for k, touched in enumerate(touching, 1) if number in touched]
            if not here:
                missed += 1
            elif all(len(touching[k - 1]) == 1 for k in here):
                differences.append(_diameter(int(sizes[here].sum()) * area) - diameter)
    if not differences:
        return LumenError(n, missed, math.nan, math.nan)
    return LumenError(n, missed, float(np.mean(differences)), float(np.mean(np.abs(differences))))


def lumen_bias(reference: Image, comparison: Image, truth: Mask) -> float:
    """Mean of `comparison` less `reference` in HU in the lumen, a pixel from its wall; NaN without any."""
    inside = np.stack([binary_erosion(one) for one in truth])
    return float((comparison - reference)[inside].mean()) if inside.any() else math.nan


def flicker(reference: Image, comparison: Image, mask: Mask) -> float:
    """How much the error differs from slice to slice: root mean square in HU over neighbours in `mask`.

    An error that is the same in all slices does not flicker. Where errors of neighbours are independent, it
    is the square root of two times their standard deviation. NaN for single slices.
    """
    error = np.asarray(comparison, np.float64) - reference
    steps = np.diff(error, axis=0)[mask[1:] & mask[:-1]]
    return float(np.sqrt(np.square(steps).mean())) if steps.size else math.nan


def invented(plain: Image, made: Image, truth: Mask, added: float, spacing: tuple[float, ...]) -> float:
    """ml of lumen that `made` shows and `truth` has nowhere within a voxel: vessels that are not there."""
    shown = lumen(plain, made, added)
    near = np.stack([~binary_erosion(~one, border_value=True) for one in truth])
    return float(np.count_nonzero(shown & ~near) * math.prod(spacing) / 1000.0)


def _diameter(area: float) -> float:
    return 2.0 * math.sqrt(area / math.pi)
