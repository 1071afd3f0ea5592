"""Bodies that moved between two scans: smooth displacements, known to the last pixel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from lowdose.units import AIR_HU

Volume = NDArray[np.float32]
Place = tuple[float, float, float]

CORRELATION_MM = 45.0
"""Over which neighbours move alike: that of breathing and of another posture, about an organ's size."""


def smooth_displacement(
    shape: tuple[int, int, int], spacing: Place, mean_mm: float, generator: np.random.Generator,
    correlation_mm: float = CORRELATION_MM,
) -> Volume:  # fmt: skip
    """How far each voxel moves along z, y, x in mm, `[3, z, y, x]`: `mean_mm` in the mean over all voxels.

    Gaussian noise smoothed over `correlation_mm`. ValueError for lengths below zero.
    """
    if mean_mm < 0 or not correlation_mm > 0:
        raise ValueError(f"bodies cannot move by {mean_mm:g} mm, alike over {correlation_mm:g} mm")
    widths = [correlation_mm / (2 * step) for step in spacing]
    # Drawn wider than the volume, so that its edges move as its middle does.
    margins = [int(np.ceil(2 * width)) for width in widths]
    wider = [n + 2 * margin for n, margin in zip(shape, margins, strict=True)]
    inner = tuple(slice(margin, margin + n) for n, margin in zip(shape, margins, strict=True))
    drawn = [
        gaussian_filter(generator.standard_normal(wider, np.float32), widths, mode="wrap")[inner]
        for _ in range(3)
    ]
    field = np.stack(drawn)
    lengths = np.sqrt(np.square(field).sum(axis=0))
    return np.asarray(field * (mean_mm / lengths.mean(dtype=np.float64)), np.float32)


def displaced(hu: Volume, displacement: Volume, spacing: Place) -> Volume:
    """What lies at `place + displacement` in `hu` `[z, y, x]`, linearly interpolated; air beyond its edges.

    Where the displacement is zero, the values are those of `hu` to the bit.
    """
    steps = displacement / np.array(spacing, np.float32)[:, None, None, None]
    places = np.indices(hu.shape, np.float32) + steps
    moved = map_coordinates(hu, places, order=1, mode="constant", cval=AIR_HU)
    return np.asarray(np.where(np.any(steps != 0, axis=0), moved, hu), np.float32)
