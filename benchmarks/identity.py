"""`lowdose denoise --method identity` gives every stored value back, bit for bit.

    python benchmarks/identity.py FOLDER...

Every CT series below each folder is derived by the command. Each derived file is paired with its source by
the UID that it names, and both are decoded by pydicom alone. Exit status 1 if a value differs or a series
fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from record import Finding, write

PROTOCOL = (
    "stored values, padding included, of each derived file against its source's, both decoded by pydicom; "
    "equal means the same type, shape and bits, slope and intercept",
)


def derive(folder: Path, output: Path) -> list[dict[str, Any]]:
    """The cases of `run.json`; none where the folder holds no CT series."""
    command = [sys.executable, "-m", "lowdose", "denoise", str(folder), str(output)]
    command += ["--method", "identity", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout)["cases"] if done.stdout.strip() else []


def paths_by_uid(folder: Path) -> dict[str, Path]:
    """Every CT image below the folder by its SOP Instance UID."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            try:
                header = pydicom.dcmread(path, stop_before_pixels=True)
            except InvalidDicomError:
                continue
            if header.get("Modality") == "CT" and "Rows" in header:
                found[str(header.SOPInstanceUID)] = path
    return found


def differs(source: Path, derived: Path) -> int:
    """How many stored values are not the same; all of them if they do not mean the same."""
    before, after = pydicom.dcmread(source), pydicom.dcmread(derived)
    one, other = before.pixel_array, after.pixel_array
    scaled = (before.RescaleSlope, before.RescaleIntercept) == (after.RescaleSlope, after.RescaleIntercept)
    if one.dtype != other.dtype or one.shape != other.shape or not scaled:
        return int(other.size)
    return int(np.count_nonzero(one != other))


def compare(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """One row a series, with the number of its values that differ, or why there is none; and the CT images in
    the folder that no derived slice comes from.
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="lowdose-") as temporary:
        cases = derive(folder, Path(temporary) / "identity")
        sources = paths_by_uid(folder)
        for case in cases:
            row: dict[str, Any] = {"data_set": folder.name, "series": case["case"]}
            if case["error"] is not None:
                rows.append({**row, "error": case["error"].replace(str(folder), folder.name)})
                continue
            derived = sorted(Path(case["output"]).glob("*.dcm"))
            n_values = n_different = 0
            for path in derived:
                header = pydicom.dcmread(path, stop_before_pixels=True)
                source = sources[str(header.SourceImageSequence[0].ReferencedSOPInstanceUID)]
                n_values += header.Rows * header.Columns
                n_different += differs(source, path)
            rows.append({**row, "slices": len(derived), "values": n_values, "different": n_different})
    return rows, len(sources) - sum(row.get("slices", 0) for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, help="where the numbers go")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    without: list[str] = []
    n_left = 0
    print(f"{'slices':>6} {'values':>10} {'differ':>6}  series")
    for folder in arguments.folders:
        found, left = compare(folder)
        n_left += left
        if not found:
            without.append(folder.name)
            print(f"{'':>24}  {folder.name}: no CT series")
        for row in found:
            if "error" in row:
                print(f"{'':>24}  {row['data_set']}: {row['error']}")
            else:
                counts = f"{row['slices']:>6} {row['values']:>10} {row['different']:>6}"
                print(f"{counts}  {row['data_set']}: {row['series']}", flush=True)
        rows += found
    compared = [row for row in rows if "error" not in row]
    n_different = sum(row["different"] for row in compared)
    found_all = [
        Finding("stored values that differ after identity", n_different, "", 0),
        Finding("series that could not be derived", len(rows) - len(compared), "", 0),
        Finding("series compared", len(compared), "", 1, True),
        Finding("CT images without a derived slice", n_left, "", 0),
        Finding("slices compared", sum(row["slices"] for row in compared), ""),
        Finding("stored values compared, millions", sum(row["values"] for row in compared) / 1e6, ""),
    ]
    write("identity", PROTOCOL, {"series": rows, "without_ct_series": without}, found_all, arguments.out)
    return int(not all(finding.met is not False for finding in found_all))


if __name__ == "__main__":
    sys.exit(main())
