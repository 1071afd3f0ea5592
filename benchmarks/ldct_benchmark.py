"""Networks beside those of ldct-benchmark: the same weights give the same images, and its denormalisation.

    python benchmarks/ldct_benchmark.py --ldct PYTHON

`--ldct` is a Python that has ldct-benchmark (MIT), in an environment of its own. It makes each of its
networks with random weights and saves a checkpoint, as its training does; `load_ldct_benchmark` reads it.
The networks of its public hub have the same names and sizes and were not at hand.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from record import Finding, write

from lowdose.training.foreign_weights import LDCT_BENCHMARK, load_ldct_benchmark

PROTOCOL = (
    "difference: largest over all pixels, over the largest number that the peer's network gave, in network "
    "units; each network at its published sizes, its weights and running statistics shifted at random",
    "both networks run in double precision, which tells functions apart, and in single precision, where "
    "rounding adds up differently; the peer's own rounding, single against double, is beside it",
    "images: blocks of -1000 to 1500 HU with noise of 30 HU; two of 88 x 72 pixels, for transct one of "
    "512 x 512, for bilateral two of 24 x 20",
    "bilateral: the peer's layer builds only beside CUDA; where it is missing, its network runs with the "
    "filter by its definition, voxel by voxel in double precision",
    "denormalisation: the peer's public denoise_numpy less our result in HU, from the same weights",
)
DOUBLE, SINGLE = 1e-10, 1e-5


def compared(name: str, folder: Path) -> dict[str, Any]:
    """One network: ours with the peer's weights, on the peer's images."""
    with np.load(folder / f"{name}.npz") as loaded:
        theirs = {key: loaded[key] for key in loaded.files}
    network, scaling, sizes = load_ldct_benchmark(folder / f"{name}.pt", name)
    scaled = scaling.scaled(theirs["hu"])
    output = denoised(network, theirs["scaled"])
    hu = scaling.unscaled(denoised(network, scaled))
    shift = theirs["public"] - hu
    double = denoised(network.double(), theirs["scaled"].astype(np.float64))
    return {
        "sizes": sizes,
        "weights": sum(weight.numel() for weight in network.parameters()),
        "largest output": float(np.abs(theirs["output"]).max()),
        "standard deviation of the output": float(theirs["output"].std()),
        "largest difference, double": float(np.abs(double - theirs["double"]).max()),
        "largest difference, single": float(np.abs(output - theirs["output"]).max()),
        "largest rounding of the peer, single": float(np.abs(theirs["output"] - theirs["double"]).max()),
        "largest difference of the input": float(np.abs(scaled - theirs["scaled"]).max()),
        "what the network changes": float(np.abs(theirs["output"] - theirs["scaled"]).mean()),
        "public denoise_numpy less ours, mean HU": float(shift.mean()),
        "public denoise_numpy less ours, spread HU": float(shift.max() - shift.min()),
    }


def denoised(network: torch.nn.Module, images: NDArray[Any]) -> NDArray[Any]:
    with torch.no_grad():
        result: NDArray[Any] = network(torch.from_numpy(images[:, None]))[:, 0].numpy()
    return result


def findings(found: dict[str, dict[str, Any]]) -> list[Finding]:
    listed = []
    for name, row in found.items():
        double, single, rounding = (
            row[key] / row["largest output"]
            for key in (
                "largest difference, double",
                "largest difference, single",
                "largest rounding of the peer, single",
            )
        )
        listed.append(Finding(f"{name}, difference in double precision", double, "", DOUBLE))
        listed.append(Finding(f"{name}, difference in single precision", single, "", SINGLE))
        listed.append(Finding(f"{name}, the peer's own rounding in single precision", rounding, ""))
    shifts = [row["public denoise_numpy less ours, mean HU"] for row in found.values()]
    listed.append(Finding("HU that its denoise_numpy adds, least of all networks", min(shifts), "HU"))
    listed.append(Finding("HU that its denoise_numpy adds, most of all networks", max(shifts), "HU"))
    return listed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ldct", metavar="PYTHON", required=True, help="a Python that has ldct-benchmark")
    parser.add_argument("--out", type=Path, help="where the numbers go")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = Path(__file__).parent / "with_ldct_benchmark.py"
        subprocess.run([arguments.ldct, str(script), str(folder)], check=True)
        found = {network: compared(network, folder) for network in LDCT_BENCHMARK}
        with np.load(folder / "versions.npz") as loaded:
            versions = {key: str(loaded[key]) for key in loaded.files}
    numbers = {"peer": versions, **found}
    write("ldct_benchmark", PROTOCOL, numbers, findings(found), arguments.out)


if __name__ == "__main__":
    main()
