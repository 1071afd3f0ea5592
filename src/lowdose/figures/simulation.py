"""Plots of how well simulated noise matches the noise of the scan that it is added to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lowdose.figures.drawing import MUTED, REFERENCE_COLOUR, RESULT_COLOURS, Figure, curve, drawing, svg_text

Floats = NDArray[np.float64]

_SIMULATED_COLOUR = RESULT_COLOURS[0]
_OWN_AND_SIMULATED = (("the scan", REFERENCE_COLOUR), ("simulated", _SIMULATED_COLOUR))


def spectrum_match(frequencies: Floats, own: Floats, simulated: Floats, anatomy_below: float) -> Figure:
    """Radial noise power in HU^2 mm^2 of the scan and of noise simulated at its own dose."""
    with drawing("noise power (HU² mm²)", "spatial frequency (1/mm)") as (page, axes):
        axes.axvspan(0.0, anatomy_below, color="#eef2f5", zorder=0)
        curve(axes, "own", frequencies, own, REFERENCE_COLOUR)
        curve(axes, "simulated", frequencies, simulated, _SIMULATED_COLOUR)
        axes.set_xlim(0.0, float(frequencies[-1]))
        axes.set_ylim(bottom=0.0)
        svg = svg_text(page)
    return Figure(
        "Noise by frequency",
        svg,
        "Noise power spectrum in the same flat regions of the scan and of noise simulated at its own dose. "
        "In the grey band anatomy adds to the scan's: there the simulation goes by the kernel's shape alone.",
        "Line plot of radial noise power against spatial frequency, for the scan and the simulation.",
        _OWN_AND_SIMULATED,
    )


def direction_match(own: Floats, simulated: Floats) -> Figure:
    """Noise power by direction over its mean, `[sector]` from 0 to 180 degrees."""
    degrees = (np.arange(len(own)) + 0.5) * 180.0 / len(own)
    with drawing("noise power over its mean", "direction (degrees from left to right, clockwise)") as (
        page,
        axes,
    ):
        axes.axhline(1.0, color="#aab3bd", linewidth=0.9)
        curve(axes, "own", degrees, own, REFERENCE_COLOUR)
        curve(axes, "simulated", degrees, simulated, _SIMULATED_COLOUR)
        axes.set_xlim(0.0, 180.0)
        axes.set_xticks(range(0, 181, 45))
        axes.set_ylim(bottom=0.0)
        svg = svg_text(page)
    return Figure(
        "Noise by direction",
        svg,
        "Streaks: behind the longer side of a body fewer photons arrive, so noise is stronger in some "
        "directions. How the tube current follows the body is fitted to this.",
        "Line plot of noise power against direction, for the scan and the simulation.",
        _OWN_AND_SIMULATED,
    )


def slice_levels(
    places: Sequence[float], measured: Sequence[float], used: Sequence[float], position_label: str
) -> Figure:
    """Noise variance of slices over what header and beam make of it, as measured and as used."""
    with drawing("noise variance over the expected", position_label) as (page, axes):
        axes.axhline(1.0, color="#aab3bd", linewidth=0.9)
        (dots,) = axes.plot(places, measured, "o", color=REFERENCE_COLOUR, markersize=5.0)
        dots.set_gid("measured")
        curve(axes, "used", np.asarray(places, float), np.asarray(used, float), _SIMULATED_COLOUR)
        axes.set_ylim(0.0, max(2.0, 1.1 * max(measured)))
        svg = svg_text(page)
    return Figure(
        "Dose along the scan",
        svg,
        "What is left after the tube current of the header and the attenuation of the body. Single slices "
        "are measured with some error, so the line follows them only as far as they scatter more than that.",
        "Dot plot of the relative noise variance of each slice measured, with the line that is used.",
        (("measured", REFERENCE_COLOUR), ("used", _SIMULATED_COLOUR)),
    )


def kernel_gain(frequencies: Floats, gain: Floats, reach: float) -> Figure:
    """Gain of the fitted kernel over the pure ramp up to `reach` in 1/mm."""
    with drawing("gain over the ramp", "spatial frequency (1/mm)") as (page, axes):
        axes.axhline(1.0, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        curve(axes, "gain", frequencies, gain, _SIMULATED_COLOUR)
        axes.set_xlim(0.0, reach)
        axes.set_ylim(bottom=0.0)
        svg = svg_text(page)
    return Figure(
        "Reconstruction kernel",
        svg,
        "What the scanner's kernel does to each frequency, as its noise shows it; 1 is the pure ramp. Soft "
        "kernels fall early, sharp ones late or above 1.",
        "Line plot of the kernel's gain over the ramp filter against spatial frequency.",
        (("kernel", _SIMULATED_COLOUR),),
    )
