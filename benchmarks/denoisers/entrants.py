"""Who takes part: networks with their plans, and the methods that need no training here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import lowdose.cli
from lowdose.denoising import IDENTITY
from lowdose.filters import FILTERS
from lowdose.training.plan import Source, TrainingPlan

HERE = Path(__file__).parent
SOURCES, ENTRANTS = HERE / "sources.yaml", HERE / "entrants.yaml"
SHIPPED = "ct-default"
SHIPPED_PLAN = HERE.parents[1] / "studies" / "ct_default" / "plan.yaml"
OTHERS = (SHIPPED, *FILTERS, "iterative-tv", IDENTITY)
"""The methods that are not trained here."""
GAIN = 4.0
GRID = 3.0
"""Between neighbours among the learning rates."""
SEED = 1


@dataclass(frozen=True)
class Budget:
    """How long every network may learn."""

    tuning_seconds: float = 40.0
    """With each of the learning rates."""
    training_seconds: float = 300.0
    most_steps: int | None = None
    """In place of the time, where a trial run must be short."""

    def steps(self, seconds: float, pace: float) -> int:
        """How many steps of `pace` seconds fit into `seconds`, at least one."""
        n_steps = max(1, int(seconds / pace))
        return n_steps if self.most_steps is None else min(n_steps, self.most_steps)


@dataclass(frozen=True)
class Network:
    """One network that is trained here."""

    name: str
    recipe: Mapping[str, Any]
    """What `lowdose train --template` gives, sizes as published."""
    patch: int | list[int]
    batch: int
    rate: float
    sizes: Mapping[str, Any]
    """Those that differ from the recipe's."""
    critics: Mapping[str, Any]
    """The same of all of its critics."""

    @property
    def rates(self) -> tuple[float, float, float]:
        """The learning rates that are tried first."""
        return tuple(float(f"{self.rate * GRID**power:.3g}") for power in (-1, 0, 1))  # type: ignore[return-value]

    @property
    def cycle(self) -> int:
        """Steps after which a denoiser and its critics have all learned."""
        return int((self.recipe.get("adversarial") or {}).get("critic_steps", 1))

    @property
    def differs(self) -> str:
        """What is smaller than in the recipe, in words; empty where nothing is."""
        given = self.recipe["network"].get("sizes", {})
        told = [
            f"{key.replace('_', ' ')} {value} for {given[key]}"
            for key, value in self.sizes.items()
            if value != given[key]
        ]
        if self.critics:
            told.append(
                "critics " + ", ".join(f"{key.removeprefix('n_')} {n}" for key, n in self.critics.items())
            )
        return "; ".join(told)

    def plan(self, sources: list[dict[str, Any]], n_steps: int, rate: float) -> TrainingPlan:
        """The plan of a run of `n_steps`; whatever belongs to a length is set by that number alone."""
        recipe = {key: self.recipe.get(key) for key in ("method", "losses", "perceptual")}
        adversarial = self.recipe.get("adversarial")
        if adversarial is not None:
            share = n_steps / self.recipe["schedule"]["n_steps"]
            adversarial = {
                **adversarial,
                "critics": [
                    {**critic, "sizes": {**critic.get("sizes", {}), **self.critics}}
                    for critic in adversarial["critics"]
                ],
                "warmup": round(share * adversarial.get("warmup", 0)),
            }
        return TrainingPlan.model_validate(
            {
                **recipe,
                "adversarial": adversarial,
                "name": self.name,
                "version": "benchmark",
                "summary": f"{self.name}, trained for the equal-budget benchmark.",
                "known_limits": ["Trained for minutes, to be compared and not to be used."],
                "network": {
                    "name": self.name,
                    "sizes": {**self.recipe["network"].get("sizes", {}), **self.sizes},
                },
                "dose_gain": GAIN,
                "patch": self.patch,
                "schedule": schedule(n_steps, self.cycle) | {"batch_size": self.batch, "learning_rate": rate},
                "sources": sources,
            }
        )


def schedule(n_steps: int, cycle: int) -> dict[str, Any]:
    """What a run of `n_steps` needs, of which every `cycle`-th one teaches the denoiser.

    The averaged weights look back over a tenth of the run, or over 500 steps of a long one.
    """
    n_denoiser = max(1, n_steps // cycle)
    return {
        "n_steps": n_steps,
        "warmup": max(1, min(200, n_steps // 20)),
        "decay": "cosine",
        "ema_decay": min(0.998, max(0.0, 1.0 - 10.0 / n_denoiser)),
        "validate_every": max(cycle, n_steps // 8),
        "checkpoint_every": max(1, n_steps // 10),
        "selection": "error",
        "seed": SEED,
    }


@cache
def networks() -> Mapping[str, Network]:
    """Every network of `entrants.yaml` by its name."""
    told = yaml.safe_load(ENTRANTS.read_text(encoding="utf-8"))
    return {name: _network(name, settings) for name, settings in told.items()}


def _network(name: str, settings: dict[str, Any]) -> Network:
    template = Path(lowdose.cli.__file__).parent / "templates" / f"{name}.yaml"
    recipe = yaml.safe_load(template.read_text(encoding="utf-8"))
    return Network(name, recipe, **{"sizes": {}, "critics": {}, **settings})


def sources() -> list[dict[str, Any]]:
    """What `sources.yaml` says."""
    told: list[dict[str, Any]] = yaml.safe_load(SOURCES.read_text(encoding="utf-8"))
    return told


def few_sources(root: Path) -> list[dict[str, Any]]:
    """For a trial run: two patients to train on, one to validate, all others of one source kept for tests."""
    (folders,) = (source for source in sources() if source.get("patients") == "folders")
    validation, test = folders["validation_patients"], folders["test_patients"]
    there = sorted(one.name for one in (root / folders["path"]).iterdir() if one.is_dir())
    training = [name for name in there if name not in {*validation, *test}][:2]
    kept = {*training, validation[0]}
    others = [name for name in (*test, *there) if name not in kept]
    return [{**folders, "validation_patients": validation[:1], "test_patients": list(dict.fromkeys(others))}]


def digest(*told: Any) -> str:
    """Eight letters that change with what they are made from."""
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:8]


def seen_by_shipped(patient: str, source: str) -> str | None:
    """For what the shipped model used a patient: 'training', 'validation', or None if it never saw it."""
    plan = yaml.safe_load(SHIPPED_PLAN.read_text(encoding="utf-8"))
    for told in plan["sources"]:
        one = Source.model_validate(told)
        if one.name == source:
            split = one.split_of(patient)
            return None if split == "test" else split
    return None
