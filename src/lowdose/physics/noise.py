"""The noise of measured line integrals: quanta, electronics, and what is left of both where photons are few.

Where many photons arrive, the noise of ``-log(N / N0)`` is normal and what a lower dose adds has a closed
form. Where few arrive it is neither normal nor free of bias: there photons are counted, thinned and put
through the logarithm, as in a scanner.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Sinogram = NDArray[np.float32]

FEWEST_PHOTONS = 0.5
"""The logarithm never sees less: a reading of zero or below becomes this."""
FEW_PHOTONS = 100.0
"""Below it photons are counted one by one: the bias of the logarithm is half a per cent or more, and the
first-order variance one per cent off."""


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


def expected_counts(line_integrals: Sinogram, photons: float | Sinogram) -> Sinogram:
    """Photons behind the object for `photons` per ray before it (Beer and Lambert); never less than one."""
    counts: Sinogram = np.exp(-line_integrals)
    counts *= np.float32(photons) if isinstance(photons, float | int) else photons
    return np.maximum(counts, np.float32(1.0), out=counts)


def missing_noise(
    counts: Sinogram, fraction: float, electronic: float, generator: np.random.Generator
) -> Sinogram:
    """What line integrals measured with `counts` photons differ by from the same at `fraction` of them.

    A random draw, float32 of the shape of `counts`: normal with `missing_variance` where at least 100 photons
    are left, and `thinned` where fewer are.
    """
    noise = generator.standard_normal(counts.shape, dtype=np.float32)
    noise *= np.sqrt(missing_variance(counts, fraction, electronic))
    few = counts < np.float32(FEW_PHOTONS / fraction)
    if few.any():
        noise[few] = thinned(counts[few], fraction, electronic, generator)
    return noise


def thinned(counts: Sinogram, fraction: float, electronic: float, generator: np.random.Generator) -> Sinogram:
    """The same by counting: the photons of a scan, and the part of them that a lower dose would have left.

    Of a Poisson number of photons each is kept with the probability `fraction`, which leaves a Poisson number
    again; the electronic noise is topped up by ``1 - fraction^2`` of its variance, so that both readings have
    all of it. The logarithm's bias at the lower dose, beyond that at the full dose, is part of the result
    (Zabic et al. 2013, Med Phys 40:031102).
    """
    kept = generator.poisson(fraction * counts).astype(np.float64)
    full = kept + generator.poisson((1.0 - fraction) * counts)
    if electronic:
        own, more = electronic * generator.standard_normal((2, *counts.shape))
        full += own
        kept += fraction * own + np.sqrt(1.0 - fraction**2) * more
    scaled = np.maximum(kept, FEWEST_PHOTONS) / fraction
    return np.log(np.maximum(full, FEWEST_PHOTONS) / scaled).astype(np.float32)


def measured(
    line_integrals: Sinogram,
    photons: Sinogram | float,
    electronic: float,
    generator: np.random.Generator,
    crosstalk: float = 0.0,
) -> Sinogram:
    """What a scanner measures of noise-free `line_integrals` `[..., channel]`.

    Poisson numbers of photons, of which `photons` (broadcast to the rays) would arrive without an object,
    electronic noise of the standard deviation `electronic` in photons, the share `crosstalk` of every
    channel's signal in each of its neighbours, and the logarithm of at least half a photon.
    """
    air = np.broadcast_to(np.asarray(photons, dtype=np.float32), line_integrals.shape)
    signal = generator.poisson(air * np.exp(-line_integrals)).astype(np.float32)
    if electronic:
        signal += np.float32(electronic) * generator.standard_normal(signal.shape, dtype=np.float32)
    signal, air = mixed(signal, crosstalk), mixed(air, crosstalk)
    return np.log(air / np.maximum(signal, np.float32(FEWEST_PHOTONS)))


def mixed(signal: Sinogram, crosstalk: float) -> Sinogram:
    """`signal` `[..., channel]` after each channel has given the share `crosstalk` to each of its neighbours.

    The sum stays the same. ValueError if `crosstalk` is not in 0..0.25.
    """
    if not 0.0 <= crosstalk <= 0.25:
        raise ValueError(f"the crosstalk is {crosstalk:g}; it is a share between 0 and 0.25")
    if crosstalk == 0.0:
        return signal
    padded = np.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(1, 1)], mode="edge")
    share = np.float32(crosstalk)
    return (1 - 2 * share) * signal + share * (padded[..., :-2] + padded[..., 2:])
