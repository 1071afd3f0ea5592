"""The figure: what each method leaves, at what price, and one slice by all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from entrants import IDENTITY, SHIPPED, networks
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from table import by_patient, groups, label

from lowdose.figures.drawing import INK, INPUT_COLOUR, MUTED, REFERENCE_COLOUR, RESULT_COLOURS
from lowdose.provenance import written_whole
from lowdose.quality.statistics import summarise

WINDOW = (-160.0, 240.0)
REFERENCE = "the scan itself"
N_COLUMNS = 9
WIDTH = 15.0
"""Inches"""
HEADING, CAPTION = 0.32, 0.22
"""Inches above all images, and above each row of them."""
KINDS = {
    "network, pixel losses": RESULT_COLOURS[0],
    "network, critics": RESULT_COLOURS[1],
    "without training": RESULT_COLOURS[2],
    "shipped model": REFERENCE_COLOUR,
    "input": INPUT_COLOUR,
}
_STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#aab3bd",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dfe4e9",
    "grid.linewidth": 0.7,
    "text.parse_math": False,
}


class Point(NamedTuple):
    """A method in a plot: its number, its place, and its whiskers' ends along both axes."""

    number: int
    kind: str
    x: float
    y: float
    x_ends: tuple[float, float]
    y_ends: tuple[float, float]


def kind_of(name: str) -> str:
    """What sort of method it is."""
    if name in networks():
        adversarial = networks()[name].recipe["method"] == "adversarial"
        return "network, critics" if adversarial else "network, pixel losses"
    return {SHIPPED: "shipped model", IDENTITY: "input"}.get(name, "without training")


def draw(
    results: Mapping[str, Any], images: Mapping[str, NDArray[np.float32]], patient: str, path: Path
) -> None:
    """`results` by method as in results.json; `images` `[y, x]` in HU by method, the reference among them."""
    names = [name for _, group in groups(results) for name in group]
    shown = [name for name in (REFERENCE, *names) if name in images]
    n_rows = math.ceil(len(shown) / N_COLUMNS)
    with matplotlib.rc_context(_STYLE):
        heights = 5.4, HEADING + n_rows * (WIDTH / N_COLUMNS + CAPTION)
        figure = Figure(figsize=(WIDTH, sum(heights)))
        above, below = figure.subfigures(2, 1, height_ratios=heights)
        _draw_plots(above, results, names)
        _draw_images(below, images, shown, names, patient, n_rows)
        below.legend(
            *above.axes[0].get_legend_handles_labels(), frameon=False, ncols=len(KINDS), loc="upper right",
            bbox_to_anchor=(1.0, 1.012), handletextpad=0.2, columnspacing=1.2,
        )  # fmt: skip
        with written_whole(path) as temporary:
            figure.savefig(temporary, dpi=80, format="png")


def _draw_plots(figure: Any, results: Mapping[str, Any], names: Sequence[str]) -> None:
    left, right = figure.subplots(1, 2, gridspec_kw={"left": 0.05, "right": 0.99, "top": 0.93, "bottom": 0.1})
    error = {name: _over_patients(results, "rmse_left", name) for name in names}
    texture = {name: _over_patients(results, "texture", name) for name in names}
    sharp = {name: _of_rods(results[name], "50") for name in names}
    for axes, x in ((left, texture), (right, sharp)):
        axes.axhline(0.5, color=MUTED, linewidth=0.9, linestyle="--")
        _scatter(axes, names, x, error)
    left.set_title("Error and texture", loc="left", fontsize=10.5)
    right.set_title("Error and resolution at low contrast", loc="left", fontsize=10.5)
    left.set_xlabel("mean frequency of the noise over that of the input's")
    right.set_xlabel("f50 of rods of 50 HU in 1/mm")
    for axes in (left, right):
        axes.set_ylabel("RMSE left, as a share of the input's")
    left.text(0.995, 0.502, "nothing honest gets below", color=MUTED, ha="right", va="bottom",
              transform=left.get_yaxis_transform())  # fmt: skip
    used = {kind_of(name) for name in names}
    for kind, colour in KINDS.items():
        if kind in used:
            left.plot([], [], "o", color=colour, label=kind)


def _over_patients(results: Mapping[str, Any], key: str, name: str) -> tuple[float, tuple[float, float]]:
    summary = summarise(by_patient(results, key, [name])[name], np.random.default_rng(0))
    interval = summary.interval
    return summary.mean, (summary.mean,) * 2 if interval is None else (interval.low, interval.high)


def _of_rods(result: Mapping[str, Any], contrast: str) -> tuple[float, tuple[float, float]]:
    """f50 and two standard errors on either side."""
    rods = result.get("rods") or {}
    f50, error = (rods.get(f"f50_{contrast}{end}") for end in ("", "_error"))
    if f50 is None:
        return math.nan, (math.nan, math.nan)
    reach = 2.0 * (error or 0.0)
    return f50, (f50 - reach, f50 + reach)


def _scatter(
    axes: Axes,
    names: Sequence[str],
    x: Mapping[str, tuple[float, tuple[float, float]]],
    y: Mapping[str, tuple[float, tuple[float, float]]],
) -> None:
    points = [
        Point(names.index(name) + 1, kind_of(name), x[name][0], y[name][0], x[name][1], y[name][1])
        for name in names
        if math.isfinite(x[name][0]) and math.isfinite(y[name][0])
    ]
    for point in points:
        colour = KINDS[point.kind]
        axes.plot(point.x_ends, (point.y, point.y), color=colour, linewidth=0.9, alpha=0.45)
        axes.plot((point.x, point.x), point.y_ends, color=colour, linewidth=0.9, alpha=0.45)
        axes.plot(point.x, point.y, "o", color=colour, markersize=4.5)
    if not points:
        return
    axes.get_xlim(), axes.get_ylim()  # which settles them; places in pixels depend on them
    places = axes.transData.transform([(point.x, point.y) for point in points])
    for point, place in zip(points, apart(places), strict=True):
        axes.annotate(
            str(point.number), (point.x, point.y), axes.transData.inverted().transform(place),
            color=KINDS[point.kind], fontweight="bold", ha="center", va="center", fontsize=8.5,
            arrowprops={"arrowstyle": "-", "color": "#aab3bd", "linewidth": 0.6, "shrinkA": 5, "shrinkB": 2},
        )  # fmt: skip


def apart(places: NDArray[np.float64], distance: float = 17.0) -> NDArray[np.float64]:
    """Places of labels near `places`, `[label, (x, y)]` in pixels, pushed from each other and from points."""
    found = places + np.array([0.0, distance])
    for _ in range(400):
        for k, label_at in enumerate(found):
            others = np.concatenate([np.delete(found, k, axis=0), places])
            gap = label_at - others
            length = np.maximum(np.hypot(*gap.T), 0.1)
            near = length < distance
            push = (gap[near] / length[near, None] * (distance - length[near, None])).sum(axis=0)
            found[k] = label_at + 0.3 * push + 0.01 * (places[k] - label_at)
    return found


def _draw_images(
    figure: Any,
    images: Mapping[str, NDArray[np.float32]],
    shown: Sequence[str],
    names: Sequence[str],
    patient: str,
    n_rows: int,
) -> None:
    low, high = (f"{edge:g}".replace("-", "\N{MINUS SIGN}") for edge in WINDOW)
    title = f"Held-out patient {patient}, {low} to {high} HU"
    figure.suptitle(title, x=0.005, y=1.0, ha="left", va="top", fontsize=10.5)
    side = WIDTH / N_COLUMNS
    top = 1.0 - (HEADING + CAPTION) / (HEADING + n_rows * (side + CAPTION))
    grid = figure.add_gridspec(
        n_rows, N_COLUMNS, left=0.003, right=0.997, top=top, bottom=0.005, wspace=0.02, hspace=CAPTION / side
    )
    for place, name in enumerate(shown):
        axes = figure.add_subplot(grid[divmod(place, N_COLUMNS)])
        axes.imshow(images[name], cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1], interpolation="nearest")
        axes.set_axis_off()
        if name == REFERENCE:
            axes.set_title(REFERENCE, fontsize=8.5, pad=2.5)
            continue
        caption = f"{names.index(name) + 1} {label(name).removesuffix(' (see text)')}"
        axes.set_title(caption, fontsize=8.5, pad=2.5, color=KINDS[kind_of(name)])
