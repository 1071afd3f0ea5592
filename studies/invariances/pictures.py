"""The figure: for every method the strongest pair of inputs that it answers alike."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from experiments import NETWORKS, Study
from explaining import explanation_file, explanations
from matplotlib.figure import Figure, SubFigure

from lowdose.figures.drawing import INK, MUTED
from lowdose.provenance import written_whole

_STYLE = {"font.size": 9.0, "text.color": INK}
COLUMNS = ("input", "changed_input", "output", "changed_output")
WORDS = ("input", "another input", "its output", "the other's output", "inputs differ", "outputs differ")


def draw(work: Path, study: Study, path: Path) -> None:
    """A row for each method, of the test scan with the largest change."""
    names = [name for name in study.explained if explanations(work, name, study)]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(11.5, 2.25 * len(names)), layout="constrained")
        rows = np.atleast_1d(figure.subfigures(len(names), 1))
        for row, name in zip(rows, names, strict=True):
            _draw_row(row, NETWORKS[name].label if name in NETWORKS else name, _best(work, study, name))
        with written_whole(path) as temporary, temporary.open("wb") as file:
            figure.savefig(file, format="png", dpi=100)


def _draw_row(row: SubFigure, label: str, best: tuple[float, str, dict[str, np.ndarray]] | None) -> None:
    """The pair, what becomes of it, and both differences; or that there is none."""
    if best is None:
        row.suptitle(f"{label}: no change beyond noise", x=0.005, ha="left", fontsize=9.5, color=MUTED)
        return
    times, where, images = best
    row.suptitle(f"{label}: {times:.1f} times noise, {where}", x=0.005, ha="left", fontsize=9.5)
    grid = row.subplots(1, len(WORDS))
    low, high = np.quantile(images["output"], (0.02, 0.98))
    width = max(300.0, 1.3 * float(high - low))
    middle = float(np.median(images["output"]))
    shown = [images[key] for key in COLUMNS]
    for axes, image in zip(grid, shown, strict=False):
        axes.imshow(image, cmap="gray", vmin=middle - width / 2, vmax=middle + width / 2)
    changes = (shown[1] - shown[0], shown[3] - shown[2])
    largest = max(50.0, float(np.abs(changes[0]).max()))
    for axes, change in zip(grid[4:], changes, strict=True):
        axes.imshow(change, cmap="RdBu_r", vmin=-largest, vmax=largest)
    for axes, word in zip(grid, WORDS, strict=True):
        axes.set_axis_off()
        axes.set_title(word, loc="left", fontsize=8.0, color=MUTED)


def _best(work: Path, study: Study, name: str) -> tuple[float, str, dict[str, np.ndarray]] | None:
    found = [
        (one["changes"][0]["times"], f"{one['changes'][0]['tissue']}, {patient}", patient)
        for one, patient in zip(explanations(work, name, study), study.test, strict=False)
        if one["changes"]
    ]
    if not found:
        return None
    times, where, patient = max(found)
    kept = np.load(explanation_file(work, name, patient).with_suffix(".npz"))
    return times, where, {key: kept[f"{key}-0"] for key in COLUMNS}
