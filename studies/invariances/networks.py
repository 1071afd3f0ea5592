"""The denoisers of the study, trained alike; what is there is not made again, what was stopped goes on."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import Any

import yaml
from experiments import GAIN, NETWORKS, SEED, SHIPPED, TRAINING, VALIDATION, Network, Study

from lowdose.cli.train import template_text
from lowdose.models.card import bundled_models, load_card
from lowdose.training.checkpoint import CHECKPOINT
from lowdose.training.experiment import train
from lowdose.training.plan import TrainingPlan

PLAIN = {"offset_hu": 0.0, "scale_hu": 500.0, "dose_gain": GAIN, "patch": 64,
         "drawing": {"lowest_target_dose": 1.0, "averaged": 0.0, "kernels": 0.0}}  # fmt: skip
BATCH = 8
START = "start"
KEPT = Path(__file__).parent / "networks"
"""Networks that were trained by this study at full size."""


def train_networks(data: Path, work: Path, study: Study, *, anew: bool) -> None:
    """All of them; those that are kept beside this file are taken as they are, unless `anew`."""
    for name in study.networks:
        if not anew and (KEPT / name).is_dir():
            shutil.copytree(KEPT / name, model_folder(work, name), dirs_exist_ok=True)
            continue
        for stage in (START, name):
            folder = work / "networks" / f"{name}-{stage}"
            if (folder / name).is_dir():
                continue
            print(f"training {name}: {stage}", flush=True)
            began = time.monotonic()
            plan = TrainingPlan.model_validate(plan_of(name, work, study.shorter, start=stage == START))
            train(
                plan, data, folder, resume=(folder / CHECKPOINT).exists(), max_seconds=math.inf,
                cache=work / "cache",
            )  # fmt: skip
            print(f"  {time.monotonic() - began:.0f} s", flush=True)
            (folder / CHECKPOINT).unlink(missing_ok=True)
            shutil.rmtree(folder / "cache", ignore_errors=True)


def model_folder(work: Path, name: str) -> Path:
    return work / "networks" / f"{name}-{name}" / name


def plan_of(name: str, work: Path, shorter: int, *, start: bool) -> dict[str, Any]:
    """The published recipe made small."""
    network = NETWORKS[name]
    template: dict[str, Any] = yaml.safe_load(template_text(name) or "")
    plan: dict[str, Any] = {
        "name": name, "version": "1", "summary": f"{network.label} of the study of invariances",
        "network": {"name": name, "sizes": network.sizes}, **PLAIN,
    }  # fmt: skip
    if start:
        plan |= {"losses": {"l1": 1.0}}
        n_steps, rate = network.start, 1e-3
    else:
        plan |= _published(template, network)
        plan["network"]["start"] = str(work / "networks" / f"{name}-{START}" / name)
        n_steps, rate = network.published, network.rate
    n_steps = max(2, n_steps // shorter)
    plan["schedule"] = {
        "n_steps": n_steps, "batch_size": BATCH, "learning_rate": rate, "warmup": min(50, n_steps),
        "decay": "cosine", "ema_decay": 0.99, "validate_every": n_steps, "checkpoint_every": 200,
        "selection": "last", "seed": SEED,
    }  # fmt: skip
    plan["sources"] = [
        {
            "name": source,
            "path": str(path.parent if path.suffix else path),
            "split": split,
            **_cited(source),
        }
        for split, sources in (("training", TRAINING), ("validation", VALIDATION))
        for source, path in sources.items()
    ]
    return plan


def _cited(source: str) -> dict[str, str]:
    """Licence and citation of a public scan, as the card of `ct-default` has them."""
    data = load_card(bundled_models()[SHIPPED]).data
    found = next(one for one in data if source.startswith(one.name))
    return {"licence": found.licence, "citation": found.citation}


def _published(template: dict[str, Any], network: Network) -> dict[str, Any]:
    """Losses and critics as published, with narrower critics and no warm-up: the start was one."""
    told = {
        key: template[key] for key in ("method", "losses", "perceptual", "adversarial") if key in template
    }
    if "adversarial" in told:
        adversarial = dict(told["adversarial"])
        adversarial["critics"] = [one | {"sizes": network.critic_sizes} for one in adversarial["critics"]]
        adversarial.pop("warmup", None)
        told["adversarial"] = adversarial
    return told
