"""`lowdose train noise-model`: the noise of scans that have no clean partners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowdose.cli.train import MaxMinutes, Resume, Seed, need_training, say_progress, seconds_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lowdose.physics.noise_patches import NoisePatches
    from lowdose.report import NoiseEvidence
    from lowdose.training.noise_experiment import LearnedNoise


class NoiseKind(StrEnum):
    """The two noise models."""

    VAE = "vae"
    GAN = "gan"


def train_noise_model(
    scans: Annotated[
        list[Path], typer.Argument(metavar="SCANS...", help="Low-dose scans of one kernel, of any anatomy.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the noise model, with its report.")],
    kind: Annotated[
        NoiseKind,
        typer.Option(help="vae: a variational autoencoder of textures; gan: a generator and a critic."),
    ] = NoiseKind.VAE,
    steps: Annotated[
        int | None, typer.Option(help="Batches to learn from; 1500 with vae, 3000 with gan.", min=1)
    ] = None,
    seed: Seed = 1,
    resume: Resume = False,
    max_minutes: MaxMinutes = None,
) -> None:
    """Learn the noise of low-dose scans from patches without anatomy, to put it on clean scans.

    Name the model as `noise_model` in a plan of `lowdose train`; `lowdose adapt` does it all at once.
    """
    from lowdose.cli.terminal import give_up, refuse, say

    need_training()
    from lowdose.provenance import Run
    from lowdose.report import noise_model_report, write_report
    from lowdose.training.checkpoint import CheckpointError
    from lowdose.training.loop import TrainingError
    from lowdose.training.noise_experiment import learn_noise
    from lowdose.training.noise_model import NoiseModelError

    started = datetime.now(UTC)
    options = {"scans": scans, "out": out, "kind": kind.value, "steps": steps, "seed": seed}
    found = found_noise(scans)
    watched = partial(say_progress, measure="spreads from real noise")
    try:
        learned = learn_noise(
            found.noise, out, kind=kind.value, n_steps=steps, seed=seed, resume=resume,
            max_seconds=seconds_of(max_minutes), on_progress=watched,
        )  # fmt: skip
    except NoiseModelError as error:
        refuse(str(error))
    except (TrainingError, CheckpointError, OSError) as error:
        give_up(str(error))
    if learned is None:
        paths = " ".join(str(path) for path in scans)
        say(f"time is up; go on with: lowdose train noise-model {paths} --out {out} --resume")
        return
    write_report(noise_model_report(evidence(found, learned)), out / "report.html")
    Run("train noise-model", options, [], started).write(out / "run.json")
    say(f"noise model in {out}, with report.html; name it in a plan as noise_model: {out}")


@dataclass(frozen=True, eq=False)
class FoundNoise:
    """The noise of every scan that shows some."""

    noise: list[NoisePatches]
    places: list[tuple[Path, int]]
    """Of each its input and its number among the cases there; names alone may be shared."""
    shown: NDArray[np.float32]
    """The richest slice `[y, x]` of the first scan, in HU."""


def found_noise(paths: Sequence[Path]) -> FoundNoise:
    """The noise of the scans in `paths`; ends with the status of a failed case if there is none."""
    from lowdose.cli.terminal import give_up, say, warn
    from lowdose.io import InputError, open_input
    from lowdose.physics.noise_patches import find_noise

    noise: list[NoisePatches] = []
    places: list[tuple[Path, int]] = []
    shown: NDArray[np.float32] | None = None
    for path in paths:
        try:
            with open_input(path) as opened:
                for index, case in enumerate(opened.cases):
                    if case.scan is None:
                        warn(f"left out: {case.error}")
                        continue
                    found = find_noise(case.scan)
                    say(f"{case.scan.name}: {len(found)} patches of noise without anatomy")
                    if not len(found):
                        continue
                    if shown is None:
                        shown = case.scan.read(found.richest).hu
                    noise.append(found)
                    places.append((path, index))
        except InputError as error:
            give_up(str(error))
    if shown is None:
        give_up("no scan shows noise without anatomy; give scans with larger organs, or with smaller pixels")
    return FoundNoise(noise, places, shown)


def evidence(found: FoundNoise, learned: LearnedNoise) -> NoiseEvidence:
    """What the report is told."""
    from lowdose.report import NoiseEvidence

    kinds = {
        "vae": "variational autoencoder of textures, of which white noise is filtered",
        "gan": "generator of noise from white noise, trained against a Wasserstein critic",
    }
    card = learned.card
    return NoiseEvidence(
        kinds[card.kind], card.training, found.noise, learned.made, learned.likeness, found.shown
    )
