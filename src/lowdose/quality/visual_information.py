"""Visual information fidelity: how much of what the reference tells is still to be read in the comparison.

H. R. Sheikh, A. C. Bovik, *Image information and visual quality*, IEEE Trans Image Process 2006;15:430, in
the form that works on pixels at four scales, which public code computes under the name VIF.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lowdose.quality.fidelity import Floats, Image, Mask, Window, checked_window

VISUAL_NOISE = 2.0
"""Variance in HU^2 of the noise that the eye itself is taken to add."""

SIDE_AT_LEAST = 41
"""Pixels: smaller images have nothing left at the coarsest scale."""

_KERNELS_PX = (17, 9, 5, 3)
"""Of the scales, finest first; each kernel is a Gaussian of a fifth of its side."""
_NOTHING = 1e-10


def visual_information(
    reference: Image,
    comparison: Image,
    window: Window,
    mask: Mask | None = None,
    *,
    visual_noise: float = VISUAL_NOISE,
) -> float:
    """VIF of two images `[y, x]` or, over all slices together, stacks `[z, y, x]`, in HU.

    Both are clipped to `window`; pixels outside `mask` are set to its lower edge in both. 1 for equal images,
    above 1 where the comparison has more contrast than the reference, NaN where the reference is flat.
    `visual_noise` is in HU^2: with 2 and the window -1024 to 1900 HU, the number of the ldct-benchmark.
    ValueError for images of less than 41 x 41 pixels.
    """
    low, high = checked_window(window)
    if reference.shape != comparison.shape or reference.ndim not in (2, 3):
        raise ValueError(f"the reference has the shape {reference.shape}, the comparison {comparison.shape}")
    if min(reference.shape[-2:]) < SIDE_AT_LEAST:
        n_y, n_x = reference.shape[-2:]
        raise ValueError(f"VIF needs {SIDE_AT_LEAST} pixels along both axes, not {n_y} x {n_x}")
    counted = np.ones(reference.shape, bool) if mask is None else mask
    first, second = (
        np.where(counted, np.clip(image, low, high), low).astype(np.float64)
        for image in (reference, comparison)
    )
    kept = told = 0.0
    for one, other in zip(_stacked(first), _stacked(second), strict=True):
        kept_here, told_here = _information(one, other, visual_noise)
        kept, told = kept + kept_here, told + told_here
    return kept / told if told > 0.0 else math.nan


def _information(reference: Floats, comparison: Floats, visual_noise: float) -> tuple[float, float]:
    """What comparison and reference tell of the reference, over all scales of one slice."""
    kept = told = 0.0
    for scale, side in enumerate(_KERNELS_PX):
        if scale:
            reference, comparison = (_mean(image, side)[::2, ::2] for image in (reference, comparison))
        mean, mean_of_comparison = _mean(reference, side), _mean(comparison, side)
        variance = np.maximum(_mean(reference**2, side) - mean**2, 0.0)
        variance_of_comparison = np.maximum(_mean(comparison**2, side) - mean_of_comparison**2, 0.0)
        shared = _mean(reference * comparison, side) - mean * mean_of_comparison
        gain = shared / (variance + _NOTHING)
        added = variance_of_comparison - gain * shared
        # Where one of the images is flat, or they go against each other, nothing is kept.
        silent = (variance < _NOTHING) | (gain < 0)
        gain[silent], added[silent] = 0.0, variance_of_comparison[silent]
        gain[variance_of_comparison < _NOTHING] = added[variance_of_comparison < _NOTHING] = 0.0
        variance[variance < _NOTHING] = 0.0
        noise = np.maximum(added, _NOTHING) + visual_noise
        kept += float(np.log1p(gain**2 * variance / noise).sum())
        told += float(np.log1p(variance / visual_noise).sum())
    return kept, told


def _mean(image: Floats, side: int) -> Floats:
    """The local mean with Gaussian weights, where the whole kernel lies inside the image."""
    reach = side // 2
    for axis in (0, 1):
        image = ndimage.gaussian_filter1d(image, side / 5, axis=axis, radius=reach)
    return image[reach:-reach, reach:-reach]


def _stacked(image: NDArray[Any]) -> NDArray[Any]:
    return image if image.ndim == 3 else image[None]
