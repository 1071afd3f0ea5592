"""The figure: noise as measured and as made, what every network leaves, and one slice of both experiments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from experiments import (
    COMPLETE,
    EXPERIMENTS,
    GENERATED,
    IMAGE_SPACE,
    L143,
    LEARNED,
    NETWORKS,
    NOISES,
    OWN,
    PAIRS,
    REAL,
    SHIPPED,
    TWIN,
    Run,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from measuring import FULL, INPUT, SHOWN, image_of
from numpy.typing import NDArray
from report import IDEAL
from scans import Scans
from training import KINDS, PATCHES, noise_folder

from lowdose.figures.drawing import INK, INPUT_COLOUR, MUTED
from lowdose.provenance import written_whole
from lowdose.quality.spectra import noise_power_spectrum, radial_average
from lowdose.quality.statistics import summarise

COLOURS = {
    LEARNED: "#0b7a8f",
    GENERATED: "#7a4fb5",
    IMAGE_SPACE: "#d6a419",
    OWN: "#5b7f1c",
    PAIRS: "#475569",
}
WINDOW = (-160.0, 240.0)
CROP = 230
HIGHEST = 0.95
"""Share of the error up to which patients have their place; who has more is a triangle there."""
TITLES = {TWIN: "Twin of the experiment, {n} patients", REAL: f"Real pairs, {L143}"}
_STYLE = {
    "font.size": 9.0, "text.color": INK, "axes.labelcolor": INK, "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": "#aab3bd", "xtick.color": MUTED, "ytick.color": MUTED,
}  # fmt: skip


def draw(results: Mapping[str, Any], scans: Scans, path: Path) -> None:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(15.0, 14.2))
        plots, noise, images = figure.subfigures(3, 1, height_ratios=[4.4, 3.0, 6.8])
        axes = plots.subplots(1, 2, gridspec_kw={"left": 0.05, "right": 0.99, "top": 0.84, "bottom": 0.11})
        for experiment, one in zip(EXPERIMENTS, axes, strict=True):
            _draw_errors(one, results["measures"][experiment], experiment)
        handles = [
            matplotlib.lines.Line2D([], [], marker="o", linestyle="", color=colour, label=NOISES[noise_])
            for noise_, colour in COLOURS.items()
        ]
        plots.legend(handles=handles, loc="upper center", ncols=len(handles), frameon=False)
        _draw_noise(noise, scans)
        _draw_images(images, scans)
        with written_whole(path) as temporary:
            figure.savefig(temporary, dpi=80, format="png")


def _draw_errors(axes: Axes, measures: Mapping[str, Any], experiment: str) -> None:
    """What is left of the error: a dot for a mean, small ones for patients."""
    for place, network in enumerate(NETWORKS):
        told = [(noise, Run(TWIN if noise == OWN else experiment, network, noise).name) for noise in COLOURS]
        shown = [(noise, name) for noise, name in told if name in measures]
        for k, (noise, name) in enumerate(shown):
            at = place + (k - (len(shown) - 1) / 2) * 0.15
            left = np.array([one["error_left"] for one in measures[name].values()])
            summary = summarise(left, np.random.default_rng(0))
            within = np.minimum(left, HIGHEST)
            for marker, some in ((".", left <= HIGHEST), ("^", left > HIGHEST)):
                axes.plot(np.full(some.sum(), at), within[some], marker, color=COLOURS[noise], markersize=3.0,
                          alpha=0.5)  # fmt: skip
            axes.plot(at, summary.mean, "o", color=COLOURS[noise], markersize=6.5)
            if summary.interval is not None:
                ends = summary.interval.low, min(summary.interval.high, HIGHEST)
                axes.plot((at, at), ends, color=COLOURS[noise], linewidth=1.6)
    axes.axhline(IDEAL, color=MUTED, linewidth=0.9, linestyle="--")
    axes.text(0.46, IDEAL - 0.005, "ideal: the full dose is noisy, too", color=MUTED, ha="center", va="top",
              transform=axes.get_yaxis_transform(), fontsize=8.0)  # fmt: skip
    axes.set_ylim(0.44, HIGHEST + 0.02)
    axes.set_xticks(range(len(NETWORKS)), NETWORKS.values())
    axes.set_ylabel("RMSE left, share of the input's")
    axes.grid(axis="y", color="#dfe4e9", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_title(TITLES[experiment].format(n=len(measures[SHIPPED])), loc="left", fontsize=10.5)


def _draw_noise(part: SubFigure, scans: Scans) -> None:
    """Spectra, and patches as measured and as made."""
    grid = part.add_gridspec(1, 4, left=0.05, right=0.99, top=0.86, bottom=0.17, width_ratios=[1, 1, 1, 1],
                             wspace=0.2)  # fmt: skip
    for k, experiment in enumerate(EXPERIMENTS):
        axes = part.add_subplot(grid[0, 2 * k])
        samples = {"measured": None, **dict.fromkeys(KINDS)}
        for noise in KINDS:
            with np.load(noise_folder(scans.work, experiment, noise) / PATCHES) as kept:
                samples["measured"], samples[noise] = kept["real"], kept["made"]
        for name, patches in samples.items():
            spectrum = radial_average(noise_power_spectrum(patches.astype(float), (1.0, 1.0)), (1.0, 1.0))
            share = spectrum.power / spectrum.power.sum()
            axes.plot(
                spectrum.frequencies, share, color=COLOURS.get(name, INPUT_COLOUR),
                label=NOISES.get(name, name), linewidth=3.0 if name == "measured" else 1.5,
            )  # fmt: skip
        axes.set_xlim(0.0, 0.5)
        axes.set_ylim(bottom=0.0)
        axes.set_yticks([])
        axes.set_xlabel("frequency in 1/pixel")
        axes.legend(frameon=False, fontsize=8.0)
        axes.set_title(f"Noise power, {experiment}", loc="left", fontsize=10.5)
        tiles = part.add_subplot(grid[0, 2 * k + 1])
        tiles.imshow(_tiles(samples), cmap="gray", vmin=-3.0, vmax=3.0)
        tiles.set_axis_off()
        tiles.set_title("patches: measured, VAE, WGAN-GP", loc="left", fontsize=9.0)


def _tiles(samples: Mapping[str, Any], n: int = 6) -> NDArray[np.floating[Any]]:
    """A row of patches of every sample, each over its standard deviation, with white lines between."""
    rows = []
    for patches in samples.values():
        chosen = [patch / patch.std() for patch in patches[:n]]
        rows.append(np.hstack([np.pad(patch, 1, constant_values=3.0) for patch in chosen]))
    return np.vstack(rows)


def _draw_images(part: SubFigure, scans: Scans) -> None:
    columns = [
        (INPUT, "a quarter of the dose"),
        *((noise, "") for noise in COLOURS if noise != OWN),
        (FULL, "the scan itself"),
    ]
    low, high = (f"{edge:g}".replace("-", "\N{MINUS SIGN}") for edge in WINDOW)
    part.suptitle(f"{NETWORKS[COMPLETE]}, {low} to {high} HU", x=0.005, y=0.995, ha="left", fontsize=10.5)
    grid = part.add_gridspec(
        2, len(columns), left=0.02, right=0.998, top=0.92, bottom=0.005, wspace=0.02, hspace=0.03
    )
    for row, experiment in enumerate(EXPERIMENTS):
        for column, (key, title) in enumerate(columns):
            axes = part.add_subplot(grid[row, column])
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            if row == 0:
                axes.set_title(title or NOISES[key], fontsize=9.0)
            if column == 0:
                axes.set_ylabel(SHOWN[experiment])
            name = Run(experiment, COMPLETE, key).name if key in NOISES else key
            path = image_of(scans, experiment, name)
            if path.exists():
                axes.imshow(_cropped(np.load(path)), cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1])
            else:
                axes.text(0.5, 0.5, "no true pairs\nto learn from", ha="center", va="center", color=MUTED)
                axes.set_box_aspect(1.0)


def _cropped(hu: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """The middle."""
    places = [slice(max(0, (n - CROP) // 2), max(0, (n - CROP) // 2) + CROP) for n in hu.shape]
    return hu[tuple(places)]
