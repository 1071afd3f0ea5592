"""`lowdose` run as a user runs it: a process of its own, its whole time and its peak memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

_BYTES = 1 if sys.platform == "darwin" else 1024
"""Unit of `ru_maxrss`."""


class Usage(NamedTuple):
    """What one process took."""

    started: float
    """Seconds since 1970, as files are stamped."""
    seconds: float
    peak_mb: float
    """Peak resident set of the process, in 10^6 bytes; no less than what this one holds when it starts it."""


def run_lowdose(*arguments: str | Path) -> Usage:
    """Run a command to its end; if it fails, end with what it said."""
    command = [sys.executable, "-m", "lowdose", *map(str, arguments)]
    with tempfile.TemporaryFile() as told:
        started, clock = time.time(), time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=told)
        _, status, resources = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - clock
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            told.seek(0)
            sys.exit(f"lowdose {arguments[0]} ended with {process.returncode}:\n{told.read().decode()}")
    return Usage(started, seconds, resources.ru_maxrss * _BYTES / 1e6)
