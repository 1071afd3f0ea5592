"""The values of volumes without a DICOM header, NIfTI and TIFF: stored numbers as HU that can be true."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lowdose.io.origin import InputError
from lowdose.io.pixels import PADDING_BELOW_HU, rescaled
from lowdose.scan import Slice

IMPLAUSIBLE_HU = 1e6
"""Larger numbers are no HU."""


class Layout(Protocol):
    """What is asked of the description of a file."""

    @property
    def label(self) -> str: ...

    @property
    def slope(self) -> float: ...

    @property
    def inter(self) -> float: ...


def slice_of(layout: Layout, stored: NDArray[Any], z: int, remedy: str) -> Slice:
    """Slice `z` of a file in HU; InputError, which ends with `remedy`, for values that cannot be HU."""
    hu = in_hu(layout, stored)
    largest = float(np.abs(hu).max())
    if not np.isfinite(largest):
        raise InputError(
            f"{layout.label} holds values that are no numbers (NaN or infinite) in slice {z + 1}; "
            "replace them, with -1024 HU where nothing was measured"
        )
    if largest > IMPLAUSIBLE_HU:
        raise InputError(f"{layout.label} holds {largest:g} in slice {z + 1}, which cannot be HU; {remedy}")
    return Slice(hu, hu < PADDING_BELOW_HU)


def in_hu(layout: Layout, stored: NDArray[Any]) -> NDArray[np.float32]:
    """Stored values as HU; what needs no scaling keeps every bit."""
    with np.errstate(over="ignore", invalid="ignore"):
        if layout.slope == 1.0 and layout.inter == 0.0:
            return np.array(stored, np.float32, order="C")
        return rescaled(stored, layout.slope, layout.inter)
