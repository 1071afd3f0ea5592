from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch import nn

from lowdose.models.card import HuScaling
from lowdose.networks.residual_unet import ResidualUnet
from lowdose.training.loop import Schedule, fit, learning_rate_at
from lowdose.training.supervised import Supervised

METHOD = Supervised(HuScaling(0.0, 100.0))


def schedule(**changes) -> Schedule:
    settings = {
        "n_steps": 12,
        "batch_size": 2,
        "learning_rate": 3e-3,
        "warmup": 2,
        "ema_decay": 0.5,
        "validate_every": 4,
        "checkpoint_every": 3,
        "seed": 7,
    }
    return Schedule(**(settings | changes))


def flat_pairs(size: int, generator: np.random.Generator):
    target = np.full((size, 1, 16, 16), 40.0, np.float32) * generator.uniform(0, 1, (size, 1, 1, 1))
    noise = generator.standard_normal(target.shape)
    return (target + 30 * noise).astype(np.float32), target.astype(np.float32)


def run(folder, plan: Schedule, max_seconds: float = math.inf, on_progress=lambda progress: None):
    fabric = Fabric(accelerator="cpu", devices=1)
    torch.manual_seed(0)
    validation = [flat_pairs(4, np.random.default_rng(99))]
    network = ResidualUnet(width=8)
    return fit(
        fabric, METHOD, network, flat_pairs, validation, plan, folder,
        max_seconds=max_seconds, on_progress=on_progress,
    )  # fmt: skip


def weights(network: nn.Module) -> bytes:
    return b"".join(value.detach().numpy().tobytes() for value in network.state_dict().values())


class Killed(Exception):
    pass


@pytest.mark.parametrize("killed_at", [3, 5, 8])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, killed_at):
    """Steps done since the last checkpoint are done again; the end is that of a run never stopped."""

    def kill(progress):
        if progress.step == killed_at:
            raise Killed

    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, _ = run(tmp_path / "whole", schedule())
    with pytest.raises(Killed):
        run(tmp_path / "killed", schedule(), on_progress=kill)
    resumed, step = run(tmp_path / "killed", schedule())
    assert step == 12
    assert weights(resumed) == weights(whole)


def test_a_run_out_of_time_leaves_a_checkpoint(tmp_path):
    _, step = run(tmp_path, schedule(), max_seconds=0.0)
    assert step == 0
    _, step = run(tmp_path, schedule(n_steps=4), max_seconds=math.inf)
    assert step == 4
    assert (tmp_path / "checkpoint.pt").exists()
    assert not list(tmp_path.glob(".*part"))


def test_training_learns_to_remove_noise(tmp_path):
    trained, _ = run(tmp_path, schedule(n_steps=120, batch_size=8, ema_decay=0.9, validate_every=60))
    noisy, target = flat_pairs(16, np.random.default_rng(5))
    with torch.no_grad():
        output = trained(torch.from_numpy(METHOD.scaling.scaled(noisy))).numpy() * 100
    assert ((output - target) ** 2).mean() < 0.5 * ((noisy - target) ** 2).mean()
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [60, 120]
    assert log[-1]["validation_share_left"] < log[0]["validation_share_left"] < 1.0


def test_the_learning_rate_rises_and_falls_as_stated():
    plan = schedule(n_steps=1000, warmup=100, learning_rate=1.0)
    assert learning_rate_at(0, plan) == pytest.approx(0.01)
    assert learning_rate_at(99, plan) == pytest.approx(1.0)
    assert learning_rate_at(550, plan) == pytest.approx(0.505)
    assert learning_rate_at(1000, plan) == pytest.approx(0.01)


def test_a_network_that_changes_nothing_leaves_all_of_the_error():
    batch = flat_pairs(3, np.random.default_rng(0))
    loss = METHOD.loss(ResidualUnet(width=8), batch, torch.device("cpu"))
    assert float(loss.detach()) == pytest.approx(1.0)
