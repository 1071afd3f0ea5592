"""How much of the low dose's error `ct-default` and the five filters leave on real pairs.

    python benchmarks/real_pairs.py FULL LOW

FULL and LOW are two series of the same slices at two doses. `lowdose denoise` treats LOW by each method with
its defaults; what it wrote is read again and measured. The best filter *tuned on these very pairs* is the bar
(`results/tuned_filters.json`). The shares and shifts are then computed a second time, by pydicom and numpy
alone. One patient is one observation.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from command import run_lowdose
from numpy.typing import NDArray
from pairs import data_set, open_pair, open_scan
from record import RESULTS, Finding, write
from scipy.ndimage import gaussian_filter

from lowdose.filters import FILTERS
from lowdose.quality.comparison import CaseResult, evaluate
from lowdose.quality.fidelity import Protocol

MODEL = "ct-default"
METHODS = (MODEL, *FILTERS)
WINDOW = (-160.0, 240.0)
SHIFT_HU = 1.0
AGREEMENT = 1e-3

PROTOCOL = (
    "left: RMSE to the full dose as a share of the low dose's, window -160..240 HU, per slice",
    "shift: mean of denoised - low in flat soft tissue, chosen on the smoothed full dose, in HU, per slice",
    "noise: noise level in the same tissue, in HU, per slice; then the mean of each over slices",
    "tuned: the least that any settings of the filter leave on these very pairs (tuned_filters.py)",
    "one patient; the network was not trained on it, but that it learns a gain of four (decision 0004) and "
    "the filters' defaults (filters.py) were settled with these pairs in view",
)


def per_pair(result: CaseResult, low: CaseResult) -> list[dict[str, float]]:
    """One row a slice. The shift is the difference of two biases over the same pixels."""
    slices = zip(
        result.slices.rmse / low.slices.rmse,
        result.slices.soft_tissue_bias - low.slices.soft_tissue_bias,
        result.slices.noise,
        strict=True,
    )
    return [{"left": float(a), "shift_hu": float(b), "noise_hu": float(c)} for a, b, c in slices]


def mean_of(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def independent(full: Path, low: Path, denoised: Path) -> list[tuple[float, float]]:
    """The share left and the shift of each slice from the files alone, along z; nothing of lowdose."""
    truth, noisy, clean = (_by_position(folder) for folder in (full, low, denoised))
    rows = []
    for z in sorted(truth):
        clipped = [np.clip(images[z], *WINDOW) for images in (truth, noisy, clean)]
        left = np.sqrt(np.mean((clipped[2] - clipped[0]) ** 2) / np.mean((clipped[1] - clipped[0]) ** 2))
        smooth = gaussian_filter(truth[z], 4)
        soft = (smooth > -20) & (smooth < 150) & (np.hypot(*np.gradient(smooth)) < 3)
        rows.append((float(left), float((clean[z] - noisy[z])[soft].mean())))
    return rows


def _by_position(folder: Path) -> dict[float, NDArray[np.float64]]:
    images = [pydicom.dcmread(path) for path in folder.glob("*.dcm")]
    return {
        round(float(one.ImagePositionPatient[2]), 2): one.pixel_array * float(one.RescaleSlope)
        + float(one.RescaleIntercept)
        for one in images
    }


def measured(full: Path, low: Path) -> dict[str, Any]:
    """Denoise with every method, hold the results against the full dose, twice."""
    with tempfile.TemporaryDirectory(prefix="lowdose-") as temporary, ExitStack() as opened:
        folders = {method: Path(temporary) / method for method in METHODS}
        for method, folder in folders.items():
            run_lowdose("denoise", low, folder, "--method", method)
        full_scan, low_scan = opened.enter_context(open_pair(full, low))
        arms = {method: opened.enter_context(open_scan(folder)) for method, folder in folders.items()}
        results = evaluate(full_scan, {"low": low_scan, **arms}, Protocol(window=WINDOW), input_arm="low")
        by_arm = {result.arm: result for result in results}
        pairs = {method: per_pair(by_arm[method], by_arm["low"]) for method in METHODS}
        second = {method: independent(full, low, folder) for method, folder in folders.items()}
    checks = np.array(
        [
            [abs(row["left"] - left), abs(row["shift_hu"] - shift)]
            for method in METHODS
            for row, (left, shift) in zip(_along_z(pairs[method], full_scan), second[method], strict=True)
        ]
    )
    return {
        "pairs": len(full_scan),
        "noise_full_hu": float(np.mean(by_arm["low"].slices.reference_noise)),
        "noise_low_hu": float(np.mean(by_arm["low"].slices.noise)),
        "methods": {method: {**mean_of(rows), "per_pair": rows} for method, rows in pairs.items()},
        "disagreement": {"left": float(checks[:, 0].max()), "shift_hu": float(checks[:, 1].max())},
    }


def _along_z(rows: list[dict[str, float]], scan: Any) -> list[dict[str, float]]:
    """The rows in the order of the patient's z axis."""
    return rows if scan.affine[2, 0] > 0 else rows[::-1]


def tuned_filters(pairs: str, path: Path) -> Mapping[str, float]:
    """What each filter leaves on these pairs at best; nothing where that has not been measured."""
    if not path.is_file():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["pairs"] != pairs:
        return {}
    return {name: float(result["tuned"]["left"]) for name, result in found["filters"].items()}


def findings(numbers: Mapping[str, Any]) -> list[Finding]:
    """The network against the best tuned filter, its bias, and whether both computations agree."""
    model, tuned = numbers["methods"][MODEL], numbers["tuned_left"]
    bar = min(tuned.values(), default=None)
    rows = [
        Finding(f"RMSE left by {MODEL}; target: the best tuned filter", model["left"], "", bar),
        Finding(f"soft-tissue shift of {MODEL}, without its sign", abs(model["shift_hu"]), "HU", SHIFT_HU),
        Finding(f"noise after {MODEL}", model["noise_hu"], "HU"),
        Finding("noise of the low dose", numbers["noise_low_hu"], "HU"),
        Finding("noise of the full dose", numbers["noise_full_hu"], "HU"),
    ]
    for name in FILTERS:
        rows.append(Finding(f"RMSE left by {name}, defaults", numbers["methods"][name]["left"], ""))
        if name in tuned:
            rows.append(Finding(f"RMSE left by {name}, tuned", tuned[name], ""))
    gap = numbers["disagreement"]["left"]
    return [*rows, Finding("largest disagreement with an independent computation", gap, "", AGREEMENT)]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("full", type=Path, help="the full-dose series, a folder")
    parser.add_argument("low", type=Path, help="the same slices at a lower dose, a folder")
    parser.add_argument("--out", type=Path, help="where the numbers go")
    arguments = parser.parse_args()
    name = data_set(arguments.full)
    numbers = measured(arguments.full, arguments.low)
    numbers["tuned_left"] = tuned_filters(name, RESULTS / "tuned_filters.json")
    print(f"{'method':<16} {'pair':>5} {'left':>7} {'shift, HU':>10} {'noise, HU':>10}")
    for method, result in numbers["methods"].items():
        rows = {**{str(n): row for n, row in enumerate(result["per_pair"], start=1)}, "mean": result}
        for label, row in rows.items():
            print(
                f"{method:<16} {label:>5} {row['left']:7.3f} {row['shift_hu']:+10.2f} {row['noise_hu']:10.1f}"
            )
    write("real_pairs", [f"pairs: {name}", *PROTOCOL], numbers, findings(numbers), arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
