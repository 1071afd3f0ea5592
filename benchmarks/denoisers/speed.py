"""How fast a method is and what memory it takes, in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from lowdose.denoising import COMPARATORS, denoise, make_denoiser
from lowdose.scan import Scan, read_ahead

MATRIX, NOISE_HU = 512, 25.0
N_SLICES, N_SLICES_ITERATIVE = 16, 3

PROTOCOL = (
    f"{N_SLICES} slices of {MATRIX} x {MATRIX} in memory (water with {NOISE_HU:g} HU of noise), read as the "
    f"program does, after the same once to warm up; {N_SLICES_ITERATIVE} of iterative methods; "
    "the time to make a method ready for a scan is not counted",
    "memory: largest resident set of the process, libraries included, in 10^6 bytes",
)


def measured(method: str) -> dict[str, float]:
    """Slices a second and megabytes, from a new process that holds nothing else: torch is not among it."""
    done = subprocess.run([sys.executable, __file__, method], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measured(method: str) -> dict[str, float]:
    scan = water(N_SLICES_ITERATIVE if method in COMPARATORS else N_SLICES)
    denoiser = make_denoiser(method, scan)
    seconds = []
    for _ in range(1 if method in COMPARATORS else 2):
        started = time.perf_counter()
        for _slice in read_ahead(denoise(scan, denoiser)):
            pass
        seconds.append(time.perf_counter() - started)
    return {"slices_per_second": len(scan) / seconds[-1], "peak_mb": peak_mb()}


def water(n_slices: int) -> Scan:
    """A cylinder of water in air, in noise whose grain is a pixel or two."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:MATRIX, :MATRIX] - (MATRIX - 1) / 2
    noise = gaussian_filter(generator.standard_normal((n_slices, MATRIX, MATRIX)), (0, 0.6, 0.6))
    hu = np.where(np.hypot(y, x) < 0.4 * MATRIX, 0.0, -1000.0) + NOISE_HU / noise.std() * noise
    return Scan.from_array(np.rint(hu), spacing=(1.0, 0.75, 0.75), name="water")


def peak_mb() -> float:
    """The largest resident set of this process so far. Not that of whoever started it, which `ru_maxrss`
    may be: so Linux is asked elsewhere.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used * (1 if sys.platform == "darwin" else 1024) / 1e6


if __name__ == "__main__":
    print(json.dumps(_measured(sys.argv[1])))
