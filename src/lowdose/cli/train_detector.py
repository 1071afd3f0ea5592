"""`lowdose train detector`: a lesion detector from scans whose lesions are known."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lowdose.cli.train import MaxMinutes, Resume, Seed, say_progress, seconds_of


def train_detector(
    lesions: Annotated[
        Path, typer.Argument(metavar="LESIONS.json", help="Scans and their lesions; see `lowdose lesions`.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the detector.")],
    steps: Annotated[int, typer.Option(help="Batches to learn from.", min=1)] = 2000,
    patch: Annotated[
        int, typer.Option(help="Pixels along a side of what it is shown at once.", min=32)
    ] = 128,
    context: Annotated[
        int, typer.Option(help="Neighbouring slices on either side; 0 for use with a denoiser.", min=0, max=3)
    ] = 0,
    window: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="HU that it sees; without it, those that suit the lesions."),
    ] = None,
    hold_back: Annotated[
        list[str] | None,
        typer.Option(metavar="PATIENT", help="For validation; repeat. Without it, every fifth patient."),
    ] = None,
    width: Annotated[int, typer.Option(help="Channels of its first layers; a multiple of 8.", min=8)] = 24,
    seed: Seed = 1,
    resume: Resume = False,
    max_minutes: MaxMinutes = None,
) -> None:
    """Train a detector on scans at their own dose.

    It is judged on patients that are held back. Name it in a plan's `lesions` to train a denoiser that keeps
    lesions findable, or find lesions with `lowdose detect`.
    """
    from lowdose.cli.terminal import counted, give_up, refuse, say

    need_detection()
    from lowdose.provenance import Run
    from lowdose.training.checkpoint import CheckpointError
    from lowdose.training.detector_experiment import DetectorPlan
    from lowdose.training.detector_experiment import train_detector as run
    from lowdose.training.lesion_sources import LesionDataError
    from lowdose.training.loop import TrainingError
    from lowdose.training.sources import Watcher

    started = datetime.now(UTC)
    sizes = (("width", width), ("context", context)) if context else (("width", width),)
    plan = DetectorPlan(
        n_steps=steps, patch=patch, window=window, sizes=sizes, validation_patients=tuple(hold_back or ()),
        seed=seed,
    )  # fmt: skip
    watcher = Watcher(
        on_scan=lambda name, index, n: say(f"reading {name} ({index + 1} of {n})"),
        on_progress=partial(say_progress, measure="of the precision lacking"),
    )
    try:
        card = run(lesions, out, plan, resume=resume, max_seconds=seconds_of(max_minutes), watcher=watcher)
    except LesionDataError as error:
        refuse(str(error))
    except (TrainingError, CheckpointError, OSError) as error:
        give_up(str(error))
    if card is None:
        say(f"time is up; go on with: lowdose train detector {lesions} --out {out} --resume")
        return
    options = {"lesions": lesions, "out": out, "steps": steps, "patch": patch, "context": context,
               "window": window, "hold_back": hold_back, "width": width, "seed": seed}  # fmt: skip
    Run("train detector", options, [], started).write(out / "run.json")
    if card.metrics is not None:
        found = card.metrics
        say(
            f"on {found.patches} patches of {counted(found.patients, 'patient')} held back: "
            f"AP-50 {found.ap_50:.2f}, AP-75 {found.ap_75:.2f}; at its threshold it finds "
            f"{found.sensitivity:.0%} of the lesions, with {found.false_positives:.2f} false positives "
            "a patch"
        )
    say(f"detector in {out}; use it with: lowdose detect INPUT {out} --out FOLDER")


def need_detection() -> None:
    """End with one sentence if what detectors take is not installed."""
    from lowdose.cli.terminal import refuse

    try:
        import lowdose.training.detector_experiment  # noqa: F401
    except ModuleNotFoundError as error:
        refuse(f"detectors need {error.name}; install it with: pip install 'lowdose[train,detect]'")
