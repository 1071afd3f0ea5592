"""What a denoiser ignores, in pictures: changed inputs beside their outputs, and what is left of lesions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from lowdose.figures.drawing import INK, MUTED, RESULT_COLOURS, Figure, drawing, svg_text
from lowdose.figures.findings import MARK

Images = NDArray[np.floating[Any]]

_LIGHT: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"], "font.size": 8.5, "text.color": INK, "text.parse_math": False,
    "svg.fonttype": "none", "svg.hashsalt": "lowdose",
}  # fmt: skip
_KEPT_COLOURS = ("#b0305c", "#e6b9c6", "#f1f4f6", "#a9d3da", "#0b7a8f")
"""From all gone over half gone to all kept and more."""


@dataclass(frozen=True, eq=False)
class Pair:
    """An input and another one that a method answers alike, with the answers; `[y, x]` in HU each."""

    input: Images
    changed_input: Images
    output: Images
    changed_output: Images
    place: tuple[int, int]
    """Row and column where they differ most"""


@dataclass(frozen=True)
class LesionLeft:
    """Lesions of one size and contrast: whether the input shows them, and what share the output keeps."""

    diameter: float
    contrast: float
    visible: bool
    kept: float


def pair_figure(pair: Pair, title: str, caption: str) -> Figure:
    """Both inputs and both outputs with their differences, in one window that suits them."""
    middle = float(np.median(pair.output))
    spread = float(np.quantile(pair.output, 0.98) - np.quantile(pair.output, 0.02))
    width = max(300.0, 1.3 * spread)
    window = (middle - width / 2, middle + width / 2)
    largest = max(50.0, float(np.abs(pair.changed_input - pair.input).max()))
    rows = (
        ("input", pair.input, "another input", pair.changed_input),
        ("its output", pair.output, "the other's output", pair.changed_output),
    )
    with matplotlib.rc_context(_LIGHT):
        page = Drawing(figsize=(5.6, 3.9), layout="constrained")
        grid = page.subplots(2, 3)
        for line, (first_name, first, second_name, second) in zip(grid, rows, strict=True):
            for axes, name, image in zip(line, (first_name, second_name), (first, second), strict=False):
                axes.imshow(image, cmap="gray", vmin=window[0], vmax=window[1], interpolation="nearest")
                axes.set_title(name, loc="left", fontsize=8.0, color=MUTED)
            line[2].imshow(
                second - first, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest"
            )
            line[2].set_title("difference", loc="left", fontsize=8.0, color=MUTED)
            y, x = pair.place
            for axes in line:
                axes.set_axis_off()
                axes.add_patch(
                    Rectangle((x - 9.5, y - 9.5), 19, 19, fill=False, edgecolor=MARK, linewidth=0.9)
                )
        svg = svg_text(page)
    return Figure(
        title,
        svg,
        f"{caption} Images {_hu(window[0])} to {_hu(window[1])} HU, differences up to {largest:.0f} HU.",
        "Two inputs, the outputs of both, and the differences, which the output lacks.",
        (),
    )


def places_figure(times: Sequence[tuple[str, float]], limit: float) -> Figure:
    """For every place the largest change without an answer; each with what it shows."""
    with drawing("times what noise explains", "places, by what they show") as (page, axes):
        highest = max([limit * 1.3, *(value for _, value in times)])
        heights = [max(value, 1.0) - 1.0 for _, value in times]
        colours = [RESULT_COLOURS[3] if value >= limit else RESULT_COLOURS[0] for _, value in times]
        axes.bar(range(len(times)), heights, bottom=1.0, color=colours, width=0.6)
        axes.plot(range(len(times)), [max(value, 1.0) for _, value in times], "o", color=INK, markersize=3.5)
        axes.axhline(limit, color=RESULT_COLOURS[3], linewidth=1.0, linestyle=(0, (4, 3)))
        axes.set_xticks(range(len(times)), [name.split(" ")[0] for name, _ in times], rotation=30, ha="right")
        axes.set_ylim(0.9, 1.05 * highest)
        svg = svg_text(page)
    return Figure(
        "How far inputs can change without an answer",
        svg,
        "At each place, the largest change of the input whose output stays the same but for noise, as a "
        "multiple of what noise changes in the input. 1: noise explains it. The dashed line is where a place "
        "speaks against the method.",
        "Bars of the largest change without an answer at each place, with a limit.",
        (("within the limit", RESULT_COLOURS[0]), ("beyond", RESULT_COLOURS[3])),
    )


def lesions_figure(kind: str, lesions: Sequence[LesionLeft]) -> Figure:
    """What share of its detectability a lesion keeps, by size and contrast; blank where it cannot be seen."""
    diameters = sorted({one.diameter for one in lesions})
    contrasts = sorted({one.contrast for one in lesions}, key=abs)
    colours = matplotlib.colors.LinearSegmentedColormap.from_list("kept", _KEPT_COLOURS)
    with matplotlib.rc_context(_LIGHT):
        page = Drawing(figsize=(5.5, 2.9), layout="constrained")
        axes = page.add_subplot()
        axes.set_title("diameter (mm)", loc="left", fontsize=9.0, color=MUTED)
        axes.set_xlabel("contrast (HU)", color=MUTED)
        for one in lesions:
            y, x = diameters.index(one.diameter), contrasts.index(one.contrast)
            colour = colours(min(one.kept, 1.0)) if one.visible else "#ffffff"
            axes.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=colour, edgecolor="#dfe4e9"))
            text = f"{100 * one.kept:.0f} %" if one.visible else "not seen"
            dark = one.visible and (one.kept < 0.25 or one.kept > 0.85)
            axes.text(
                x, y, text, ha="center", va="center", fontsize=8.5 if one.visible else 7.0,
                color="#ffffff" if dark else INK if one.visible else MUTED,
            )  # fmt: skip
        axes.set_xlim(-0.6, len(contrasts) - 0.4)
        axes.set_ylim(-0.6, len(diameters) - 0.4)
        axes.set_xticks(range(len(contrasts)), [_hu(one) for one in contrasts], color=MUTED)
        axes.set_yticks(range(len(diameters)), [f"{one:g}" for one in diameters], color=MUTED)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        svg = svg_text(page)
    return Figure(
        kind[0].upper() + kind[1:],
        svg,
        "Planted lesions: the share of their detectability that the output keeps. 100 %: as visible among "
        "the noise as before, though fainter; more: easier to see. 'Not seen': lost in the noise of the "
        "input, which no denoiser answers for.",
        f"Map of the share of detectability kept for a {kind}, by diameter and contrast.",
        (),
    )


def _hu(value: float) -> str:
    return f"{value:.0f}".replace("-", "−")
