"""Where to look: slices that show a body, and windows in them that show different things."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lowdose.invariances.response import SIDE
from lowdose.quality.structural_change import Window, smoothed
from lowdose.quality.structures import BONE, LUNG, SOFT, VESSEL, structures
from lowdose.scan import Scan

Images = NDArray[np.float32]

_NULL_WINDOWS = 48
_BODY_SHARE = 0.5
_AIR_HU = -950.0


class ExplanationError(ValueError):
    """One sentence: why this scan or method cannot be explained."""


def body_slices(scan: Scan, n: int, sigma: float) -> list[int]:
    """Slices evenly spaced through those that show a body."""
    looked_at = np.unique(np.linspace(0, len(scan) - 1, min(len(scan), 5 * n)).astype(int))
    bodies = []
    for z in looked_at.tolist():
        masks = structures(smoothed(scan.read(z).without_padding(), sigma))
        if sum(int(np.count_nonzero(mask)) for mask in masks.values()) > SIDE**2 // 2:
            bodies.append(z)
    if not bodies:
        raise ExplanationError(
            f"{scan.name}: shows no body of {SIDE} pixels along a side; give a scan of a patient"
        )
    middles = ((np.arange(n) + 0.5) * len(bodies) / n).astype(int)
    return sorted({bodies[at] for at in middles})


def bodily_windows(anatomy: Images) -> list[Window]:
    """Windows that are mostly body, some dozens at most; all of them where none is."""
    windows = _grid(anatomy.shape, SIDE // 2)
    bodily = [one for one in windows if (anatomy[one] > _AIR_HU).mean() >= _BODY_SHARE] or windows
    step = -(-len(bodily) // _NULL_WINDOWS)
    return bodily[::step]


def chosen_windows(anatomy: Images, n: int, sigma: float) -> list[tuple[Window, str]]:
    """`n` windows that do not overlap and show different things: vessels in lung, bone, soft tissue, lung."""
    masks = structures(smoothed(anatomy, sigma))
    windows = [
        one for one in _grid(anatomy.shape, SIDE // 4) if (anatomy[one] > _AIR_HU).mean() >= _BODY_SHARE
    ]
    chosen: list[tuple[Window, str]] = []
    for number in range(4 * n):
        wanted = (VESSEL, SOFT, BONE, LUNG)[number % 4]
        free = [one for one in windows if not any(_overlap(one, other) for other, _ in chosen)]
        if not free or len(chosen) == n:
            break
        shares = [float(masks[wanted][one].mean()) for one in free]
        if max(shares) > 0.02:
            chosen.append((free[int(np.argmax(shares))], wanted))
    return chosen


def _grid(shape: tuple[int, ...], step: int) -> list[Window]:
    n_y, n_x = shape
    return [
        (slice(y, y + SIDE), slice(x, x + SIDE))
        for y in range(0, n_y - SIDE + 1, step)
        for x in range(0, n_x - SIDE + 1, step)
    ]


def _overlap(one: Window, other: Window) -> bool:
    return all(abs(a.start - b.start) < SIDE for a, b in zip(one, other, strict=True))
