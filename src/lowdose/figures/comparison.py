"""Plots of arms against their reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from lowdose.figures.drawing import INK, REFERENCE_COLOUR, Figure, curve, drawing, svg_text
from lowdose.quality.comparison import DIFFERENCE_EDGES, CaseResult


def comparison_figures(
    results: Sequence[CaseResult], colours: Mapping[str, str], reference_name: str = "reference"
) -> tuple[Figure, ...]:
    """All plots of one case: `results` has one entry per arm, `colours` one colour per arm."""
    if len({result.case for result in results}) != 1:
        raise ValueError("figures show one case; give the results of one case alone")
    return (
        error_by_slice(results, colours),
        noise_by_slice(results, colours, reference_name),
        bias_by_tissue(results, colours),
        difference_histogram(results, colours),
    )


def error_by_slice(results: Sequence[CaseResult], colours: Mapping[str, str]) -> Figure:
    """RMSE in HU of every arm along the scan."""
    with drawing("RMSE to the reference (HU)", "position along the scan (mm)") as (page, axes):
        for k, result in enumerate(results):
            curve(axes, f"error-{k}", result.slices.z, result.slices.rmse, colours[result.arm])
        axes.set_ylim(bottom=0.0)
        svg = svg_text(page)
    return Figure(
        "Error along the scan",
        svg,
        "How far each image is from the reference, slice by slice. Lower is closer. "
        f"Measured on: {results[0].protocol}.",
        "Line plot of the root mean square error in HU against slice position, one line per arm.",
        _legend(results, colours),
    )


def noise_by_slice(
    results: Sequence[CaseResult], colours: Mapping[str, str], reference_name: str = "reference"
) -> Figure:
    """Noise level in HU of the reference and every arm along the scan."""
    with drawing("noise in soft tissue (HU)", "position along the scan (mm)") as (page, axes):
        curves = results[0].slices
        curve(axes, "noise-reference", curves.z, curves.reference_noise, REFERENCE_COLOUR)
        for k, result in enumerate(results):
            curve(axes, f"noise-{k}", result.slices.z, result.slices.noise, colours[result.arm])
        axes.set_ylim(bottom=0.0)
        svg = svg_text(page)
    return Figure(
        "Noise along the scan",
        svg,
        "Typical standard deviation in 6 mm squares of flat soft tissue, chosen on the smoothed reference. "
        "Less noise is not better by itself: blurring lowers it too. Read it with the error and the images.",
        "Line plot of the noise level in HU against slice position, for the reference and every arm.",
        ((reference_name, REFERENCE_COLOUR), *_legend(results, colours)),
    )


def bias_by_tissue(results: Sequence[CaseResult], colours: Mapping[str, str]) -> Figure:
    """Mean of arm − reference in HU per tissue class."""
    tissues = [
        name for name in results[0].tissue_bias if any(np.isfinite(one.tissue_bias[name]) for one in results)
    ]
    with drawing("", "image − reference (HU)") as (page, axes):
        axes.grid(visible=True, axis="x")
        axes.axvspan(-1.0, 1.0, color="#eef2f5", zorder=0)
        axes.axvline(0.0, color="#aab3bd", linewidth=0.9)
        offsets = np.linspace(-0.16, 0.16, len(results)) if len(results) > 1 else [0.0]
        rows = np.arange(len(tissues))
        for k, (result, offset) in enumerate(zip(results, offsets, strict=True)):
            values = [result.tissue_bias[name] for name in tissues]
            (dots,) = axes.plot(values, rows + offset, "o", color=colours[result.arm], markersize=6.0)
            dots.set_gid(f"bias-{k}")
        axes.set_yticks(rows, tissues, color=INK)
        axes.set_ylim(len(tissues) - 0.4, -0.6)
        widest = max([2.0, *(abs(value) for value in axes.get_xlim())])
        axes.set_xlim(-widest, widest)
        svg = svg_text(page)
    return Figure(
        "Shift of HU by tissue",
        svg,
        "Mean difference to the reference in each tissue; the grey band is ±1 HU. Tissue is told apart on "
        "the smoothed reference, edges included, so a method that blurs shows a shift in bone and lung.",
        "Dot plot of the mean HU difference per tissue class, one dot per arm.",
        _legend(results, colours),
    )


def difference_histogram(results: Sequence[CaseResult], colours: Mapping[str, str]) -> Figure:
    """Distribution of arm − reference in HU over the pixels of the case."""
    centres = (DIFFERENCE_EDGES[:-1] + DIFFERENCE_EDGES[1:]) / 2
    with drawing("share of pixels (% per HU)", "image − reference (HU)") as (page, axes):
        width = float(DIFFERENCE_EDGES[1] - DIFFERENCE_EDGES[0])
        reach = 20.0
        for k, result in enumerate(results):
            n = max(int(result.difference.sum()), 1)
            share = 100.0 * result.difference / (n * width)
            curve(axes, f"difference-{k}", centres, share, colours[result.arm])
            axes.fill_between(centres, share, color=colours[result.arm], alpha=0.08, linewidth=0)
            seen = np.flatnonzero(share > 0.01 * share.max()) if share.any() else np.array([], int)
            reach = max(reach, *np.abs(centres[seen])) if seen.size else reach
        axes.axvline(0.0, color="#aab3bd", linewidth=0.9)
        axes.set_xlim(-reach, reach)
        axes.set_ylim(bottom=0.0)
        svg = svg_text(page)
    return Figure(
        "Differences, pixel by pixel",
        svg,
        "How often a pixel differs from the reference by so many HU. A narrow peak at zero is faithful; a "
        "peak beside zero is a shift; wide tails are pixels that changed a lot.",
        "Histogram of the HU difference to the reference, one curve per arm.",
        _legend(results, colours),
    )


def _legend(results: Sequence[CaseResult], colours: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((result.arm, colours[result.arm]) for result in results)
