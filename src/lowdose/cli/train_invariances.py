"""`lowdose train representation` and `lowdose train invariances`: what `lowdose explain` learns before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowdose.cli.train import MaxMinutes, Resume, Seed, need_training, say_progress, seconds_of

if TYPE_CHECKING:
    from lowdose.invariances.examples import Examples, MakeMethod
    from lowdose.invariances.experiment import Profile

Scans = Annotated[
    list[Path],
    typer.Argument(metavar="SCANS...", help="Scans of patients, one CT series each; the last is held back."),
]
Slices = Annotated[int, typer.Option(help="Of each scan, evenly spaced.", min=2)]

Steps = Annotated[int | None, typer.Option(help="Batches to learn from; as many as the profile has.", min=1)]
ProfileName = Annotated[
    str,
    typer.Option(
        help="small: two cores learn it in an hour. published: the authors' sizes and losses, days of a GPU."
    ),
]

GENERAL = ("gaussian", "median", "total-variation", "non-local-means")
"""Methods that a representation learns from unless others are named."""
_GO_ON = "time is up; go on with the same command and --resume"


def train_representation(
    scans: Scans,
    out: Annotated[
        Path, typer.Option(help="Folder of the representation, and of the examples it learns from.")
    ],
    method: Annotated[
        list[str] | None,
        typer.Option(help="A method whose images it is conditioned on; repeat. Without it, filters."),
    ] = None,
    profile: ProfileName = "small",
    steps: Steps = None,
    slices: Slices = 50,
    seed: Seed = 1,
    resume: Resume = False,
    max_minutes: MaxMinutes = None,
) -> None:
    """Learn what low-dose inputs have that denoised images lack, once for all methods.

    It serves `lowdose train invariances` for any method.
    """
    from lowdose.cli.terminal import say

    need_learning()
    from lowdose.invariances.experiment import learn_representation
    from lowdose.invariances.learning import IDENTITY
    from lowdose.provenance import Run

    started = datetime.now(UTC)
    methods = tuple(method or GENERAL)
    plan = replace(profile_of(profile).representation, seed=seed)
    plan = plan if steps is None else replace(plan, n_steps=steps)
    training, held_back = _examples(scans, out, makers(methods), slices, seed)
    watched = partial(say_progress, measure="noise levels of structure missed")
    with _failures_told():
        card = learn_representation(
            training, held_back, (IDENTITY, *methods), out, plan, resume=resume,
            max_seconds=seconds_of(max_minutes), on_progress=watched,
        )  # fmt: skip
    if card is None:
        say(_GO_ON)
        return
    options = {"scans": scans, "out": out, "methods": methods, "profile": profile, "steps": plan.n_steps,
               "slices": slices, "seed": seed}  # fmt: skip
    Run("train representation", options, [], started).write(out / "run.json")
    say(
        f"representation in {out}; use it with: "
        f"lowdose train invariances METHOD SCANS... --representation {out}"
    )


def train_invariances(
    method: Annotated[
        str, typer.Argument(help="A name from `lowdose methods`, a model folder, or FILE.onnx.")
    ],
    scans: Scans,
    out: Annotated[
        Path, typer.Option(help="Folder of what is learned, and of the examples it is learned from.")
    ],
    representation: Annotated[
        Path | None,
        typer.Option(help="Folder of `lowdose train representation`; without it that of ct-default."),
    ] = None,
    profile: ProfileName = "small",
    steps: Steps = None,
    slices: Slices = 50,
    seed: Seed = 1,
    resume: Resume = False,
    max_minutes: MaxMinutes = None,
) -> None:
    """Learn which inputs a method maps to the same output; for `lowdose explain --invariances`."""
    from lowdose.cli.terminal import refuse, say

    need_learning()
    from lowdose.denoising import METHOD_SUMMARIES, MethodError, model_folder
    from lowdose.invariances.experiment import learn_flow
    from lowdose.invariances.models import SHARED, InvarianceError, bundled_representation, copied
    from lowdose.models.card import ModelError
    from lowdose.models.denoiser import model_card
    from lowdose.provenance import Run

    started = datetime.now(UTC)
    try:
        digest = None if method in METHOD_SUMMARIES else model_card(model_folder(method)).digest
        shared = copied(representation or bundled_representation(), out / SHARED)
    except (MethodError, ModelError, InvarianceError) as error:
        refuse(str(error))
    name = Path(method).name
    plan = replace(profile_of(profile).flow, seed=seed)
    plan = plan if steps is None else replace(plan, n_steps=steps)
    training, held_back = _examples(scans, out, {name: makers([method])[method]}, slices, seed)
    watched = partial(say_progress, measure="nats a latent")
    with _failures_told():
        card = learn_flow(
            training, held_back, name, shared, out, plan, digest=digest, resume=resume,
            max_seconds=seconds_of(max_minutes), on_progress=watched, on_encoded=_say_encoded(),
        )  # fmt: skip
    if card is None:
        say(_GO_ON)
        return
    options = {"method": method, "scans": scans, "out": out, "representation": representation,
               "profile": profile, "steps": plan.n_steps, "slices": slices, "seed": seed}  # fmt: skip
    Run("train invariances", options, [], started).write(out / "run.json")
    say(f"learned in {out}; use it with: lowdose explain {method} INPUT --invariances {out} --out FOLDER")


@contextmanager
def _failures_told() -> Iterator[None]:
    """End with a sentence and the status that fits where learning fails."""
    from lowdose.cli.terminal import give_up, refuse
    from lowdose.invariances.models import InvarianceError
    from lowdose.training.checkpoint import CheckpointError
    from lowdose.training.loop import TrainingError

    try:
        yield
    except InvarianceError as error:
        refuse(str(error))
    except (TrainingError, CheckpointError, OSError) as error:
        give_up(str(error))


def _say_encoded(n: int = 4) -> Callable[[float], None]:
    """Tells how many of the patches are encoded, `n` times."""
    from lowdose.cli.terminal import say

    told = 0

    def tell(share: float) -> None:
        nonlocal told
        if int(share * n) > told:
            told = int(share * n)
            say(f"latents of {100 * told // n} % of the patches")

    return tell


def profile_of(name: str) -> Profile:
    """The profile called `name`; ends with the status of wrong use if there is none."""
    from lowdose.cli.terminal import refuse
    from lowdose.invariances.experiment import PROFILES

    if name not in PROFILES:
        refuse(f"unknown profile '{name}'; there are {' and '.join(PROFILES)}")
    return PROFILES[name]


def makers(methods: Sequence[str]) -> Mapping[str, MakeMethod]:
    """How each of `methods` is made ready for a scan; ends with the status of wrong use for unknown ones."""
    from lowdose.cli.terminal import refuse
    from lowdose.denoising import MethodError, check_method, make_denoiser

    for method in methods:
        try:
            check_method(method, {})
        except MethodError as error:
            refuse(str(error))
    return {method: partial(make_denoiser, method) for method in methods}


def need_learning() -> None:
    """End with one sentence if what learning takes is not installed."""
    from lowdose.cli.terminal import refuse

    need_training()
    try:
        import lowdose.invariances.experiment  # noqa: F401
    except ModuleNotFoundError as error:
        refuse(f"learning invariances needs {error.name}; install it with: pip install 'lowdose[train]'")


def _examples(
    scans: Sequence[Path], out: Path, methods: Mapping[str, MakeMethod], slices: int, seed: int
) -> tuple[list[Examples], list[Examples]]:
    """Of every scan; the last is held back if there are several."""
    from lowdose.cli.terminal import give_up, progress, refuse
    from lowdose.denoising import MethodError
    from lowdose.invariances.examples import make_examples
    from lowdose.io import InputError, only_scan
    from lowdose.physics.scanner import ScannerError

    if len(scans) < 2:
        refuse("learning takes two scans or more: one is held back to see what was learned")
    found = []
    for number, path in enumerate(scans):
        try:
            with (
                only_scan(path) as scan,
                progress(f"examples of {scan.name}", min(slices, len(scan))) as advance,
            ):
                found.append(
                    make_examples(
                        scan, methods, out / "examples" / f"{number:02d}", n_slices=slices, n_lesions=slices,
                        seed=seed, on_slice=advance,
                    )
                )  # fmt: skip
        except (InputError, ScannerError, MethodError) as error:
            give_up(str(error))
    return found[:-1], found[-1:]
