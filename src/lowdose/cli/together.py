"""Several series written slice by slice together, so that what they share is worked out once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TypeVar

from lowdose.cli.terminal import progress
from lowdose.scan import Scan, in_step, read_ahead

Result = TypeVar("Result")
Write = Callable[[int, Scan, Callable[[int], None]], Result]
"""Writes the scan of a number and calls the function after every slice."""


def written_together(scans: Sequence[Scan], write: Write[Result], what: str) -> list[Result]:
    """What `write` gives for each of `scans`, with a thread for each where there are several.

    None is more than a slice ahead of the others. When one raises, the others stop, too.
    """
    taken, alone = in_step(scans)
    stopped = Event()
    with progress(what, sum(len(scan) for scan in scans)) as advance:

        def written(number: int, scan: Scan) -> Result:
            def on_slice(_z: int) -> None:
                if stopped.is_set():
                    raise KeyboardInterrupt
                advance()

            try:
                return write(number, scan, on_slice)
            finally:
                alone()

        if len(scans) == 1:
            return [written(0, read_ahead(taken[0]))]
        with ThreadPoolExecutor(len(scans)) as writers:
            try:
                return list(writers.map(written, range(len(scans)), taken))
            except BaseException:
                stopped.set()
                alone()
                raise
