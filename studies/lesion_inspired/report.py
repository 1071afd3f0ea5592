"""From what was measured to tables: in the shape of the paper's two, and what the paper does not show."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from experiments import ALONE, ARMS, BASE, LID, NETWORKS, PIXELS, SEED, SETS, Cell
from measuring import LOW, NORMAL, measures_file
from numpy.typing import NDArray
from scans import Scans

from lowdose.provenance import write_json, written_whole
from lowdose.quality.lesion_detection import (
    ImageFindings,
    Matching,
    average_precision,
    false_positives,
    froc,
    froc_score,
    match,
    over_patients,
    precision_recall,
    threshold_for,
)

Record = dict[str, Any]
Floats = NDArray[np.float64]

TRAINING, FROZEN, PRETRAINED = "own", "frozen", "pretrained"
DETECTORS = {TRAINING: "training detector", FROZEN: "frozen detector"}
A_TRIAL = "A trial at small size: only tables and figure are its own; the words are about the full study."
"""Heads the page of a smoke run."""
BEGIN, END = "<!-- results: written by study.py -->", "<!-- end of results -->"
ALLOWED = 0.25
"""False positives a crop that normal-dose images give at the threshold where false positives are counted."""
_OVERLAPS = {"AP-50": 0.5, "AP-75": 0.75}


class Measured:
    """The crops of one arm, or of no denoiser, as detectors and eyes see them."""

    def __init__(self, path: Path) -> None:
        self.told: Record = json.loads(path.read_text(encoding="utf-8"))
        self.patients = list(dict.fromkeys(self.told["patients"]))

    def images(self, detector: str, *, empty: bool = False) -> list[ImageFindings]:
        """What a detector found in every crop, or in those without a lesion alone."""
        told = self.told
        return [
            ImageFindings(
                patient,
                np.array(lesions).reshape(-1, 4),
                np.array([one[:4] for one in found]).reshape(-1, 4),
                np.array([one[4] for one in found]),
            )
            for patient, lesions, found in zip(told["patients"], told["lesions"], told[detector], strict=True)
            if not (empty and lesions)
        ]  # fmt: skip

    def matching(self, detector: str, overlap: float = 0.5) -> Matching:
        return match(self.images(detector), overlap)

    def mean(self, group: str, name: str) -> float:
        """Of a measure over all crops that have it."""
        values = [one[name] for one in self.told[group] if one is not None and one[name] is not None]
        return float(np.mean(values)) if values else float("nan")


def report(scans: Scans, folder: Path, out: Path) -> None:
    """results.json, figure.png and the tables of the page into `out`."""
    from pictures import draw

    measured = read_measures(scans)
    results = gathered(measured)
    write_json(out / "results.json", results)
    if out != folder:
        page = (folder / "README.md").read_text(encoding="utf-8")
        (out / "README.md").write_text(f"> {A_TRIAL}\n\n{page}", encoding="utf-8")
    write_tables(results, out / "README.md")
    draw(scans, measured, out / "figure.png")


def read_measures(scans: Scans) -> dict[str, Measured]:
    """By the name of the cell, and by set and arm for what is not denoised."""
    names = [cell.name for cell in scans.study.cells()]
    names += [f"{which}-{arm}" for which in scans.study.sets for arm in (NORMAL, LOW)]
    return {
        name: Measured(measures_file(scans, name)) for name in names if measures_file(scans, name).exists()
    }


def gathered(measured: Mapping[str, Measured]) -> Record:
    """All numbers of the tables."""
    cells = {name: _of_arm(one, measured) for name, one in measured.items()}
    pairs = {}
    for name, one in measured.items():
        told = one.told
        if told["network"] is None or told["arm"] == BASE:
            continue
        base = measured.get(Cell(told["set"], told["network"], BASE).name)
        if base is not None:
            pairs[name] = {key: _difference(base, one, key) for key in DETECTORS}
    return {"arms": cells, "differences": pairs}


def _of_arm(one: Measured, measured: Mapping[str, Measured]) -> Record:
    told = one.told
    normal = measured[f"{told['set']}-{NORMAL}"]
    found: Record = {"set": told["set"], "network": told["network"], "arm": told["arm"]}
    found["patients"], found["crops"] = len(one.patients), len(told["patients"])
    for detector in (TRAINING, FROZEN, PRETRAINED):
        scores = {name: average_precision(one.matching(detector, at)) for name, at in _OVERLAPS.items()}
        scores["FROC"] = froc_score(one.matching(detector))
        threshold = threshold_for(normal.matching(detector), ALLOWED)
        scores["false positives"] = false_positives(match(one.images(detector, empty=True)), threshold)
        found[detector] = scores
    found["images"] = {name: one.mean("images", name) for name in ("psnr", "ssim", "rmse", "bias")}
    names = ("correlation", "homogeneity", "energy", "rmse", "bias")
    found["regions"] = {name: one.mean("regions", name) for name in names}
    return found


def _difference(base: Measured, other: Measured, detector: str) -> Record:
    """Of AP-50, and of false positives without lesions, on the same crops, with intervals over patients."""
    first, second = base.matching(detector), other.matching(detector)
    empty = [match(one.images(detector, empty=True)) for one in (base, other)]
    threshold = threshold_for(first, ALLOWED)

    def precision(weights: Floats) -> float:
        return average_precision(second, weights) - average_precision(first, weights)

    def wrong(weights: Floats) -> float:
        return false_positives(empty[1], threshold, weights) - false_positives(empty[0], threshold, weights)

    return {
        "AP-50": _with_interval(precision, len(first.patients)),
        "false positives": _with_interval(wrong, len(empty[0].patients)),
    }


def _with_interval(statistic: Callable[[Floats], float], n: int) -> list[float | None]:
    interval = over_patients(statistic, n, np.random.default_rng(SEED))
    value = statistic(np.ones(n))
    return [value, *([None, None] if interval is None else [interval.low, interval.high])]


def curves(one: Measured, detector: str) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Precision by recall, and sensitivity by false positives a crop."""
    matching = one.matching(detector)
    return precision_recall(matching), froc(matching)


def write_tables(results: Record, path: Path) -> None:
    """Put the tables between the markers of the page at `path`."""
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    with written_whole(path) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n\n{tables(results)}\n\n{END}{after}", encoding="utf-8")


def tables(results: Record) -> str:
    """All of them, each below what it shows."""
    return "\n\n".join(
        (
            summary(results),
            "### Detection, as published → with LIDnet",
            "In the shape of the paper's table 2. Average precision in percent at an overlap of 0.50 and "
            "0.75; *input* and *normal dose* are not denoised. Bold: a change of AP-50 beyond its "
            "interval over patients.",
            *(
                part
                for key, name in DETECTORS.items()
                for part in (f"**By the {name}**", _detection(results, key))
            ),
            "### Denoising",
            "In the shape of the paper's table 3: absolute differences of the regions' correlation, "
            "homogeneity and energy to those of the normal dose, in thousandths; then PSNR in dB (in the "
            "window), SSIM in percent and RMSE in HU of whole crops; then RMSE and bias of regions in HU.",
            _denoising(results),
            "### What LIDnet changes, over patients",
            "AP-50 in points and false positives a crop without lesions, LIDnet less as published, on the "
            "same crops [95 % interval over patients]. Thresholds allow a quarter of a false positive a crop "
            "to the network as published.",
            _differences(results),
            "### Without collaboration",
            "AP-50 in percent by training / frozen detector. *Pixels*: with LIDnet's reconstruction loss in "
            "place of the perceptual one and without a detector; *alone*: the detector is not trained "
            "further.",
            _ablation(results),
        )
    )


def summary(results: Record) -> str:
    """How often LIDnet raises the average precision, by whom, and against which arm."""
    lines = []
    for key, name in DETECTORS.items():
        changes = _changes(results, key)
        raised = sum(value is not None and value > 0 for value, _, _ in changes)
        below = [one for one in changes if _is_sure(one) and (one[0] or 0) < 0]
        above = [one for one in changes if _is_sure(one) and (one[0] or 0) > 0]
        values = [100 * value for value, _, _ in changes if value is not None]
        lines.append(
            f"- By the **{name}** LIDnet raises AP-50 in {raised} of {len(changes)} pairs of network and "
            f"set, by {np.mean(values):+.1f} points on average and {np.median(values):+.1f} in the middle; "
            f"beyond its interval it is higher in {len(above)} and lower in {len(below)}. "
            + _wrong(results, key)
        )
    for arm, words in (
        (ALONE, "without collaboration"),
        (PIXELS, "with LIDnet's pixel loss and no detector"),
    ):
        told = []
        for key, name in DETECTORS.items():
            both = [
                (one[key]["AP-50"], lid[key]["AP-50"])
                for one, lid in (
                    (_arm(results, which, network, arm), _arm(results, which, network, LID))
                    for which in _sets(results)
                    for network in NETWORKS
                )
                if one is not None and lid is not None
            ]
            if both:
                more = sum(lid > one for one, lid in both)
                mean = 100 * float(np.mean([lid - one for one, lid in both]))
                told.append(f"{more} of {len(both)} ({mean:+.1f} points on average) by the {name}")
        if told:
            lines.append(f"- LIDnet's AP-50 is above that {words} in {' and in '.join(told)}.")
    return "\n".join(lines)


def _changes(results: Record, detector: str, measure: str = "AP-50") -> list[list[float | None]]:
    """LIDnet less as published: the value and its interval, of every network and set."""
    found = (
        results["differences"].get(Cell(which, network, LID).name)
        for which in _sets(results)
        for network in NETWORKS
    )
    return [one[detector][measure] for one in found if one is not None]


def _is_sure(change: list[float | None]) -> bool:
    """Whether an interval leaves zero out."""
    _, low, high = change
    return low is not None and high is not None and (low > 0 or high < 0)


def _wrong(results: Record, detector: str) -> str:
    changes = _changes(results, detector, "false positives")
    more = sum(one[1] is not None and one[1] > 0 for one in changes)
    fewer = sum(one[2] is not None and one[2] < 0 for one in changes)
    mean = float(np.mean([one[0] for one in changes if one[0] is not None]))
    return (
        f"False positives in crops without lesions change by {mean:+.2f} a crop on average, beyond the "
        f"interval to more in {more} and to fewer in {fewer}."
    )


def _arm(results: Record, which: str, network: str, arm: str) -> Record | None:
    found: Record | None = results["arms"].get(Cell(which, network, arm).name)
    return found


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _headed(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join([_row(header), _row(["---"] * len(header)), *map(_row, rows)])


def _sets(results: Record) -> list[str]:
    return [which for which in SETS if f"{which}-{NORMAL}" in results["arms"]]


def _detection(results: Record, detector: str) -> str:
    rows = []
    for which in _sets(results):
        for metric in _OVERLAPS:
            undenoised = [results["arms"][f"{which}-{arm}"][detector][metric] for arm in (LOW, NORMAL)]
            cells = [which, metric, *(f"{100 * value:.1f}" for value in undenoised)]
            for network in NETWORKS:
                base, lid = (_arm(results, which, network, arm) for arm in (BASE, LID))
                if base is None or lid is None:
                    cells.append("–")
                    continue
                values = [100 * one[detector][metric] for one in (base, lid)]
                shown = f"{values[0]:.1f} → {values[1]:.1f}"
                change = results["differences"][Cell(which, network, LID).name][detector]["AP-50"]
                cells.append(f"**{shown}**" if metric == "AP-50" and _is_sure(change) else shown)
            rows.append(cells)
    return _headed(["set", "", "input", "normal dose", *NETWORKS.values()], rows)


def _denoising(results: Record) -> str:
    rows = []
    for network, title in NETWORKS.items():
        for arm, name in ((BASE, title), (LID, "+ LIDnet")):
            cells = [name]
            for which in _sets(results):
                one = _arm(results, which, network, arm)
                cells.append("–" if one is None else _quality(one))
            rows.append(cells)
    first = [["input", *(_quality(results["arms"][f"{which}-{LOW}"]) for which in _sets(results))]]
    return _headed(["", *_sets(results)], first + rows)


def _quality(one: Record) -> str:
    regions, images = one["regions"], one["images"]
    texture = "/".join(f"{1000 * regions[name]:.0f}" for name in ("correlation", "homogeneity", "energy"))
    whole = f"{images['psnr']:.2f}/{100 * images['ssim']:.1f}/{images['rmse']:.1f}"
    return f"{texture}; {whole}; {regions['rmse']:.1f}/{regions['bias']:+.1f}"


def _differences(results: Record) -> str:
    rows = []
    for which in _sets(results):
        for network, title in NETWORKS.items():
            found = results["differences"].get(Cell(which, network, LID).name)
            if found is None:
                continue
            rows.append(
                [
                    which, title,
                    *(_interval(found[key]["AP-50"], 100, 1) for key in DETECTORS),
                    *(_interval(found[key]["false positives"], 1, 2) for key in DETECTORS),
                ]
            )  # fmt: skip
    names = list(DETECTORS.values())
    header = ["set", "network", *(f"AP-50, {n}" for n in names), *(f"false positives, {n}" for n in names)]
    return _headed(header, rows)


def _interval(values: list[float | None], scale: float, digits: int) -> str:
    value, low, high = values
    assert value is not None
    shown = f"{scale * value:+.{digits}f}"
    if low is None or high is None:
        return shown
    return f"{shown} [{scale * low:+.{digits}f}, {scale * high:+.{digits}f}]"


def _ablation(results: Record) -> str:
    rows = []
    for which in _sets(results):
        for network, title in NETWORKS.items():
            cells = [which, title]
            for arm in ARMS:
                one = _arm(results, which, network, arm)
                cells.append(
                    "–"
                    if one is None
                    else f"{100 * one[TRAINING]['AP-50']:.1f} / {100 * one[FROZEN]['AP-50']:.1f}"
                )
            rows.append(cells)
    names = {BASE: "as published", PIXELS: "pixels", ALONE: "alone", LID: "LIDnet"}
    return _headed(["set", "network", *(names[arm] for arm in ARMS)], rows)
