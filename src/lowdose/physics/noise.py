"""The noise of a measured line integral: quantum noise of the detected photons plus electronic noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Sinogram = NDArray[np.float32]


def line_integral_variance(counts: Sinogram, electronic: float) -> Sinogram:
    """Variance of ``-log(N / N0)`` where `counts` photons are expected.

    `electronic` is the standard deviation of the electronic noise in detected photons. To first order
    ``1 / counts + electronic^2 / counts^2``, good to a few per cent above some twenty photons.
    """
    return (1.0 + electronic**2 / counts) / counts


def missing_variance(counts: Sinogram, fraction: float, electronic: float) -> Sinogram:
    """Variance to add to line integrals measured with `counts` photons so that they look like `fraction` of
    them.

    The variance at `fraction` of the counts less the variance at all of them (Yu et al. 2012, J Comput Assist
    Tomogr 36:477). Zero at a fraction of one.
    """
    quantum = (1.0 - fraction) / fraction / counts
    return quantum * (1.0 + (1.0 + fraction) / fraction * electronic**2 / counts)


def expected_counts(line_integrals: Sinogram, photons: float) -> Sinogram:
    """Photons behind the object for `photons` per ray before it (Beer and Lambert); never less than one."""
    return np.maximum(np.float32(photons) * np.exp(-line_integrals), np.float32(1.0))
