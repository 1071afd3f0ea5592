"""The frame of all commands: help, version, statuses, and Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.main import get_command

import lowdose as package
from lowdose.cli import app
from tests.cli.runner import everything_below, lowdose
from tests.io.body_series import body_series

COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


def test_the_commands_are_those_of_the_manual():
    assert COMMANDS == [
        "adapt",
        "demo",
        "denoise",
        "detect",
        "doctor",
        "evaluate",
        "explain",
        "lesions",
        "manifest",
        "methods",
        "phantom",
        "simulate",
        "train",
    ]


@pytest.mark.parametrize("words", [["--help"], ["-h"], *[[command, "--help"] for command in COMMANDS]])
def test_help_is_on_standard_output(words):
    outcome = lowdose(*words)
    assert outcome.status == 0
    assert "Usage: lowdose" in outcome.out
    assert outcome.err == ""


def test_help_says_what_it_is_not():
    assert "Not a medical device" in lowdose("--help").out


def test_the_version_is_that_of_the_package():
    assert lowdose("--version").out == f"lowdose {package.__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["denois", "in", "out"],
        ["denoise"],
        ["denoise", "in"],
        ["denoise", "in", "out", "--strenght", "1"],
        ["denoise", "in", "out", "--strength", "much"],
        ["simulate", "in", "out"],
        ["simulate", "in", "out", "--dose", "0.5", "--seed", "-1"],
        ["evaluate", "in", "--out", "x"],
    ],
)
def test_wrong_use_has_status_two(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = lowdose(*words)
    assert outcome.status == 2
    assert outcome.out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "lowdose", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == f"lowdose {package.__version__}\n"


def test_an_interrupt_ends_with_130_one_line_and_nothing_left(tmp_path: Path, monkeypatch):
    source = body_series(tmp_path / "in", 3)
    before = everything_below(tmp_path)
    calls = []

    def interrupt(self, hu):
        calls.append(hu)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return hu

    monkeypatch.setattr("lowdose.denoising.Identity.__call__", interrupt)
    outcome = lowdose("denoise", source, tmp_path / "out", "--method", "identity", "--json")
    assert outcome.status == 130
    assert outcome.error == "stopped; nothing half-written is left behind"
    assert outcome.out == ""
    assert everything_below(tmp_path) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals to send")
@pytest.mark.parametrize(("sent", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_to_a_real_process(tmp_path: Path, sent: str, status: int):
    """The signal arrives while slices are being read, denoised and written in several threads."""
    source = body_series(tmp_path / "in", 40)
    code = (
        "import signal, time, lowdose.denoising as d; from lowdose.cli import main; "
        # A job a shell started in the background inherits "ignore the interrupt", and so would its child.
        "signal.signal(signal.SIGINT, signal.default_int_handler); "
        "d.Identity.__call__ = lambda self, hu: (time.sleep(0.2), hu)[1]; main()"
    )
    command = [sys.executable, "-c", code, "denoise", source, tmp_path / "out", "--method", "identity"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".*/0002.dcm")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(getattr(signal, sent))
    _, told = process.communicate(timeout=60)
    assert process.returncode == status
    assert "stopped; nothing half-written is left behind" in told
    assert "Traceback" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
