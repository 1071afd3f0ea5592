"""The house style of plots, and plots as SVG text that is ready to stand inside a page.

Figures are made through matplotlib's objects alone and leave no global state behind. Names of arms and cases
never enter a drawing: they travel beside it, as `legend`, and are set by the page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

REFERENCE_COLOUR = "#475569"
INPUT_COLOUR = "#c2691b"
RESULT_COLOURS = ("#0b7a8f", "#7a4fb5", "#5b7f1c", "#b0305c")

INK = "#1c2530"
MUTED = "#64707d"
_RULE = "#dfe4e9"
_SIZE = (5.5, 2.9)
_IMAGE_SIZE, _SIZE_WITH_AXES = (4.2, 4.2), (5.5, 4.2)
_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": "#aab3bd",
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
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


@contextmanager
def drawing(y_label: str, x_label: str) -> Iterator[tuple[Drawing, Axes]]:
    """A drawing with one pair of axes in the house style, the y label above its axis."""
    with matplotlib.rc_context(_STYLE):
        page = Drawing(figsize=_SIZE, layout="constrained")
        axes = page.add_subplot()
        axes.set_title(y_label, loc="left", fontsize=9.0, color=MUTED, pad=8.0)
        axes.set_xlabel(x_label)
        yield page, axes


@contextmanager
def image_drawing(*, shows_axes: bool = False) -> Iterator[tuple[Drawing, Axes]]:
    """A drawing that is an image, with or without axes around it."""
    with matplotlib.rc_context({**_STYLE, "axes.grid": False}):
        page = Drawing(figsize=_SIZE_WITH_AXES if shows_axes else _IMAGE_SIZE, layout="constrained")
        axes = page.add_subplot()
        if not shows_axes:
            axes.set_axis_off()
        axes.set_aspect("equal")
        yield page, axes


def curve(
    axes: Axes, name: str, x: NDArray[np.floating[Any]], y: NDArray[np.floating[Any]], colour: str
) -> None:
    """A line through the points that are numbers; a single point is drawn as a dot."""
    seen = np.isfinite(y)
    marker = "o" if np.count_nonzero(seen) == 1 else None
    (line,) = axes.plot(x[seen], y[seen], color=colour, marker=marker, markersize=5.0)
    line.set_gid(name)


def svg_text(page: Drawing) -> str:
    """A drawing as one `<svg>` element without prologue, date or fixed size."""
    buffer = io.StringIO()
    page.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, count=1, flags=re.DOTALL)
    head, rest = text.split(">", 1)
    return re.sub(r' (width|height)="[^"]*"', "", head) + ">" + rest
