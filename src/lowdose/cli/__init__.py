"""The command line: one file a command. Heavy imports stay inside the commands, so that help is quick."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lowdose import __version__
from lowdose.cli.adapt import adapt
from lowdose.cli.demo import demo
from lowdose.cli.denoise import denoise
from lowdose.cli.detect import detect
from lowdose.cli.doctor import doctor
from lowdose.cli.evaluate import evaluate
from lowdose.cli.explain import explain
from lowdose.cli.lesions import lesions
from lowdose.cli.lesions_evaluate import evaluate_lesions
from lowdose.cli.manifest import manifest
from lowdose.cli.methods import methods
from lowdose.cli.phantom import phantom
from lowdose.cli.simulate import simulate
from lowdose.cli.terminal import INTERRUPTED, complain, give_up
from lowdose.cli.train import train
from lowdose.cli.train_detector import train_detector
from lowdose.cli.train_invariances import train_invariances, train_representation
from lowdose.cli.train_noise_model import train_noise_model


class _Terminated(KeyboardInterrupt):
    """Asked to stop by a service manager, a batch system or a closed terminal."""

    def __init__(self, number: int) -> None:
        self.status = 128 + number


class _Commands(TyperGroup):
    """Ends with one line when it is stopped or the machine fails it, whichever command runs."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            complain("stopped; nothing half-written is left behind")
            raise typer.Exit(stop.status if isinstance(stop, _Terminated) else INTERRUPTED) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            give_up(f"{where}{error.strerror or error}; check the disk, the name and the permissions")


app = typer.Typer(
    name="lowdose",
    cls=_Commands,
    help="CT with less radiation, and the proof that nothing was lost.",
    epilog="Research and quality-assurance software. Not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, denoise, simulate, evaluate, detect, explain, manifest, adapt, doctor):
    app.command()(command)
train.command("noise-model")(train_noise_model)
train.command("detector")(train_detector)
train.command("representation")(train_representation)
train.command("invariances")(train_invariances)
lesions.command("evaluate")(evaluate_lesions)
for group in (methods, phantom, lesions, train):
    app.add_typer(group)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lowdose {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _stop(number: int, _frame: FrameType | None) -> None:
    raise _Terminated(number)


def main() -> None:
    """Run the command line; SIGTERM and SIGHUP stop it as cleanly as Ctrl-C does."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _stop)
    app()
