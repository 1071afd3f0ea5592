"""Plots as SVG text, ready to stand inside a page. The only module that imports matplotlib.

Figures are made through matplotlib's objects alone and leave no global state behind. Names of arms and cases
never enter a drawing: they travel beside it, as `legend`, and are set by the page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from lowdose.quality.comparison import DIFFERENCE_EDGES, CaseResult

REFERENCE_COLOUR = "#475569"
INPUT_COLOUR = "#c2691b"
RESULT_COLOURS = ("#0b7a8f", "#7a4fb5", "#5b7f1c", "#b0305c")

_INK = "#1c2530"
_MUTED = "#64707d"
_RULE = "#dfe4e9"
_SIZE = (5.5, 2.9)
_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": _INK,
    "axes.edgecolor": "#aab3bd",
    "axes.labelcolor": _MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.7,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "lowdose",
}


@dataclass(frozen=True)
class Figure:
    """A plot: `svg` is one `<svg>` element; `legend` pairs a name with its colour."""

    title: str
    svg: str
    caption: str
    alt: str
    legend: tuple[tuple[str, str], ...]


def arm_colours(arms: Sequence[str], input_arm: str | None = None) -> dict[str, str]:
    """The colour of every arm: one for the input, then one per result, in order and round again."""
    results = [arm for arm in arms if arm != input_arm]
    colours = {arm: RESULT_COLOURS[k % len(RESULT_COLOURS)] for k, arm in enumerate(results)}
    return {arm: INPUT_COLOUR if arm == input_arm else colours[arm] for arm in arms}


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
    with _drawing("RMSE to the reference (HU)", "position along the scan (mm)") as (drawing, axes):
        for k, result in enumerate(results):
            _curve(axes, f"error-{k}", result.slices.z, result.slices.rmse, colours[result.arm])
        axes.set_ylim(bottom=0.0)
        svg = _svg(drawing)
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
    with _drawing("noise in soft tissue (HU)", "position along the scan (mm)") as (drawing, axes):
        curves = results[0].slices
        _curve(axes, "noise-reference", curves.z, curves.reference_noise, REFERENCE_COLOUR)
        for k, result in enumerate(results):
            _curve(axes, f"noise-{k}", result.slices.z, result.slices.noise, colours[result.arm])
        axes.set_ylim(bottom=0.0)
        svg = _svg(drawing)
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
    with _drawing("", "image − reference (HU)") as (drawing, axes):
        axes.grid(visible=True, axis="x")
        axes.axvspan(-1.0, 1.0, color="#eef2f5", zorder=0)
        axes.axvline(0.0, color="#aab3bd", linewidth=0.9)
        offsets = np.linspace(-0.16, 0.16, len(results)) if len(results) > 1 else [0.0]
        rows = np.arange(len(tissues))
        for k, (result, offset) in enumerate(zip(results, offsets, strict=True)):
            values = [result.tissue_bias[name] for name in tissues]
            (dots,) = axes.plot(values, rows + offset, "o", color=colours[result.arm], markersize=6.0)
            dots.set_gid(f"bias-{k}")
        axes.set_yticks(rows, tissues, color=_INK)
        axes.set_ylim(len(tissues) - 0.4, -0.6)
        widest = max([2.0, *(abs(value) for value in axes.get_xlim())])
        axes.set_xlim(-widest, widest)
        svg = _svg(drawing)
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
    with _drawing("share of pixels (% per HU)", "image − reference (HU)") as (drawing, axes):
        width = float(DIFFERENCE_EDGES[1] - DIFFERENCE_EDGES[0])
        reach = 20.0
        for k, result in enumerate(results):
            n = max(int(result.difference.sum()), 1)
            share = 100.0 * result.difference / (n * width)
            _curve(axes, f"difference-{k}", centres, share, colours[result.arm])
            axes.fill_between(centres, share, color=colours[result.arm], alpha=0.08, linewidth=0)
            seen = np.flatnonzero(share > 0.01 * share.max()) if share.any() else np.array([], int)
            reach = max(reach, *np.abs(centres[seen])) if seen.size else reach
        axes.axvline(0.0, color="#aab3bd", linewidth=0.9)
        axes.set_xlim(-reach, reach)
        axes.set_ylim(bottom=0.0)
        svg = _svg(drawing)
    return Figure(
        "Differences, pixel by pixel",
        svg,
        "How often a pixel differs from the reference by so many HU. A narrow peak at zero is faithful; a "
        "peak beside zero is a shift; wide tails are pixels that changed a lot.",
        "Histogram of the HU difference to the reference, one curve per arm.",
        _legend(results, colours),
    )


@contextmanager
def _drawing(y_label: str, x_label: str) -> Iterator[tuple[Drawing, Axes]]:
    """A drawing with one pair of axes in the house style, the y label above its axis."""
    with matplotlib.rc_context(_STYLE):
        drawing = Drawing(figsize=_SIZE, layout="constrained")
        axes = drawing.add_subplot()
        axes.set_title(y_label, loc="left", fontsize=9.0, color=_MUTED, pad=8.0)
        axes.set_xlabel(x_label)
        yield drawing, axes


def _curve(
    axes: Axes, name: str, x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]], colour: str
) -> None:
    """A line through the points that are numbers; a single point is drawn as a dot."""
    seen = np.isfinite(y)
    marker = "o" if np.count_nonzero(seen) == 1 else None
    (line,) = axes.plot(x[seen], y[seen], color=colour, marker=marker, markersize=5.0)
    line.set_gid(name)


def _legend(results: Sequence[CaseResult], colours: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((result.arm, colours[result.arm]) for result in results)


def _svg(drawing: Drawing) -> str:
    """The drawing as one `<svg>` element without prologue, date or fixed size."""
    buffer = io.StringIO()
    drawing.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, count=1, flags=re.DOTALL)
    head, rest = text.split(">", 1)
    return re.sub(r' (width|height)="[^"]*"', "", head) + ">" + rest
