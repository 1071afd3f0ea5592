"""Slices of a scan as a scanner sees them: their grid round the axis and their line integrals."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.geometry import Geometry, ImageGrid
from lowdose.physics.projector import Projector
from lowdose.scan import Scan, Slice
from lowdose.units import WATER_MU_PER_MM, hu_to_mu


def image_grid(scan: Scan) -> ImageGrid:
    """The pixels of one slice of `scan`, centred on the rotation axis."""
    return ImageGrid(scan.shape[1:], scan.spacing[1:])


def sampled_slices(scan: Scan, n_slices: int) -> Iterator[tuple[int, Slice]]:
    """At most `n_slices` slices with their places, evenly spaced and away from the ends."""
    for z in sampled_places(len(scan), n_slices):
        yield z, scan.read(z)


def sampled_places(n: int, n_wanted: int) -> list[int]:
    """At most `n_wanted` of 0..n-1, evenly spaced and away from the ends."""
    n_wanted = min(n_wanted, n)
    return [int((index + 0.5) * n / n_wanted) for index in range(n_wanted)]


def line_integrals(
    slice_: Slice, grid: ImageGrid, geometry: Geometry, water: float = WATER_MU_PER_MM
) -> NDArray[np.float32]:
    """Line integrals of the slice, of pixels averaged two by two: the variance they give is smooth.

    `water` is the attenuation of water in 1/mm.
    """
    mu = hu_to_mu(slice_.without_padding(), water)
    n_y, n_x = (2 * (n // 2) for n in mu.shape)
    halved = mu[:n_y, :n_x].reshape(n_y // 2, 2, n_x // 2, 2).mean(axis=(1, 3), dtype=np.float32)
    coarse = ImageGrid(halved.shape, (2 * grid.spacing[0], 2 * grid.spacing[1]))
    return Projector(coarse, geometry)(halved)
