from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch import nn

from lowdose.models.card import HuScaling
from lowdose.networks.residual_unet import ResidualUnet
from lowdose.training.batches import Batch, batch_of_step
from lowdose.training.checkpoint import CHECKPOINT, CheckpointError
from lowdose.training.loop import (
    LOG,
    Outcome,
    Schedule,
    TrainingError,
    _share,
    fit,
    learning_rate_share,
)
from lowdose.training.objective import Objective
from lowdose.training.supervised import Supervised
from lowdose.training.validation import validation_of

SCALING = HuScaling(0.0, 100.0)
OBJECTIVE = Objective({"share-of-noise-left": 1.0})
CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


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


def flat_pair(generator: np.random.Generator):
    target = np.full((1, 16, 16), 40.0 * generator.uniform(0, 1), np.float32)
    return (target + 30 * generator.standard_normal(target.shape)).astype(np.float32), target


def flat_pairs(n: int, seed: int) -> Batch:
    return batch_of_step(flat_pair, seed, 0, range(n))


def run(folder: Path, plan: Schedule, *, draw=flat_pair, kind: str = "residual-unet", **options) -> Outcome:
    torch.manual_seed(0)
    network = ResidualUnet(width=8)
    held_back = validation_of([flat_pairs(4, 99)], network, SCALING, CPU)
    fabric = Fabric(accelerator="cpu", devices=1)
    method = Supervised(network, SCALING, OBJECTIVE)
    return fit(fabric, method, draw, held_back, plan, folder, architecture={"network": kind}, **options)


def weights(network: nn.Module) -> bytes:
    return b"".join(value.detach().numpy().tobytes() for value in network.state_dict().values())


def logged(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


class Killed(Exception):
    pass


def killing(at: int):
    def kill(progress):
        if progress.step == at:
            raise Killed

    return kill


@pytest.mark.parametrize("killed_at", [3, 5, 8])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, killed_at):
    """Steps done since the last checkpoint are done again; the end is that of a run never stopped."""
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = run(tmp_path / "whole", schedule())
    with pytest.raises(Killed):
        run(tmp_path / "killed", schedule(), on_progress=killing(killed_at))
    resumed = run(tmp_path / "killed", schedule())
    assert resumed.step == 12
    assert weights(resumed.network) == weights(whole.network)
    assert logged(tmp_path / "killed") == logged(tmp_path / "whole")


def test_a_run_out_of_time_leaves_a_checkpoint(tmp_path):
    assert run(tmp_path, schedule(), max_seconds=0.0).step == 0
    assert run(tmp_path, schedule(n_steps=4)).step == 4
    assert (tmp_path / CHECKPOINT).exists()
    assert not list(tmp_path.glob(".*part"))


def test_training_learns_to_remove_noise(tmp_path):
    trained = run(tmp_path, schedule(n_steps=120, batch_size=8, ema_decay=0.9, validate_every=60)).network
    noisy, target, _ = flat_pairs(16, 5)
    with torch.no_grad():
        output = trained(torch.from_numpy(SCALING.scaled(noisy))).numpy() * 100
    assert ((output - target) ** 2).mean() < 0.5 * ((noisy - target) ** 2).mean()
    log = logged(tmp_path)
    assert [line["step"] for line in log] == [60, 120]
    assert log[-1]["validation_error"] < log[0]["validation_error"] < 1.0


def test_the_weights_with_the_least_validation_error_are_selected(tmp_path):
    """From the fourth step on the pairs teach the opposite, so that the error rises again."""
    drawn: list[int] = []

    def draw(generator: np.random.Generator):
        noisy, target = flat_pair(generator)
        drawn.append(1)
        return (noisy, target) if len(drawn) <= 80 else (noisy, target + 100)

    for selection, expected in (("error", 40), ("last", 80)):
        drawn.clear()
        (tmp_path / selection).mkdir()
        plan = schedule(n_steps=80, ema_decay=0.0, validate_every=40, selection=selection)
        outcome = run(tmp_path / selection, plan, draw=draw)
        assert outcome.selected_step == expected
        log = {line["step"]: line["validation_error"] for line in logged(tmp_path / selection)}
        assert log[40] < log[80]
        found = validation_of([flat_pairs(4, 99)], outcome.network, SCALING, CPU)(outcome.network)
        assert found.error == pytest.approx(log[expected], abs=1e-6)


def test_the_learning_rate_rises_and_falls_as_stated():
    plan = schedule(n_steps=1000, warmup=100)
    shares = [learning_rate_share(step, plan) for step in (0, 99, 550, 1000)]
    assert shares == pytest.approx([0.01, 1.0, 0.505, 0.01])
    halving = schedule(n_steps=1000, warmup=100, decay="halving")
    shares = [learning_rate_share(step, halving) for step in (99, 324, 325, 550, 775, 999)]
    assert shares == pytest.approx([1, 1, 0.5, 0.25, 0.125, 0.125])
    constant = schedule(n_steps=1000, warmup=100, decay="constant")
    assert {learning_rate_share(step, constant) for step in (100, 500, 1000)} == {1.0}


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(tmp_path, wrong):
    def draw(generator: np.random.Generator):
        noisy, target = flat_pair(generator)
        drawn.append(1)
        return (noisy, target) if len(drawn) <= 16 else (noisy * np.float32(wrong), target)

    drawn: list[int] = []
    with pytest.raises(
        TrainingError, match=r"step 9: the loss of the denoiser is .*; the checkpoint of step 6"
    ):
        run(tmp_path, schedule(), draw=draw)
    resumed = run(tmp_path, schedule())
    (tmp_path / "whole").mkdir()
    assert weights(resumed.network) == weights(run(tmp_path / "whole", schedule()).network)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    run(tmp_path, schedule(n_steps=3))
    with pytest.raises(CheckpointError, match="network is residual-unet, the plan says red-cnn"):
        run(tmp_path, schedule(), kind="red-cnn")


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(TrainingError, match="a batch of 5 cannot be shared evenly by 2 processes"):
        _share(5, 0, 2)
    assert [_share(6, rank, 3) for rank in range(3)] == [range(2), range(2, 4), range(4, 6)]


SHARED = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from lowdose.networks.residual_unet import ResidualUnet
from lowdose.training.experiment import make_fabric
from lowdose.training.validation import validation_of
from lowdose.training.loop import fit
from lowdose.training.supervised import Supervised
from tests.training.test_loop import CPU, OBJECTIVE, SCALING, flat_pair, flat_pairs, schedule

torch.manual_seed(0)
network = ResidualUnet(width=8)
fabric = make_fabric()
assert fabric.world_size == int(sys.argv[2])
held_back = validation_of([flat_pairs(4, 99)], network, SCALING, CPU)
plan = schedule(batch_size=4, n_steps=8)
outcome = fit(fabric, Supervised(network, SCALING, OBJECTIVE), flat_pair, held_back, plan, Path(sys.argv[1]),
              architecture={})
if fabric.is_global_zero:
    torch.save(outcome.network.state_dict(), Path(sys.argv[1]) / "weights.pt")
"""


def test_two_processes_that_share_a_batch_learn_what_one_does(tmp_path):
    """Under torchrun, on two CPUs; the sums of gradients are taken in another order, so not to the bit."""
    script = tmp_path / "shared.py"
    script.write_text(SHARED)
    found = {}
    for n in (1, 2):
        folder = tmp_path / str(n)
        folder.mkdir()
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}"]
        done = subprocess.run(
            [*launcher, str(script), str(folder), str(n)],
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found[n] = torch.load(folder / "weights.pt", weights_only=True)
    initial = ResidualUnet(width=8).state_dict()
    moved = max(float((found[1][key] - initial[key]).abs().max()) for key in initial)
    apart = max(float((found[1][key] - found[2][key]).abs().max()) for key in initial)
    assert moved > 1e-3
    assert apart < 1e-6
    one, two = (logged(tmp_path / str(n))[-1] for n in (1, 2))
    assert two == pytest.approx(one, abs=1e-5)


def test_a_network_that_changes_nothing_leaves_all_of_the_error():
    network = ResidualUnet(width=8)
    found = validation_of([flat_pairs(3, 0)], network, SCALING, CPU)(network)
    assert found.error == pytest.approx(1.0)
    assert math.isfinite(found.ssim)
