"""How bright blood becomes by an iodinated contrast agent, and when.

A bolus mixes with the blood on its way through heart and lungs. Seen as a linear system its transit is a
gamma density (Thompson et al. 1964, Circ Res 14:502), so that a steady injection gives differences of its
cumulative distribution (cf. Bae 2010, Radiology 256:32). Recirculation is left out: it matters after the
arterial phase.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc

Floats = NDArray[np.float64]

HU_PER_MG_ML = 25.0
"""Enhancement by a milligram of iodine in a millilitre of blood at 120 kVp (Bae 2010)."""
BLOOD_HU = 40.0
"""Without contrast agent."""


@dataclass(frozen=True)
class Injection:
    """A steady injection; concentration and rate are those of CTA-GAN's scans."""

    concentration: float = 370.0
    """mg of iodine per ml of contrast agent"""
    rate: float = 4.5
    """ml/s"""
    duration: float = 18.0
    """s"""

    @property
    def iodine(self) -> float:
        """mg in all."""
        return self.concentration * self.rate * self.duration


@dataclass(frozen=True)
class Transit:
    """From the vein of the arm to a vessel: the earliest arrival, then a gamma density."""

    delay: float
    """s"""
    shape: float
    scale: float
    """s"""

    def arrived(self, time: Floats) -> Floats:
        """Share of an instantaneous bolus that has come by after `time` in s."""
        later = np.maximum(np.asarray(time, np.float64) - self.delay, 0.0) / self.scale
        return np.asarray(gammainc(self.shape, later), np.float64)


TRANSITS = {
    "lung artery": Transit(5.0, 3.0, 1.2),
    "aorta": Transit(10.0, 4.0, 1.7),
    "carotid artery": Transit(11.5, 4.0, 1.8),
    "vena cava, below the heart": Transit(25.0, 6.0, 4.0),
}
"""Of an adult at rest, ours: so chosen that vessels fill in their order, the aorta from 12 to 22 s on."""


def enhancement(time: Floats, injection: Injection, transit: Transit, cardiac_output: float = 92.0) -> Floats:
    """HU above those of blood, `time` s after the injection has started, at 120 kVp.

    `cardiac_output` in ml/s dilutes the iodine. ValueError unless it is positive.
    """
    if not cardiac_output > 0:
        raise ValueError(f"a cardiac output of {cardiac_output:g} ml/s moves no blood; it must be positive")
    time = np.asarray(time, np.float64)
    plateau = injection.concentration * injection.rate / cardiac_output
    share = transit.arrived(time) - transit.arrived(time - injection.duration)
    return HU_PER_MG_ML * plateau * share
