"""DICOM to DICOM with `ct-default`: slices a second, beside inference alone and RED-CNN in eager PyTorch.

    python benchmarks/throughput.py [--slices N] [--rounds N] [--like FOLDER]

Three things take turns, each in a process of its own with the default settings of its engine: `lowdose
denoise` as a whole; the same network on the same slices, already in memory; RED-CNN (Chen et al. 2017, IEEE
Trans Med Imaging 36:2524) at its published width with random weights. Ratios are taken within a round, then
the median over rounds.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from command import run_lowdose
from record import Finding, median, write
from series import write_series

METHOD = "ct-default"

PROTOCOL = (
    "whole: seconds from the start of the process `lowdose denoise` to its end, over slices",
    "steady: seconds between the first and the last derived file, over the slices between them",
    "inference: the network's calls alone (OpenVINO, float32) on the same scaled slices in memory, after one "
    "more to warm up",
    "RED-CNN: 96 filters of 5 x 5, 10 layers, 1,848,865 parameters, random weights, eager PyTorch, float32, "
    "one slice a call, after one more to warm up",
    "every process uses all cores as its engine sees fit; the files are new, so the page cache holds them",
)


class Whole(NamedTuple):
    """Seconds a slice of one run of `lowdose denoise`, and its seconds before the first slice."""

    per_slice: float
    steady: float
    start_up: float


def whole(folder: Path, output: Path) -> Whole:
    """One run of the command, and what the time stamps of its files tell."""
    usage = run_lowdose("denoise", folder, output, "--method", METHOD)
    written = sorted(path.stat().st_mtime for path in output.glob("*.dcm"))
    shutil.rmtree(output)
    steady = (written[-1] - written[0]) / (len(written) - 1)
    return Whole(usage.seconds / len(written), steady, written[0] - usage.started)


def inference(folder: Path) -> float:
    """Seconds a slice of the network alone: the better of one at a time and as many as the program takes."""
    from lowdose.denoising import model_folder
    from lowdose.io import open_input
    from lowdose.models.card import load_card
    from lowdose.models.denoiser import N_STREAMS
    from lowdose.models.runtime import OpenVinoNetwork

    model = model_folder(METHOD)
    card = load_card(model)
    with open_input(folder) as found:
        scan = found.cases[0].scan
        assert scan is not None
        images = [card.scaling.scaled(np.clip(hu, *card.trained_range_hu))[None, None] for hu, _ in scan]
    found_seconds = []
    for n_streams in (1, N_STREAMS):
        network = OpenVinoNetwork(model / "model.onnx", n_streams=n_streams)
        with ThreadPoolExecutor(n_streams) as pool:
            list(pool.map(network, images[:n_streams]))
            started = time.perf_counter()
            for _ in pool.map(network, images):
                pass
            found_seconds.append((time.perf_counter() - started) / len(images))
    return min(found_seconds)


def red_cnn() -> Any:
    """Five convolutions and five transposed ones, none padded; three skips, each added before the ReLU."""
    import torch
    from torch import nn

    class RedCnn(nn.Module):
        def __init__(self, width: int = 96) -> None:
            super().__init__()
            n_in, n_out = (1, *[width] * 4), (*[width] * 4, 1)
            self.down = nn.ModuleList(nn.Conv2d(n, width, 5) for n in n_in)
            self.up = nn.ModuleList(nn.ConvTranspose2d(width, n, 5) for n in n_out)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            features, skipped = image, []
            for index, layer in enumerate(self.down):
                if index % 2 == 0:
                    skipped.append(features)
                features = torch.relu(layer(features))
            for index, layer in enumerate(self.up):
                features = layer(features)
                if index % 2 == 0:
                    features = features + skipped.pop()
                features = torch.relu(features)
            return features

    return RedCnn().eval()


def red_cnn_seconds(n_slices: int, matrix: int) -> float:
    """Seconds a slice of RED-CNN."""
    import torch

    network = red_cnn()
    image = torch.randn(1, 1, matrix, matrix, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        network(image)
        started = time.perf_counter()
        for _ in range(n_slices):
            network(image)
        return (time.perf_counter() - started) / n_slices


def alone(function: Callable[..., float], *arguments: object) -> float:
    """The function's result, from a new process."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def findings(runs: list[Whole], inferences: list[float], peers: list[float]) -> list[Finding]:
    """The medians over rounds that the targets are about."""
    pairs = list(zip(runs, inferences, strict=True))
    rows = [
        Finding(
            "slices/s, DICOM to DICOM, start-up included",
            1 / median([r.per_slice for r in runs]),
            "1/s",
            6,
            True,
        ),
        Finding("steady time over inference alone", median([r.steady / t for r, t in pairs]), "", 1.15),
        Finding(
            "whole time over inference alone, start-up included",
            median([r.per_slice / t for r, t in pairs]),
            "",
        ),
        Finding("start-up, to the first slice written", median([r.start_up for r in runs]), "s"),
        Finding("slices/s, inference alone", 1 / median(inferences), "1/s"),
    ]
    if peers:
        ratios = [peer / run.per_slice for run, peer in zip(runs, peers, strict=True)]
        rows += [
            Finding("slices/s, RED-CNN, eager PyTorch, inference alone", 1 / median(peers), "1/s"),
            Finding("times as fast, DICOM to DICOM, as RED-CNN's inference", median(ratios), ""),
        ]
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slices", type=int, default=300, help="slices of the series (default 300)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each takes its turn (default 3)")
    parser.add_argument(
        "--red-cnn-slices", type=int, default=2, help="slices a round; 0 leaves it out (default 2)"
    )
    parser.add_argument("--like", type=Path, metavar="FOLDER", help="repeat this DICOM series, not a phantom")
    parser.add_argument("--out", type=Path, help="where the numbers go")
    arguments = parser.parse_args()
    runs, inferences, peers = [], [], []
    with tempfile.TemporaryDirectory(prefix="lowdose-") as temporary:
        folder = Path(temporary) / "series"
        described = write_series(folder, arguments.slices, arguments.like)
        print(f"{arguments.slices} slices, {described}\nseconds a slice:")
        print(f"{'round':>5} {'whole':>8} {'steady':>8} {'inference':>10} {'RED-CNN':>8}")
        for number in range(1, arguments.rounds + 1):
            runs.append(whole(folder, Path(temporary) / "denoised"))
            inferences.append(alone(inference, folder))
            told = f"{number:>5} {runs[-1].per_slice:8.4f} {runs[-1].steady:8.4f} {inferences[-1]:10.4f}"
            if arguments.red_cnn_slices:
                peers.append(alone(red_cnn_seconds, arguments.red_cnn_slices, 512))
                told += f" {peers[-1]:8.3f}"
            print(told, flush=True)
    numbers = {
        "slices": arguments.slices,
        "rounds": arguments.rounds,
        "seconds_a_slice": {
            "whole": [run.per_slice for run in runs],
            "steady": [run.steady for run in runs],
            "inference": inferences,
            "red_cnn": peers,
        },
        "start_up_seconds": [run.start_up for run in runs],
    }
    write("throughput", [described, *PROTOCOL], numbers, findings(runs, inferences, peers), arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
