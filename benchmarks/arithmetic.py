"""What this machine can do at most: arithmetic and memory, measured, to hold kernels against."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np


class Peak(NamedTuple):
    """Of all cores together."""

    gflops: float
    """10^9 single-precision additions and multiplications a second"""
    gb_per_second: float
    """10^9 bytes read and written a second by a copy of a large array"""


_CHAINS = 64
"""Numbers that a task works on in turns: enough to hide how long one operation takes, few enough for the
registers.
"""


@numba.njit(parallel=True, fastmath=True)
def multiply_add(n, n_tasks):  # type: ignore[no-untyped-def]
    """`n` times ``a = a * factor + step`` on every chain, from a = 1; the sum of the chains of each task."""
    sums = np.zeros(n_tasks, np.float32)
    factor, step = np.float32(0.999), np.float32(0.002)
    for task in numba.prange(n_tasks):
        a = np.ones(_CHAINS, np.float32)
        for _ in range(n):
            for k in range(_CHAINS):
                a[k] = a[k] * factor + step
        sums[task] = a.sum()
    return sums


def peak(repeats: int = 3) -> Peak:
    """The best of several tries."""
    n_cores, n = numba.get_num_threads(), 2_000_000
    multiply_add(10, n_cores)
    source = np.ones(2**26, np.float32)
    target = np.empty_like(source)
    arithmetic = min(seconds(lambda: multiply_add(n, n_cores)) for _ in range(repeats))
    copy = min(seconds(lambda: np.copyto(target, source)) for _ in range(repeats))
    return Peak(2 * _CHAINS * n * n_cores / arithmetic / 1e9, 2 * source.nbytes / copy / 1e9)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
