"""Hounsfield units, linear attenuation and dose: the one place where they are converted.

`Scan` and every public function speak HU; `physics` speaks linear attenuation in 1/mm. A dose is always
a fraction of the dose of the scan at hand, in (0, 1].
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32] | NDArray[np.float64]

AIR_HU = -1000.0

WATER_MU_PER_MM: float = 0.0192
"""Linear attenuation of water in 1/mm at about 70 keV, the mean energy of a 120 kV body scan."""


def hu_to_mu(hu: NDArray[np.float32], water: float = WATER_MU_PER_MM) -> NDArray[np.float32]:
    """Linear attenuation in 1/mm of `hu`; air and everything below attenuate nothing."""
    mu = np.maximum(hu, np.float32(AIR_HU))
    mu += np.float32(-AIR_HU)
    mu *= np.float32(water / -AIR_HU)
    return mu


def mu_difference_to_hu(mu: NDArray[np.float32], water: float = WATER_MU_PER_MM) -> NDArray[np.float32]:
    """A *difference* of linear attenuation in 1/mm as a difference in HU."""
    return mu * np.float32(-AIR_HU / water)


LOWEST_DOSE_FRACTION = 0.005
"""Below it hardly a photon is left behind a patient, and no noise model here holds."""


def checked_dose_fraction(fraction: float) -> float:
    """`fraction` itself, or ValueError if it is not in 0.005..1."""
    if not LOWEST_DOSE_FRACTION <= fraction <= 1.0:
        raise ValueError(
            f"the dose fraction is {fraction:g}; it must be at least {LOWEST_DOSE_FRACTION:g} and at most 1"
        )
    return float(fraction)
