"""ASTRA's side of `physics.py`: projections and reconstructions of the arrays in a file, by ASTRA's CPU code.

    PYTHON benchmarks/with_astra.py PROBLEM.npz SOLUTION.npz

Needs nothing but numpy and the ASTRA toolbox (GPL, so not among what lowdose installs). Every call is made
once to warm up; then the shortest of several counts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import astra
import numpy as np


def timed(function: Callable[[], Any], runs: int) -> tuple[Any, float]:
    result, best = function(), float("inf")
    for _ in range(runs):
        started = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - started)
    return result, best


def forward(projector: int, image: Any) -> Any:
    identifier, sinogram = astra.create_sino(image, projector)
    astra.data2d.delete(identifier)
    return sinogram


def adjoint(projector: int, sinogram: Any) -> Any:
    identifier, image = astra.create_backprojection(sinogram, projector)
    astra.data2d.delete(identifier)
    return image


def filtered(projector: int, sinogram: Any) -> Any:
    identifier, image = astra.create_reconstruction("FBP", projector, sinogram)
    astra.data2d.delete(identifier)
    return image


def main() -> int:
    problem, solution = sys.argv[1:]
    given = np.load(problem)
    runs = int(given["runs"])
    n_y, n_x = given["image"].shape
    half_y, half_x = n_y * float(given["pixel"]) / 2, n_x * float(given["pixel"]) / 2
    pixels = astra.create_vol_geom(n_y, n_x, -half_x, half_x, -half_y, half_y)
    source, detector = float(given["source_to_axis"]), float(given["source_to_detector"])
    # y points up here and down in lowdose, so angles change their sign.
    fan = astra.create_proj_geom(
        "fanflat", float(given["fan_spacing"]), given["fan"].shape[1], -given["fan_angles"], source,
        detector - source,
    )  # fmt: skip
    parallel = astra.create_proj_geom(
        "parallel", float(given["parallel_spacing"]), given["parallel"].shape[1], -given["parallel_angles"]
    )
    found: dict[str, Any] = {"version": astra.__version__}
    for kind in ("line", "strip"):
        projector = astra.create_projector(f"{kind}_fanflat", fan, pixels)
        sinogram, found[f"{kind} forward seconds"] = timed(
            lambda p=projector: forward(p, given["image"]), runs
        )
        found[f"{kind} forward"] = sinogram
        found[f"{kind} adjoint seconds"] = timed(lambda p=projector: adjoint(p, given["fan"]), runs)[1]
    projector = astra.create_projector("linear", parallel, pixels)
    image, found["parallel fbp seconds"] = timed(lambda: filtered(projector, given["parallel"]), runs)
    found["parallel fbp"] = image
    np.savez(solution, **found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
