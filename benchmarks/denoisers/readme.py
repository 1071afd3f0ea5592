"""The tables in README.md, between their markers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entrants import SHIPPED, networks
from table import CHARACTER, FIDELITY, elsewhere_table, patients_table, training_table

from lowdose.provenance import written_whole

BEGIN, END = "<!-- results: written by benchmark.py -->", "<!-- end of results -->"


def write_readme(template: Path, path: Path, record: Mapping[str, Any]) -> None:
    """`template` with the tables of `record` between its markers, at `path`."""
    page = with_tables(template.read_text(encoding="utf-8"), tables(record))
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def with_tables(page: str, text: str) -> str:
    """The page with `text` between its markers."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def tables(record: Mapping[str, Any]) -> str:
    """All tables, each below what it shows."""
    results = record["methods"]
    n_patients = len({patient for told in results.values() for patient in told["patients"]})
    missing = [name for name in networks() if name not in results]
    parts = [
        f"### Fidelity on {n_patients} held-out patients",
        "Mean over patients [95 % interval].",
        patients_table(results, FIDELITY),
        f"### Noise, texture and bias on {n_patients} held-out patients",
        patients_table(results, CHARACTER),
        "### Phantom, real pairs of one patient, and costs",
        elsewhere_table(results),
        "### Training",
        training_table(results),
        f"{SHIPPED}: {seen_in_words(record['seen_by_the_shipped_model'])}",
        machine_in_words(record),
    ]
    if missing:
        parts.insert(0, f"Not finished, and missing here: {', '.join(missing)}.")
    return "\n\n".join(part for part in parts if part)


def seen_in_words(seen: Mapping[str, str | None]) -> str:
    """Which test patients the shipped model has seen."""
    trained, chosen, never = (
        [patient for patient, split in seen.items() if split == which]
        for which in ("training", "validation", None)
    )
    told = []
    if trained:
        told.append(f"it was trained on {len(trained)} of these patients")
    if chosen:
        told.append(f"its weights were chosen on {', '.join(chosen)}")
    if never:
        told.append(f"it has never seen {', '.join(never)}")
    return "; ".join(told) + ", and it had hours to learn. So it is not ranked."


def machine_in_words(record: Mapping[str, Any]) -> str:
    machine, budget = record["machine"], record["budget"]
    busy = [told["training"]["busy_before"] for told in record["methods"].values() if "training" in told]
    text = (
        f"{record['date'][:10]}, {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"{machine['system']}; {budget['tuning_seconds']:g} seconds with each learning rate and "
        f"{budget['training_seconds'] / 60:g} minutes of training"
    )
    if budget["most_steps"] is not None:
        text += f", cut to {budget['most_steps']} steps: a trial run, whose numbers mean nothing"
    trained = (told["training"] for told in record["methods"].values() if "training" in told)
    devices = {training["device"] for training in trained} - {"cpu"}
    if devices:
        text += f"; the steps of that time were computed on {' and '.join(sorted(devices))}"
    if busy:
        text += f"; cores in use before the paces were measured: {max(busy):.1f} at most"
    return text + "."
