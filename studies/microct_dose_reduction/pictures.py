"""The figure: a mouse and the phantom by every method, and what was measured of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import measures
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from measures import Mask
from measuring import HIGH, LOW, METHODS, REFERENCE, RUNGS, TV, truth_of
from numpy.typing import NDArray
from report import CLEAR
from scans import Bench, read_volume

COLOURS = {
    LOW: "#94a3b8",
    HIGH: "#475569",
    "Gaussian 2-D": "#b0305c",
    "median 2-D": "#d6a419",
    "Wiener 2-D": "#5b7f1c",
    "Gaussian 3-D": "#e08aa6",
    "median 3-D": "#ead07a",
    "Wiener 3-D": "#a9c46c",
    TV: "#7a4fb5",
    "2-D U-Net": "#0b7a8f",
    "3-D U-Net": "#e2622a",
}
SHOWN = (LOW, "Gaussian 2-D", "median 2-D", "Wiener 2-D", TV, "2-D U-Net", "3-D U-Net", HIGH)
WITHOUT = "without noise"
WINDOW = (-250.0, 450.0)
"""HU shown from and to, in all images."""
BODY_MM, ZOOM_MM = 28.0, 8.0
SMALL = ("vessels", "fat pad")
HIGH_ROD, LOW_ROD = "bone", "iodine 1"
_GREY = "#64707d"


def draw(results: dict[str, Any], bench: Bench, work: Path, measured: Path, path: Path) -> None:
    matplotlib.rcParams.update({"font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(17.5, 13.2))
    images, key, plots = figure.subfigures(3, 1, height_ratios=[6.4, 0.3, 6.5])
    _draw_images(images, bench, work, measured)
    marks = [Line2D([], [], color=COLOURS[name], marker="o", label=name) for name in METHODS]
    key.legend(handles=marks, loc="center", ncols=len(marks), frameon=False, columnspacing=1.6)
    grid = plots.add_gridspec(2, 3, left=0.045, right=0.99, top=0.955, bottom=0.085, hspace=0.36, wspace=0.17)
    methods = results["phantom"]["methods"]
    _draw_scatter(plots.add_subplot(grid[0, 0]), methods, results)
    _draw_f50(plots.add_subplot(grid[0, 1]), methods)
    _draw_spectra(plots.add_subplot(grid[0, 2]), methods)
    _draw_ladder(plots.add_subplot(grid[1, 0]), results)
    _draw_factors(plots.add_subplot(grid[1, 1]), results)
    _draw_vessels(plots.add_subplot(grid[1, 2]), results)
    figure.savefig(path, dpi=85)


def _draw_images(part: SubFigure, bench: Bench, work: Path, measured: Path) -> None:
    mouse = bench.of_split("test")[0].name
    truth = truth_of(bench.of_split("test")[0], work)
    small = np.isin(truth.labels, [truth.names.index(name) + 1 for name in SMALL])
    z, place = _busiest(small, truth.body, bench)
    z_rods = measures.Sections(bench.grid()).slices("sensitometry")
    rows: list[tuple[str, NDArray[np.floating[Any]], int, tuple[float, float], float]] = [
        (mouse, truth.noise_free, z, (0.0, 0.0), BODY_MM),
        (mouse, truth.noise_free, z, place, ZOOM_MM),
        ("phantom", read_volume(work / "phantom" / "noise-free.nii"), (z_rods.start + z_rods.stop) // 2,
         (0.0, 0.0), 29.0),
    ]  # fmt: skip
    columns = (*SHOWN, WITHOUT)
    low, high = (f"{edge:g}".replace("-", "\N{MINUS SIGN}") for edge in WINDOW)
    grid = part.add_gridspec(
        3, len(columns), left=0.028, right=0.998, top=0.905, bottom=0.01, wspace=0.03, hspace=0.03
    )
    part.suptitle(
        f"A test mouse, a detail of it, and the phantom, one scan each; {low} to {high} HU. Filters and "
        "iterative TV are set to the noise of the 2-D U-Net, or as near to it as they come",
        fontsize=12.0, x=0.005, y=0.99, ha="left",
    )  # fmt: skip
    for row, (name, clean, at, centre, side) in enumerate(rows):
        for column, method in enumerate(columns):
            axes = part.add_subplot(grid[row, column])
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_box_aspect(1.0)
            axes.spines[:].set_visible(False)
            if column == 0:
                axes.set_ylabel(("whole slice", "detail", "phantom")[row])
            if row == 0:
                axes.set_title(method, fontsize=9.5)
            image = clean[at] if method == WITHOUT else _kept(measured, f"{name}-{method}", at)
            axes.imshow(
                _crop(image, bench.voxel, centre, side), cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1],
                interpolation="nearest" if side > ZOOM_MM else "bicubic",
            )  # fmt: skip


def _kept(measured: Path, name: str, z: int) -> NDArray[np.int16]:
    kept: NDArray[np.int16] = np.load(measured / "images" / f"{name.replace(' ', '-')}.npy", mmap_mode="r")[z]
    return kept


def _busiest(small: Mask, body: Mask, bench: Bench) -> tuple[int, tuple[float, float]]:
    """The slice and the place (y, x) in mm where a detail shows most edges of small structures."""
    side, margin = 2 * round(ZOOM_MM / 2 / bench.voxel), len(small) // 8
    n_y, n_x = small.shape[1:]
    best, found = -1.0, (len(small) // 2, (0.0, 0.0))
    for z in range(margin, len(small) - margin, 2):
        edges = np.zeros((n_y, n_x))
        edges[1:, 1:] = np.diff(small[z], axis=0)[:, 1:] | np.diff(small[z], axis=1)[1:]
        inside = _box_sums(body[z].astype(np.float64), side) == side**2
        sums = np.where(inside, _box_sums(edges, side), -1.0)
        y, x = np.unravel_index(sums.argmax(), sums.shape)
        if sums[y, x] > best:
            best = float(sums[y, x])
            middle = (
                float(y + side // 2 - n_y // 2) * bench.voxel,
                float(x + side // 2 - n_x // 2) * bench.voxel,
            )
            found = z, middle
    return found


def _box_sums(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Sums over all squares of `side` pixels, by their first corners."""
    sums = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    return np.asarray(sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side])


def _crop(image: NDArray[Any], voxel: float, centre: tuple[float, float], side: float) -> NDArray[Any]:
    half = round(side / 2 / voxel)
    y, x = (n // 2 + round(at / voxel) for n, at in zip(image.shape, centre, strict=True))
    return image[max(0, y - half) : y + half, max(0, x - half) : x + half]


def _draw_scatter(axes: Axes, methods: dict[str, Any], results: dict[str, Any]) -> None:
    """Noise against resolution: what is lower and farther right is better."""
    for name, row in methods.items():
        for rod, filled in ((LOW_ROD, True), (HIGH_ROD, False)):
            found = row["rods"][rod]
            if found["f50"] is None or (found.get("cnr_of_the_mean") or 0) < CLEAR:
                continue
            axes.errorbar(
                found["f50"], row["noise"], xerr=found["f50_standard_error"] or 0.0,
                fmt="o" if filled else "s", markersize=7.5, color=COLOURS[name],
                markerfacecolor=COLOURS[name] if filled else "white", markeredgewidth=1.6,
            )  # fmt: skip
    f50 = methods[HIGH]["rods"][HIGH_ROD]["f50"]  # of the reconstruction, which knows no contrast
    if f50:
        noises = [rung["noise"] for rung in results["phantom"]["ladder"]["rungs"]]
        axes.plot([f50] * len(noises), noises, "-", color=COLOURS[LOW], linewidth=1.0, zorder=0)
        for rung in results["phantom"]["ladder"]["rungs"]:
            if rung["factor"] in (4.0, 16.0, 64.0):
                axes.annotate(
                    f"{rung['factor']:g} x the dose", (f50, rung["noise"]), xytext=(6, 0), color=_GREY,
                    textcoords="offset points", va="center", fontsize=8.0,
                )  # fmt: skip
                axes.plot(f50, rung["noise"], "_", color=COLOURS[LOW], markersize=8)
    axes.set_yscale("log")
    axes.set_xlabel("f50 in 1/mm: discs at +100 HU, squares at +1000 HU")
    axes.set_ylabel("noise in HU")
    axes.margins(x=0.12)
    axes.set_title("Noise and resolution on the phantom", loc="left", fontsize=10.5)


def _draw_f50(axes: Axes, methods: dict[str, Any]) -> None:
    """f50 against contrast, of rods that are clear."""
    for name, row in methods.items():
        points = sorted(
            (rod["nominal_contrast"], rod["f50"], rod["f50_standard_error"] or 0.0)
            for rod in row["rods"].values()
            if rod["f50"] is not None and (rod.get("cnr_of_the_mean") or 0) >= CLEAR
            and rod["nominal_contrast"] > 0
        )  # fmt: skip
        if not points:
            continue
        contrast, f50, error = np.array(points).T
        networks = name.endswith("U-Net")
        axes.errorbar(
            contrast, f50, yerr=error, color=COLOURS[name], marker="o", markersize=4.5,
            linewidth=2.4 if networks else 1.2, label=name, zorder=3 if networks else 2,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("contrast of the rod in HU")
    axes.set_ylabel("f50 in 1/mm")
    axes.set_title("Resolution by contrast", loc="left", fontsize=10.5)


def _draw_spectra(axes: Axes, methods: dict[str, Any]) -> None:
    for name, row in methods.items():
        f, power = (np.array(row["spectrum"][key]) for key in ("frequencies", "power"))
        share = power / max(float(np.trapezoid(power, f)), 1e-12)
        axes.plot(
            f, share, color=COLOURS[name], linewidth=2.4 if name.endswith("U-Net") else 1.3,
            label=name,
        )  # fmt: skip
    axes.set_xlabel("spatial frequency in 1/mm")
    axes.set_ylabel("noise power, area 1")
    axes.set_ylim(bottom=0.0)
    axes.set_title("Texture: the radial noise power spectrum", loc="left", fontsize=10.5)


def _draw_ladder(axes: Axes, results: dict[str, Any]) -> None:
    """The unprocessed doses, their curve, and where the methods' noise meets it."""
    ladder = results["phantom"]["ladder"]
    fit = measures.Ladder(**ladder["fits"]["noise"])
    doses = np.geomspace(RUNGS[0], RUNGS[-1], 200)
    axes.plot(doses, np.sqrt(fit.variance(doses)), color=_GREY, linewidth=1.2)
    axes.plot(
        [rung["factor"] for rung in ladder["rungs"]], [rung["noise"] for rung in ladder["rungs"]], "o",
        color=_GREY, markersize=5, label="without denoising",
    )  # fmt: skip
    for name in (REFERENCE, "3-D U-Net"):
        row = results["phantom"]["methods"][name]
        factor = results["phantom"]["equivalent_doses"][name]["noise"]["factor"]
        if factor is None:
            continue
        axes.plot([1.0, factor], [row["noise"]] * 2, color=COLOURS[name], linewidth=2.0)
        axes.plot([factor] * 2, [row["noise"], axes.get_ylim()[0]], ":", color=COLOURS[name])
        axes.plot(factor, row["noise"], "D", color=COLOURS[name], label=f"{name}: {factor:.0f} x")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(lambda value, _pos: f"{value:g}")
    axes.set_xlabel("dose over the low dose")
    axes.set_ylabel("noise in HU")
    axes.legend(frameon=False)
    axes.set_title("Noise-equivalent dose (not that of readers)", loc="left", fontsize=10.5)


def _draw_factors(axes: Axes, results: dict[str, Any]) -> None:
    """CNR-equivalent dose factors by contrast."""
    contrasts = {rod.name: measures.contrast_of(rod) for rod in measures.rods()}
    for name in METHODS:
        found = results["phantom"]["equivalent_doses"].get(name)
        if found is None or name == LOW:
            continue
        points = sorted(
            (contrast, found[f"cnr {rod}"]["factor"])
            for rod, contrast in contrasts.items()
            if contrast > 0 and f"cnr {rod}" in found and found[f"cnr {rod}"]["factor"] is not None
        )
        if points:
            axes.plot(
                *np.array(points).T, "-o", color=COLOURS[name], markersize=4.5,
                linewidth=2.4 if name.endswith("U-Net") else 1.2,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _pos: f"{value:g}")
    axes.set_xlabel("contrast of the rod in HU")
    axes.set_ylabel("dose factor")
    axes.set_title("CNR-equivalent dose", loc="left", fontsize=10.5)


def _draw_vessels(axes: Axes, results: dict[str, Any]) -> None:
    """Error in the body against the contrast that vessels keep; a small dot for every test mouse."""
    for name, rows in results["mice"]["methods"].items():
        pairs = [
            (row["vessel_contrast_kept"], row["rmse_body"])
            for row in rows.values()
            if row.get("vessel_contrast_kept") is not None
        ]
        if not pairs:
            continue
        kept, error = np.array(pairs).T
        axes.plot(kept, error, ".", color=COLOURS[name], markersize=4.0)
        axes.plot(kept.mean(), error.mean(), "o", color=COLOURS[name], markersize=8.0, label=name)
    axes.set_yscale("log")
    axes.set_xlabel("contrast of vessels, share of that without noise")
    axes.set_ylabel("error in the body in HU")
    axes.set_title("Test mice: what is left of vessels, and the error", loc="left", fontsize=10.5)
