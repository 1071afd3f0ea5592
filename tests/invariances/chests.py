"""A small chest with lungs, vessels and noise, as a scan."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from lowdose.scan import Acquisition, Scan


def chest(n: int = 6, side: int = 224, seed: int = 0) -> Scan:
    """Slices of 1.5 mm pixels with two lungs, vessels in them, a spine, and noise of 12 HU."""
    y, x = np.mgrid[:side, :side] - side / 2
    hu = np.full((side, side), -1000.0)
    hu[np.hypot(y / 0.75, x) < side * 0.44] = 45.0
    for sign in (-1, 1):
        hu[np.hypot(y, x - sign * side * 0.2) < side * 0.14] = -850.0
        for k in range(6):
            hu[np.hypot(y - 12 * k + 30, x - sign * (side * 0.2 + 6 * np.cos(2 * k))) < 2.2] = 20.0
    hu[np.hypot(y - side * 0.2, x) < side * 0.05] = 400.0
    generator = np.random.default_rng(seed)
    noise = gaussian_filter(generator.normal(0, 1, (n, side, side)), (0, 0.6, 0.6))
    return Scan.from_array(
        gaussian_filter(hu, 0.7) + 12 * noise / noise.std(), spacing=(3.0, 1.5, 1.5), name="chest",
        acquisition=Acquisition(kvp=120.0, kernel="B30f", manufacturer="SIEMENS", slice_thickness=3.0),
    )  # fmt: skip
