"""The control that every denoiser has to beat: its input, blurred until it has as little noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.optimize import brentq

_FEWEST_PX, _EXACT_PX = 0.05, 1e-3


def noise_matched_width(
    images: Sequence[NDArray[np.floating]], regions: Sequence[NDArray[np.bool_]], target: float
) -> float:
    """The standard deviation in pixels of the Gaussian that leaves `images` `[y, x]` with `target` HU of
    noise.

    The noise is that within each of `regions`, boolean `[y, x]`, about its own mean. ValueError if the images
    have no more noise than that already.
    """
    stack = [np.asarray(image, np.float32) for image in images]

    def noise(width: float) -> float:
        smooth = stack if width == 0 else [gaussian_filter(image, width) for image in stack]
        return float(np.sqrt(np.mean([image[region].var(ddof=1) for image in smooth for region in regions])))

    present = noise(0.0)
    if not 0 < target < present:
        raise ValueError(
            f"a blur cannot make {target:.2f} HU of noise out of {present:.2f} HU; ask for less than there is"
        )
    widest = 1.0
    while noise(widest) > target and widest < min(stack[0].shape) / 8:
        widest *= 2
    return float(brentq(lambda width: noise(width) - target, _FEWEST_PX, widest, xtol=_EXACT_PX))
