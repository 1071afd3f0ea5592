"""All that was found in one record, and the tables of README.md from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from experiments import FAITHFUL, NETWORKS, PLANTED_ERASERS_MM, SHIPPED, Study
from explaining import explanations
from pictures import draw
from scipy.stats import mannwhitneyu

from lowdose.invariances.candidates import DIRECT, SAMPLED, SWEPT
from lowdose.invariances.evidence import CONVICTED
from lowdose.invariances.probes import VISIBLE
from lowdose.provenance import package_versions, write_json, written_whole

BEGIN, END = "<!-- results: written by study.py -->", "<!-- end of results -->"
A_TRIAL = "A trial at small size: only tables and figure are its own; the words are about the full study."
SEARCHES = (DIRECT, SAMPLED)
LABELS = {name: network.label for name, network in NETWORKS.items()} | {SHIPPED: SHIPPED}

Record = dict[str, Any]


def report(work: Path, study: Study, folder: Path, out: Path) -> None:
    """results.json, figure.png and the tables of the page into `out`."""
    found = {name: explanations(work, name, study) for name in ("identity", *study.explained)}
    results = gathered(found, study)
    write_json(out / "results.json", results)
    page = (folder / "README.md").read_text(encoding="utf-8")
    if out != folder:
        page = f"> {A_TRIAL}\n\n{page}"
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    with written_whole(out / "README.md") as temporary:
        text = f"{before}{BEGIN}\n\n{tables(results)}\n\n{END}{after}"
        temporary.write_text(text, encoding="utf-8")
    draw(work, study, out / "figure.png")


def gathered(found: Mapping[str, list[Record]], study: Study) -> Record:
    """All numbers of the tables."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": package_versions(),
        "methods": {name: of_method(some) for name, some in found.items() if some},
        "planted": {analysis: judged(found, score) for analysis, score in ANALYSES.items()},
        "lesions": lesions_judged(found),
        "test": list(study.test),
    }


def of_method(explained: Sequence[Record]) -> Record:
    """Of one method, over all test scans."""
    places = [place for one in explained for place in one["places"]]
    lesions = [shape for one in explained for shape in one["lesions"]]
    directions = [direction for one in explained for direction in one["directions"]]
    ignored = [shape for shape in lesions if shape["ignored"]]
    return {
        "places": len(places),
        "convicting": {who: sum(times >= CONVICTED for times in changes(places, who)) for who in SEARCHES},
        "searched": {who: len(changes(places, who)) for who in SEARCHES},
        "largest": {who: max(changes(places, who), default=0.0) for who in SEARCHES},
        "seen": sum(shape["visible"] >= VISIBLE for shape in lesions),
        "ignored": len(ignored),
        "largest_ignored_mm": max((shape["diameter_mm"] for shape in ignored), default=None),
        "directions": len(directions),
        "altering": sum(one["alters_anatomy"] for one in directions),
        "noise": {
            tissue: [float(np.mean([one[key] for one in kept])) for key in ("input", "output", "correlation")]
            for tissue, kept in by_tissue(explained).items()
        },
        "gates_failed": sorted(
            {gate["name"] for one in explained for gate in one["gates"] if not gate["passed"]}
        ),
        "verdicts": [one["verdict"] for one in explained],
        "convicted": [one["convicted"] for one in explained],
    }  # fmt: skip


def changes(places: Sequence[Record], who: str) -> list[float]:
    """The largest change that `who` found at each place where it looked, and its gates passed."""
    return [place["found"][who] for place in places if who in place["found"]]


def by_tissue(explained: Sequence[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for one in explained:
        for kept in one["noise"]:
            found.setdefault(kept["tissue"], []).append(kept)
    return found


def ranked(who: str) -> Any:
    """The largest change of every place where `who` looked."""
    return lambda one: changes(one["places"], who)


def directed(who: str, search: str) -> Any:
    """How much more a structure changes than by noise along the worst unanswered direction of every place.

    Nothing where all directions are answered; `search` tells where `who` looked.
    """

    def scores(one: Record) -> list[float]:
        found = {_where(place): 0.0 for place in one["places"] if search in place["found"]}
        for direction in one["directions"]:
            if direction["found_by"] == who and direction["response"] <= 1:
                found[_where(direction)] = max(found[_where(direction)], direction["times_noise"])
        return list(found.values())

    return scores


def _where(one: Record) -> tuple[int, int, int]:
    return one["z"], one["y"], one["x"]


ANALYSES = {
    "by rank, direct search": ranked(DIRECT),
    "by rank, learned representation": ranked(SAMPLED),
    "by direction, direct search": directed(DIRECT, DIRECT),
    "by direction, learned representation": directed(SWEPT, SAMPLED),
}


def judged(found: Mapping[str, list[Record]], score: Any) -> Record:
    """How well places of erasers are told from places of faithful methods."""
    guilty = [value for name in PLANTED_ERASERS_MM for one in found.get(name, []) for value in score(one)]
    innocent = [value for name in FAITHFUL for one in found.get(name, []) for value in score(one)]
    return {"auc": auc(guilty, innocent), "guilty": len(guilty), "innocent": len(innocent)}


def lesions_judged(found: Mapping[str, list[Record]]) -> Record:
    """How well lesions that are erased are told from the same lesions under faithful methods."""
    guilty = [
        1 - shape["kept"]
        for name, size in PLANTED_ERASERS_MM.items()
        for one in found.get(name, [])
        for shape in one["lesions"]
        if shape["visible"] >= VISIBLE and shape["diameter_mm"] < 0.7 * size
    ]
    innocent = [
        1 - shape["kept"]
        for name in FAITHFUL
        for one in found.get(name, [])
        for shape in one["lesions"]
        if shape["visible"] >= VISIBLE
    ]
    convicted = sum(
        shape["ignored"] for name in FAITHFUL for one in found.get(name, []) for shape in one["lesions"]
    )
    return {
        "auc": auc(guilty, innocent), "guilty": len(guilty), "innocent": len(innocent),
        "false_convictions": convicted,
    }  # fmt: skip


def auc(guilty: Sequence[float], innocent: Sequence[float]) -> float | None:
    """Area under the ROC curve; ties count half."""
    if not guilty or not innocent:
        return None
    return float(mannwhitneyu(guilty, innocent).statistic) / (len(guilty) * len(innocent))


def tables(results: Record) -> str:
    """All of them, each below what it shows."""
    return "\n\n".join(
        (
            "### Convicting the right ones",
            "Places under erasers against places under methods that must be acquitted: area under the ROC "
            "curve. Where a gate fails the learned representation says nothing, and its places are left out.",
            planted_table(results),
            "### What each ignores",
            findings_table(results),
            "### Noise",
            "Standard deviation that is left, and its correlation with the noise of the input.",
            noise_table(results),
        )
    )


def planted_table(results: Record) -> str:
    rows = ["| analysis | AUC | places of erasers | places of others |", "|---|---|---|---|"]
    for name, one in {**results["planted"], "planted lesions": results["lesions"]}.items():
        value = "–" if one["auc"] is None else f"{one['auc']:.2f}"
        rows.append(f"| {name} | {value} | {one['guilty']} | {one['innocent']} |")
    methods = results["methods"]
    faithful = [methods[name] for name in FAITHFUL if name in methods]
    wrong = sum(one["convicting"][who] for one in faithful for who in SEARCHES)
    total = sum(one["searched"][who] for one in faithful for who in SEARCHES)
    lesions = results["lesions"]
    told = (
        f"Faithful methods convicted: {wrong} of {total} searches; {lesions['false_convictions']} of "
        f"{lesions['innocent']} planted lesions."
    )
    return "\n".join([*rows, "", told])


def findings_table(results: Record) -> str:
    rows = [
        "| method | places, direct | largest | places, learned | largest | directions that alter anatomy "
        "| lesions ignored | up to | gates failed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in results["methods"].items():
        ignored = one["largest_ignored_mm"]
        rows.append(
            f"| {LABELS.get(name, name)} "
            f"| {_convicting(one, DIRECT)} | {_convicting(one, SAMPLED)} "
            f"| {one['altering']} of {one['directions']} | {one['ignored']} of {one['seen']} "
            f"| {'–' if ignored is None else f'{ignored:g} mm'} | {', '.join(one['gates_failed']) or '–'} |"
        )
    return "\n".join(rows)


def _convicting(one: Record, who: str) -> str:
    """Two cells: how many places convict, and the largest change."""
    n = one["searched"][who]
    return f"{one['convicting'][who]} of {n} | {one['largest'][who]:.1f} ×" if n else "– | –"


def noise_table(results: Record) -> str:
    rows = [
        "| method | lung | of the realisation | soft tissue | of the realisation |",
        "|---|---|---|---|---|",
    ]
    for name, one in results["methods"].items():
        cells = []
        for tissue in ("lung", "soft tissue"):
            kept = one["noise"].get(tissue)
            cells += (
                ["–", "–"] if kept is None else [f"{100 * kept[1] / kept[0]:.0f} %", f"{100 * kept[2]:.0f} %"]
            )
        rows.append(f"| {LABELS.get(name, name)} | {' | '.join(cells)} |")
    return "\n".join(rows)
