"""The training loop: one function, one visible state, resumed exactly where it stopped."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lowdose.provenance import written_whole
from lowdose.training.batches import Batch, Draw, batch_of_step, drawn_ahead
from lowdose.training.checkpoint import CHECKPOINT, read_checkpoint, write_checkpoint
from lowdose.training.memory import keep_freed_memory

LOG = "log.jsonl"

Decay = Literal["cosine", "halving", "constant"]
Selection = Literal["error", "ssim", "last"]


class TrainingError(Exception):
    """One sentence: where a run went wrong, what is kept, what to do."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    n_steps: int
    """Batches in all."""
    batch_size: int
    """Of all processes together."""
    learning_rate: float
    """At its highest, after `warmup` steps."""
    warmup: int
    """Steps"""
    ema_decay: float
    """Of the moving average of the weights, which is what is validated and exported."""
    validate_every: int
    """Steps"""
    checkpoint_every: int
    """Steps"""
    seed: int
    decay: Decay = "cosine"
    """To a hundredth along a cosine, by halves after each quarter of the steps, or not at all."""
    selection: Selection = "error"
    """The weights to export: those with the least validation error, the highest SSIM, or the last."""


class Trained(NamedTuple):
    """A module that a method trains, and with what."""

    module: nn.Module
    learning_rate: float
    """As a share of the schedule's."""
    betas: tuple[float, float] = (0.9, 0.999)


Descend = Callable[[str, Tensor], None]
"""Takes a step of the optimiser of one trained module down the gradient of a loss."""


class Turn(NamedTuple):
    """One step: its number, its randomness, which all processes share, and this one's part of the batch."""

    step: int
    generator: torch.Generator
    samples: slice
    batch_size: int
    device: torch.device

    def uniform(self) -> Tensor:
        """A number in 0..1 for each sample of this process, `(b,)`."""
        return torch.rand(self.batch_size, generator=self.generator)[self.samples].to(self.device)


class Method(Protocol):
    """What differs between ways of training."""

    @property
    def trained(self) -> Mapping[str, Trained]:
        """Everything that is trained; the first is what all is about: it is averaged, validated and kept."""
        ...

    def step(self, batch: Batch, turn: Turn, descend: Descend) -> dict[str, float]:
        """Learn from one batch; the losses by name, `loss` that of the first of `trained`."""
        ...


class Validation(NamedTuple):
    """How the averaged network does on scans that training does not see."""

    error: float
    """Root of the mean share of the noise power that is left: one for a network that changes nothing.

    Of a generator of noise: how far its noise is from real noise."""
    ssim: float | None
    """None for what gives no images."""


Validate = Callable[[nn.Module], Validation | None]


@dataclass(frozen=True)
class Progress:
    """Where a run stands, for whoever watches it."""

    step: int
    n_steps: int
    loss: float
    validation: Validation | None
    seconds_per_step: float


class Outcome(NamedTuple):
    """What `fit` gives: the network with the weights to export, the step they are of, and the last step."""

    network: nn.Module
    selected_step: int
    step: int


def learning_rate_share(step: int, schedule: Schedule) -> float:
    """Linear warm-up, then the schedule's decay; a share of the highest rate."""
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    done = min((step - schedule.warmup) / max(1, schedule.n_steps - schedule.warmup), 1.0)
    if schedule.decay == "constant":
        return 1.0
    if schedule.decay == "halving":
        return float(0.5 ** math.floor(4 * done))
    return 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * done))


def fit(
    fabric: Fabric,
    method: Method,
    draw: Draw,
    validate: Validate,
    schedule: Schedule,
    folder: Path,
    *,
    architecture: Mapping[str, Any],
    max_seconds: float = math.inf,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> Outcome:
    """Train until `schedule` is done or `max_seconds` have passed.

    The batch of a step depends on the seed and the step alone, so a run that is resumed from `folder` goes on
    as if it had never stopped, and processes that share a batch do what one would. A checkpoint is written
    whole or not at all, by the first process. TrainingError if a loss is not a number: the last checkpoint is
    kept. CheckpointError if the one in `folder` is of another `architecture`, or damaged.
    """
    keep_freed_memory()
    run = _Run(fabric, method, schedule, folder, dict(architecture))
    run.resume()
    samples = _share(schedule.batch_size, fabric.global_rank, fabric.world_size)
    steps = range(run.step, schedule.n_steps)
    started, first_step = time.monotonic(), run.step
    batches = drawn_ahead(lambda step: batch_of_step(draw, schedule.seed, step, samples), steps)
    for step, batch in zip(steps, batches, strict=True):
        if run.time_is_up(started, max_seconds):
            batches.close()  # type: ignore[attr-defined]
            break
        run.learn(batch, samples)
        last = run.step == schedule.n_steps
        validation = None
        if last or run.step % schedule.validate_every == 0:
            validation = run.validated(validate)
        if last or run.step % schedule.checkpoint_every == 0:
            run.save()
        pace = (time.monotonic() - started) / (step + 1 - first_step)
        on_progress(Progress(run.step, schedule.n_steps, run.recent_loss(), validation, pace))
        if validation is not None:
            run.recent.clear()
    if run.step > run.saved_step or not run.step:
        run.save()
    return run.outcome()


def _share(batch_size: int, rank: int, n_processes: int) -> range:
    """The samples of a batch that a process draws."""
    if batch_size % n_processes:
        raise TrainingError(
            f"a batch of {batch_size} cannot be shared evenly by {n_processes} processes; change batch_size"
        )
    each = batch_size // n_processes
    return range(rank * each, (rank + 1) * each)


class _Run:
    """The state of a run and what is done to it."""

    def __init__(
        self, fabric: Fabric, method: Method, schedule: Schedule, folder: Path, architecture: dict[str, Any]
    ) -> None:
        self.fabric, self.method, self.schedule = fabric, method, schedule
        self.folder, self.architecture = folder, architecture
        self.step = self.saved_step = 0
        self.recent: list[float] = []
        """Losses since the last validation."""
        self.told: dict[str, float] = {}
        """What else the method said of its last steps."""
        self.best: dict[str, Any] = {"score": None, "step": 0, "weights": None}
        self.trained = method.trained
        for one in self.trained.values():
            fabric.to_device(one.module)
            interleave_channels(one.module)
        self.optimizers = {
            name: torch.optim.Adam(one.module.parameters(), lr=schedule.learning_rate, betas=one.betas)
            for name, one in self.trained.items()
        }
        moving_average = get_ema_multi_avg_fn(schedule.ema_decay)  # type: ignore[no-untyped-call]
        self.averaged = AveragedModel(self._first(), multi_avg_fn=moving_average)

    def _first(self) -> nn.Module:
        return next(iter(self.trained.values())).module

    def resume(self) -> None:
        """Take up the checkpoint of the folder, if there is one."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        state = read_checkpoint(path, self.architecture, self.fabric.device)
        for name, one in self.trained.items():
            one.module.load_state_dict(state["modules"][name])
            self.optimizers[name].load_state_dict(state["optimizers"][name])
        self.averaged.load_state_dict(state["averaged"])
        self.step = self.saved_step = state["step"]
        self.recent, self.best, self.told = state["recent"], state["best"], state.get("told", {})
        if self.fabric.is_global_zero and (self.folder / LOG).exists():
            lines = (self.folder / LOG).read_text(encoding="utf-8").splitlines(keepends=True)
            with written_whole(self.folder / LOG) as temporary:  # steps after the checkpoint are done again
                temporary.write_text(
                    "".join(line for line in lines if json.loads(line)["step"] <= self.step), encoding="utf-8"
                )

    def save(self) -> None:
        """Write the checkpoint, by the first process."""
        if self.fabric.is_global_zero:
            state = {
                "step": self.step,
                "modules": {name: one.module.state_dict() for name, one in self.trained.items()},
                "optimizers": {name: one.state_dict() for name, one in self.optimizers.items()},
                "averaged": self.averaged.state_dict(),
                "recent": self.recent,
                "told": self.told,
                "best": self.best,
            }
            write_checkpoint(self.folder / CHECKPOINT, state, self.architecture)
        self.saved_step = self.step
        self.fabric.barrier()

    def learn(self, batch: Batch, samples: range) -> None:
        """One step of the method."""
        share = learning_rate_share(self.step, self.schedule)
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.schedule.learning_rate * self.trained[name].learning_rate * share
        generator = torch.Generator().manual_seed(self.schedule.seed * 1_000_003 + self.step)
        part = slice(samples.start, samples.stop)
        turn = Turn(self.step, generator, part, self.schedule.batch_size, self.fabric.device)
        losses = self.method.step(batch, turn, self._descend)
        self.told.update({name: value for name, value in losses.items() if name != "loss"})
        if "loss" in losses:
            self.recent.append(self._of_all(losses["loss"]))
            self.averaged.update_parameters(self._first())
        elif not self.recent:
            self.recent.append(math.nan)  # a critic alone learned so far
        self.step += 1

    def recent_loss(self) -> float:
        """The mean of the last hundred, NaN while critics alone have learned."""
        known = [loss for loss in self.recent[-100:] if math.isfinite(loss)]
        return sum(known) / len(known) if known else math.nan

    def _of_all(self, loss: float) -> float:
        """The mean over all processes."""
        if self.fabric.world_size == 1:
            return loss
        return float(cast(Tensor, self.fabric.all_reduce(torch.tensor(loss), reduce_op="mean")))

    def _descend(self, name: str, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise self._not_a_number(f"the loss of the {name} is {float(loss.detach()):g}")
        module, optimizer = self.trained[name].module, self.optimizers[name]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        _average_gradients(self.fabric, module)
        norm = nn.utils.clip_grad_norm_(module.parameters(), max_norm=1.0)
        if not torch.isfinite(norm):
            raise self._not_a_number(f"the gradient of the {name} is {float(norm):g}")
        optimizer.step()

    def _not_a_number(self, what: str) -> TrainingError:
        kept = f"the checkpoint of step {self.saved_step} is kept" if self.saved_step else "nothing was kept"
        return TrainingError(
            f"step {self.step + 1}: {what}; {kept} in {self.folder}: lower learning_rate in the plan"
            + (" and go on with --resume" if self.saved_step else "")
        )

    def validated(self, validate: Validate) -> Validation | None:
        """Validate the averaged network, remember it if it is the best so far, and log."""
        network = self.averaged.module
        network.eval()
        found = validate(network)
        network.train()
        if found is not None and self.schedule.selection != "last":
            score = found.ssim if self.schedule.selection == "ssim" else -found.error
            if (
                score is not None
                and math.isfinite(score)
                and (self.best["score"] is None or score > self.best["score"])
            ):
                weights = {key: value.detach().cpu().clone() for key, value in network.state_dict().items()}
                self.best = {"score": score, "step": self.step, "weights": weights}
        if self.fabric.is_global_zero:
            self._log(found)
        return found

    def _log(self, found: Validation | None) -> None:
        known = [loss for loss in self.recent if math.isfinite(loss)]
        line = {
            "step": self.step,
            "training_loss": round(sum(known) / len(known), 6) if known else None,
            "validation_error": None if found is None else round(found.error, 6),
            "validation_ssim": None if found is None or found.ssim is None else round(found.ssim, 6),
        } | {name: float(f"{value:.6g}") for name, value in self.told.items()}
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def time_is_up(self, started: float, max_seconds: float) -> bool:
        """Whether to stop; the first process decides for all."""
        if max_seconds == math.inf:
            return False
        return bool(self.fabric.broadcast(time.monotonic() - started >= max_seconds))

    def outcome(self) -> Outcome:
        """The selected weights, in a network that no longer learns."""
        network: nn.Module = self.averaged.module
        selected = self.step
        if self.best["weights"] is not None:
            network.load_state_dict(self.best["weights"])
            selected = self.best["step"]
        network.eval()
        return Outcome(network, selected, self.step)


def interleave_channels(module: nn.Module) -> None:
    """Keep the channels of a pixel side by side, as convolutions like to read them."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in module.parameters():
        if weight.dim() in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.dim()])


def _average_gradients(fabric: Fabric, module: nn.Module) -> None:
    """The mean over all processes of the gradients of `module`."""
    if fabric.world_size == 1:
        return
    gradients = [weight.grad for weight in module.parameters() if weight.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    flat = cast(Tensor, fabric.all_reduce(flat, reduce_op="mean"))
    at = 0
    for gradient in gradients:
        gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
        at += gradient.numel()
