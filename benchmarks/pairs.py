"""The same slices at two doses."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lowdose.io import InputError, open_input
from lowdose.quality.comparison import align
from lowdose.scan import Scan


@contextmanager
def open_pair(full: Path, low: Path) -> Iterator[tuple[Scan, Scan]]:
    """The scan in each folder, the second on the grid of the first; ends with a sentence where that fails."""
    try:
        with open_scan(full) as full_scan, open_scan(low) as low_scan:
            yield full_scan, align(full_scan, low_scan, "LOW")
    except (InputError, ValueError) as error:
        sys.exit(str(error))


@contextmanager
def open_scan(folder: Path) -> Iterator[Scan]:
    """The only scan in the folder, derived or not."""
    with open_input(folder, own=True) as found:
        usable = [case.scan for case in found.cases if case.scan is not None]
        if len(usable) != 1:
            sys.exit(f"{folder} holds {len(usable)} usable CT series; give a folder with exactly one")
        yield usable[0]


def data_set(full: Path) -> str:
    """What to call the pair: the two folders above the full dose."""
    return "/".join(full.resolve().parts[-3:-1])
