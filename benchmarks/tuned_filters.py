"""How much of the low dose's error the five filters leave on real pairs: as shipped, and tuned on them.

    python benchmarks/tuned_filters.py FULL LOW [--slices N] [--out FILE]

FULL and LOW are two series of the same slices at two doses. Every filter is run with its default settings and
the noise level estimated from LOW, and with every combination of a grid of settings, of which the best *on
these very pairs* is kept: a bar for a denoiser that has not seen them, not a result to be had in practice. A
strength multiplies the noise level, so the grid also runs over the noise level that a filter is told.

Protocol: RMSE to FULL in the window -160..240 HU as a share of LOW's, and the mean shift of flat soft tissue,
chosen on the smoothed FULL, in HU; both per slice, then the mean over slices. One patient is one observation.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pairs import data_set, open_pair

from lowdose.filters import FILTERS, default_settings
from lowdose.provenance import package_versions, write_json
from lowdose.quality.fidelity import rmse
from lowdose.quality.noise_level import flat_soft_tissue, scan_noise_level
from lowdose.scan import Scan

WINDOW = (-160.0, 240.0)
RESULTS = Path(__file__).parent / "results" / "tuned_filters.json"

GRIDS: Mapping[str, Mapping[str, Sequence[float]]] = {
    "gaussian": {"sigma_px": np.round(np.arange(0.4, 1.21, 0.02), 2).tolist()},
    "median": {"size_px": [3, 5, 7]},
    "wiener": {"size_px": [3, 5, 7, 9], "strength": [0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 1.75]},
    "total-variation": {"strength": np.round(np.arange(0.3, 1.35, 0.05), 2).tolist()},
    "non-local-means": {
        "strength": [0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8],
        "patch_px": [3, 5, 7],
        "search_px": [2, 3, 4, 5, 7],
    },
}


class Pair(NamedTuple):
    """One slice at two doses, what may be counted, and what the low dose misses the full dose by, in HU."""

    full: NDArray[np.float32]
    low: NDArray[np.float32]
    measured: NDArray[np.bool_]
    soft: NDArray[np.bool_]
    error: float


class Score(NamedTuple):
    left: float
    shift_hu: float
    ms_per_slice: float
    settings: Mapping[str, float]


def read_pairs(full: Scan, low: Scan, n_slices: int) -> list[Pair]:
    """At most `n_slices` evenly spaced slices of both scans, padding replaced by air."""
    pairs = []
    for z in sorted({int(z) for z in (np.arange(n_slices) + 0.5) * len(full) / n_slices}):
        truth, noisy = full.read(z), low.read(z)
        measured = ~(truth.padding | noisy.padding)
        error = rmse(truth.hu, noisy.hu, WINDOW, measured)
        soft = flat_soft_tissue(truth.hu, ~measured)
        pairs.append(Pair(truth.hu, np.where(measured, noisy.hu, np.float32(-1000)), measured, soft, error))
    return pairs


def score(name: str, pairs: Sequence[Pair], noise: float, settings: Mapping[str, float]) -> Score:
    left, shift, seconds = [], [], []
    for pair in pairs:
        start = time.perf_counter()
        filtered = FILTERS[name](pair.low, noise=noise, **settings)
        seconds.append(time.perf_counter() - start)
        left.append(rmse(pair.full, filtered, WINDOW, pair.measured) / pair.error)
        if pair.soft.any():
            shift.append(float(np.mean((filtered - pair.low)[pair.soft], dtype=np.float64)))
    mean_shift = float(np.mean(shift)) if shift else float("nan")
    return Score(float(np.mean(left)), mean_shift, 1e3 * float(np.median(seconds)), settings)


def combinations(grid: Mapping[str, Sequence[float]]) -> Iterator[dict[str, float]]:
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def as_row(tuned: str, result: Score) -> str:
    settings = ", ".join(f"{key} {value:.3g}" for key, value in result.settings.items())
    numbers = f"{result.left:8.3f}  {result.shift_hu:+10.2f}  {result.ms_per_slice:8.0f}"
    return f"{tuned:>16}  {numbers}  {settings}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("full", type=Path, help="the full-dose series")
    parser.add_argument("low", type=Path, help="the same slices at a lower dose")
    parser.add_argument("--slices", type=int, default=16, help="how many slices, evenly spaced (default 16)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the numbers go")
    arguments = parser.parse_args()
    with open_pair(arguments.full, arguments.low) as (full, low):
        noise = scan_noise_level(low)
        noise_full = scan_noise_level(full)
        pairs = read_pairs(full, low, arguments.slices)

    print(f"{len(pairs)} pairs, noise {noise_full:.1f} HU (full) and {noise:.1f} HU (low)")
    print(f"{'':>16}  {'RMSE left':>8}  {'shift, HU':>9}  {'ms/slice':>8}  settings")
    results: dict[str, dict[str, Mapping[str, object]]] = {}
    for name, grid in GRIDS.items():
        usual = score(name, pairs, noise, default_settings(name, noise))
        on_the_grid = [score(name, pairs, noise, settings) for settings in combinations(grid)]
        tuned = min([usual, *on_the_grid], key=lambda result: result.left)
        print(name)
        print(as_row("default", usual))
        print(as_row("tuned", tuned))
        results[name] = {"default": usual._asdict(), "tuned": tuned._asdict()}

    summary = {
        "what": "share of the low dose's RMSE to the full dose that a filter leaves, mean over slices",
        "window_hu": WINDOW,
        "pairs": data_set(arguments.full),
        "n_slices": len(pairs),
        "noise_full_hu": noise_full,
        "noise_low_hu": noise,
        "filters": results,
        "versions": package_versions(),
    }
    write_json(arguments.out, summary)


if __name__ == "__main__":
    main()
