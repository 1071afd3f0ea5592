"""Lesions shown to a reader: where in the slice, and close by, with nothing drawn over them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from lowdose.figures.drawing import Figure, svg_text
from lowdose.lesions import Box

MARK = "#ffd24a"
_CLOSE_MM = 70.0
_MARGIN_MM = 4.0
_DARK: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"], "font.size": 9.0, "text.color": "#e8edf2", "figure.facecolor": "#0b0e12",
    "axes.facecolor": "#000000", "text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "lowdose",
}  # fmt: skip
_ACROSS = 3
"""Findings side by side on a sheet."""
_SIDE = 2.7
"""Inches of one image."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A lesion in the slice that shows it best."""

    title: str
    caption: str
    hu: NDArray[np.floating]
    """`[y, x]`"""
    box: Box
    spacing: tuple[float, float]
    """mm along y, x"""


def finding_figure(shown: Shown, window: tuple[float, float]) -> Figure:
    """The whole slice with a box, and the surroundings of the lesion with marks at its edges."""
    with matplotlib.rc_context(_DARK):
        page = Drawing(figsize=(2 * _SIDE, _SIDE), layout="constrained")
        _draw(list(page.subplots(1, 2)), shown, window)
        svg = svg_text(page)
    low, high = (f"{edge:g}".replace("-", "−") for edge in window)
    return Figure(
        shown.title, svg, f"{shown.caption}. Window {low} to {high} HU; the bar is 10 mm.",
        f"CT slice with a box around a finding, and the finding enlarged: {shown.caption}.", (),
    )  # fmt: skip


def findings_sheet(found: Sequence[Shown], window: tuple[float, float]) -> bytes:
    """All of them on one dark sheet, a PNG file's content."""
    n_down = max(1, -(-len(found) // _ACROSS))
    with matplotlib.rc_context(_DARK):
        page = Drawing(figsize=(2 * _SIDE * _ACROSS, (_SIDE + 0.45) * n_down), layout="constrained", dpi=110)
        grid = page.subplots(n_down, 2 * _ACROSS, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for number, shown in enumerate(found):
            row, column = divmod(number, _ACROSS)
            pair = list(grid[row, 2 * column : 2 * column + 2])
            _draw(pair, shown, window)
            pair[0].set_title(shown.title, loc="left", color="#e8edf2", fontsize=9.5)
            pair[1].set_title(shown.caption, loc="left", color="#aeb8c2", fontsize=7.5)
        if not found:
            grid[0, 0].text(0.0, 0.5, "Nothing was found.", transform=grid[0, 0].transAxes)
        buffer = io.BytesIO()
        page.savefig(buffer, format="png", facecolor=page.get_facecolor(), metadata={"Software": None})
    return buffer.getvalue()


def _draw(pair: Sequence[Axes], shown: Shown, window: tuple[float, float]) -> None:
    whole, close = pair
    (y0, x0, y1, x1), (dy, dx) = shown.box, shown.spacing
    for axes in pair:
        axes.set_axis_off()
        axes.imshow(
            shown.hu, cmap="gray", vmin=window[0], vmax=window[1], aspect=dy / dx, interpolation="antialiased"
        )
    my, mx = _MARGIN_MM / dy, _MARGIN_MM / dx
    whole.add_patch(
        Rectangle(
            (x0 - mx - 0.5, y0 - my - 0.5), x1 - x0 + 2 * mx, y1 - y0 + 2 * my,
            fill=False, edgecolor=MARK, linewidth=1.2,
        )
    )  # fmt: skip
    middle_y, middle_x = (y0 + y1) / 2 - 0.5, (x0 + x1) / 2 - 0.5
    reach = max(_CLOSE_MM / 2, 0.75 * (y1 - y0) * dy, 0.75 * (x1 - x0) * dx)
    top, left = middle_y + reach / dy, middle_x - reach / dx
    close.set_xlim(left, middle_x + reach / dx)
    close.set_ylim(top, middle_y - reach / dy)
    for y in (y0 - my - 0.5, y1 + my - 0.5):  # corners alone, and clear of the lesion
        for x in (x0 - mx - 0.5, x1 + mx - 0.5):
            inward_y, inward_x = (1 if y < middle_y else -1), (1 if x < middle_x else -1)
            close.plot(
                [x, x, x + inward_x * mx], [y + inward_y * my, y, y], color=MARK, linewidth=1.2,
                solid_joinstyle="miter",
            )  # fmt: skip
    bar = 10.0 / dx
    close.plot(
        [left + 0.06 * reach / dx, left + 0.06 * reach / dx + bar], [top - 0.08 * reach / dy] * 2,
        color="#e8edf2", linewidth=2.0, solid_capstyle="butt",
    )  # fmt: skip
