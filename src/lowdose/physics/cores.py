"""All cores for one computation at a time.

A numba kernel marked parallel takes every core. Where neither OpenMP nor TBB is installed, numba ends the
process as soon as two threads start such kernels at once.
"""

from __future__ import annotations

import threading

ALL_CORES = threading.Lock()
"""Held while a parallel kernel runs."""
