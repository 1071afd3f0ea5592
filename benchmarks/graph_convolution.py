"""The graph-convolution denoiser on a slice of 512 x 512: seconds, memory, and how far from its arithmetic.

    python benchmarks/graph_convolution.py [--repeats 5]

The network has its default size and random weights; it runs as `lowdose denoise` runs it, in a process of
its own that holds no torch.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from arithmetic import peak
from record import Finding, write

NAME = "graph-convolution"
MATRIX = 512
SECONDS, MEGABYTES = 4.0, 2000.0
PROTOCOL = (
    f"one slice of {MATRIX} x {MATRIX} at a time, all cores, the best of the repeats after one to warm up",
    "memory: peak resident set of the process, libraries included, in 10^6 bytes",
    "arithmetic: convolutions and matrix products as torch counts them, distances of features, and the "
    "messages of the edges; not the search for the nearest, nor what is only moved",
)


def operations(network: Any, n_pixels: int) -> float:
    """Additions and multiplications for one slice of `n_pixels`."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    side = 64
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, side, side))
    a_pixel = counter.get_total_flops() / side**2
    for block in network.blocks:
        search = block.neighbours
        channels = search.embed.out_channels
        # One distance for two pixels: subtracted, squared, added.
        a_pixel += 3 * channels * len(search.offsets) / 2
        for layer in block.layers:
            numbers = layer.difference.out_features
            # Of an edge: its numbers, then for every rank a share of the neighbour and of the message.
            a_pixel += search.n_neighbours * (2 * numbers + 4 * layer.rank * (numbers + 1))
    return float(a_pixel * n_pixels)


def timed(onnx_file: Path, repeats: int) -> dict[str, float]:
    """Seconds a slice and megabytes of this process."""
    from lowdose.models.runtime import OpenVinoNetwork

    network = OpenVinoNetwork(onnx_file)
    image = np.random.default_rng(0).standard_normal((1, 1, MATRIX, MATRIX)).astype(np.float32)
    network(image)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        network(image)
        seconds.append(time.perf_counter() - started)
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": min(seconds),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6,
    }


def measured(repeats: int) -> dict[str, float]:
    """All numbers; the slice is timed in a new process, started before torch is here."""
    with tempfile.TemporaryDirectory(prefix="lowdose-") as folder:
        onnx_file = Path(folder) / "network.onnx"
        made = subprocess.run(
            [sys.executable, __file__, "--make", onnx_file], stdout=subprocess.PIPE, text=True, check=True
        )
        told = subprocess.run(
            [sys.executable, __file__, "--time", onnx_file, "--repeats", str(repeats)],
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    at_most = peak()
    numbers: dict[str, float] = {**json.loads(made.stdout), **json.loads(told.stdout)}
    numbers["peak_gflops"] = at_most.gflops
    numbers["floor_s"] = numbers["operations"] / at_most.gflops / 1e9
    return numbers


def make(onnx_file: Path) -> dict[str, float]:
    """Write the network to `onnx_file`; how much it has to compute."""
    import torch

    from lowdose.networks import NETWORKS
    from lowdose.training.export import write_onnx

    torch.manual_seed(0)
    network = NETWORKS[NAME]().eval()
    write_onnx(network, onnx_file)
    return {"operations": operations(network, MATRIX**2)}


def findings(numbers: dict[str, float]) -> list[Finding]:
    return [
        Finding(f"{NAME}, a slice of {MATRIX} squared", numbers["seconds"], "s", SECONDS),
        Finding(f"{NAME}, peak memory", numbers["peak_mb"], "MB", MEGABYTES),
        Finding(f"{NAME}, times its arithmetic floor", numbers["seconds"] / numbers["floor_s"], ""),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, help="of the slice (default 5)")
    parser.add_argument("--out", type=Path, help="where the numbers go")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--time", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        print(json.dumps(make(arguments.make)))
    elif arguments.time:
        print(json.dumps(timed(arguments.time, arguments.repeats)))
    else:
        numbers = measured(arguments.repeats)
        write("graph_convolution", PROTOCOL, numbers, findings(numbers), arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
