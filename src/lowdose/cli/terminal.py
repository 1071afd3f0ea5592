"""What a person sees: progress with an ETA on a terminal, plain lines elsewhere, and the exit status."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

DONE, SOME_FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

_SECONDS_BETWEEN_LINES = 10.0

console = Console(stderr=True, highlight=False, emoji=False)
"""For people: progress, notes and errors. What programs read goes to standard output."""


def say(sentence: str) -> None:
    """One line for people."""
    _print(escape(sentence))


def warn(sentence: str) -> None:
    """One line for people about something that is not as it should be."""
    _print(f"[yellow]note:[/] {escape(sentence)}")


def complain(sentence: str) -> None:
    """One line for people about something that could not be done."""
    _print(f"[bold red]error:[/] {escape(sentence)}")


def _print(marked_up: str) -> None:
    # A reader of the messages that has gone away is no reason to stop the work.
    with suppress(BrokenPipeError):
        console.print(marked_up, soft_wrap=True)


def counted(n: int, noun: str) -> str:
    """`1 slice`, `2 slices`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def refuse(sentence: str) -> NoReturn:
    """End with the status of wrong use."""
    complain(sentence)
    raise typer.Exit(WRONG_USE)


def give_up(sentence: str) -> NoReturn:
    """End with the status of a case that failed."""
    complain(sentence)
    raise typer.Exit(SOME_FAILED)


def print_json(summary: Mapping[str, Any]) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(summary, indent=2))


@contextmanager
def progress(what: str, total: int, unit: str = "slice") -> Iterator[Callable[[], None]]:
    """Yield a function to call after each of `total` pieces of work."""
    if console.is_terminal:
        with _bar(what, total, unit) as advance:
            yield advance
    else:
        with _lines(what, total, unit) as advance:
            yield advance


@contextmanager
def _bar(what: str, total: int, unit: str) -> Iterator[Callable[[], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.progress import TimeRemainingColumn as Eta

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(f"{unit}s"))
    with Progress(*columns, TimeElapsedColumn(), TextColumn("left"), Eta(), console=console) as bar:
        task = bar.add_task(escape(what), total=total)
        yield lambda: bar.advance(task)


@contextmanager
def _lines(what: str, total: int, unit: str) -> Iterator[Callable[[], None]]:
    started = last_line = time.monotonic()
    done = 0

    def advance() -> None:
        nonlocal done, last_line
        done += 1
        now = time.monotonic()
        if now - last_line >= _SECONDS_BETWEEN_LINES and done < total:
            last_line = now
            left = (now - started) / done * (total - done)
            say(f"{what}: {done}/{total} {unit}s, about {left:.0f} s left")

    yield advance
    if done:
        say(f"{what}: {counted(done, unit)} in {time.monotonic() - started:.1f} s")
