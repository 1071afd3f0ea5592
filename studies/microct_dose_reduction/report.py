"""All that was measured in one record, and the tables of README.md from it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import measures
import numpy as np
from comparators import NOISE_WHEN_SET, REACHED
from measuring import HIGH, LOW, METHODS, NETWORKS, READERS_RUNGS, REFERENCE, ladders_of
from scans import SPLITS, Bench

from lowdose.provenance import package_versions
from lowdose.quality.statistics import summarise

Record = dict[str, Any]

SHOWN_RODS = ("bone", "iodine 4", "iodine 2", "iodine 1", "fat")
"""Whose f50 the table gives, by their contrasts."""
FAINT = "lesion"
SHOWN_TISSUES = ("muscle", "liver", "fat pad", "lungs", "vessels", "ribs", "spine")
CLEAR = 5.0
"""Contrast over the noise of the mean image from which on a rod's f50 is given in the table."""


def gathered(bench: Bench, measured: Path) -> Record:
    """Every measure in the folder `measured`, with summaries over mice and dose factors."""

    def read(name: str) -> Record:
        path = measured / f"{name.replace(' ', '-')}.json"
        if not path.is_file():
            raise SystemExit(f"{path.name} is not there; run the stage 'measure' first")
        content: Record = json.loads(path.read_text(encoding="utf-8"))
        return content

    mice = [one.name for one in bench.of_split("test")]
    phantom = {name: read(f"phantom-{name}") for name in METHODS}
    ladder = read("ladder-phantom")
    fits = ladders_of(ladder)
    per_mouse = {name: {mouse: read(f"{mouse}-{name}") for mouse in mice} for name in METHODS}
    mouse_ladders = {mouse: read(f"ladder-{mouse}") for mouse in mice}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": package_versions(),
        "bench": {**bench.described, "mice": dict(zip(SPLITS, bench.counts, strict=True))},
        "protocol": protocol(bench),
        "phantom": {
            "settings": read("settings-phantom"),
            "methods": phantom,
            "ladder": {**ladder, "fits": {name: asdict(fit) for name, fit in fits.items()}},
            "equivalent_doses": {
                name: measures.equivalent_doses(
                    fits, row["noise"], {rod: one["cnr"] for rod, one in row["rods"].items()}
                )
                for name, row in phantom.items()
            },
        },
        "mice": {
            "settings": read("settings-mouse"),
            "methods": per_mouse,
            "ladders": mouse_ladders,
            "equivalent_doses": mouse_factors(per_mouse, mouse_ladders),
            "summaries": {name: summaries(rows) for name, rows in per_mouse.items()},
        },
    }


def protocol(bench: Bench) -> Record:
    """What every number stands for."""
    return {
        "noise, phantom": "standard deviation between repeats in a circle of "
        f"{measures.FLAT_MM:g} mm radius of the uniform section, pooled over pixels",
        "noise, mouse": "standard deviation of the error against the reconstruction without noise in flat "
        f"soft tissue, {measures.NOISE_MARGIN} voxels from the next, about the mean error of each tissue",
        "cnr": "|mean - mean around| / sqrt((s1^2 + s2^2) / 2)",
        "f50, phantom": "task transfer of the rod in the mean of all repeats and slices, 1/mm; its standard "
        "error is that between repeats",
        "f50, mouse": "transfer from the exact object to the image, over whole slices; strong edges rule it",
        "spectrum": f"noise power between repeats in squares of {measures.SPECTRUM_SIDE_MM:g} mm; peak "
        "and mean of the radial curve",
        "bias": "mean difference to the reconstruction without noise, in HU",
        "vessel_contrast_kept": "contrast of all vessel voxels over liver and muscle, as a share of that "
        "without noise",
        "dose factors": "dose without denoising over the low dose at which the noise (or the CNR) is the "
        "same, from a curve a + b / D + c / D^2 of the variance (or of 1 / CNR^2)",
        "readers' rungs": list(READERS_RUNGS),
        "unit": "the mouse; percentile bootstrap intervals over test mice",
        "voxel_mm": bench.voxel,
    }


def mouse_factors(per_mouse: Mapping[str, Mapping[str, Record]], ladders: Mapping[str, Record]) -> Record:
    """Noise and CNR dose factors of every method on every mouse, by that mouse's own ladder."""
    fits = {mouse: ladders_of(ladder) for mouse, ladder in ladders.items()}
    found: Record = {}
    for name, rows in per_mouse.items():
        found[name] = {}
        for mouse, row in rows.items():
            cnr = row["cnr_fat"]
            known = {"fat": cnr} if cnr and "cnr fat" in fits[mouse] else {}
            found[name][mouse] = measures.equivalent_doses(fits[mouse], row["noise"], known)
    return found


def summaries(rows: Mapping[str, Record]) -> Record:
    """Mean and interval over mice of every number."""
    found: Record = {}
    for key in ("noise", "cnr_fat", "vessel_contrast_kept", "rmse_body", "f50"):
        found[key] = summary([row[key] for row in rows.values()])
    tissues = dict.fromkeys(tissue for row in rows.values() for tissue in row["bias"])
    found["bias"] = {t: summary([row["bias"].get(t) for row in rows.values()]) for t in tissues}
    return found


def summary(values: Sequence[float | None]) -> Record:
    numbers = np.array([np.nan if value is None else value for value in values], np.float64)
    result = summarise(numbers, np.random.default_rng(1))
    interval = result.interval
    return {
        "mean": measures.finite(result.mean),
        "interval": None if interval is None else [interval.low, interval.high],
        "n": result.n_cases,
    }


# --- tables -----------------------------------------------------------------------------------------------


def write_tables(results: Record, path: Path) -> None:
    """Put every table between its markers in the text at `path`."""
    text = path.read_text(encoding="utf-8")
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"{path.name} has no markers for the table '{name}'")
        table = make(results)
        text = pattern.sub(lambda found, table=table: f"{found[1]}{table}{found[2]}", text)
    path.write_text(text, encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def phantom_table(results: Record) -> str:
    methods = results["phantom"]["methods"]
    contrasts = {rod.name: measures.contrast_of(rod) for rod in measures.rods()}
    head = ["", "noise (HU)", *(f"f50 at {contrasts[rod]:+.0f} HU" for rod in SHOWN_RODS)]
    head += [f"CNR at {contrasts[FAINT]:+.0f} HU", "mean of the NPS", "its peak", "bias (HU)"]
    rows = []
    for name, row in methods.items():
        f50s = [_f50(row["rods"][rod]) for rod in SHOWN_RODS]
        spectrum = row["spectrum"]
        rows.append([
            name, f"{row['noise']:.1f}", *f50s, f"{row['rods'][FAINT]['cnr']:.2f}",
            _number(spectrum["mean_frequency"], 2), _number(spectrum["peak_frequency"], 2),
            signed(row["bias"]),
        ])  # fmt: skip
    return table(head, rows)


def _f50(rod: Record) -> str:
    if rod.get("note") or (rod.get("cnr_of_the_mean") or 0.0) < CLEAR:
        return "not clear"
    if rod["f50"] is None:
        return "beyond Nyquist"
    error = rod["f50_standard_error"] or 0.0
    return f"{rod['f50']:.2f}" + (f" ± {error:.2f}" if error >= 0.005 else "")


def bars_table(results: Record) -> str:
    methods = results["phantom"]["methods"]
    frequencies = list(methods[LOW]["bars"])
    head = [
        "",
        *(f"{f} lp/mm" for f in frequencies),
        *(f"contrast kept, {rod}" for rod in (FAINT, "iodine 1")),
    ]
    rows = [
        [name, *(f"{row['bars'][f]:.2f}" for f in frequencies),
         *(f"{row['rods'][rod]['contrast_kept']:.2f}" for rod in (FAINT, "iodine 1"))]
        for name, row in methods.items()
    ]  # fmt: skip
    return table(head, rows)


def mice_table(results: Record) -> str:
    head = [
        "",
        "noise (HU)",
        "error in the body (HU)",
        "f50 (1/mm)",
        "CNR of fat pads",
        "vessel contrast kept",
    ]
    keys = (("noise", 1), ("rmse_body", 1), ("f50", 2), ("cnr_fat", 2), ("vessel_contrast_kept", 2))
    rows = [
        [name, *(_interval(found[key], digits) for key, digits in keys)]
        for name, found in results["mice"]["summaries"].items()
    ]
    return table(head, rows)


def bias_table(results: Record) -> str:
    found = {name: one["bias"] for name, one in results["mice"]["summaries"].items()}
    tissues = [tissue for tissue in SHOWN_TISSUES if tissue in found[LOW]]
    rows = [
        [name, *(_interval(bias[tissue], 1, signed) if tissue in bias else "" for tissue in tissues)]
        for name, bias in found.items()
    ]
    return table(["bias (HU)", *tissues], rows)


def dose_table(results: Record) -> str:
    phantom, mice = (results[key]["equivalent_doses"] for key in ("phantom", "mice"))
    contrasts = {rod.name: measures.contrast_of(rod) for rod in measures.rods()}
    rods = (FAINT, "iodine 1", "iodine 4")
    head = ["", "noise, phantom", *(f"CNR at {contrasts[rod]:+.0f} HU, phantom" for rod in rods)]
    head += ["noise, mice", "CNR of fat pads, mice"]
    rows = []
    for name in (HIGH, *(one for one in METHODS if one not in (LOW, HIGH))):
        over_mice = []
        for key in ("noise", "cnr fat"):
            factors = [row[key]["factor"] for row in mice[name].values() if key in row]
            over_mice.append(_interval(summary(factors), 1) if factors else "")
        cells = (_factor(phantom[name][key]) for key in ("noise", *(f"cnr {rod}" for rod in rods)))
        rows.append([name, *cells, *over_mice])
    return table(head, rows)


def settings_table(results: Record) -> str:
    """What every method was set to."""
    rows = []
    for name in METHODS:
        if name in (LOW, HIGH, *NETWORKS):
            continue
        set_up = [results[place]["settings"] for place in ("phantom", "mice")]
        cells = [_settings(one["settings"][name], one["target"]) for one in set_up]
        rows.append([name, *cells])
    return table(["", "on the phantom", "on the validation mouse"], rows)


def _settings(found: Record, target: float) -> str:
    hidden = ("noise_hu", NOISE_WHEN_SET)
    told = ", ".join(
        f"{key.replace('_', ' ')} {value:.3g}" for key, value in found.items() if key not in hidden
    )
    left = found[NOISE_WHEN_SET] / target
    return told if abs(left - 1) <= REACHED else f"{told}: comes closest, with {left:.2f} times the noise"


def _factor(one: Record) -> str:
    if one["factor"] is None:
        return "no dose"
    return f"{one['factor']:.1f}" + (" *" if one["beyond_the_ladder"] else "")


def _interval(one: Record, digits: int, form: Callable[[float, int], str] | None = None) -> str:
    if one["mean"] is None:
        return ""
    form = form or (lambda value, n: f"{value:.{n}f}")
    if one["interval"] is None:
        return form(one["mean"], digits)
    low, high = (form(value, digits) for value in one["interval"])
    return f"{form(one['mean'], digits)} ({low} to {high})"


def signed(value: float, digits: int = 1) -> str:
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text[1:] if float(f"{value:.{digits}f}") == 0 else text


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


TABLES: dict[str, Callable[[Record], str]] = {
    "settings": settings_table,
    "phantom": phantom_table,
    "bars": bars_table,
    "mice": mice_table,
    "bias": bias_table,
    "doses": dose_table,
}
assert REFERENCE in METHODS
