"""The error of a denoiser on a noisy image whose truth nobody knows.

Recorrupted to recorrupted (Pang et al., CVPR 2021), an unbiased risk in the sense of Stein (Ann Stat
1981;9:1135): let y = x + n be the image and m independent noise of the same kind. y + a m and y - m / a then
have independent noise, so that what a denoiser f makes of the first can be judged by the second:

    E |f(y + a m) - x|^2 = E [ |f - y|^2 + 2/a (f - y) m ] - E |n|^2,   and E |n|^2 = E |m|^2.

The denoiser is judged at 1 / (1 + a^2) of the image's dose. Exact for Gaussian noise. Where the level of m is
wrong, the estimate is off by about as much for two denoisers that keep about as much noise: their difference
stands.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

SHARE = 0.5
"""a, the share of the noise m that is added: the dose falls to four fifths."""


def recorrupted(image: Image, noise: Image) -> Image:
    """What a denoiser is given: `image` with `SHARE` of `noise`, both in HU."""
    return image + np.float32(SHARE) * noise


def error_variance(denoised: Image, image: Image, noise: Image, where: Mask) -> float:
    """Mean squared error in HU^2 over pixels `where` of `denoised` against the unknown truth behind `image`.

    `denoised` is made from `recorrupted(image, noise)`. NaN if `where` is empty; an estimate, so it can be
    negative where hardly any error is left.
    """
    if not where.any():
        return math.nan
    residual, added = (denoised - image)[where].astype(np.float64), noise[where].astype(np.float64)
    return float(np.mean(residual**2 + 2.0 / SHARE * residual * added - added**2))
