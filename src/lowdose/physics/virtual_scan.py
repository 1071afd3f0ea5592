"""Virtual projections: an image scanned as if it were the object.

A scan that is there as images alone has no projections left. Those computed from an image hold its noise as
the reconstruction kernel left it, and nothing of what the detector measured beyond it: reconstructing them
shows how an algorithm treats noise and edges, not how it would have done on the raw data.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.geometry import CLINICAL_FAN, FanBeam, Geometry, ImageGrid, ParallelBeam
from lowdose.physics.noise import expected_counts, line_integral_variance
from lowdose.physics.projector import Projector

Image = NDArray[np.float32]
Sinogram = NDArray[np.float32]

PHOTONS = 1e5
"""Per ray before the object, for the weights of virtual line integrals."""
ELECTRONIC = 10.0
"""Standard deviation of the electronic noise in photons."""

_SMALLEST_CLINICAL_FIELD_MM = 100.0
_NEAREST_SOURCE = 0.9
"""Of the source's distance: what reaches farther is scanned with parallel rays."""
_VIEWS_A_PIXEL = 1.4
_OFFSET = 0.25
"""Channels: opposite views interleave, and the pixels at the axis are told apart."""
_VIEWS_AT_ONCE = 48
"""Views come in such numbers, so that ordered subsets keep quarter turns together."""


class VirtualScan(NamedTuple):
    """What a virtual scan measures, all `[view, channel]`."""

    operator: Projector
    sinogram: Sinogram
    """Line integrals without unit and without further noise."""
    weights: Sinogram
    """The inverse variance that each would have in a scan with `PHOTONS` photons a ray."""


def virtual_geometry(grid: ImageGrid) -> Geometry:
    """Rays through all of `grid`, corners included, at least as fine as its pixels.

    The clinical fan beam with as many channels as it takes; parallel rays for small fields of view
    (specimens, animals) and for images too large for the fan. 1.4 views for each pixel across, 720 for 512,
    and a quarter-detector offset.
    """
    n_across = max(grid.shape)
    n_views = _VIEWS_AT_ONCE * int(np.ceil(_VIEWS_A_PIXEL * n_across / _VIEWS_AT_ONCE))
    reach = grid.radius + max(grid.spacing)
    spacing = min(grid.spacing)
    distance = CLINICAL_FAN.source_to_axis
    if min(grid.size) < _SMALLEST_CLINICAL_FIELD_MM or reach > _NEAREST_SOURCE * distance:
        n_channels = 2 * int(np.ceil(reach / spacing)) + 2
        return ParallelBeam(n_views, n_channels, spacing, _OFFSET)
    spacing *= CLINICAL_FAN.source_to_detector / distance
    half = float(np.arcsin(reach / distance)) * CLINICAL_FAN.source_to_detector / spacing
    return replace(
        CLINICAL_FAN,
        n_views=n_views,
        n_channels=2 * int(np.ceil(half)) + 2,
        channel_spacing=spacing,
        channel_shift=_OFFSET,
    )


def virtual_scan(image: Image, grid: ImageGrid) -> VirtualScan:
    """Scan `image` `[y, x]` in 1/mm, with nothing around it, by `virtual_geometry`."""
    operator = Projector(grid, virtual_geometry(grid))
    sinogram = operator(image)
    counts = expected_counts(sinogram, PHOTONS)
    return VirtualScan(operator, sinogram, np.reciprocal(line_integral_variance(counts, ELECTRONIC)))


def in_words(geometry: Geometry) -> str:
    """A geometry in a few words."""
    kind = "fan beam" if isinstance(geometry, FanBeam) else "parallel beam"
    return f"{kind}, {geometry.n_views} views of {geometry.n_channels} channels"
