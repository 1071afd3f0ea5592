"""From numbers by patient to tables that separate only what they can."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from entrants import IDENTITY, SHIPPED, networks
from numpy.typing import NDArray

from lowdose.quality.statistics import FEWEST_CASES, bootstrap_interval, summarise

Better = Literal["low", "high"]
Values = Mapping[str, Mapping[str, float | None]]
"""By method, then by patient."""

LEVEL = 0.95
N_RESAMPLES = 100_000
"""Many, because intervals for many comparisons reach far into the tails."""
NOT_SEPARABLE = "†"
HARDLY = 1e-9
"""Differences below this come from arithmetic."""


@dataclass(frozen=True)
class Column:
    """A number of the table: its name in the results, its title, its digits, and which way is better."""

    key: str
    title: str
    digits: int
    better: Better | None = None
    signed: bool = False

    def shown(self, value: float) -> str:
        text = f"{value:+.{self.digits}f}" if self.signed else f"{value:.{self.digits}f}"
        return text.replace("-", "\N{MINUS SIGN}")


FIDELITY = (
    Column("rmse_left", "RMSE left", 3, "low"),
    Column("rmse", "RMSE, HU", 1, "low"),
    Column("rmse_all", "RMSE of all HU", 1, "low"),
    Column("psnr", "PSNR, dB", 2, "high"),
    Column("ssim", "SSIM", 3, "high"),
    Column("vif", "VIF", 3, "high"),
)
CHARACTER = (
    Column("noise_left", "noise left", 3),
    Column("texture", "mean frequency", 2),
    Column("bias_lung", "lung, HU", 1, signed=True),
    Column("bias_fat", "fat, HU", 1, signed=True),
    Column("bias_soft_tissue", "soft tissue, HU", 1, signed=True),
    Column("bias_bone", "bone, HU", 1, signed=True),
)


def finite(value: float | None) -> float:
    """JSON's null is a number that is none."""
    return math.nan if value is None else float(value)


def separable(values: Mapping[str, NDArray[np.float64]], better: Better) -> dict[str, bool]:
    """For each method whether it is told from the best one, itself not told from itself.

    `values` hold one number for each of the same patients. A method is told from the best if the interval of
    its paired difference to it leaves out zero: at a level of 95 % for all comparisons of the column together
    (Bonferroni). Cases in which either has no number are left out.
    """
    best = best_of(values, better)
    level = 1.0 - (1.0 - LEVEL) / max(1, len(values) - 1)
    told = {}
    for name, numbers in values.items():
        difference = numbers - values[best]
        difference = difference[np.isfinite(difference)]
        if name == best or len(difference) < FEWEST_CASES or np.abs(difference).max() < HARDLY:
            told[name] = False
            continue
        interval = bootstrap_interval(
            difference, np.random.default_rng(0), level=level, n_resamples=N_RESAMPLES
        )
        told[name] = interval.low > 0.0 or interval.high < 0.0
    return told


def best_of(values: Mapping[str, NDArray[np.float64]], better: Better) -> str:
    """The method with the best mean."""
    sign = 1.0 if better == "low" else -1.0
    return min(values, key=lambda name: sign * float(np.nanmean(values[name])))


def by_patient(
    results: Mapping[str, Any], key: str, methods: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """One number of every method for every patient that any of them has, in one order."""
    patients = sorted({patient for name in methods for patient in results[name]["patients"]})
    return {
        name: np.array([finite(results[name]["patients"].get(patient, {}).get(key)) for patient in patients])
        for name in methods
    }


def marks(results: Mapping[str, Any], column: Column, ranked: Sequence[str]) -> dict[str, str]:
    """How each number is set: 'bold' for a best that all others are told from, 'dagger' for what is not told
    from the best, the best among them; nothing where no way is better.
    """
    if column.better is None or len(ranked) < 2:
        return {}
    values = by_patient(results, column.key, ranked)
    values = {name: numbers for name, numbers in values.items() if np.isfinite(numbers).any()}
    if len(values) < 2:
        return {}
    best = best_of(values, column.better)
    alike = [name for name, told in separable(values, column.better).items() if not told]
    return {best: "bold"} if alike == [best] else dict.fromkeys(alike, "dagger")


def cell(numbers: NDArray[np.float64], column: Column, mark: str | None = None) -> str:
    """Mean and interval over patients."""
    summary = summarise(numbers, np.random.default_rng(0))
    if summary.n_cases == 0:
        return ""
    text = column.shown(summary.mean)
    if mark == "bold":
        text = f"**{text}**"
    elif mark == "dagger":
        text += NOT_SEPARABLE
    if summary.interval is not None:
        text += f" [{column.shown(summary.interval.low)}, {column.shown(summary.interval.high)}]"
    return text if summary.n_cases == len(numbers) else f"{text} ({summary.n_cases})"


def groups(results: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """The methods in the order of the tables: best first in each group, by the RMSE that is left."""

    def left(name: str) -> float:
        return float(np.nanmean(by_patient(results, "rmse_left", [name])[name]))

    here = [name for name in results if name in networks()]
    others = [name for name in results if name not in networks() and name not in (SHIPPED, IDENTITY)]
    told = [
        ("Trained here, each for the same time", sorted(here, key=left)),
        ("Without training", sorted(others, key=left)),
        ("Not ranked", [name for name in (SHIPPED, IDENTITY) if name in results]),
    ]
    return [(title, names) for title, names in told if names]


def ranked_methods(results: Mapping[str, Any]) -> list[str]:
    """Those that may be best: not the input, and not a model that has seen test patients."""
    return [name for name in results if name not in (SHIPPED, IDENTITY)]


def label(name: str) -> str:
    """What a method is called in tables and figures."""
    return {IDENTITY: "input, unprocessed", SHIPPED: f"{SHIPPED} (see text)"}.get(name, name)


def patients_table(results: Mapping[str, Any], columns: Sequence[Column]) -> str:
    """Mean and 95 % interval over patients; the marks are those of the columns that have a better way."""
    ranked = ranked_methods(results)
    set_as = {column.key: marks(results, column, ranked) for column in columns}
    lines = [_row(["", *(column.title for column in columns)]), "|---|" + "---:|" * len(columns)]
    for title, names in groups(results):
        lines.append(_row([f"*{title}*", *[""] * len(columns)]))
        for name in names:
            cells = [
                cell(by_patient(results, column.key, [*results])[name], column, set_as[column.key].get(name))
                for column in columns
            ]
            lines.append(_row([label(name), *cells]))
    return "\n".join(lines)


def elsewhere_table(results: Mapping[str, Any]) -> str:
    """The phantom, the real pairs of one patient, and what a method costs."""
    heads = (
        "f50 at 400 HU, 1/mm", "f50 at 50 HU, 1/mm", "contrast of 50 HU", "real pairs: RMSE left",
        "SSIM", "shift, HU", "noise, HU", "mean frequency", "slices/s", "MB",
    )  # fmt: skip
    lines = [_row(["", *heads]), "|---|" + "---:|" * len(heads)]
    for title, names in groups(results):
        lines.append(_row([f"*{title}*", *[""] * len(heads)]))
        lines += [_row([label(name), *_elsewhere(results[name])]) for name in names]
    return "\n".join(lines)


def _elsewhere(result: Mapping[str, Any]) -> list[str]:
    rods, pair, speed = (result.get(key) or {} for key in ("rods", "pair", "speed"))

    def number(told: Mapping[str, Any], key: str, digits: int, *, signed: bool = False) -> str:
        value = finite(told.get(key))
        return Column(key, "", digits, signed=signed).shown(value) if math.isfinite(value) else ""

    f50s = []
    for contrast in ("400", "50"):
        text = number(rods, f"f50_{contrast}", 3)
        error = number(rods, f"f50_{contrast}_error", 3)
        f50s.append(f"{text} ± {error}" if text and error else text)
    return [
        *f50s,
        number(rods, "contrast_50", 1),
        number(pair, "rmse_left", 3),
        number(pair, "ssim", 3),
        number(pair, "bias", 1, signed=True),
        number(pair, "noise", 1),
        number(pair, "texture", 2),
        f"{finite(speed.get('slices_per_second')):.3g}" if speed else "",
        number(speed, "peak_mb", 0),
    ]


def training_table(results: Mapping[str, Any]) -> str:
    """What every network was, and what it did with its time."""
    heads = ("weights", "other than in its recipe", "s a step", "steps", "learning rate", "validation error")
    lines = [_row(["", *heads]), "|---|---:|---|---:|---:|---:|---:|"]
    for name, network in networks().items():
        told = results.get(name, {}).get("training")
        if told is None:
            continue
        rates = [float(rate) for rate in told["tuning"]["errors"]]
        at_edge = told["rate"] in (min(rates), max(rates))
        lines.append(
            _row(
                [
                    name,
                    f"{told['weights']:,}",
                    network.differs or "nothing",
                    f"{told['seconds_per_step']:.3f}",
                    f"{told['steps']:,}",
                    f"{told['rate']:g}" + (" (edge)" if at_edge else ""),
                    f"{told['error']:.3f}",
                ]
            )
        )
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
