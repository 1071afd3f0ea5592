"""The training loop: one function, one visible state, resumed exactly where it stopped."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lowdose.provenance import written_whole
from lowdose.training.supervised import Batch

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    n_steps: int
    """Optimiser steps in all."""
    batch_size: int
    learning_rate: float
    """At its highest, after `warmup` steps; it then falls along a cosine to a hundredth."""
    warmup: int
    """Steps"""
    ema_decay: float
    """Of the moving average of the weights, which is what is validated and exported."""
    validate_every: int
    """Steps"""
    checkpoint_every: int
    """Steps"""
    seed: int


class Method(Protocol):
    """What differs between ways of training."""

    def loss(self, network: nn.Module, batch: Batch, device: torch.device) -> Tensor: ...


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for whoever watches it."""

    step: int
    n_steps: int
    loss: float
    validation: float | None
    """Root of the mean validation loss: the share of the error that is left."""
    seconds_per_step: float


def learning_rate_at(step: int, schedule: Schedule) -> float:
    """Linear warm-up, then half a cosine down to a hundredth of the highest rate."""
    if step < schedule.warmup:
        return schedule.learning_rate * (step + 1) / schedule.warmup
    share = (step - schedule.warmup) / max(1, schedule.n_steps - schedule.warmup)
    return schedule.learning_rate * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min(share, 1.0))))


def fit(
    fabric: Fabric,
    method: Method,
    network: nn.Module,
    training: Callable[[int, np.random.Generator], Batch],
    validation: Sequence[Batch],
    schedule: Schedule,
    folder: Path,
    *,
    max_seconds: float = math.inf,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> tuple[nn.Module, int]:
    """Train `network` until `schedule` is done or `max_seconds` have passed; return the averaged network and
    the step.

    `training(size, generator)` draws a batch. The batch of a step depends on the seed, the step and the
    process alone, so a run that is resumed from `folder` goes on as if it had never stopped. A checkpoint is
    written whole or not at all, by the first process.
    """
    moving_average = get_ema_multi_avg_fn(schedule.ema_decay)  # type: ignore[no-untyped-call]
    averaged = AveragedModel(network, multi_avg_fn=moving_average).to(fabric.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=schedule.learning_rate)
    network, optimizer = fabric.setup(network, optimizer)
    state: dict[str, Any] = {"network": network, "averaged": averaged, "optimizer": optimizer, "step": 0}
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists():
        state |= fabric.load(checkpoint, {key: state[key] for key in ("network", "averaged", "optimizer")})
    started, first_step = time.monotonic(), state["step"]
    losses: list[float] = []
    while state["step"] < schedule.n_steps and time.monotonic() - started < max_seconds:
        step = state["step"]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, schedule)
        generator = np.random.default_rng([schedule.seed, step, fabric.global_rank])
        loss = method.loss(network, training(schedule.batch_size, generator), fabric.device)
        optimizer.zero_grad()
        fabric.backward(loss)
        fabric.clip_gradients(network, optimizer, max_norm=1.0, error_if_nonfinite=True)
        optimizer.step()
        averaged.update_parameters(network)
        losses.append(float(loss.detach()))
        state["step"] = step + 1
        last = state["step"] == schedule.n_steps
        validated = None
        if last or state["step"] % schedule.validate_every == 0:
            validated = validation_error(method, averaged, validation, fabric.device)
            if fabric.is_global_zero:
                _log(folder, state["step"], float(np.mean(losses)), validated)
        if last or state["step"] % schedule.checkpoint_every == 0:
            _save(fabric, checkpoint, state)
        pace = (time.monotonic() - started) / (state["step"] - first_step)
        on_progress(Progress(state["step"], schedule.n_steps, float(np.mean(losses[-100:])), validated, pace))
        if validated is not None:
            losses.clear()
    if state["step"] > first_step and state["step"] % schedule.checkpoint_every:
        _save(fabric, checkpoint, state)
    return averaged.module, state["step"]


def validation_error(
    method: Method, network: nn.Module, batches: Sequence[Batch], device: torch.device
) -> float | None:
    """Root of the mean loss over `batches`; None without any."""
    if not batches:
        return None
    network.eval()
    with torch.no_grad():
        losses = [float(method.loss(network, batch, device)) for batch in batches]
    network.train()
    return math.sqrt(float(np.mean(losses)))


def _save(fabric: Fabric, checkpoint: Path, state: dict[str, Any]) -> None:
    if not fabric.is_global_zero:
        fabric.barrier()
        return
    with written_whole(checkpoint) as temporary:
        fabric.save(temporary, state)
    fabric.barrier()


def _log(folder: Path, step: int, loss: float, validation: float | None) -> None:
    line = json.dumps({"step": step, "training_loss": round(loss, 5), "validation_share_left": validation})
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
