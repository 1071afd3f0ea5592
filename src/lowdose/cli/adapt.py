"""`lowdose adapt`: a model for a clinic's own low-dose scans, learned without pairs."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lowdose.cli.train import MaxMinutes, Resume, Seed, need_training, seconds_of, watcher
from lowdose.cli.train_noise_model import FoundNoise, NoiseKind, evidence, found_noise

if TYPE_CHECKING:
    from lowdose.training.adaptation import Wish
    from lowdose.training.evidence import Evidence
    from lowdose.training.noise_experiment import LearnedNoise

_MOST_MEASURED = 8
"""Low-dose scans at most that are denoised and measured at the end."""


def adapt(
    low_dose: Annotated[
        list[Path],
        typer.Argument(
            metavar="LOW_DOSE_SCANS...", help="Scans as they will be denoised: one kernel, any anatomy."
        ),
    ],
    clean: Annotated[
        list[Path],
        typer.Option(
            help="Scans with less noise, of other patients: a folder with a folder for each patient, or one "
            "patient's scan. May be given several times."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new model, with its report.")],
    start: Annotated[str, typer.Option(help="The model to start from, a name or a folder.")] = "ct-default",
    name: Annotated[str, typer.Option(help="What the new model is called.")] = "ct-adapted",
    kind: Annotated[NoiseKind, typer.Option(help="How noise is learned: vae or gan.")] = NoiseKind.VAE,
    steps: Annotated[int, typer.Option(help="Batches of 12 patches to learn from.", min=1)] = 3000,
    seed: Seed = 1,
    resume: Resume = False,
    max_minutes: MaxMinutes = None,
    noise_steps: Annotated[
        int | None, typer.Option(help="Batches to learn noise from.", min=1, hidden=True)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary on standard output.")] = False,
) -> None:
    """Adapt a model to the noise of your own low-dose scans, without pairs, and see whether that helped.

    Learns the noise of the low-dose scans, puts it on the clean ones and goes on training; some minutes to an
    hour on two cores, without a GPU. The report says what the noise is like and whether the model got better.
    """
    from lowdose.cli.terminal import print_json, refuse, say

    need_training()
    from lowdose.denoising import MethodError
    from lowdose.provenance import Run
    from lowdose.training.adaptation import AdaptationError, Wish, clean_rows

    started = datetime.now(UTC)
    options = {
        "low_dose": low_dose, "clean": clean, "out": out, "start": start, "name": name, "kind": kind.value,
        "steps": steps, "seed": seed,
    }  # fmt: skip
    try:
        folder, rows = _model_with_weights(start), clean_rows(clean, seed)
    except (MethodError, AdaptationError) as error:
        refuse(str(error))
    found = found_noise(low_dose)
    wish = Wish(name=name, start=folder, kind=kind.value, noise_steps=noise_steps, n_steps=steps, seed=seed)
    learned = _adapted(wish, found, rows, out, resume=resume, max_seconds=seconds_of(max_minutes))
    if learned is None:
        say("time is up; go on with the same command and --resume")
        return
    summary = _told(wish, found, learned, out)
    Run("adapt", options, [], started, facts=summary).write(out / "run.json")
    say(f"model in {out}, with report.html; use it with: lowdose denoise INPUT OUTPUT --method {out}")
    if as_json:
        print_json(summary)


def _model_with_weights(start: str) -> Path:
    """The folder of a model to go on from; MethodError if it holds no weights."""
    from lowdose.denoising import MethodError, model_folder
    from lowdose.models.card import CARD

    folder = model_folder(start)
    if not (folder / CARD).is_file():
        raise MethodError(f"--start {start}: holds no weights to go on from; name a model folder")
    return folder


def _adapted(
    wish: Wish, found: FoundNoise, rows: tuple[Any, ...], out: Path, *, resume: bool, max_seconds: float
) -> LearnedNoise | None:
    """Learn and train; ends with one sentence where that cannot be done."""
    from lowdose.cli.terminal import give_up, refuse
    from lowdose.training.adaptation import AdaptationError, adapted
    from lowdose.training.checkpoint import CheckpointError
    from lowdose.training.export import ParityError
    from lowdose.training.loop import TrainingError
    from lowdose.training.noise_model import NoiseModelError
    from lowdose.training.plan import PlanError

    try:
        return adapted(
            wish, found.noise, rows, out, resume=resume, max_seconds=max_seconds, watcher=watcher()
        )
    except (PlanError, NoiseModelError, AdaptationError) as error:
        refuse(str(error))
    except (ParityError, TrainingError, CheckpointError, OSError) as error:
        give_up(str(error))


def _told(wish: Wish, found: FoundNoise, learned: LearnedNoise, out: Path) -> dict[str, Any]:
    """Measure the new model beside the old one, write the report and the card, and return the summary."""
    from lowdose.cli.terminal import say
    from lowdose.models.card import load_card
    from lowdose.report import write_report
    from lowdose.report.adaptation import adaptation_report, judgement, outcome
    from lowdose.training.adaptation import with_metrics

    gain = load_card(out).dose_gain or 4.0
    seen = _measured(found, wish, out, gain)
    card, before = with_metrics(out, seen, gain), load_card(wish.start).name
    page = adaptation_report(evidence(found, learned), seen, card, before, gain)
    write_report(page, out / "report.html")
    say(outcome(seen, before, gain))
    told = [{"scan": one.name, "error_after_over_before": _number(one.improvement)} for one in seen]
    return {"model": str(out), "adaptation": judgement(seen), "scans": told}


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def _measured(found: FoundNoise, wish: Wish, out: Path, gain: float) -> list[Evidence]:
    """How the low-dose scans fare under both models, a few evenly chosen ones of many.

    Only of the first are the images kept, which the report shows.
    """
    from lowdose.cli.terminal import progress
    from lowdose.denoising import make_denoiser
    from lowdose.io import open_input
    from lowdose.training.evidence import measured

    chosen = range(0, len(found.noise), -(-len(found.noise) // _MOST_MEASURED))
    seen: list[Evidence] = []
    with progress("measuring", len(chosen), "scan") as advance:
        for k in chosen:
            path, index = found.places[k]
            with open_input(path) as opened:
                scan = opened.cases[index].scan
                assert scan is not None  # its noise was found
                before, after = (make_denoiser(str(folder), scan) for folder in (wish.start, out))
                one = measured(scan, found.noise[k], before, after, gain=gain, seed=wish.seed)
            seen.append(replace(one, shown={}) if seen else one)
            advance()
    return seen
