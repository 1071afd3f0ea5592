"""What a slice shows where, by HU and place: lung, its vessels, airways, fat, soft tissue, bone.

Rules on a smoothed slice, good enough to say which kind of anatomy a change touches; no segmentation for
measuring organs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, binary_fill_holes, binary_opening, label, mean

Masks = Mapping[str, NDArray[np.bool_]]

AIRWAY, LUNG, VESSEL, FAT, SOFT, BONE = (
    "airway or gas", "lung", "vessel or nodule in lung", "fat", "soft tissue", "bone or contrast",
)  # fmt: skip
NAMES = (AIRWAY, LUNG, VESSEL, FAT, SOFT, BONE)

_BODY_HU = -500.0
_AIR_HU, _LUNG_HU, _SOLID_HU = -940.0, -400.0, -600.0
_FAT_HU, _SOFT_HU, _BONE_HU = -200.0, -30.0, 180.0
_LUNG_PX = 400
"""Air in the body of fewer pixels is no lung."""
_CLOSING_PX = 7
"""Of the lung, so that vessels and nodules in it are part of it."""


def structures(smooth: NDArray[np.floating]) -> Masks:
    """Masks `[y, x]` by name of a smoothed slice in HU; what lies outside the body is in none."""
    body = binary_fill_holes(binary_opening(smooth > _BODY_HU, iterations=2))
    field = lung_field(smooth, body)
    elsewhere = body & ~field
    return {
        AIRWAY: body & (smooth < _AIR_HU),
        LUNG: field & (smooth >= _AIR_HU) & (smooth < _SOLID_HU),
        VESSEL: field & (smooth >= _SOLID_HU),
        FAT: elsewhere & (smooth >= _FAT_HU) & (smooth < _SOFT_HU),
        SOFT: elsewhere & (smooth >= _SOFT_HU) & (smooth < _BONE_HU),
        BONE: elsewhere & (smooth >= _BONE_HU),
    }


def lung_field(smooth: NDArray[np.floating], body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The lungs with their vessels, `[y, x]`; gas in stomach or bowel is thinner than they are."""
    parts, n = label(body & (smooth < _LUNG_HU))
    numbers = np.arange(1, n + 1)
    sizes, densities = (
        np.bincount(parts.ravel(), minlength=n + 1)[1:],
        np.asarray(mean(smooth, parts, numbers)),
    )
    lungs = np.isin(parts, numbers[(sizes >= _LUNG_PX) & (densities >= _AIR_HU)])
    if not lungs.any():
        return np.zeros_like(lungs)
    disc = np.hypot(*np.mgrid[-_CLOSING_PX : _CLOSING_PX + 1, -_CLOSING_PX : _CLOSING_PX + 1]) <= _CLOSING_PX
    return np.asarray(binary_fill_holes(binary_closing(lungs, disc)) & body)


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Twice the overlap over the sum of both areas; 1 for two empty masks."""
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2.0 * int(np.count_nonzero(one & other)) / total if total else 1.0
