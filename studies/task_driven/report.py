"""All that was measured in one record, and the tables of README.md from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from experiments import (
    EXPERIMENTS,
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
from measuring import NEW
from scans import Scans
from training import FACTS, KINDS, noise_folder

from lowdose.provenance import package_versions, written_whole
from lowdose.quality.statistics import Summary, summarise

Record = dict[str, Any]

BEGIN, END = "<!-- results: written by study.py -->", "<!-- end of results -->"
IDEAL = 0.5
"""Of the input's error, what an ideal denoiser leaves at a gain of four: the full dose is noisy, too.

Electronic noise makes it a little less.
"""
_NONE = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"


def gathered(scans: Scans) -> Record:
    """Every measure in the work folder."""

    def read(path: Path) -> Record:
        if not path.is_file():
            raise SystemExit(f"{path} is not there; run the stages before the report first")
        content: Record = json.loads(path.read_text(encoding="utf-8"))
        return content

    noise = {
        f"{experiment}-{kind}": read(noise_folder(scans.work, experiment, kind) / FACTS)
        for experiment in EXPERIMENTS
        for kind in KINDS
    }
    measures = {
        experiment: {
            name: read(scans.work / "measures" / experiment / f"{name}.json")
            for name in (SHIPPED, *(run.name for run in scans.study.tested(experiment)))
        }
        for experiment in EXPERIMENTS
    }
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": package_versions(),
        "noise": noise,
        "measures": measures,
    }


def write_tables(results: Record, path: Path) -> None:
    """Put the tables between the markers of the page at `path`."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    with written_whole(path) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n\n{tables(results)}\n\n{END}{after}", encoding="utf-8")


def tables(results: Record) -> str:
    """All of them, each below what it shows."""
    n = len(results["measures"][TWIN][SHIPPED])
    return "\n\n".join(
        (
            f"### Twin: {n} test patients",
            "Error left: RMSE to the scan itself as a share of the input's, mean over "
            "patients [95 % interval]; *gap closed*: of what the same network with true pairs gains; "
            "*less than image space*: the paired difference of the error left, in hundredths, and in how "
            "many patients; *bias*: median (largest) over patients.",
            twin_table(results),
            f"### Real pairs: {L143}",
            "One patient, so no interval. *New slices* are those that noise was not learned from.",
            real_table(results),
            "### Against RED-CNN",
            "By how much the graph convolution leaves less error than RED-CNN after the same time, in "
            "hundredths, over the patients of the twin [95 % interval], and in how many of them.",
            graph_table(results),
            "### Noise",
            noise_table(results),
        )
    )


def twin_table(results: Record) -> str:
    measures = results["measures"][TWIN]
    rows = []
    for run in _rows(TWIN, measures):
        left = _left(measures[run.name])
        best = _left(measures[Run(TWIN, run.network, PAIRS).name]).mean()
        white = _left(measures[Run(TWIN, run.network, IMAGE_SPACE).name])
        rows.append(
            (
                NETWORKS[run.network],
                NOISES[run.noise],
                interval_of(100.0 * left, 1),
                _NONE if run.noise == PAIRS else f"{100.0 * (1.0 - left.mean()) / (1.0 - best):.0f} %",
                _NONE if run.noise == IMAGE_SPACE else _less_of(white, left),
                *_bias_and_noise(measures[run.name]),
            )
        )
    rows.append((SHIPPED, "", interval_of(100.0 * _left(measures[SHIPPED]), 1), _NONE, _NONE,
                 *_bias_and_noise(measures[SHIPPED])))  # fmt: skip
    rows.append(("none", "", "100", _NONE, _NONE, _input_bias(measures[SHIPPED]), "100"))
    heads = ("network", "noise", "error left, %", "gap closed", "less than image space",
             "bias in soft tissue, HU", "noise left, %")  # fmt: skip
    return markdown(heads, rows)


def real_table(results: Record) -> str:
    measures = results["measures"][REAL]
    rows = []
    told = [(NETWORKS[run.network], NOISES[run.noise], run.name) for run in _rows(REAL, measures)]
    for network, noise, name in [*told, (SHIPPED, "", SHIPPED)]:
        (whole,) = measures[name].values()
        left, new = whole["error_left"], whole[NEW]["error_left"]
        rows.append(
            (
                network,
                noise,
                f"{100.0 * left:.1f}",
                f"{100.0 * new:.1f}",
                f"{100.0 * (1.0 - left) / (1.0 - IDEAL):.0f} %",
                *_bias_and_noise(measures[name]),
            )
        )
    rows.append(("none", "", "100", "100", "0 %", _input_bias(measures[SHIPPED]), "100"))
    heads = ("network", "noise", "error left, %", "new slices, %", "of the ideal's gain",
             "bias in soft tissue, HU", "noise left, %")  # fmt: skip
    return markdown(heads, rows)


def graph_table(results: Record) -> str:
    measures = results["measures"][TWIN]
    rows = []
    for noise in (LEARNED, IMAGE_SPACE, PAIRS):
        names = [Run(TWIN, network, noise).name for network in ("graph-convolution", "red-cnn")]
        if not measures.keys() >= {*names}:
            continue  # a trial with fewer networks
        graph, red = (_left(measures[name]) for name in names)
        rows.append((NOISES[noise], _less_of(red, graph)))
    return markdown(("noise", "less than RED-CNN"), rows)


def noise_table(results: Record) -> str:
    rows = []
    for name, told in results["noise"].items():
        experiment, kind = name.split("-", 1)
        alike = told["likeness"]
        rows.append(
            (
                experiment,
                NOISES[kind],
                f"{told['patches']} of {told['scans']}",
                f"{alike['level_ratio']:.3f}",
                f"{100.0 * alike['spectrum_mismatch']:.1f} %",
                f"{alike['correlation_length_ratio']:.3f}",
                *(
                    "{:.2f}, {:.2f}".format(*alike[key]).replace("-", _MINUS)
                    for key in ("skewness", "kurtosis")
                ),
                f"{100.0 * alike['told_apart']:.0f} %",
            )
        )
    heads = ("experiment", "model", "patches of scans", "level", "spectrum", "correlation length",
             "skewness, real and made", "kurtosis, real and made", "told apart")  # fmt: skip
    return markdown(heads, rows)


def _rows(experiment: str, measures: Mapping[str, Any]) -> list[Run]:
    """The runs of a table, network by network."""
    runs = [
        Run(TWIN if noise == OWN else experiment, network, noise) for network in NETWORKS for noise in NOISES
    ]
    return [run for run in runs if run.name in measures]


def _left(measured: Mapping[str, Any]) -> np.ndarray:
    return np.array([one["error_left"] for one in measured.values()])


def _less_of(others: np.ndarray, left: np.ndarray) -> str:
    """By how much less is left, in hundredths, with its interval, and in how many patients."""
    less = 100.0 * (others - left)
    return f"{interval_of(less, 1, signed=True)}, {(less > 0).sum()} of {len(less)}"


def _bias_and_noise(measured: Mapping[str, Any]) -> tuple[str, str]:
    """Of the patients who show soft tissue: the median bias, which one starved scan does not decide, and the
    mean share of the noise.
    """
    noise = [
        one["noise"] / one["input_noise"] for one in measured.values() if one["noise"] and one["input_noise"]
    ]
    return _median_bias(measured, "bias"), f"{100.0 * np.mean(noise):.0f}"


def _input_bias(measured: Mapping[str, Any]) -> str:
    return _median_bias(measured, "input_bias")


def _median_bias(measured: Mapping[str, Any], key: str) -> str:
    bias = [one[key] for one in measured.values() if one[key] is not None]
    told = number(float(np.median(bias)), 1, signed=True)
    return told if len(bias) == 1 else f"{told} ({number(max(bias, key=abs), 1, signed=True)})"


def interval_of(values: Sequence[float] | np.ndarray, digits: int, *, signed: bool = False) -> str:
    """Mean [low, high] over patients."""
    summary: Summary = summarise(values, np.random.default_rng(0))
    told = number(summary.mean, digits, signed=signed)
    if summary.interval is None:
        return told
    low, high = (number(end, digits, signed=signed) for end in (summary.interval.low, summary.interval.high))
    return f"{told} [{low}, {high}]"


def number(value: float, digits: int, *, signed: bool = False) -> str:
    return f"{value:{'+' if signed else ''}.{digits}f}".replace("-", _MINUS)


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
