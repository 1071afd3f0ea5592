"""Every method explained on every test scan; the numbers as JSON, the strongest pair of each as arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from experiments import SEED, TEST, Study

from lowdose.invariances.examples import MakeMethod
from lowdose.invariances.explain import Thoroughness, explained
from lowdose.invariances.models import FLOW_CARD, load_learned
from lowdose.invariances.sampling import Learned
from lowdose.io import only_scan
from lowdose.provenance import write_json
from lowdose.report import explanation_as_json

N_PAIRS = 3
"""Of each method and scan, that are kept as images."""


def explain_all(data: Path, work: Path, study: Study, methods: Mapping[str, MakeMethod]) -> None:
    """What is there is not made again."""
    for patient in study.test:
        for name in ("identity", *study.explained):
            path = explanation_file(work, name, patient)
            if path.exists():
                continue
            print(f"explaining {name} on {patient}", flush=True)
            with only_scan(data / TEST[patient]) as scan:
                found = explained(
                    name, methods[name], scan,
                    Thoroughness(n_slices=study.n_slices, n_places=study.n_places, seed=SEED),
                    learned_of(work, name),
                )  # fmt: skip
            print(f"  {found.verdict.sentence}", flush=True)
            pairs = {
                f"{key}-{number}": value
                for number, one in enumerate(found.findings[:N_PAIRS])
                for key, value in (
                    ("input", one.input), ("changed_input", one.candidate.input), ("output", one.output),
                    ("changed_output", one.candidate.output),
                )
            }  # fmt: skip
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez_compressed(path.with_suffix(".npz"), **pairs)
            write_json(path, explanation_as_json(found))


def explanation_file(work: Path, method: str, patient: str) -> Path:
    return work / "explanations" / f"{method}-{patient}.json"


def explanations(work: Path, method: str, study: Study) -> list[dict[str, Any]]:
    """Of all test scans."""
    paths = [explanation_file(work, method, patient) for patient in study.test]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def learned_of(work: Path, method: str) -> Learned | None:
    """The shared representation with the flow of a method; None where there is no flow."""
    folder = work / "flows" / method
    if not (folder / FLOW_CARD).exists():
        return None
    learned, _, _ = load_learned(folder)
    return learned
