from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from lowdose.training.checkpoint import CHECKPOINT, CheckpointError, read_checkpoint, write_checkpoint

CPU = torch.device("cpu")
KIND = {"network": "red-cnn", "sizes": {"width": 8, "blocks": (1, 2)}}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / CHECKPOINT
    write_checkpoint(path, {"step": 3, "weights": {"a": torch.arange(5.0)}, "recent": [0.5]}, KIND)
    return path


def test_what_was_written_comes_back_to_the_bit(path):
    state = read_checkpoint(path, KIND, CPU)
    assert state["step"] == 3
    assert state["recent"] == [0.5]
    assert torch.equal(state["weights"]["a"], torch.arange(5.0))


@pytest.mark.parametrize("at", [-1, -200, 300])
def test_one_wrong_byte_is_found(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not match its own SHA-256"):
        read_checkpoint(path, KIND, CPU)


def test_a_file_cut_short_is_found(path):
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="damaged; remove it to start anew"):
        read_checkpoint(path, KIND, CPU)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"{}\nrest", b"[1]\nrest"])
def test_another_file_is_no_checkpoint(path, content):
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not a checkpoint of lowdose"):
        read_checkpoint(path, KIND, CPU)


def test_another_architecture_is_named(path):
    with pytest.raises(CheckpointError, match="network is red-cnn, the plan says cnn-10"):
        read_checkpoint(path, KIND | {"network": "cnn-10"}, CPU)
    with pytest.raises(CheckpointError, match="sizes is"):
        read_checkpoint(path, KIND | {"sizes": {"width": 9, "blocks": (1, 2)}}, CPU)


def test_code_in_a_checkpoint_is_never_run(path):
    class Harm:
        def __reduce__(self):
            return os.system, ("true",)

    write_checkpoint(path, {"harm": Harm()}, KIND)
    with pytest.raises(Exception, match=r"[Ww]eights"):
        read_checkpoint(path, KIND, CPU)


WRITER = """
import sys, torch
from pathlib import Path
from lowdose.training.checkpoint import write_checkpoint
path = Path(sys.argv[1])
step = 0
while True:
    step += 1
    write_checkpoint(path, {"step": step, "weights": torch.full((200_000,), float(step))}, {})
    print(step, flush=True)
"""


def test_a_process_killed_at_any_moment_leaves_a_checkpoint_that_loads(tmp_path):
    path = tmp_path / CHECKPOINT
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    writer.stdout.readline()
    last = 0
    for pause in (0.013, 0.031, 0.047):
        time.sleep(pause)
        os.kill(writer.pid, signal.SIGSTOP)
        state = read_checkpoint(path, {}, CPU)
        assert (state["weights"] == state["step"]).all()
        assert state["step"] >= last
        last = state["step"]
        os.kill(writer.pid, signal.SIGCONT)
    writer.kill()
    writer.wait()
    writer.stdout.close()
    state = read_checkpoint(path, {}, CPU)
    assert (state["weights"] == state["step"]).all()
