"""Lets every test import the makers of synthetic input: `from tests.io.ct_factory import ct_series`.

With `pytest -n`, every worker has a core of its own, and so have the numba, torch and OpenVINO in it: threads
of two workers on the same cores wait for each other.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

worker = os.environ.get("PYTEST_XDIST_WORKER")
if worker and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})
