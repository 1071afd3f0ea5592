"""Places to search at: a synthetic slice with noise, under methods whose invariances are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.morphology import area_closing, area_opening

from lowdose.invariances.candidates import Candidate, Place
from lowdose.invariances.response import local_method
from lowdose.provenance import Step
from lowdose.quality.structural_change import noise_null, scale_px
from lowdose.scan import Scan

Images = NDArray[np.float32]

SPACING = (2.5, 0.7, 0.7)
WINDOW = (slice(48, 112), slice(48, 112))
WINDOWS = [(slice(y, y + 64), slice(x, x + 64)) for y in (0, 48, 96) for x in (0, 48, 96)]


@dataclass(frozen=True)
class Slicewise:
    """A function of one slice as a method."""

    name: str
    function: Callable[[Images], Images]
    context: int = 0

    def __call__(self, hu: Images) -> Images:
        return np.stack([[self.function(one)] for one in hu[:, self.context]]).astype(np.float32)

    def describe(self) -> Step:
        return Step(self.name)


IDENTITY = Slicewise("identity", lambda hu: hu)
CONSTANT = Slicewise("constant", lambda hu: np.full_like(hu, -300.0))
BLUR = Slicewise("blur", lambda hu: gaussian_filter(hu, 1.0))
ERASER = Slicewise(
    "eraser", lambda hu: area_closing(area_opening(gaussian_filter(hu, 1.0), 60), 60).astype(np.float32)
)
"""Blurs a little, and takes away bright and dark spots of less than 60 pixels."""


def noisy_slices(n: int, seed: int = 0) -> Images:
    """`[n, y, x]`: soft tissue and lung with a vessel, and noise of 25 HU with some correlation."""
    y, x = np.mgrid[:160, :160]
    anatomy = np.where(x < 80, 40.0, -850.0) + 500.0 * ((np.abs(y - 80) < 4) & (x >= 80))
    white = np.random.default_rng(seed).normal(0, 1, (n, 160, 160))
    noise = gaussian_filter(white, (0, 0.7, 0.7))
    return (gaussian_filter(anatomy, 1.0) + 25 * noise / noise.std()).astype(np.float32)


def place_of(method: Slicewise, seed: int = 0) -> Place:
    slices = noisy_slices(6, seed)
    scan = Scan.from_array(slices[:1], spacing=SPACING)
    outputs = np.stack([method(one[None, None])[0, 0] for one in slices])
    sigma = scale_px(SPACING[1:])
    local = local_method(method, scan, 0, WINDOW)
    return Place(
        local, local(local.input[None])[0], 0, WINDOW, noise_null(slices, sigma, WINDOWS),
        noise_null(outputs, sigma, WINDOWS),
    )  # fmt: skip


def largest_unanswered(candidates: Sequence[Candidate]) -> float:
    """The largest change whose output stays the same, in multiples of what noise explains; at least 1."""
    return max([1.0, *(one.change.structural for one in candidates if one.change.consistent)])
