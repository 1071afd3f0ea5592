"""Training throughput: a step of `lowdose train` beside the bare network step, and the memory that it takes.

    python benchmarks/training.py [--steps 25] [--rounds 5]

The bare step is forward, loss, backward and Adam on one batch that lies in memory; the other draws every
batch from scans on disk, clips gradients and averages weights besides. Both take turns in one process.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from record import Finding, median, write

from lowdose.models.card import HuScaling
from lowdose.networks import NETWORKS
from lowdose.networks.network import DenoisingNetwork
from lowdose.training.batches import Batch, batch_of_step
from lowdose.training.dataset import REALISATIONS, PreparedScan
from lowdose.training.loop import Progress, Schedule, fit, interleave_channels
from lowdose.training.memory import keep_freed_memory
from lowdose.training.objective import Objective
from lowdose.training.sampling import PairSampler, PatchShape
from lowdose.training.supervised import Scaled, Supervised, last_level

SCALING = HuScaling(0.0, 500.0)
OBJECTIVE = Objective({"share-of-noise-left": 1.0})
N_SCANS, SHAPE = 4, (40, 512, 512)
SHARE = 0.9
UNTIMED = 10
"""Steps at the start of each turn, in which memory is asked for."""
PROTOCOL = (
    f"{N_SCANS} scans of {SHAPE[0]} slices of 512 x 512 with their noise, int16 on disk, mapped",
    "the two take turns; the share is the bare step's time over the whole step's, median over rounds",
    "memory: peak resident set of the whole process, torch included, in 10^6 bytes",
)


@dataclass(frozen=True)
class Work:
    """A network and the batches that it is trained with."""

    name: str
    sizes: dict[str, Any]
    patch: PatchShape
    batch_size: int

    def network(self) -> DenoisingNetwork:
        torch.manual_seed(0)
        return NETWORKS[self.name](**self.sizes)


WORKS = (
    Work("residual-unet", {"width": 32}, PatchShape(80, 80), 12),
    Work("unet-2d", {"width": 32}, PatchShape(128, 128), 4),
    Work("unet-3d", {"width": 16}, PatchShape(64, 64, n_z=32, volume=True), 2),
)


def scans(folder: Path) -> list[PreparedScan]:
    """Noisy discs on disk, as training keeps scans."""
    generator = np.random.default_rng(0)
    made = []
    for number in range(N_SCANS):

        def stored(name: str, shape: tuple[int, ...], spread: float, level: int) -> NDArray[np.int16]:
            path = folder / f"{number}-{name}.npy"  # noqa: B023
            array = np.lib.format.open_memmap(path, "w+", np.int16, shape)
            for z in range(shape[0]):
                array[z] = level + generator.normal(0, spread, shape[1:]).astype(np.int16)
            array.flush()
            mapped: NDArray[np.int16] = np.load(path, mmap_mode="r")
            return mapped

        n_z, n_y, n_x = SHAPE
        hu = stored("hu", SHAPE, 20.0, 40)
        noise = stored("noise", (n_z, REALISATIONS, n_y, n_x), 160.0, 0)
        made.append(PreparedScan(f"p{number}", 1.0, (2.5, 0.7, 0.7), hu, noise))
    return made


def bare_step(work: Work, batch: Batch) -> Callable[[], None]:
    """One step of the network and nothing else."""
    network = work.network()
    interleave_channels(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    scaled = Scaled(batch, SCALING, network.context, torch.device("cpu"))

    def step() -> None:
        optimizer.zero_grad()
        loss = OBJECTIVE(last_level(network(scaled.shown)), scaled.noisy, scaled.target)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def timed_bare(step: Callable[[], None], n_steps: int) -> float:
    """Seconds a step."""
    for _ in range(UNTIMED):
        step()
    started = time.perf_counter()
    for _ in range(n_steps):
        step()
    return (time.perf_counter() - started) / n_steps


def timed_training(work: Work, sampler: PairSampler, n_steps: int) -> float:
    """Seconds a step of `fit`, without its first and without checkpoints."""
    at: list[float] = []

    def told(_progress: Progress) -> None:
        at.append(time.perf_counter())

    schedule = Schedule(
        n_steps=UNTIMED + n_steps, batch_size=work.batch_size, learning_rate=1e-4, warmup=1, ema_decay=0.99,
        validate_every=10**9, checkpoint_every=10**9, seed=1, selection="last",
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="lowdose-") as folder:
        fit(
            Fabric(accelerator="cpu", devices=1),
            Supervised(work.network(), SCALING, OBJECTIVE),
            sampler,
            lambda _network: None,
            schedule,
            Path(folder),
            architecture={},
            on_progress=told,
        )
    # The last step also writes the checkpoint.
    return (at[-2] - at[UNTIMED - 1]) / (n_steps - 1)


def measured(work: Work, prepared: list[PreparedScan], n_steps: int, n_rounds: int) -> dict[str, Any]:
    """Both in turn; seconds a step of each round."""
    sampler = PairSampler(prepared, 4.0, work.patch)
    step = bare_step(work, batch_of_step(sampler, 0, 0, range(work.batch_size)))
    rounds = [(timed_bare(step, n_steps), timed_training(work, sampler, n_steps)) for _ in range(n_rounds)]
    return {
        "network": work.name,
        "sizes": work.sizes,
        "batch_size": work.batch_size,
        "bare_s": [bare for bare, _ in rounds],
        "training_s": [training for _, training in rounds],
        "share": median([bare / training for bare, training in rounds]),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


def findings(rows: list[dict[str, Any]]) -> list[Finding]:
    found = []
    for row in rows:
        name = row["network"]
        found += [
            Finding(f"{name}, bare step over training step", row["share"], "", SHARE, at_least=True),
            Finding(f"{name}, a step", median(row["training_s"]), "s"),
            Finding(f"{name}, peak memory of training", row["peak_mb"], "MB"),
        ]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=25, help="in each turn (default 25)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default 5)")
    parser.add_argument("--out", type=Path, help="where the numbers go")
    arguments = parser.parse_args()
    keep_freed_memory()  # for both: `fit` says so too
    rows = []
    with tempfile.TemporaryDirectory(prefix="lowdose-") as folder:
        prepared = scans(Path(folder))
        for work in WORKS:
            rows.append(measured(work, prepared, arguments.steps, arguments.rounds))
            print({key: rows[-1][key] for key in ("network", "share", "peak_mb")}, flush=True)
    write("training", PROTOCOL, {"networks": rows}, findings(rows), arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
