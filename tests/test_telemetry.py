"""Nothing that we import or run opens a connection: openvino reports to its makers when imported."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "lowdose"

WATCHED = """
import os, sys

def watch(event, arguments):
    # Audit hooks also see what compiled code and forked children do.
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "os.fork"}:
        os.write(attempts, f"{event} {arguments[:2]!r}\\n".encode())
        raise PermissionError(f"{event} is not allowed here")

attempts = os.open(os.environ["ATTEMPTS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
sys.addaudithook(watch)
"""

SETTLED = """
import threading
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(timeout=10)
"""

COMPILED = """
import lowdose
import lowdose.models.runtime
import numpy as np
import openvino as ov
from openvino import opset13 as ops

values = ops.parameter([1, 4], dtype=np.float32)
compiled = ov.compile_model(ov.Model([ops.relu(values)], [values]), "CPU")
assert compiled(np.full((1, 4), -3.0, np.float32))[0].max() == 0.0
"""


def attempts_of(code: str, folder: Path) -> tuple[str, list[Path]]:
    """Connections that `code` tried to open in a new process, and the files it left in its home folder."""
    home = folder / "home"
    home.mkdir()
    record = folder / "attempts"
    record.touch()
    # These names tell openvino that it runs in a test, which would keep it silent.
    silencing = {"CI", "TF_BUILD", "JENKINS_URL"}
    environment = {key: value for key, value in os.environ.items() if key not in silencing}
    subprocess.run(
        [sys.executable, "-c", WATCHED + code + SETTLED],
        env=environment | {"HOME": str(home), "ATTEMPTS": str(record)},
        check=True,
        timeout=120,
    )
    return record.read_text(), [path for path in home.rglob("*") if path.is_file() and "intel" in path.parts]


def test_the_watch_sees_a_connection_from_another_thread(tmp_path: Path) -> None:
    code = """
import contextlib, socket, threading

def call():
    with contextlib.suppress(OSError):
        socket.create_connection(("203.0.113.1", 80), timeout=1)

threading.Thread(target=call).start()
"""
    attempts, _ = attempts_of(code, tmp_path)
    assert "203.0.113.1" in attempts


@pytest.mark.parametrize("code", ["import lowdose", COMPILED], ids=["import", "inference"])
def test_neither_import_nor_inference_calls_home(code: str, tmp_path: Path) -> None:
    assert attempts_of(code, tmp_path) == ("", [])


def test_only_the_runtime_imports_openvino() -> None:
    importers = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            if any(name.split(".")[0] == "openvino" for name in names):
                importers.add(path.relative_to(SOURCE).as_posix())
    assert importers == {"models/runtime.py"}
