"""The plan of every training: the entrants of benchmarks/denoisers, with its learning rates.

CPCE's network learns by the squared error, as the others do: its critic takes hours.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from experiments import FOLDER, GAIN, PAIRS, SEED, Run, Study

from lowdose.training.plan import TrainingPlan

sys.path.append(str(FOLDER.parents[1] / "benchmarks" / "denoisers"))
from entrants import networks

STEPS = FOLDER / "steps.yaml"


def plan_of(run: Run, study: Study, root: Path, pairs: Path) -> TrainingPlan:
    """What `run` trains on; `pairs` is the manifest of the true pairs."""
    told = yaml.safe_load(STEPS.read_text(encoding="utf-8"))[run.network]
    n_steps = told["steps"] if study.most_steps is None else min(told["steps"], study.most_steps)
    plan = networks()[run.network].plan(study.clean(root), n_steps, told["rate"])
    changes: dict[str, Any] = {
        "name": run.network,
        "version": "study",
        "summary": f"{run.network}, trained for the study of task-driven denoising.",
        "dose_gain": GAIN,
        "schedule": plan.schedule.model_copy(update={"seed": SEED}),
    }
    if plan.method == "adversarial":  # its network alone: minutes are too short for its critic
        changes |= {"method": "supervised", "losses": {"mse": 1.0}, "perceptual": None, "adversarial": None}
    if run.noise == PAIRS:
        changes |= {"sources": (), "manifest": pairs}
    return plan.model_copy(update=changes)
