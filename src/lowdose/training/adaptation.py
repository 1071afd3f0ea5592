"""A model adapted to the noise of a clinic's own low-dose scans, without pairs, and whether that helped.

Task-driven denoising (TDDL, ISICDM 2020) as one run: learn the noise of low-dose scans, put it on clean scans
of other patients, go on training from a model that is there. `evidence` says whether it helped.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lowdose.models.card import CARD, MODEL_NAME, ONNX, WEIGHTS, Metric, ModelCard, load_card
from lowdose.physics.noise_patches import NoisePatches
from lowdose.provenance import written_whole
from lowdose.training.checkpoint import CHECKPOINT
from lowdose.training.dataset import PreparedScan
from lowdose.training.evidence import AFTER, BEFORE, SCAN, Evidence
from lowdose.training.experiment import train
from lowdose.training.layouts import assign_splits, patients
from lowdose.training.manifest import ManifestError, Row, write_manifest
from lowdose.training.noise_experiment import LearnedNoise, check_noise, learn_noise
from lowdose.training.noise_model import Kind
from lowdose.training.plan import PlanError, TrainingPlan
from lowdose.training.sources import Watcher, prepare_data

NOISE_MODEL = "noise-model"
_VALIDATION = 0.15
"""Share of the clean patients that weights are chosen by."""
_PATCH = 80


class AdaptationError(Exception):
    """One sentence: what does not fit, and what to do."""


@dataclass(frozen=True)
class Wish:
    """What is asked for."""

    name: str
    start: Path
    """The model folder to start from."""
    kind: Kind = "vae"
    noise_steps: int | None = None
    n_steps: int = 3000
    learning_rate: float = 3e-4
    seed: int = 1


def clean_rows(paths: Sequence[Path], seed: int) -> tuple[Row, ...]:
    """The clean scans in `paths` by patient, some for validation where there are two patients or more.

    A folder of folders holds a patient in each; anything else is one patient. AdaptationError if one is not
    there.
    """
    rows: list[Row] = []
    for path in paths:
        place = path.absolute()
        if place.is_dir() and any(entry.is_dir() for entry in place.iterdir()):
            try:
                found = patients(place).rows
            except ManifestError as error:
                raise AdaptationError(str(error)) from None
            rows += [replace(row, patient=f"{place.name}/{row.patient}") for row in found]
        elif place.exists():
            rows.append(Row(scan=place, patient=place.name, dose="own"))
        else:
            raise AdaptationError(f"{path}: not found; name folders of clean scans")
    return assign_splits(rows, validation=_VALIDATION if len(rows) > 1 else 0.0, test=0.0, seed=seed)


def plan_of(
    wish: Wish, noise_model: Path, manifest: Path, sources: Sequence[str], n_rows: int
) -> TrainingPlan:
    """The plan that goes on from the model of the wish; AdaptationError if that one sees volumes."""
    card = load_card(wish.start)
    if card.dimensions == 3:
        raise AdaptationError(
            f"{wish.start}: sees volumes, and noise is learned in single slices; start from a 2-D model"
        )
    gain = card.dose_gain or 4.0
    named = ", ".join(sources[:3]) + (f" and {len(sources) - 3} more" if len(sources) > 3 else "")
    side = math.ceil(_PATCH / card.multiple) * card.multiple
    if not re.fullmatch(MODEL_NAME, wish.name):
        raise AdaptationError(
            f"'{wish.name}' cannot be the name of a model; use small letters, digits, dots and dashes"
        )
    return TrainingPlan.model_validate(
        {
            "name": wish.name,
            "version": "1",
            "summary": f"{card.name} adapted to the noise of {named}",
            "known_limits": [
                f"Adapted to scans like {named}; on others {card.name} may do better.",
                "The anatomy that it learned from is that of the clean scans.",
                *card.known_limits,
            ],
            "not_trained_on": list(card.not_trained_on),
            "network": {"name": card.architecture, "sizes": card.sizes, "start": str(wish.start.absolute())},
            "offset_hu": card.offset_hu,
            "scale_hu": card.scale_hu,
            "trained_range_hu": list(card.trained_range_hu),
            "stored_as": "float16",
            "dose_gain": gain,
            "patch": side,
            "noise_model": str(noise_model.absolute()),
            "manifest": str(manifest.absolute()),
            "schedule": {
                "n_steps": wish.n_steps,
                "learning_rate": wish.learning_rate,
                "warmup": min(100, wish.n_steps),
                "validate_every": min(250, wish.n_steps),
                "selection": "error" if n_rows > 1 else "last",
                "seed": wish.seed,
            },
        }
    )


def adapted(
    wish: Wish,
    found: Sequence[NoisePatches],
    clean: Sequence[Row],
    folder: Path,
    *,
    resume: bool = False,
    max_seconds: float = math.inf,
    watcher: Watcher | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> LearnedNoise | None:
    """Learn the noise of `found`, put it on the `clean` scans and train; the model is in `folder` then.

    What a run that was stopped has done is not done again. None if `max_seconds` ran out first.
    AdaptationError if the clean scans are noisier than the low-dose ones; PlanError, NoiseModelError and
    TrainingError as `train` and `learn_noise` raise them.
    """
    watcher = watcher or Watcher()
    started = clock()
    run = folder / "run"
    if run.exists() and not resume:
        raise PlanError(f"{folder}: holds an adaptation; give --resume to go on with it, or another --out")
    manifest, noise_model = run / "clean.csv", run / NOISE_MODEL
    plan = plan_of(wish, noise_model, manifest, [one.source for one in found], len(clean))
    check_noise(found)
    run.mkdir(parents=True, exist_ok=True)
    write_manifest(manifest, [_relative(row, run) for row in clean])
    learned = learn_noise(
        found,
        noise_model,
        kind=wish.kind,
        n_steps=wish.noise_steps,
        seed=wish.seed,
        resume=(noise_model / CHECKPOINT).exists(),
        max_seconds=max_seconds,
        on_progress=watcher.on_progress,
    )
    if learned is None:
        return None
    data = prepare_data(plan, run, run / "cache", watcher)
    check_clean([scan.own_level for scan in data.training if isinstance(scan, PreparedScan)], learned)
    training = run / "training"
    model = train(
        plan,
        run,
        training,
        resume=(training / CHECKPOINT).exists(),
        max_seconds=max_seconds - (clock() - started),
        cache=run / "cache",
        watcher=Watcher(on_progress=watcher.on_progress),  # of the scans it has been told
    )
    if model is None:
        return None
    for name in (ONNX, WEIGHTS, CARD):
        with written_whole(folder / name) as temporary:
            shutil.copyfile(model / name, temporary)
    return learned


def _relative(row: Row, folder: Path) -> Row:
    return replace(row, scan=Path(os.path.relpath(row.scan, folder)))


def check_clean(own_levels: Sequence[float], learned: LearnedNoise) -> None:
    """AdaptationError if most clean scans are noisier than the low-dose scans: nothing could be learned."""
    own, low = float(np.median(own_levels)), float(np.median(learned.model.levels))
    if own >= low:
        raise AdaptationError(
            f"the clean scans have {own:.0f} HU of noise and the low-dose scans {low:.0f}: there is nothing "
            "to learn from them; give cleaner scans, or average their thin slices first"
        )


def with_metrics(folder: Path, evidence: Sequence[Evidence], gain: float) -> ModelCard:
    """Write what was measured onto the card in `folder` and return it."""
    metrics = []
    own = [one.at_own_dose for one in evidence if one.at_own_dose is not None]
    if own:
        before, after, noise = (float(np.mean([one[arm] for one in own])) for arm in (BEFORE, AFTER, SCAN))
        metrics.append(
            Metric(
                name="error at own dose",
                value=round(after, 3),
                unit="HU",
                protocol="low-dose scans near their own dose, against their unknown truth, estimated without "
                f"bias; -160 to 240 HU, mean over {len(own)} scans with {noise:.3g} HU of noise; before "
                f"adaptation {before:.3f}",
            )
        )
    left = [
        (one.error_left(BEFORE), one.error_left(AFTER)) for one in evidence if one.at_fraction is not None
    ]
    if left:
        before, after = np.mean(left, axis=0)
        metrics.append(
            Metric(
                name="error left",
                value=round(float(after), 4),
                unit="of the input's RMSE",
                protocol=f"low-dose scans at 1/{gain:g} of their own dose, simulated, against themselves; "
                f"-160 to 240 HU, mean over {len(left)} scans; before adaptation {before:.4f}",
            )
        )
    card = load_card(folder).model_copy(update={"metrics": tuple(metrics)})
    with written_whole(folder / CARD) as temporary:
        temporary.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card
