"""`lowdose adapt`: a model for a clinic's own low-dose scans, learned without pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowdose.cli.train import need_training, watcher
from lowdose.cli.train_noise_model import NoiseKind, evidence, found_noise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowdose.physics.noise_patches import NoisePatches
    from lowdose.training.adaptation import Evidence

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
    seed: Annotated[int, typer.Option(help="Of all randomness.", min=0, max=2**31 - 1)] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where --out was left.")] = False,
    max_minutes: Annotated[
        float | None,
        typer.Option(metavar="MINUTES", help="Stop with a checkpoint after this long; then --resume.", min=0),
    ] = None,
    noise_steps: Annotated[
        int | None, typer.Option(help="Batches to learn noise from.", min=1, hidden=True)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary on standard output.")] = False,
) -> None:
    """Adapt a model to the noise of your own low-dose scans, without pairs, and see whether that helped.

    Learns the noise of the low-dose scans, puts it on the clean ones and goes on training; some minutes to an
    hour on two cores, without a GPU. The report says what the noise is like and whether the model got better.
    """
    from lowdose.cli.terminal import give_up, print_json, refuse, say

    need_training()
    from lowdose.denoising import MethodError, model_folder
    from lowdose.models.card import CARD, load_card
    from lowdose.report import write_report
    from lowdose.report.adaptation import adaptation_report, judgement, outcome
    from lowdose.training.adaptation import AdaptationError, Wish, adapted, clean_rows, with_metrics
    from lowdose.training.checkpoint import CheckpointError
    from lowdose.training.export import ParityError
    from lowdose.training.loop import TrainingError
    from lowdose.training.noise_model import NoiseModelError
    from lowdose.training.plan import PlanError

    try:
        folder = model_folder(start)
        if not (folder / CARD).is_file():
            raise MethodError(f"--start {start}: holds no weights to go on from; name a model folder")
        rows = clean_rows(clean, seed)
    except (MethodError, AdaptationError) as error:
        refuse(str(error))
    found, shown = found_noise(low_dose)
    wish = Wish(name=name, start=folder, kind=kind.value, noise_steps=noise_steps, n_steps=steps, seed=seed)
    seconds = float("inf") if max_minutes is None else 60 * max_minutes
    try:
        learned = adapted(wish, found, rows, out, resume=resume, max_seconds=seconds, watcher=watcher())
    except (PlanError, NoiseModelError, AdaptationError) as error:
        refuse(str(error))
    except (ParityError, TrainingError, CheckpointError, OSError) as error:
        give_up(str(error))
    if learned is None:
        say("time is up; go on with the same command and --resume")
        return
    gain = load_card(out).dose_gain or 4.0
    seen = _measured(low_dose, found, folder, out, gain, seed)
    card = with_metrics(out, seen, gain)
    label = load_card(folder).name
    page = adaptation_report(evidence(found, shown, learned), seen, card, label, gain)
    write_report(page, out / "report.html")
    say(outcome(seen, label, gain))
    say(f"model in {out}, with report.html; use it with: lowdose denoise INPUT OUTPUT --method {out}")
    if as_json:
        told = [{"scan": one.name, "error_after_over_before": _number(one.improvement)} for one in seen]
        print_json({"model": str(out), "adaptation": judgement(seen), "scans": told})


def _number(value: float) -> float | None:
    return value if value == value else None


def _measured(
    paths: Sequence[Path], found: Sequence[NoisePatches], start: Path, out: Path, gain: float, seed: int
) -> list[Evidence]:
    """How the low-dose scans fare under both models, a few evenly chosen ones of many."""
    from lowdose.cli.terminal import progress
    from lowdose.denoising import make_denoiser
    from lowdose.io import open_input
    from lowdose.training.adaptation import measured

    step = -(-len(found) // _MOST_MEASURED)
    wanted = {one.source: one for one in found[::step]}
    seen: list[Evidence] = []
    with progress("measuring", len(wanted), "scans") as advance:
        for path in paths:
            with open_input(path) as opened:
                for case in opened.cases:
                    noise = None if case.scan is None else wanted.pop(case.scan.name, None)
                    if case.scan is None or noise is None:
                        continue
                    before, after = (make_denoiser(str(one), case.scan) for one in (start, out))
                    seen.append(measured(case.scan, noise, before, after, gain=gain, seed=seed))
                    advance()
    return seen
