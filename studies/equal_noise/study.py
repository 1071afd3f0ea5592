"""Resolution at equal noise: filtered back projection, filters of its images, and iterative total variation.

    python studies/equal_noise/study.py [--repeats 40] [--out FOLDER]

The MITA phantom in a clinical fan beam at a quarter of the routine dose, and a mouse in the mid-plane of a
micro-CT bench, are scanned many times. Every method is set so that it leaves half the noise of the sharp
filtered back projection in flat parts of the phantom; then the task transfer of edges and rods is measured on
the mean of all scans. Writes results.json and figure.png; about a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lowdose import filters
from lowdose.phantoms.acquisition import PhantomScanner, Protocol
from lowdose.phantoms.mita import MITA
from lowdose.phantoms.mouse import mouse
from lowdose.phantoms.phantom import Phantom
from lowdose.phantoms.primitives import upright_cylinder
from lowdose.phantoms.twins import twin
from lowdose.physics.geometry import VolumeGrid
from lowdose.physics.noise import expected_counts, line_integral_variance, measured
from lowdose.physics.noise_matching import NoiseMatchError, match_noise
from lowdose.physics.projector import Projector
from lowdose.physics.ramp import hann, nyquist
from lowdose.physics.reconstruction import fbp
from lowdose.physics.scanners import SCANNERS
from lowdose.physics.total_variation import fista_tv
from lowdose.provenance import package_versions, write_json
from lowdose.quality.resolution import NoRodError, TaskTransfer, task_transfer

Image = NDArray[np.float32]
FOLDER = Path(__file__).parent
SEED = 3
"""Of the mouse."""
N_TRIALS = 4
"""Scans on which the methods are set."""
N_GROUPS = 5
"""The scans are measured in as many groups as well, for the spread of what is measured."""
CLEAR = 8.0
"""Contrast over the noise of the mean image from which on a rod's f50 is shown."""
SHARE = 0.5
"""Of the noise of the sharp reconstruction that every method leaves."""
SHARP = "FBP, sharp"
METHODS = {
    SHARP: "#94a3b8",
    "FBP, softer window": "#475569",
    "Gaussian": "#b0305c",
    "Wiener": "#d6a419",
    "non-local means": "#5b7f1c",
    "total variation of the image": "#7a4fb5",
    "iterative total variation": "#0b7a8f",
}
"""And their colours in the figure."""


@dataclass(frozen=True)
class Task:
    """An edge or a rod whose transfer is measured; places and sizes in mm from the axis."""

    name: str
    place: tuple[float, float]
    radius: float
    reach: float
    inner: float = 0.0


@dataclass(frozen=True)
class Crop:
    """A square of the image in the figure; `place` and `half` its side in mm from the axis."""

    title: str
    place: tuple[float, float]
    half: float
    window: tuple[float, float]
    """HU shown from and to."""
    averaged: bool = False
    """Whether the mean of all scans is shown, on which transfers are measured, and not the first scan."""


@dataclass(frozen=True)
class Setting:
    """A phantom, its scan, and where it is looked at."""

    name: str
    title: str
    phantom: Phantom
    protocol: Protocol
    dose: float
    flat: tuple[tuple[float, float, float], ...]
    """Circles (y, x, radius) in mm that are uniform."""
    tasks: tuple[Task, ...]
    crops: tuple[Crop, ...]


@dataclass(frozen=True)
class Outcome:
    """What a setting showed: the noise wanted, the numbers of every method, and its crops."""

    setting: Setting
    target: float
    rows: dict[str, Any]
    shown: dict[str, list[Image]]


def mita() -> Setting:
    protocol = Protocol(SCANNERS["siemens-as+"], VolumeGrid((1, 512, 512), (3.0, 0.45, 0.45)))
    rods = tuple(
        Task(f"{rod.diameter:g} mm rod, {rod.hu:g} HU", rod.place, rod.diameter / 2, rod.diameter / 2 + 7.0)
        for rod in MITA.modules[0].inserts
    )
    return Setting(
        "mita", "MITA phantom, clinical fan beam", twin(MITA), protocol, 0.25,
        tuple((y, x, 10.0) for y, x in ((0.0, 40.0), (0.0, -40.0), (40.0, 0.0), (-40.0, 0.0))),
        (Task("rim, 1000 HU", (0.0, 0.0), 100.0, 106.0, 94.0), *rods),
        (
            Crop("rim, one scan", (69.0, 69.0), 8.0, (-1000.0, 300.0)),
            Crop("3 mm rod, mean of all scans", rods[0].place, 8.0, (-10.0, 20.0), True),
        ),
    )  # fmt: skip


def small_animal() -> Setting:
    """A mouse with rods in its liver, as dense as bone, as a vessel full of contrast agent, as a lesion."""
    fan = replace(SCANNERS["micro-ct"], geometry=SCANNERS["micro-ct"].plane)
    height, liver = 1.5, 85.0
    body = mouse(SEED)
    places = {840.0: ((-4.6, -3.4), 1.0), 240.0: ((-4.6, 3.4), 1.0), 40.0: ((-1.2, -5.0), 1.25)}
    rods = tuple(
        upright_cylinder("rod", liver + contrast, (height, *place), (radius, radius), 2.0)
        for contrast, (place, radius) in places.items()
    )
    tasks = tuple(
        Task(f"{2 * radius:g} mm rod, {contrast:g} HU", place, radius, radius + 1.2)
        for contrast, (place, radius) in places.items()
    )
    flat = ((-4.4, 0.0, 1.5), (-0.8, 0.0, 1.5), (-1.2, 4.6, 1.2))
    for y, x, radius in (*flat, *((*task.place, task.reach) for task in tasks)):
        rim = [(height, y + radius * np.cos(t), x + radius * np.sin(t)) for t in np.linspace(0, 6.2, 24)]
        assert set(body.structures_at(np.array([(height, y, x), *rim]))) == {"liver"}, (y, x)
    phantom = replace(body, solids=(*body.solids, *rods))
    return Setting(
        "mouse", "Mouse, mid-plane of a micro-CT bench", phantom,
        Protocol(fan, VolumeGrid((1, 256, 256), (0.14, 0.14, 0.14)), middle=height), 1.0,
        flat, tasks,
        (
            Crop("liver, one scan", (-3.2, 0.0), 7.5, (-300.0, 500.0)),
            Crop("40 HU rod, mean of all scans", tasks[2].place, 2.4, (liver - 30, liver + 60), True),
        ),
    )  # fmt: skip


class Bench:
    """One setting, ready to be measured: its scans and the methods with their parameter free."""

    def __init__(self, setting: Setting, repeats: int) -> None:
        self.setting, protocol = setting, setting.protocol
        scanner = protocol.scanner
        self.water, self.geometry, self.grid = scanner.water_mu, scanner.plane, protocol.grid.plane
        virtual = PhantomScanner(setting.phantom, protocol)
        exact = virtual.slice_integrals(0)
        self.truth = virtual.truth().read(0).hu
        self.air = scanner.beam(setting.dose).air_counts(self.geometry, exact)
        self.electronic = scanner.electronic
        self.sinograms = [
            measured(exact, self.air, self.electronic, np.random.default_rng([5, k])) for k in range(repeats)
        ]
        self.operator = Projector(self.grid, self.geometry)
        self.sharp = [self.reconstructed(sinogram, 1.0) for sinogram in self.sinograms]
        self.flat = np.zeros(self.grid.shape, bool)
        for y, x, radius in setting.flat:
            self.flat |= self.distance(y, x) <= radius
        self.sharp_noise = self.noise(self.sharp)
        self.target = SHARE * self.sharp_noise

    @property
    def places(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """y and x of the pixels in mm from the axis."""
        y, x = (
            (np.arange(n) - (n - 1) / 2) * d for n, d in zip(self.grid.shape, self.grid.spacing, strict=True)
        )
        return y, x

    def distance(self, y: float, x: float) -> NDArray[np.float64]:
        """Of every pixel from a place, in mm."""
        return np.asarray(np.hypot(self.places[0][:, None] - y, self.places[1] - x))

    def crops(self, images: list[Image]) -> list[Image]:
        """What the figure shows of the images of one method."""
        y, x = self.places
        shown = [np.mean(images, axis=0) if crop.averaged else images[0] for crop in self.setting.crops]
        return [
            image[np.ix_(np.abs(y - crop.place[0]) <= crop.half, np.abs(x - crop.place[1]) <= crop.half)]
            for image, crop in zip(shown, self.setting.crops, strict=True)
        ]

    def noise(self, images: Iterable[Image]) -> float:
        """Of every pixel between the scans, averaged over the flat parts: shading is no noise."""
        stack = np.stack([image[self.flat] for image in images])
        return float(np.sqrt(stack.var(axis=0, ddof=1).mean()))

    def hu(self, mu: Image) -> Image:
        return np.asarray((mu / self.water - 1) * 1000, np.float32)

    def mu(self, hu: Image) -> Image:
        return np.asarray((hu / 1000 + 1) * self.water, np.float32)

    def reconstructed(self, sinogram: Image, cutoff: float) -> Image:
        return self.hu(fbp(self.geometry, self.grid, sinogram, hann(cutoff * nyquist(self.geometry))))

    def iterated(self, k: int, strength: float) -> Image:
        """Weighted total variation by FISTA; the weights are those of the measured counts."""
        counts = expected_counts(self.sinograms[k], self.air)
        weights = 1 / line_integral_variance(counts, self.electronic)
        image = fista_tv(
            self.operator, self.sinograms[k], strength=strength, weights=weights, n_iterations=24,
            start=np.maximum(self.mu(self.sharp[k]), 0),
        )  # fmt: skip
        return self.hu(image)

    def methods(self) -> dict[str, tuple[Callable[[int, float], Image], float]]:
        """Each as a function of the scan's number and one parameter, and where to begin."""
        noise = self.sharp_noise
        return {
            "FBP, softer window": (lambda k, p: self.reconstructed(self.sinograms[k], p), 0.6),
            "Gaussian": (lambda k, p: filters.gaussian(self.sharp[k], noise=noise, sigma_px=p), 0.6),
            "Wiener": (lambda k, p: filters.wiener(self.sharp[k], noise=noise, smoothing=p), 1.0),
            "non-local means": (
                lambda k, p: filters.non_local_means(self.sharp[k], noise=noise, smoothing=p),
                0.8,
            ),
            "total variation of the image": (
                lambda k, p: filters.total_variation(self.sharp[k], noise=noise, smoothing=p),
                0.5,
            ),
            "iterative total variation": (self.iterated, 300.0),
        }


def measure(bench: Bench, images: list[Image]) -> dict[str, dict[str, Any]]:
    """f50 and contrast of every task on the mean of all images, and their spread over groups of them."""
    found: dict[str, dict[str, Any]] = {}
    for task in bench.setting.tasks:
        means = [np.mean(images, axis=0, dtype=np.float64)]
        means += [np.mean(images[first::N_GROUPS], axis=0, dtype=np.float64) for first in range(N_GROUPS)]
        try:
            whole, *groups = (transfer(bench, task, mean) for mean in means)
        except NoRodError as error:
            found[task.name] = {"note": str(error)}
            continue
        f50s = np.array([one.f50 for one in groups])
        found[task.name] = {
            "f50": finite(whole.f50),
            "standard_error": finite(float(f50s.std(ddof=1) / np.sqrt(N_GROUPS))),
            "f10": finite(whole.f10),
            "contrast": whole.contrast,
            "cnr": finite(whole.cnr),
            "overshoot": overshoot(bench, task, means[0], whole),
        }
    return found


def transfer(bench: Bench, task: Task, image: NDArray[np.float64]) -> TaskTransfer:
    first = bench.places[0][0], bench.places[1][0]
    centre = task.place[0] - first[0], task.place[1] - first[1]
    return task_transfer(image, bench.grid.spacing, centre, task.radius, reach=task.reach, inner=task.inner)


def overshoot(bench: Bench, task: Task, image: NDArray[np.float64], found: TaskTransfer) -> float:
    """By how much of its contrast the mean over rings, a pixel wide, rises above the rod inside its edge."""
    distance, width = bench.distance(*task.place), bench.grid.spacing[0]
    outside = np.median(image[(distance > task.radius + 3 * width) & (distance <= task.reach)])
    rings = [
        image[(distance > outer - width) & (distance <= outer)].mean()
        for outer in task.radius - width * np.arange(3)
    ]
    return float(max((np.array(rings) - outside) / found.contrast) - 1)


def finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if np.isfinite(value) else None


def run(setting: Setting, repeats: int) -> Outcome:
    bench = Bench(setting, repeats)
    rows: dict[str, Any] = {SHARP: {"noise": bench.sharp_noise, "tasks": measure(bench, bench.sharp)}}
    shown = {"truth": bench.crops([bench.truth]), SHARP: bench.crops(bench.sharp)}
    print(f"{setting.title}: {bench.sharp_noise:.2f} HU sharp, {bench.target:.2f} HU wanted", flush=True)
    for name, (method, start) in bench.methods().items():
        try:
            match = match_noise(
                lambda p, method=method: [method(k, p) for k in range(N_TRIALS)],  # type: ignore[misc]
                bench.noise, bench.target, start=start, tolerance=0.01,
            )  # fmt: skip
        except NoiseMatchError as error:
            rows[name] = {"note": str(error)}
            print(f"  {name}: {error}", flush=True)
            continue
        images = [method(k, match.parameter) for k in range(repeats)]
        rows[name] = {
            "parameter": match.parameter,
            "noise": bench.noise(images),
            "bias": float(
                np.mean([image[bench.flat].mean() for image in images]) - bench.truth[bench.flat].mean()
            ),
            "tasks": measure(bench, images),
        }
        shown[name] = bench.crops(images)
        f50s = ", ".join(f"{task}: {one.get('f50')}" for task, one in rows[name]["tasks"].items())
        print(f"  {name}: {rows[name]['noise']:.2f} HU, {f50s}", flush=True)
    return Outcome(setting, bench.target, rows, shown)


def draw(outcomes: list[Outcome], path: Path) -> None:
    """For each phantom its crops by every method, and below them the f50 of its tasks."""
    matplotlib.rcParams.update({"font.size": 8.5, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(15.0, 7.1 * len(outcomes)))
    for part, outcome in zip(np.atleast_1d(figure.subfigures(len(outcomes), 1)), outcomes, strict=True):
        n_rows = len(outcome.setting.crops)
        grid = part.add_gridspec(
            n_rows + 1, len(METHODS) + 1, height_ratios=[1.0] * n_rows + [1.3],
            left=0.05, right=0.995, top=0.905, bottom=0.045, wspace=0.04, hspace=0.06,
        )  # fmt: skip
        part.suptitle(
            f"{outcome.setting.title}: every method set to half the noise of the sharp FBP, which has "
            f"{outcome.rows[SHARP]['noise']:.1f} HU",
            fontsize=12.0, x=0.005, y=0.99, ha="left",
        )  # fmt: skip
        for row, crop in enumerate(outcome.setting.crops):
            for column, name in enumerate(("truth", *METHODS)):
                axes = part.add_subplot(grid[row, column])
                axes.set_xticks([])
                axes.set_yticks([])
                axes.set_box_aspect(1.0)
                axes.spines[:].set_visible(False)
                if column == 0:
                    low, high = (f"{edge:g}".replace("-", "\N{MINUS SIGN}") for edge in crop.window)
                    axes.set_ylabel(f"{crop.title.replace(', ', chr(10))}\n{low} to {high} HU")
                if row == 0:
                    axes.set_title(name, fontsize=9.0)
                if name not in outcome.shown:
                    axes.text(0.5, 0.5, "does not reach\nthis noise", ha="center", va="center")
                    continue
                axes.imshow(
                    outcome.shown[name][row], cmap="gray", vmin=crop.window[0], vmax=crop.window[1],
                    interpolation="nearest",
                )  # fmt: skip
        draw_f50(part.add_subplot(grid[n_rows, :]), outcome)
    figure.savefig(path, dpi=80)


def draw_f50(axes: Axes, outcome: Outcome) -> None:
    """Bars of the tasks that are clear by every method; one beyond the Nyquist frequency is open above."""
    rows = {name: row["tasks"] for name, row in outcome.rows.items() if "tasks" in row}
    tasks = [
        task.name
        for task in outcome.setting.tasks
        if all((row[task.name].get("cnr") or 0.0) >= CLEAR for row in rows.values())
    ]
    highest = 0.5 / outcome.setting.protocol.grid.spacing[1]
    width = 0.84 / len(rows)
    for k, (name, row) in enumerate(rows.items()):
        for place, task in enumerate(tasks):
            f50, spread = row[task]["f50"], row[task]["standard_error"] or 0.0
            at = place + (k - (len(rows) - 1) / 2) * width
            height = highest if f50 is None else f50
            axes.bar(
                at, height, 0.92 * width, color=METHODS[name], hatch="//" if f50 is None else None,
                edgecolor="white", linewidth=0.0,
                label=f"{name}, {outcome.rows[name]['noise']:.1f} HU" if place == 0 else None,
                yerr=None if f50 is None else spread, error_kw={"linewidth": 1.0},
            )  # fmt: skip
            text = "beyond Nyquist" if f50 is None else f"{f50:.2f}"
            axes.text(at, height + spread + 0.01 * highest, text, ha="center", va="bottom")
    axes.axhline(highest, color="#64707d", linewidth=0.8, linestyle="--")
    axes.text(
        len(tasks) - 0.51, 0.985 * highest, "Nyquist frequency of the pixels", ha="right", va="top",
        color="#64707d",
    )  # fmt: skip
    axes.set_xticks(range(len(tasks)), tasks)
    axes.set_xlim(-0.5, len(tasks) - 0.5)
    axes.set_ylim(0.0, 1.3 * highest)
    axes.set_ylabel("f50 in 1/mm")
    axes.legend(frameon=False, ncols=len(rows), loc="upper left", columnspacing=1.2, handlelength=1.2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=40, help="scans of each phantom (default 40)")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for results.json and figure.png")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    outcomes = [run(setting, arguments.repeats) for setting in (mita(), small_animal())]
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": package_versions(),
        "repeats": arguments.repeats,
        "share_of_noise": SHARE,
        "settings": {
            one.setting.name: {"title": one.setting.title, "dose": one.setting.dose, "methods": one.rows}
            for one in outcomes
        },
    }
    write_json(arguments.out / "results.json", record)
    draw(outcomes, arguments.out / "figure.png")


if __name__ == "__main__":
    main()
