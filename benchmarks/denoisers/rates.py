"""Learning rates: which are tried, which is the best, and those that were found before."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from entrants import GRID, HERE

from lowdose.provenance import write_json
from lowdose.training.loop import TrainingError

KNOWN = HERE / "learning_rates.json"
"""What tuning found, by network: a run takes these over where nothing they depend on has changed."""
MOST_RATES = 5

Errors = dict[str, float | None]
"""Validation error by rate; None where the loss became no number."""


def tried(rates: Sequence[float], error_of: Callable[[float], float | None]) -> Errors:
    """The error with each of `rates`, and with more of them while the best is the lowest or the highest."""
    errors: Errors = {f"{rate:g}": error_of(rate) for rate in rates}
    while len(errors) < MOST_RATES:
        wider = beyond(errors)
        if wider is None:
            break
        errors[f"{wider:g}"] = error_of(wider)
    return errors


def beyond(errors: Errors) -> float | None:
    """The next rate on the side where the best one has no neighbour, None where it has two."""
    best, all_rates = best_rate(errors), [float(rate) for rate in errors]
    if best == max(all_rates):
        return float(f"{best * GRID:.3g}")
    return float(f"{best / GRID:.3g}") if best == min(all_rates) else None


def best_rate(errors: Errors) -> float:
    """The rate with the least error; TrainingError where none has one."""
    known = {rate: error for rate, error in errors.items() if error is not None}
    if not known:
        raise TrainingError("no learning rate of the grid trains; choose a lower one")
    return float(min(known, key=lambda rate: known[rate]))


def rates_to_try(tuned: Mapping[str, Any]) -> list[float]:
    """The best rate, then the lower ones that trained, by their error."""
    errors = {float(rate): error for rate, error in tuned["errors"].items() if error is not None}
    lower = sorted((rate for rate in errors if rate < tuned["rate"]), key=lambda rate: errors[rate])
    return [tuned["rate"], *lower]


def known_tuning(name: str, conditions: str) -> dict[str, Any] | None:
    """What tuning of a network found before under the same `conditions`, a digest."""
    found = _all_known().get(name)
    if found is None or found["conditions"] != conditions:
        return None
    return {key: value for key, value in found.items() if key != "conditions"}


def keep_tuning(name: str, conditions: str, tuned: Mapping[str, Any]) -> None:
    """Keep it for other runs."""
    known = _all_known() | {name: {"conditions": conditions, **tuned}}
    write_json(KNOWN, dict(sorted(known.items())))


def _all_known() -> dict[str, Any]:
    known: dict[str, Any] = json.loads(KNOWN.read_text(encoding="utf-8")) if KNOWN.exists() else {}
    return known
