"""The contrast of a faint rod over what is right around it, where an image is shaded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lowdose.quality.uniformity import OutsideError

_FEWEST_PX = 4
_CLEAR_MM = 2.0
"""Between a rod and its surroundings: the reach of blur."""

Place = tuple[float, float]


def local_contrast(
    image: NDArray[np.floating],
    spacing: tuple[float, float],
    centre: Place,
    radius: float,
    *,
    inner: float = 0.7,
    width: float = 5.0,
    others: Sequence[tuple[Place, float]] = (),
) -> float:
    """HU of the inner part of a rod in `image` `[y, x]` over the plane that fits its surroundings best.

    `spacing` is the pixel size (y, x) in mm; `centre` (y, x) in mm from the first pixel's middle; `radius` in
    mm. The surroundings are a ring `width` mm wide, without `others`: centres and radii of what else is near.
    `OutsideError` if they are not in the image.
    """
    reach = radius + _CLEAR_MM + width
    rows, columns = (
        np.arange(int(np.floor((c - reach) / d)), int(np.ceil((c + reach) / d)) + 1)
        for c, d in zip(centre, spacing, strict=True)
    )
    n_y, n_x = image.shape
    if rows[0] < 0 or columns[0] < 0 or rows[-1] >= n_y or columns[-1] >= n_x:
        raise OutsideError(
            f"the rod at (y, x) = ({centre[0]:.1f}, {centre[1]:.1f}) mm and {reach:.1f} mm around it are not "
            "in the image"
        )
    values = np.asarray(image[np.ix_(rows, columns)], np.float64)
    y, x = np.meshgrid(rows * spacing[0] - centre[0], columns * spacing[1] - centre[1], indexing="ij")
    distance = np.hypot(y, x)
    ring = (distance > radius + _CLEAR_MM) & (distance <= reach)
    for (other_y, other_x), size in others:
        ring &= np.hypot(y + centre[0] - other_y, x + centre[1] - other_x) > size + _CLEAR_MM
    disc = distance <= inner * radius
    if np.count_nonzero(disc) < _FEWEST_PX or np.count_nonzero(ring) < 3 * _FEWEST_PX:
        raise OutsideError(
            f"the rod at (y, x) = ({centre[0]:.1f}, {centre[1]:.1f}) mm is too small for these pixels"
        )
    plane = np.stack([np.ones_like(y), y, x], axis=-1)
    level = np.linalg.lstsq(plane[ring], values[ring], rcond=None)[0]
    return float((values[disc] - plane[disc] @ level).mean())
