"""Derived series against their sources: `dciodvfy` finds nothing new, and identity changes no stored value.

    python benchmarks/dciodvfy.py FOLDER...

Every CT stack below the folders is written again by the identity derivation. Each derived file goes through
`dciodvfy` (Debian: apt-get update; apt-get install -y dicom3tools) beside its source; its stored values are
compared with the source's as pydicom decodes them. Exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from record import Finding, write

from lowdose.io import Derivation, InputError, open_input, write_derived
from lowdose.scan import Scan

IDENTITY = Derivation(
    marker="[lowdose identity]",
    description="Identity: pixel values unchanged.",
    code=("ID001", "Identity: pixel values unchanged"),
    image_type="IDENTITY",
    series_offset=9,
)


PROTOCOL = "dciodvfy of Debian's dicom3tools on every derived file and on its source, line by line"


def messages(path: Path) -> set[str]:
    """What `dciodvfy` says of one file, a line each."""
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace", check=False)
    return set(done.stderr.splitlines())


def compare(scan: Scan) -> dict[str, Any]:
    """Slices, slices whose stored values differ, and the messages that only derived files cause."""
    new: set[str] = set()
    n_found = n_different = 0
    with tempfile.TemporaryDirectory() as folder:
        written = write_derived(scan, Path(folder) / "derived", IDENTITY)
        derived = sorted(written.path.iterdir())
        for source, target in zip(scan.origin.paths, derived, strict=True):
            known = messages(source)
            n_found += len(known)
            new |= messages(target) - known
            before, after = pydicom.dcmread(source).pixel_array, pydicom.dcmread(target).pixel_array
            n_different += not (before.dtype == after.dtype and np.array_equal(before, after))
    return {
        "slices": len(derived),
        "different": n_different,
        "clipped": written.n_clipped,
        "source_messages": n_found,
        "new_messages": sorted(new),
    }


def n_new(rows: list[dict[str, Any]]) -> int:
    return sum(len(row["new_messages"]) for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, help="where the numbers go")
    arguments = parser.parse_args()
    if shutil.which("dciodvfy") is None:
        parser.error("dciodvfy is absent: apt-get update; apt-get install -y dicom3tools")
    rows: list[dict[str, Any]] = []
    print(f"{'slices':>6} {'differ':>6} {'source says':>11} {'new':>4}  series")
    for folder in arguments.folders:
        try:
            with open_input(folder) as found:
                for case in found.cases:
                    if case.scan is None or not hasattr(case.scan.origin, "paths"):
                        print(f"{'':31} {case.source}: {case.error or 'not DICOM'}")
                        continue
                    row = compare(case.scan)
                    rows.append({"folder": folder.name, "series": case.name, **row})
                    counts = row["slices"], row["different"], row["source_messages"], len(row["new_messages"])
                    print("{:6} {:6} {:11} {:4}".format(*counts), f" {folder.name}: {case.name}")
                    for message in row["new_messages"]:
                        print(f"       NEW {message}")
        except InputError as error:
            print(error)
    found_all = [
        Finding("messages on derived files that their sources do not cause", n_new(rows), "", 0),
        Finding(
            "derived slices with a stored value that differs", sum(row["different"] for row in rows), "", 0
        ),
        Finding("series checked", len(rows), "", 1, True),
        Finding("slices checked", sum(row["slices"] for row in rows), ""),
    ]
    write("dciodvfy", [PROTOCOL], {"series": rows}, found_all, arguments.out)
    return int(any(finding.met is False for finding in found_all))


if __name__ == "__main__":
    sys.exit(main())
