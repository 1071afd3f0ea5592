"""`lowdose train`: from a plan and scans to a model folder."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowdose.cli.groups import NamesAndCommands

if TYPE_CHECKING:
    from lowdose.training.loop import Progress
    from lowdose.training.sources import Watcher

TEMPLATES = Path(__file__).parent / "templates"
"""A file for each network: how it was trained where it was published, or the best that is known."""

_MODEL, _DATA = "model", "data"
"""What stands before and after every network's own part."""

_WITH_LESIONS = "lesion-inspired"
"""The one that names scans with lesions, and no others."""

_METHODS = {"supervised": "residual-unet", "adversarial": "wgan-vgg"}
"""The networks that stand for a method."""


def template_names() -> list[str]:
    """Everything that `--template` knows by name."""
    networks = sorted(path.stem for path in TEMPLATES.glob("*.yaml"))
    return [*_METHODS, *(name for name in networks if name not in (_MODEL, _DATA))]


def template_text(name: str) -> str | None:
    """A commented plan for a method or a network; None if there is none of that name.

    A network without a file of its own is given the plan of the residual U-Net.
    """
    own = _METHODS.get(name, name)
    if own == _WITH_LESIONS:
        return "\n".join(_part(part) for part in (_MODEL, own))
    if own in template_names():
        return "\n".join(_part(part) for part in (_MODEL, own, _DATA))
    if not _is_network(name):
        return None
    plain = re.sub(r"^# .*\n", "", _part(_METHODS["supervised"]))
    plain = re.sub(r"name: [\w-]+\n  sizes: .*", f"name: {name}\n  sizes: {{}} # as published", plain)
    return "\n".join([_part(_MODEL), plain, _part(_DATA)])


def _part(name: str) -> str:
    return (TEMPLATES / f"{name}.yaml").read_text(encoding="utf-8")


def _is_network(name: str) -> bool:
    try:
        from lowdose.networks import NETWORKS
    except ModuleNotFoundError:
        return False
    return name in NETWORKS


Seed = Annotated[int, typer.Option(help="Of all randomness.", min=0, max=2**31 - 1)]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")]
MaxMinutes = Annotated[
    float | None,
    typer.Option(metavar="MINUTES", help="Stop with a checkpoint after this long; then --resume.", min=0),
]

train = typer.Typer(
    name="train",
    cls=NamesAndCommands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@train.callback()
def denoiser(
    context: typer.Context,
    plan: Annotated[Path | None, typer.Argument(metavar="CONFIG.yaml", help="What to train on what.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run: checkpoint, log, model.")] = None,
    data: Annotated[Path, typer.Option(help="Folder that the paths of the plan are relative to.")] = Path(),
    resume: Resume = False,
    max_minutes: MaxMinutes = None,
    template: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Print a commented plan and exit: supervised, adversarial, lesion-inspired, or a network.",
        ),
    ] = None,
) -> None:
    """Train a denoiser on your own scans and export it as a model folder."""
    from lowdose.cli.terminal import give_up, refuse, say

    if context.invoked_subcommand is not None:
        return
    if template is not None:
        text = template_text(template)
        if text is None:
            refuse(f"--template {template}: unknown; known are {', '.join(template_names())}")
        typer.echo(text, nl=False)
        return
    if plan is None or out is None:
        refuse(
            "give a plan and --out FOLDER; `lowdose train --template supervised` prints a plan to start from"
        )
    if not plan.is_file():
        refuse(f"{plan}: not found; `lowdose train --template supervised` prints a plan to start from")
    need_training()
    from lowdose.training.checkpoint import CheckpointError
    from lowdose.training.experiment import train as run
    from lowdose.training.export import ParityError
    from lowdose.training.loop import TrainingError
    from lowdose.training.plan import PlanError, read_plan

    try:
        folder = run(
            read_plan(plan), data, out, resume=resume, max_seconds=seconds_of(max_minutes), watcher=watcher()
        )
    except PlanError as error:
        refuse(str(error))
    except (ParityError, TrainingError, CheckpointError, OSError) as error:
        give_up(str(error))
    if int(os.environ.get("RANK", "0")) > 0:
        return  # torchrun started several; the first speaks for all
    if folder is None:
        say(f"time is up; go on with: lowdose train {plan} --out {out} --resume")
    else:
        say(f"model in {folder}; use it with: lowdose denoise INPUT OUTPUT --method {folder}")


def seconds_of(max_minutes: float | None) -> float:
    """How long a run may take, without end unless it is said."""
    return float("inf") if max_minutes is None else 60 * max_minutes


def need_training() -> None:
    """End with one sentence if what training takes is not installed."""
    from lowdose.cli.terminal import refuse

    try:
        import lowdose.training.experiment  # noqa: F401
    except ModuleNotFoundError as error:
        refuse(f"training needs {error.name}; install it with: pip install 'lowdose[train]'")


def say_progress(progress: Progress, measure: str = "of the error left") -> None:
    """A line now and then: where a run stands, and how long it will take; `measure` is what is validated."""
    from lowdose.cli.terminal import say

    if progress.validation is None and progress.step % 100:
        return
    left = (progress.n_steps - progress.step) * progress.seconds_per_step / 60
    found = progress.validation
    checked = "" if found is None else f", validation {found.error:.4f} {measure}"
    say(
        f"step {progress.step}/{progress.n_steps}: loss {progress.loss:.4f}{checked}, "
        f"{progress.seconds_per_step:.2f} s a step, about {left:.0f} min left"
    )


def watcher() -> Watcher:
    """Tells a person at the terminal."""
    from lowdose.cli.terminal import say, warn
    from lowdose.training.sources import Watcher

    return Watcher(
        on_scan=lambda name, index, n: say(f"reading {name} ({index + 1} of {n})"),
        on_left_out=lambda sentence: warn(f"left out: {sentence}"),
        on_progress=say_progress,
    )
