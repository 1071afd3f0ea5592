"""What a benchmark leaves behind: `results/NAME.json` with date, machine, versions, protocol and numbers, and
the table of its findings, each beside the target it is held against.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lowdose import __version__
from lowdose.provenance import package_versions, write_json

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Finding:
    """One number that a benchmark is about; `target` is what it must not exceed, or must reach."""

    what: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """None where there is no target; never true for NaN."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    def as_json(self) -> dict[str, Any]:
        bound = None if self.target is None else f"{'>=' if self.at_least else '<='} {self.target:.4g}"
        return {
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "target": bound,
            "met": self.met,
        }


def write(
    name: str,
    protocol: Sequence[str],
    numbers: Mapping[str, Any],
    findings: Sequence[Finding],
    out: Path | None,
) -> None:
    """Write the record to `out`, by default `results/NAME.json`, and print its findings."""
    record = {
        "benchmark": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": {"lowdose": __version__, "python": platform.python_version(), **package_versions()},
        "protocol": list(protocol),
        "findings": [finding.as_json() for finding in findings],
        "numbers": numbers,
    }
    path = out or RESULTS / f"{name}.json"
    write_json(path, record)
    print()
    print("\n".join(as_lines(record)))


def as_lines(record: Mapping[str, Any]) -> list[str]:
    """The findings of one record as lines of a table."""
    return [
        f"{record['benchmark']:<11} {row['what']:<58} {shown(row['value']):>8} {row['unit']:<9} "
        f"{row['target'] or '':<9} {verdict(row)}".rstrip()
        for row in record["findings"]
    ]


def verdict(row: Mapping[str, Any]) -> str:
    return {None: "", True: "met", False: "MISSED"}[row["met"]]


def shown(value: float) -> str:
    """Three digits, or all of a whole number."""
    return f"{value:.0f}" if float(value).is_integer() or abs(value) >= 1000 else f"{value:.3g}"


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "cpu": _cpu_name(),
        "cores": n_cores,
        "memory_gb": round(memory, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))
