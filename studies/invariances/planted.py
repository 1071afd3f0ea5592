"""Denoisers whose invariances are known, because they were built in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import area_closing, area_opening

from lowdose.denoising import Denoiser, make_denoiser
from lowdose.provenance import Step
from lowdose.scan import Scan

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Eraser:
    """Denoises as `base` does, then takes away what is bright or dark in a small area.

    Grey-scale area opening and closing (Vincent 1993): edges and whatever is larger stay as they are.
    """

    base: Denoiser
    area_px: int

    @property
    def context(self) -> int:
        return self.base.context

    def __call__(self, hu: Images) -> Images:
        denoised = self.base(hu)[:, -1]
        erased = [area_closing(area_opening(one, self.area_px), self.area_px) for one in denoised]
        return np.stack(erased)[:, None].astype(np.float32)

    def describe(self) -> Step:
        return Step("eraser", {"area_px": self.area_px, **self.base.describe().parameters})


def eraser(scan: Scan, diameter_mm: float, base: str) -> Eraser:
    """One that erases what is smaller than a disc of `diameter_mm`."""
    dy, dx = scan.spacing[1:]
    area = round(np.pi / 4 * diameter_mm**2 / (dy * dx))
    settings = {"sigma_px": 0.8} if base == "gaussian" else {}
    return Eraser(make_denoiser(base, scan, settings), area)
