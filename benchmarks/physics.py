"""Projectors and reconstructions: speed beside ASTRA and scikit-image in one run, accuracy beside theory.

    python benchmarks/physics.py [--astra PYTHON] [--runs 3]

`--astra` is a Python with the ASTRA toolbox (GPL, so in an environment of its own): its CPU code runs on the
same arrays in between. The object is discs whose line integrals have a closed form. 512 x 512 pixels, 736
channels, 1152 views over a turn; cone beam 256 x 256 x 256 voxels, 256 x 256 panel, 360 views.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from arithmetic import Peak, peak
from numpy.typing import NDArray
from record import Finding, write
from skimage.transform import iradon, radon

from lowdose.physics.cone import ConeProjector
from lowdose.physics.dose import dose_simulator
from lowdose.physics.fdk import fdk
from lowdose.physics.geometry import ConeBeam, FanBeam, Geometry, ImageGrid, ParallelBeam, VolumeGrid
from lowdose.physics.projector import Projector
from lowdose.physics.ramp import hann
from lowdose.physics.reconstruction import fbp
from lowdose.scan import Scan

Image = NDArray[np.float32]

GRID = ImageGrid((512, 512), (0.7, 0.7))
FLAT = FanBeam(1152, 736, 1.2858, 595.0, 1085.6, "flat")
ARC = replace(FLAT, detector="arc", channel_shift=0.25)
PARALLEL = ParallelBeam(1152, 736, 0.7)
CONE = ConeBeam(360, 256, 256, 0.4, 0.4, 150.0, 280.0)
CUBE = VolumeGrid((256, 256, 256), (0.2, 0.2, 0.2))
DISCS = (
    (0.0, 0.0, 150.0, 0.02),
    (40.0, -50.0, 30.0, 0.01),
    (-60.0, 30.0, 12.0, -0.008),
    (70.0, 60.0, 8.0, 0.02),
)
"""y, x, radius in mm, and 1/mm that each adds."""
PROTOCOL = (
    "seconds: the shortest of several runs on all cores, after one to warm up; ASTRA and scikit-image in "
    "between, on the same arrays",
    "sinogram error: RMS against exact chords of four discs, over the RMS of the chords; the image is the "
    "discs averaged over 8 x 8 points a pixel",
    "image error: RMS against the discs in their flat parts, of a reconstruction of the exact chords, over "
    "the large disc's attenuation",
    "floor: the multiply-adds of the interpolations, 4 each, at the machine's measured peak; there is one "
    "for each row or column of the image that a ray crosses, or each pixel that a view sees",
)


def discs(grid: ImageGrid, fine: int = 8) -> Image:
    """The discs averaged over the pixels."""
    image = np.zeros(grid.shape)
    places = [
        ((np.arange(n * fine) + 0.5) / fine - n / 2) * d
        for n, d in zip(grid.shape, grid.spacing, strict=True)
    ]
    for y, x, radius, value in DISCS:
        inside = np.hypot(places[0][:, None] - y, places[1][None] - x) < radius
        image += value * inside.reshape(grid.shape[0], fine, grid.shape[1], fine).mean(axis=(1, 3))
    return image.astype(np.float32)


def chords(geometry: Geometry) -> Image:
    angle = geometry.view_angles[:, None] + geometry.channel_angles
    total = np.zeros(angle.shape)
    for y, x, radius, value in DISCS:
        distance = geometry.channel_offsets - (x * np.cos(angle) + y * np.sin(angle))
        total += 2 * value * np.sqrt(np.maximum(radius**2 - distance**2, 0.0))
    return total.astype(np.float32)


def rows_crossed(lengths: Image, fan: FanBeam, spacing: float) -> float:
    """How many rows (columns, where they are closer to parallel to the rows) rays cross that are so long
    within the image, `[view, channel]` in mm, all together.
    """
    angles = fan.view_angles[:, None] + fan.channel_angles
    across = np.maximum(np.abs(np.cos(angles)), np.abs(np.sin(angles)))
    return float((lengths * across).sum(dtype=np.float64)) / spacing


def depths_seen(grid: ImageGrid, fan: FanBeam) -> Iterator[NDArray[np.float64]]:
    """For every view how far from the source, along the central ray in mm, the pixels are that it sees."""
    y, x = ((np.arange(n) - (n - 1) / 2) * d for n, d in zip(grid.shape, grid.spacing, strict=True))
    left, right = np.tan(fan.channel_angles[[0, -1]])
    for angle in fan.view_angles:
        c, s = np.cos(angle), np.sin(angle)
        depth = fan.source_to_axis + s * x - c * y[:, None]
        tangent = (c * x + s * y[:, None]) / depth
        yield depth[(tangent >= left) & (tangent <= right)]


def interpolations() -> dict[str, float]:
    """How many each kernel cannot do without; the adjoint of a projector needs as many as it."""
    flat = Projector(GRID, FLAT)(np.ones(GRID.shape, np.float32))
    solid = ConeProjector(CUBE, CONE)(np.ones(CUBE.shape, np.float32))
    from_source = np.hypot(CONE.source_to_detector, CONE.channel_places)
    level = from_source / np.hypot(from_source, CONE.row_places[:, None])
    heights, steepest = np.sort(np.abs(CUBE.positions)), CONE.row_places.max() / CONE.source_to_detector
    seen = (np.searchsorted(heights, d * steepest) for d in depths_seen(CUBE.plane, CONE.mid_plane))
    return {
        "forward": rows_crossed(flat, FLAT, GRID.spacing[0]),
        "fan FBP": sum(depths.size for depths in depths_seen(GRID, ARC)),
        "cone forward": rows_crossed((solid * level).sum(axis=1), CONE.mid_plane, CUBE.spacing[1]),
        "FDK": int(sum(slices.sum() for slices in seen)),
    }


def rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def flat_parts(grid: ImageGrid) -> NDArray[np.bool_]:
    """Pixels at least 3 mm from every edge."""
    y, x = ((np.arange(n) - (n - 1) / 2) * d for n, d in zip(grid.shape, grid.spacing, strict=True))
    far = [np.abs(np.hypot(y[:, None] - a, x[None] - b) - radius) > 3.0 for a, b, radius, _ in DISCS]
    return np.asarray(np.logical_and.reduce(far) & (np.hypot(y[:, None], x[None]) < 160.0))


def shortest(function: Callable[[], Any], runs: int) -> tuple[Any, float]:
    result, best = function(), np.inf
    for _ in range(runs):
        started = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - started)
    return result, best


def ours(runs: int) -> dict[str, Any]:
    """Seconds and errors of our own code."""
    image, flat = discs(GRID), flat_parts(GRID)
    found: dict[str, Any] = {}
    for name, geometry in (("flat fan", FLAT), ("arc fan", ARC), ("parallel", PARALLEL)):
        projector, exact = Projector(GRID, geometry), chords(geometry)
        sinogram, seconds = shortest(lambda p=projector: p(image), runs)
        _, back = shortest(lambda p=projector, s=exact: p.adjoint(s), runs)
        built, filtered = shortest(lambda g=geometry, s=exact: fbp(g, GRID, s), runs)
        found[name] = {
            "forward seconds": seconds,
            "adjoint seconds": back,
            "fbp seconds": filtered,
            "sinogram error": rms(sinogram - exact) / rms(exact),
            "image error": rms((built - image)[flat]) / DISCS[0][3],
        }
    volume = np.random.default_rng(0).random(CUBE.shape, np.float32)
    cone = ConeProjector(CUBE, CONE)
    sinogram, seconds = shortest(lambda: cone(volume), runs)
    found["cone"] = {
        "forward seconds": seconds,
        "adjoint seconds": shortest(lambda: cone.adjoint(sinogram), 1)[1],
        "fdk seconds": shortest(lambda: fdk(CONE, CUBE, sinogram), runs)[1],
    }
    return found


def simulated_slices(n: int = 24) -> dict[str, float]:
    """Seconds a slice that `simulate` takes for a first dose and for a further one."""
    generator = np.random.default_rng(0)
    noise = fbp(ARC, GRID, 0.02 * generator.standard_normal((1152, 736), np.float32), hann(0.7))
    body = discs(GRID) / 0.0192 * 1000 - 1000 + noise / 0.0192 * 1000
    scan = Scan.from_array(np.repeat(body[None], n, axis=0), spacing=(3.0, 0.7, 0.7))
    simulator = dose_simulator(scan, seed=1)
    one, two = simulator.at(0.5), simulator.at(0.25)
    for warm in (one, two):
        warm.read(0)
    started = time.perf_counter()
    for z in range(1, n // 2):
        one.read(z)
    first = (time.perf_counter() - started) / (n // 2 - 1)
    started = time.perf_counter()
    for z in range(n // 2, n):
        one.read(z), two.read(z)
    both = (time.perf_counter() - started) / (n - n // 2)
    return {"first dose": first, "further dose": both - first}


def astra(python: str, runs: int) -> dict[str, Any]:
    """The same by ASTRA's CPU code, in a process of its own."""
    image, exact = discs(GRID), chords(FLAT)
    with tempfile.TemporaryDirectory() as folder:
        problem, solution = Path(folder) / "problem.npz", Path(folder) / "solution.npz"
        np.savez(
            problem, image=image, fan=exact, parallel=chords(PARALLEL), pixel=GRID.spacing[0], runs=runs,
            fan_angles=FLAT.view_angles, fan_spacing=FLAT.channel_spacing, source_to_axis=FLAT.source_to_axis,
            source_to_detector=FLAT.source_to_detector, parallel_angles=PARALLEL.view_angles,
            parallel_spacing=PARALLEL.channel_spacing,
        )  # fmt: skip
        script = Path(__file__).parent / "with_astra.py"
        subprocess.run([python, str(script), str(problem), str(solution)], check=True)
        with np.load(solution) as loaded:
            given = {name: loaded[name] for name in loaded.files}
    found: dict[str, Any] = {"version": str(given["version"])}
    for kind in ("line", "strip"):
        found[kind] = {
            "forward seconds": float(given[f"{kind} forward seconds"]),
            "adjoint seconds": float(given[f"{kind} adjoint seconds"]),
            "sinogram error": rms(given[f"{kind} forward"] - exact) / rms(exact),
        }
    found["parallel fbp seconds"] = float(given["parallel fbp seconds"])
    found["parallel image error"] = rms((given["parallel fbp"] - image)[flat_parts(GRID)]) / DISCS[0][3]
    return found


def scikit_image() -> dict[str, float]:
    """`radon` and `iradon` on a parallel beam of the same size; one run: it takes long."""
    image, angles = discs(GRID), np.rad2deg(PARALLEL.view_angles)
    started = time.perf_counter()
    sinogram = radon(image, angles, circle=True)
    forward = time.perf_counter() - started
    started = time.perf_counter()
    iradon(sinogram, angles, circle=True)
    return {"forward seconds": forward, "fbp seconds": time.perf_counter() - started}


def findings(
    own: dict[str, Any],
    needed: dict[str, float],
    slices: dict[str, float],
    others: dict[str, Any],
    machine: Peak,
) -> list[Finding]:
    flat, cone = own["flat fan"], own["cone"]
    listed = [
        Finding("forward, flat fan", flat["forward seconds"], "s"),
        Finding("fan FBP with filtering", own["arc fan"]["fbp seconds"], "s", 0.6),
        Finding("forward, sinogram error", flat["sinogram error"], ""),
        Finding("fan FBP, image error in flat parts", own["arc fan"]["image error"], ""),
        Finding("simulated slice, first dose", slices["first dose"], "s", 1.2),
        Finding("simulated slice, each further dose", slices["further dose"], "s", 0.65),
        Finding("cone forward, 256 cubed, 360 views", cone["forward seconds"], "s", 60.0),
        Finding("cone adjoint, 256 cubed, 360 views", cone["adjoint seconds"], "s"),
        Finding("FDK, 256 cubed, 360 views", cone["fdk seconds"], "s", 60.0),
        Finding("peak arithmetic of the machine", machine.gflops, "Gflop/s"),
        Finding("memory bandwidth of the machine", machine.gb_per_second, "GB/s"),
    ]
    for what, n, seconds in (
        ("forward", needed["forward"], flat["forward seconds"]),
        ("adjoint", needed["forward"], flat["adjoint seconds"]),
        ("fan FBP", needed["fan FBP"], own["arc fan"]["fbp seconds"]),
        ("cone forward", needed["cone forward"], cone["forward seconds"]),
        ("cone adjoint", needed["cone forward"], cone["adjoint seconds"]),
        ("FDK", needed["FDK"], cone["fdk seconds"]),
    ):
        floor = 8 * n / (machine.gflops * 1e9)
        listed.append(Finding(f"{what}, times its arithmetic floor", seconds / floor, ""))
    if "astra" in others:
        line = others["astra"]["line"]
        listed += [
            Finding("forward, times as fast as ASTRA's line projector",
                    line["forward seconds"] / flat["forward seconds"], "", 4.0, True),
            Finding("adjoint, times as fast as ASTRA's line projector",
                    line["adjoint seconds"] / flat["adjoint seconds"], ""),
            Finding("sinogram error over that of ASTRA's line projector",
                    flat["sinogram error"] / line["sinogram error"], "", 1.02),
            Finding("parallel FBP, times as fast as ASTRA",
                    others["astra"]["parallel fbp seconds"] / own["parallel"]["fbp seconds"], ""),
        ]  # fmt: skip
    skimage = others["scikit-image"]
    listed += [
        Finding("parallel forward, times as fast as scikit-image",
                skimage["forward seconds"] / own["parallel"]["forward seconds"], ""),
        Finding("parallel FBP, times as fast as scikit-image",
                skimage["fbp seconds"] / own["parallel"]["fbp seconds"], ""),
    ]  # fmt: skip
    return listed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--astra", metavar="PYTHON", help="a Python that has the ASTRA toolbox")
    parser.add_argument("--runs", type=int, default=3, help="the shortest of so many counts (default 3)")
    parser.add_argument("--out", type=Path, help="where the numbers go")
    arguments = parser.parse_args()
    own = ours(arguments.runs)
    others: dict[str, Any] = {}
    if arguments.astra:
        others["astra"] = astra(arguments.astra, arguments.runs)
    others["scikit-image"] = scikit_image()
    slices, needed, machine = simulated_slices(), interpolations(), peak()
    numbers = {
        "lowdose": own,
        "interpolations": needed,
        "simulated slices": slices,
        "peak": machine._asdict(),
        **others,
    }
    write("physics", PROTOCOL, numbers, findings(own, needed, slices, others, machine), arguments.out)


if __name__ == "__main__":
    main()
