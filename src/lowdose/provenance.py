"""What was done to an image, and the record of a run: `run.json` beside every output."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lowdose import __version__

_REPORTED_PACKAGES = ("numpy", "scipy", "numba", "pydicom", "nibabel", "scikit-image", "openvino", "torch")


@dataclass(frozen=True)
class Step:
    """One thing done to a scan: a name and its JSON parameters."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseRecord:
    """One case of a run: what went in, what came out, or the one sentence that says why nothing did."""

    case: str
    source: str
    output: str | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    history: tuple[Step, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """Command, options, versions and cases of one run of a command."""

    command: str
    options: Mapping[str, Any]
    cases: Sequence[CaseRecord]
    started: datetime
    left_aside: Sequence[Mapping[str, str]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    finished: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When there was a record of the run: the same in all its copies."""

    @property
    def failed(self) -> list[CaseRecord]:
        return [case for case in self.cases if case.error is not None]

    def as_json(self) -> dict[str, Any]:
        """A JSON-serialisable summary, the content of `run.json`."""
        return {
            "lowdose": __version__,
            "command": self.command,
            "options": as_plain(self.options),
            "started": self.started.astimezone(UTC).isoformat(timespec="seconds"),
            "finished": self.finished.astimezone(UTC).isoformat(timespec="seconds"),
            "platform": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            "versions": package_versions(),
            "cases": [as_plain(asdict(case)) for case in self.cases],
            "left_aside": [dict(item) for item in self.left_aside],
            **as_plain(self.facts),
        }

    def write(self, path: Path) -> None:
        """Write the record to `path`, whole or not at all."""
        write_json(path, self.as_json())


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide the result; those not installed are left out."""
    versions = {}
    for name in _REPORTED_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; on success fsync and rename it, on failure remove it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path` as JSON, whole or not at all; folders that are missing are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(as_plain(content), indent=2) + "\n", encoding="utf-8")


def as_plain(value: Any) -> Any:
    """`value` as JSON knows it: paths as text, arrays as lists, and null for a number that is none."""
    if isinstance(value, (np.generic, np.ndarray)):
        return as_plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (str, int)) or value is None:
        return value
    return str(value)
