"""What is measured of a denoised image; numbers by name, NaN where there is nothing to measure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cases import CONTRASTS, ROD_RADIUS, distance_from, from_first_pixel, rod_places
from numpy.typing import NDArray

from lowdose.physics.flat_regions import flat_regions
from lowdose.quality.comparison import CaseResult, evaluate
from lowdose.quality.fidelity import TISSUES as RANGES
from lowdose.quality.fidelity import (
    Protocol,
    body,
    mean_difference,
    psnr_of_rmse,
    rmse,
    smoothed,
    soft_tissue,
    ssim,
)
from lowdose.quality.resolution import NoRodError, task_transfer
from lowdose.quality.spectra import noise_power_spectrum, radial_average
from lowdose.quality.visual_information import visual_information
from lowdose.scan import Scan, Slice

Image = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

WINDOW = (-160.0, 240.0)
ALL_HU = (-1024.0, 2000.0)
VIF_HU = (-1024.0, 1900.0)
"""What the ldct-benchmark clips to."""

TISSUES: Mapping[str, tuple[float, float, float]] = {
    "lung": (*RANGES["lung"], 10.0),
    "fat": (*RANGES["fat"], 5.0),
    "soft tissue": (*RANGES["soft tissue"], 5.0),
    "bone": (*RANGES["dense bone"], math.inf),
}
"""Ranges of the smoothed reference in HU, and how much it may change in a pixel: edges are no tissue. Bone
is never flat.
"""
FEWEST_PIXELS = 400
"""Of a tissue in all slices of a patient, below which nothing is said of it."""
SIDE = 24
"""Pixels along the squares in which noise spectra are measured."""
FLAT_WATER_MM = 35.0
"""Around the axis of the phantom, where there is nothing but water."""


def tissue_masks(reference: Image) -> dict[str, Mask]:
    """Where in a slice `[y, x]` each tissue is, by the smoothed reference, whose noise has no say.

    All are inside the body: blankets and the table's foam are as thin as lung.
    """
    measured = np.ones(reference.shape, bool)
    smooth, inside = smoothed(reference, measured), body(reference, measured)
    steepness = np.hypot(*np.gradient(smooth))
    return {
        name: inside & (smooth >= low) & (smooth < high) & (steepness < steepest)
        for name, (low, high, steepest) in TISSUES.items()
    }


class _Squares:
    """The noise power of squares, added one slice at a time."""

    def __init__(self, spacing: tuple[float, float]) -> None:
        self.spacing = spacing
        self.total, self.n = np.zeros((SIDE, SIDE)), 0

    def add(self, noise: Image, corners: NDArray[np.intp]) -> None:
        if len(corners):
            cut = np.stack([noise[y : y + SIDE, x : x + SIDE] for y, x in corners])
            self.total += noise_power_spectrum(cut, self.spacing).sum(axis=0)
            self.n += len(cut)

    @property
    def mean_frequency(self) -> float:
        """1/mm"""
        return radial_average(self.total / self.n, self.spacing).mean_frequency if self.n else math.nan


class Tally:
    """One method on one patient: slices are added one by one.

    Noise is what two denoised images of the same slice, from inputs with independent noise, differ by, over
    the root of two: anatomy is the same in both, and what a method does to it is no noise.
    """

    def __init__(self, spacing: tuple[float, float]) -> None:
        self.errors: dict[str, list[float]] = {"rmse": [], "input": [], "all": []}
        self.similarities: dict[str, list[float]] = {"ssim": [], "vif": []}
        self.bias = {name: [0.0, 0] for name in TISSUES}
        self.noise = {"first": [0.0, 0], "input": [0.0, 0]}
        self.squares = {"first": _Squares(spacing), "input": _Squares(spacing)}
        self.generator = np.random.default_rng(0)

    def add(self, reference: Image, denoised: Sequence[Image], inputs: Sequence[Image]) -> None:
        """A slice of the reference, two denoised images of it, and the two inputs that these are from."""
        truth = reference.astype(np.float32)
        first = denoised[0]
        self.errors["rmse"].append(rmse(truth, first, WINDOW))
        self.errors["input"].append(rmse(truth, inputs[0], WINDOW))
        self.errors["all"].append(rmse(truth, first, ALL_HU))
        self.similarities["ssim"].append(ssim(truth, first, WINDOW))
        self.similarities["vif"].append(visual_information(truth, first, VIF_HU))
        for name, where in tissue_masks(truth).items():
            n = int(np.count_nonzero(where))
            if n:
                self.bias[name][0] += n * mean_difference(truth, first, where)
                self.bias[name][1] += n
        soft = soft_tissue(truth, np.ones(truth.shape, bool))
        corners = flat_regions(Slice(truth, np.zeros(truth.shape, bool)), SIDE, self.generator, soft)
        for which, (one, other) in (("first", denoised), ("input", inputs)):
            noise = (one.astype(np.float64) - other) / math.sqrt(2.0)
            self.noise[which][0] += float((noise[soft] ** 2).sum())
            self.noise[which][1] += int(np.count_nonzero(soft))
            self.squares[which].add(noise, corners)

    def result(self) -> dict[str, float]:
        """The patient's numbers: errors pooled over pixels, similarities the mean over slices."""
        pooled = {name: math.sqrt(np.mean(np.square(each))) for name, each in self.errors.items()}
        noise, of_input = (
            math.sqrt(total / n) if n >= FEWEST_PIXELS else math.nan for total, n in self.noise.values()
        )
        frequency, input_frequency = (one.mean_frequency for one in self.squares.values())
        return {
            "rmse": pooled["rmse"],
            "rmse_left": pooled["rmse"] / pooled["input"],
            "rmse_all": pooled["all"],
            "psnr": psnr_of_rmse(pooled["rmse"], WINDOW),
            **{name: float(np.mean(each)) for name, each in self.similarities.items()},
            **{
                f"bias_{name.replace(' ', '_')}": total / n if n >= FEWEST_PIXELS else math.nan
                for name, (total, n) in self.bias.items()
            },
            "noise": noise,
            "input_noise": of_input,
            "noise_left": noise / of_input,
            "frequency": frequency,
            "texture": frequency / input_frequency,
        }


def of_pair(full: Scan, low: Scan, denoised: Scan) -> dict[str, float]:
    """One method on the real pairs: everything but the spectrum by slice, then the mean over slices.

    There is one image of each dose, so the spectrum is that of the images themselves.
    """
    results = evaluate(full, {"low": low, "denoised": denoised}, Protocol(window=WINDOW))
    given, made = (result.slices for result in results)
    generator = np.random.default_rng(0)
    squares = {"full": _Squares(full.spacing[1:]), "denoised": _Squares(full.spacing[1:])}
    for z in range(len(full)):
        truth = full.read(z)
        corners = flat_regions(truth, SIDE, generator)
        squares["full"].add(truth.hu, corners)
        squares["denoised"].add(denoised.read(z).hu, corners)
    return {
        "rmse_left": float(np.mean(made.rmse / given.rmse)),
        "ssim": float(np.mean(made.ssim)),
        "bias": float(np.nanmean(made.soft_tissue_bias - given.soft_tissue_bias)),
        "noise": float(np.nanmean(made.noise)),
        "noise_full": _noise_of(results[0]),
        "texture": squares["denoised"].mean_frequency / squares["full"].mean_frequency,
    }


def _noise_of(result: CaseResult) -> float:
    return float(np.nanmean(result.slices.reference_noise))


def of_rods(images: Image, spacing: tuple[float, float]) -> dict[str, float]:
    """One method on the phantom, `[repeat, y, x]`: f50 of the rods on the mean of all repeats.

    Mean over the rods of a contrast, and its standard error over them.
    """
    mean = np.mean(images, axis=0, dtype=np.float64)
    water = distance_from((0.0, 0.0)) <= FLAT_WATER_MM
    found = {"noise": float(np.sqrt(images[:, water].var(axis=0, ddof=1).mean()))}
    for contrast in CONTRASTS:
        f50s, heights = [], []
        for place in rod_places(contrast):
            try:
                rod = task_transfer(
                    mean, spacing, from_first_pixel(place), ROD_RADIUS, reach=ROD_RADIUS + 7.0
                )
            except NoRodError:
                continue
            f50s.append(rod.f50)
            heights.append(rod.contrast)
        known = [f50 for f50 in f50s if math.isfinite(f50)]
        key = f"{contrast:g}"
        found[f"f50_{key}"] = float(np.mean(known)) if known else math.nan
        found[f"f50_{key}_error"] = (
            float(np.std(known, ddof=1) / math.sqrt(len(known))) if len(known) > 1 else math.nan
        )
        found[f"rods_{key}"] = float(len(known))
        found[f"contrast_{key}"] = float(np.mean(heights)) if heights else math.nan
    return found
