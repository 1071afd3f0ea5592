"""The light core on a new machine: seconds to install, megabytes, what it holds, how fast it starts.

    python benchmarks/install.py

`make` makes a virtual environment in a new folder by the rule of `make demo`. Every wheel is fetched from
wherever pip is set to look, none comes from its cache, so the network's speed is in the seconds.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from email.message import Message
from importlib.metadata import distributions
from pathlib import Path
from typing import cast

from record import Finding, median, write

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "torchvision", "monai", "lightning", "onnx", "onnxruntime"}
PROTOCOL = (
    "install: `make` with the rule of `make demo` in a new folder, pip's cache off, downloads included",
    "size: disk blocks of the virtual environment in 10^6 bytes, right after, and after `lowdose doctor` has "
    "compiled what it uses",
    "start: whole processes, start of Python included; median of 7 after one to warm up",
    "licences: as the packages state them; GPL and AGPL count, not the LGPL nor a linking exception (WITH)",
)


def environment() -> dict[str, str]:
    """Ours, without what would reach into the new installation; pip keeps its settings for mirrors."""
    unwanted = ("PYTHON", "MAKE", "MFLAGS", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {**kept, "PIP_NO_CACHE_DIR": "1"}


def install(venv: Path) -> float:
    """Make the environment; the seconds it took."""
    command = ["make", "-C", str(ROOT), f"VENV={venv}", f"PYTHON={sys.executable}", f"{venv}/core-installed"]
    started = time.perf_counter()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"the installation failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def size_mb(folder: Path) -> float:
    """Disk used below the folder, as `du` counts it."""
    blocks = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            status = Path(parent, name).lstat()
            blocks[status.st_dev, status.st_ino] = status.st_blocks
    return sum(blocks.values()) * 512 / 1e6


def licences(venv: Path) -> dict[str, str]:
    """What every installed package says of its licence, by its name."""
    (site,) = (venv / "lib").glob("python*/site-packages")
    return {
        f"{one.metadata['Name']} {one.version}": stated_licence(cast("Message", one.metadata))
        for one in sorted(distributions(path=[str(site)]), key=lambda one: one.metadata["Name"].lower())
    }


def stated_licence(metadata: Message) -> str:
    """The licence expression, else the classifiers, else the first line of the licence field."""
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [line for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    if classifiers:
        return "; ".join(line.rpartition(" :: ")[2] for line in classifiers)
    return (metadata.get("License") or "not stated").strip().splitlines()[0]


def is_gpl(licence: str) -> bool:
    """Whether a package under `licence` could not be shipped freely."""
    plain = re.sub(r"\bA?GPL[\w.+-]* WITH [\w.-]+", "", licence)
    return bool(re.search(r"\bA?GPL|Affero|(?<!Lesser )General Public License", plain))


def start_seconds(command: Sequence[str], folder: Path, runs: int = 7) -> float:
    """Median time of a whole process after one to warm up."""
    seconds = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        subprocess.run(command, cwd=folder, env=environment(), check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return median(seconds[1:])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="where the numbers go")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lowdose-") as temporary:
        folder = Path(temporary)
        venv = folder / "venv"
        print("installing the light core", flush=True)
        seconds, size = install(venv), size_mb(venv)
        python, program = str(venv / "bin" / "python"), str(venv / "bin" / "lowdose")
        bare = start_seconds([python, "-c", "pass"], folder)
        imported = start_seconds([python, "-c", "import lowdose"], folder)
        helped = start_seconds([program, "--help"], folder)
        subprocess.run(
            [program, "doctor"], cwd=folder, env=environment(), stdout=subprocess.DEVNULL, check=True
        )
        used, stated = size_mb(venv), licences(venv)
    names = {name.split()[0].lower() for name in stated}
    gpl = [name for name, licence in stated.items() if is_gpl(licence)]
    for name, licence in stated.items():
        print(f"  {name:<32} {licence}")
    findings = [
        Finding("install the light core", seconds, "s", 90),
        Finding("size of the environment, as installed", size, "MB", 900),
        Finding("size of the environment, after first use", used, "MB"),
        Finding("packages for training in it (torch and its like)", len(names & HEAVY), "", 0),
        Finding("packages under the GPL or AGPL in it", len(gpl), "", 0),
        Finding("packages that state no licence", list(stated.values()).count("not stated"), "", 0),
        Finding("python -c 'import lowdose'", imported, "s", 0.5),
        Finding("lowdose --help", helped, "s", 1),
        Finding("python -c pass, for comparison", bare, "s"),
    ]
    write("install", PROTOCOL, {"packages": stated, "gpl": gpl}, findings, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
