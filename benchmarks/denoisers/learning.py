"""Paces, learning rates and training: every network the same time, counted in its own steps."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from entrants import Budget, Network
from numpy.typing import NDArray
from rates import best_rate, rates_to_try, tried

from lowdose.training.checkpoint import CHECKPOINT
from lowdose.training.experiment import make_fabric, method_of, network_of, patch_shape, train
from lowdose.training.loop import LOG, Schedule, TrainingError, fit
from lowdose.training.plan import TrainingPlan
from lowdose.training.sampling import PairSampler
from lowdose.training.sources import PreparedData

PACE_SECONDS = 20.0
WARM_UP = 2
"""Rounds that are not counted, a round being the steps after which denoiser and critics have all learned."""
BUSY = 0.3
"""Cores that others use, above which a pace is measured with a warning."""
WATCHED_SECONDS = 2.0
ENDLESS = 1_000_000


def pace_of(
    network: Network, sources: list[dict[str, Any]], data: PreparedData, budget: Budget
) -> dict[str, Any]:
    """Seconds a step in the loop that trains, data loading included: the median over rounds."""
    n_steps = ENDLESS if budget.most_steps is None else network.cycle * (WARM_UP + 3)
    plan = network.plan(sources, n_steps, network.rate)
    if plan.adversarial is not None:  # from the first step on critics learn as they will
        plan = plan.model_copy(update={"adversarial": plan.adversarial.model_copy(update={"warmup": 0})})
    busy = busy_cores()
    if busy > BUSY:
        print(f"  others use {busy:.1f} cores: this pace means nothing", flush=True)
    torch.manual_seed(plan.schedule.seed)
    denoiser = network_of(plan)
    sampler = PairSampler(
        data.training, plan.dose_gain, patch_shape(plan, denoiser), **plan.drawing.model_dump()
    )
    once = {"validate_every": ENDLESS, "checkpoint_every": ENDLESS}
    seen = [time.perf_counter()]
    with tempfile.TemporaryDirectory(prefix="lowdose-") as folder:
        fit(
            make_fabric(),
            method_of(plan, denoiser),
            sampler,
            lambda _network: None,
            Schedule(**{**plan.schedule.model_dump(), **once}),
            Path(folder),
            architecture={},
            max_seconds=PACE_SECONDS,
            on_progress=lambda _progress: seen.append(time.perf_counter()),
        )
    return {**pace(np.array(seen), network.cycle), "busy_before": busy, "weights": n_weights(denoiser)}


def busy_cores(seconds: float = WATCHED_SECONDS) -> float:
    """Cores in use while this process sleeps for `seconds`; Linux alone tells, elsewhere it is 0."""
    told = Path("/proc/stat")
    if not told.exists():
        return 0.0

    def working() -> float:
        user, nice, system, _idle, _waiting, *other = map(int, told.read_text().split("\n")[0].split()[1:])
        return (user + nice + system + sum(other[:2])) / os.sysconf("SC_CLK_TCK")

    before, started = working(), time.perf_counter()
    time.sleep(seconds)
    return (working() - before) / (time.perf_counter() - started)


def pace(seen: NDArray[np.float64], cycle: int) -> dict[str, float]:
    """From the times at which steps were done: seconds a step, the median over rounds of `cycle` steps."""
    rounds = np.diff(seen[::cycle]) / cycle
    counted = rounds[WARM_UP:] if len(rounds) > WARM_UP else rounds[-1:]
    if not len(counted):
        raise ValueError(
            "no round of steps was done in time; make the network, the patch or the batch smaller"
        )
    return {"seconds_per_step": float(np.median(counted)), "rounds": len(counted)}


def n_weights(network: torch.nn.Module) -> int:
    """Numbers that are trained."""
    return sum(weights.numel() for weights in network.parameters())


class Course:
    """The runs of one network in a folder of its own; what is there is not done again."""

    def __init__(
        self, network: Network, sources: list[dict[str, Any]], root: Path, folder: Path, cache: Path
    ) -> None:
        self.network, self.sources, self.root = network, sources, root
        self.folder, self.cache = folder, cache

    def tuned(self, n_steps: int) -> dict[str, Any]:
        """The validation error that each learning rate reaches in `n_steps`, and the best rate."""

        def error_of(rate: float) -> float | None:
            folder = self.folder / f"tuning-{rate:g}"
            error = self._error(self.network.plan(self.sources, n_steps, rate), folder)
            print(f"  {self.network.name}, learning rate {rate:g}: validation error {error:.4f}", flush=True)
            return error if math.isfinite(error) else None

        errors = tried(self.network.rates, error_of)
        return {"steps": n_steps, "errors": errors, "rate": best_rate(errors)}

    def trained(self, n_steps: int, tuned: dict[str, Any]) -> dict[str, Any]:
        """Train with the best rate; should the loss become no number, with the best of the lower ones."""
        for rate in rates_to_try(tuned):
            folder = self.folder / f"training-{rate:g}"
            started = time.perf_counter()
            resumed = (folder / CHECKPOINT).exists()
            error = self._error(self.network.plan(self.sources, n_steps, rate), folder)
            if not math.isfinite(error):
                continue
            return {
                "steps": n_steps,
                "rate": rate,
                "error": error,
                "seconds": None if resumed else time.perf_counter() - started,
                "device": device_in_words(),
                "model": f"{folder.name}/{self.network.name}",
            }
        raise TrainingError(f"{self.network.name}: no learning rate trains to the end")

    def _error(self, plan: TrainingPlan, folder: Path) -> float:
        """The least validation error of a run, NaN where its loss was no number."""
        try:
            train(
                plan, self.root, folder, resume=(folder / CHECKPOINT).exists(), max_seconds=math.inf,
                cache=self.cache,
            )  # fmt: skip
        except TrainingError as error:
            print(f"  {error}", flush=True)
            return math.nan
        return least_error((folder / LOG).read_text(encoding="utf-8"))


def device_in_words() -> str:
    """What the steps are computed on."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def least_error(log: str) -> float:
    """Of the lines of a log, NaN where there is none."""
    told = [json.loads(line)["validation_error"] for line in log.splitlines()]
    known = [error for error in told if error is not None and math.isfinite(error)]
    return min(known, default=math.nan)
