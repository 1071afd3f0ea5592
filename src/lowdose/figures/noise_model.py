"""Plots of noise that was learned beside noise that was measured, and of the places it is from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from lowdose.figures.drawing import (
    MUTED,
    REFERENCE_COLOUR,
    RESULT_COLOURS,
    Figure,
    curve,
    drawing,
    image_drawing,
    svg_text,
)
from lowdose.quality.spectra import detrended, noise_power_spectrum, radial_average

Floats = NDArray[np.float64]

_LEARNED_COLOUR = RESULT_COLOURS[0]
_BOTH = (("measured", REFERENCE_COLOUR), ("learned", _LEARNED_COLOUR))
_SECTORS = 18
_BINS = 40


def noise_spectra(real: Floats, made: Floats, spacing: tuple[float, float]) -> Figure:
    """Radial noise power of patches `[patch, y, x]` in HU, each over its own integral."""
    with drawing("noise power, area 1", "spatial frequency (1/mm)") as (page, axes):
        for name, noise, colour in zip(("measured", "learned"), (real, made), _colours(), strict=True):
            radial = radial_average(noise_power_spectrum(detrended(noise), spacing), spacing)
            area = np.trapezoid(radial.power, radial.frequencies)
            curve(axes, name, radial.frequencies, radial.power / area, colour)
        axes.set_xlim(left=0.0)
        axes.set_ylim(bottom=0.0)
        svg = svg_text(page)
    return Figure(
        "Noise by frequency",
        svg,
        "Noise power spectra of patches of the scans and of patches that the model made, over their own "
        "areas: how coarse the noise is.",
        "Line plot of radial noise power against spatial frequency, measured and learned.",
        _BOTH,
    )


def noise_directions(real: Floats, made: Floats) -> Figure:
    """How often patches `[patch, y, x]` have their strongest noise in which direction."""
    degrees = (np.arange(_SECTORS) + 0.5) * 180.0 / _SECTORS
    with drawing("share of patches (%)", "direction of most power (degrees from left to right)") as (
        page,
        axes,
    ):
        for name, noise, colour in zip(("measured", "learned"), (real, made), _colours(), strict=True):
            counts = np.bincount(main_directions(noise), minlength=_SECTORS)
            curve(axes, name, degrees, 100.0 * counts / counts.sum(), colour)
        axes.set_xlim(0.0, 180.0)
        axes.set_xticks(range(0, 181, 45))
        axes.set_ylim(bottom=0.0)
        svg = svg_text(page)
    return Figure(
        "Noise by direction",
        svg,
        "Patches by the direction in which their noise has most power: rays through the longer side of a "
        "body are noisier, and leave streaks across it.",
        "Line plot of the share of patches against the direction of most noise power.",
        _BOTH,
    )


def main_directions(noise: Floats) -> NDArray[np.intp]:
    """For every patch the sector of half a turn in which its power has its centre."""
    power = np.abs(np.fft.fft2(detrended(noise))) ** 2
    f_y, f_x = np.fft.fftfreq(noise.shape[1])[:, None], np.fft.fftfreq(noise.shape[2])[None]
    inside = (np.hypot(f_y, f_x) < 0.5) & ((f_y != 0) | (f_x != 0))
    twice = 2 * np.arctan2(f_y, f_x)
    centre = (power * np.exp(1j * twice) * inside).sum(axis=(1, 2))
    angle = np.angle(centre) / 2 % np.pi
    sectors: NDArray[np.intp] = np.minimum((angle / np.pi * _SECTORS).astype(np.intp), _SECTORS - 1)
    return sectors


def noise_levels(levels: Sequence[Floats], names: Sequence[str]) -> Figure:
    """Histograms of the standard deviation in HU of the patches of every scan, the first four by name."""
    colours = (REFERENCE_COLOUR, *RESULT_COLOURS)
    shown = list(zip(names, levels, colours, strict=False))[:4]
    everything = np.concatenate(list(levels))
    edges = np.linspace(0.0, 1.05 * float(np.quantile(everything, 0.995)), _BINS + 1)
    with drawing("patches", "standard deviation (HU)") as (page, axes):
        for name, values, colour in shown:
            axes.stairs(np.histogram(values, edges)[0], edges, color=colour, linewidth=1.6).set_gid(name)
        axes.set_xlim(0.0, float(edges[-1]))
        svg = svg_text(page)
    return Figure(
        "How strong it is",
        svg,
        "Standard deviation of the noise in every patch that was learned from"
        + (f"; the first four of {len(names)} scans." if len(names) > 4 else "."),
        "Histogram of the standard deviation of noise patches, by scan.",
        tuple((name, colour) for name, _, colour in shown),
    )


def noise_places(hu: NDArray[np.floating], corners: NDArray[np.intp], side: int, where: str) -> Figure:
    """A slice `[y, x]` in a soft-tissue window with the patches that were taken from it."""
    with image_drawing() as (page, axes):
        axes.imshow(hu, cmap="gray", vmin=-160, vmax=240, interpolation="nearest")
        for y, x in corners:
            axes.add_patch(
                Rectangle((x - 0.5, y - 0.5), side, side, fill=False, edgecolor="#5bd0e6", linewidth=0.8)
            )
        svg = svg_text(page)
    return Figure(
        "Where it is from",
        svg,
        f"{len(corners)} patches without anatomy in {where}; they may overlap. −160 to 240 HU.",
        "A slice with squares where noise was taken from.",
        (("patches", "#5bd0e6"), ("−160 to 240 HU", MUTED)),
    )


def _colours() -> tuple[str, str]:
    return REFERENCE_COLOUR, _LEARNED_COLOUR
