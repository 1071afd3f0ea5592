"""The figure: precision and recall, FROC, and one lesion of every set as denoisers leave it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from experiments import BASE, LID, NETWORKS, SETS, WINDOWS, Cell
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from measuring import LOW, NORMAL, Crop, crops, denoised
from report import FROZEN, Measured, curves
from scans import Scans
from training import model_folder

from lowdose.figures.drawing import INK, INPUT_COLOUR, MUTED
from lowdose.provenance import written_whole

COLOURS = {NORMAL: "#475569", LOW: "#b8c0c9", BASE: INPUT_COLOUR, LID: "#0b7a8f"}
WORDS = {NORMAL: "normal dose", LOW: "low dose", BASE: "denoised as published", LID: "denoised with LIDnet"}
SHOWN = "res-hlf"
"""The network whose images are shown."""
_STYLE = {
    "font.size": 9.0, "text.color": INK, "axes.labelcolor": INK, "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": "#aab3bd", "xtick.color": MUTED, "ytick.color": MUTED,
}  # fmt: skip


def draw(scans: Scans, measured: Mapping[str, Measured], path: Path) -> None:
    sets = [which for which in SETS if f"{which}-{NORMAL}" in measured]
    network = SHOWN if SHOWN in scans.study.networks else scans.study.networks[0]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(13.0, 14.5), layout="constrained")
        plots, images = figure.subfigures(2, 1, height_ratios=(1.15, 1.0))
        grid = plots.subplots(2, len(sets), squeeze=False)
        for column, which in enumerate(sets):
            _plot(grid[0, column], grid[1, column], measured, which)
            grid[0, column].set_title(f"{SETS[which]}", loc="left", fontsize=9.5)
        handles = [
            grid[0, 0].plot([], [], color=colour, label=WORDS[arm])[0] for arm, colour in COLOURS.items()
        ]
        plots.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
        _show(images, scans, sets, network)
        with written_whole(path) as temporary, temporary.open("wb") as file:
            figure.savefig(file, format="png", dpi=100)


def _plot(precision: Axes, freely: Axes, measured: Mapping[str, Measured], which: str) -> None:
    """Both curves by the frozen detector: a line for every network."""
    names = {NORMAL: [f"{which}-{NORMAL}"], LOW: [f"{which}-{LOW}"]}
    names |= {arm: [Cell(which, network, arm).name for network in NETWORKS] for arm in (BASE, LID)}
    for arm, cells in names.items():
        for name in cells:
            if name not in measured:
                continue
            (recall, found), (rate, sensitivity) = curves(measured[name], FROZEN)
            width = 2.0 if arm in (NORMAL, LOW) else 1.0
            precision.plot(recall, found, color=COLOURS[arm], linewidth=width)
            freely.plot(rate, sensitivity, color=COLOURS[arm], linewidth=width, drawstyle="steps-post")
    precision.set_xlabel("recall")
    precision.set_ylabel("precision, overlap 0.5")
    precision.set_xlim(0, 1)
    precision.set_ylim(0, 1.02)
    freely.set_xlabel("false positives a crop")
    freely.set_ylabel("sensitivity, overlap 0.5")
    freely.set_xscale("log")
    freely.set_xlim(0.02, 8)
    freely.set_ylim(0, 1.02)


def _show(images: SubFigure, scans: Scans, sets: list[str], network: str) -> None:
    """One lesion of every set: low dose, both ways to denoise, normal dose."""
    images.suptitle(
        f"{NETWORKS[network]}: the middle lesion of the test by size", x=0.01, ha="left", fontsize=10
    )
    grid = images.subplots(len(sets), 4, squeeze=False)
    for row, which in enumerate(sets):
        crop = _typical(crops(scans, which, 3 if network == "ssms" else 1))
        shown = {LOW: crop.noisy[len(crop.noisy) // 2], NORMAL: crop.target}
        for arm in (BASE, LID):
            cell = Cell(which, network, arm)
            if model_folder(scans, cell).is_dir():
                shown[arm] = denoised(cell, model_folder(scans, cell), [crop])[0]
        for axes, arm in zip(grid[row], (LOW, BASE, LID, NORMAL), strict=True):
            low, high = WINDOWS[which]
            if arm not in shown:
                axes.set_axis_off()
                continue
            axes.imshow(shown[arm], cmap="gray", vmin=low, vmax=high)
            for y0, x0, y1, x1 in crop.lesions[:, :4]:
                axes.add_patch(
                    Rectangle(
                        (x0 - 2.5, y0 - 2.5), x1 - x0 + 4, y1 - y0 + 4, fill=False, edgecolor="#ffd24a",
                        linewidth=1.0,
                    )
                )  # fmt: skip
            axes.set_axis_off()
            if row == 0:
                axes.set_title(WORDS[arm], fontsize=9)


def _typical(tested: list[Crop]) -> Crop:
    with_lesion = [crop for crop in tested if len(crop.lesions) == 1]
    sizes = [float(np.prod(crop.lesions[0, 2:4] - crop.lesions[0, :2])) for crop in with_lesion]
    return with_lesion[int(np.argsort(sizes)[len(sizes) // 2])]
