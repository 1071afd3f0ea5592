"""Results as tables: one row per case and arm, and a summary over cases."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowdose.provenance import written_whole
from lowdose.quality.comparison import CaseResult
from lowdose.quality.statistics import Summary, summarise

UNITS: Mapping[str, str] = {
    "rmse": "HU",
    "error_left": "share of the input's RMSE",
    "psnr": "dB",
    "ssim": "",
    "bias": "HU",
    "soft_tissue_bias": "HU",
    "noise": "HU",
    "reference_noise": "HU",
}
"""The numbers of a case that are listed and summarised, with their units."""

_COLUMNS = (
    "case",
    "arm",
    "n_slices",
    "n_pixels",
    "rmse_hu",
    "error_left",
    "psnr_db",
    "ssim",
    "bias_hu",
    "soft_tissue_bias_hu",
    "noise_hu",
    "reference_noise_hu",
    "protocol",
)


def write_cases_csv(results: Sequence[CaseResult], path: Path) -> None:
    """Write one row per case and arm, whole or not at all; cells without a number are empty.

    A text cell that a spreadsheet would take for a formula (it begins with =, +, -, @, a tab or a return)
    gets an apostrophe in front.
    """
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for result in results:
            numbers = [cell(getattr(result, name)) for name in UNITS]
            counts = [result.n_slices, result.n_pixels]
            writer.writerow(
                [
                    text_cell(result.case),
                    text_cell(result.arm),
                    *counts,
                    *numbers,
                    text_cell(str(result.protocol)),
                ]
            )


def results_summary(results: Sequence[CaseResult], generator: np.random.Generator) -> dict[str, Any]:
    """Means over cases with intervals, ready for JSON; a number that does not exist is null.

    `generator` draws the cases of the bootstrap. Several rows of one case and arm are averaged first: the
    case is the unit.
    """
    return {
        "cases": len({result.case for result in results}),
        "protocols": sorted({str(result.protocol) for result in results}),
        "arms": {
            arm: {
                name: {
                    "mean": _finite(summary.mean),
                    "unit": UNITS[name],
                    "n_cases": summary.n_cases,
                    "interval": summary.interval and [summary.interval.low, summary.interval.high],
                    "note": summary.note,
                }
                for name, summary in summaries.items()
            }
            for arm, summaries in summaries_by_arm(results, generator).items()
        },
    }


def summaries_by_arm(
    results: Sequence[CaseResult], generator: np.random.Generator
) -> dict[str, dict[str, Summary]]:
    """For every arm and number: its mean over cases, with an interval from three cases on."""
    arms: dict[str, dict[str, list[CaseResult]]] = {}
    for result in results:
        arms.setdefault(result.arm, {}).setdefault(result.case, []).append(result)
    return {
        arm: {
            name: summarise([_case_value(rows, name) for rows in cases.values()], generator) for name in UNITS
        }
        for arm, cases in arms.items()
    }


def _case_value(rows: Sequence[CaseResult], name: str) -> float:
    """One number for a case: the mean of its rows, NaN if it has none."""
    values = [getattr(row, name) for row in rows]
    return float(np.mean([math.nan if value is None else value for value in values]))


def text_cell(text: str) -> str:
    """A cell of words; one that a spreadsheet would take for a formula gets an apostrophe in front."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def cell(value: float | None) -> str:
    """A cell with a number; empty where there is none."""
    return "" if value is None or math.isnan(value) else f"{value:.6g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def plain(value: float, digits: int = 1) -> str:
    """A number for people: fixed digits, a real minus sign, words where there is none."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{digits}f}"
    return "0" + text[2:] if text.startswith("-0") and float(text) == 0.0 else text.replace("-", "−")
