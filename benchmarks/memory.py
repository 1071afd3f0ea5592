"""Peak memory of whole commands on short and long series.

    python benchmarks/memory.py [--slices 300 3000] [--others 300] [--like FOLDER]

`lowdose denoise` with `ct-default` at every length of `--slices`; `simulate` and `evaluate` (the series
against itself) at `--others`. Needs 1 MB of disk for every slice of the longest series.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from command import Usage, run_lowdose
from record import Finding, write
from series import write_series

METHOD = "ct-default"
LIMIT_MB = 1500.0
GROWTH = 1.1
PROTOCOL = (
    "peak resident set of the whole process as the kernel counts it, libraries included, in 10^6 bytes",
)


def measured(command: str, folder: Path, temporary: Path) -> Usage:
    """What one command takes on the series in `folder`; its output is removed."""
    output = temporary / command
    arguments: dict[str, tuple[str | Path, ...]] = {
        "denoise": (folder, output, "--method", METHOD),
        "simulate": (folder, output, "--dose", "0.25", "--seed", "1"),
        "evaluate": (folder, f"same={folder}", "--out", output),
    }
    usage = run_lowdose(command, *arguments[command])
    shutil.rmtree(output)
    return usage


def findings(rows: list[tuple[str, int, Usage]]) -> list[Finding]:
    """Each peak against the limit, and the longest denoised series against the shortest."""
    found = [
        Finding(f"peak memory, {command}, {n} slices", usage.peak_mb, "MB", LIMIT_MB)
        for command, n, usage in rows
    ]
    denoised = sorted((n, usage.peak_mb) for command, n, usage in rows if command == "denoise")
    if len(denoised) > 1:
        (few, low), (many, high) = denoised[0], denoised[-1]
        found.append(Finding(f"peak memory, denoise, {many} slices over {few}", high / low, "", GROWTH))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--slices", type=int, nargs="+", default=[300, 3000], help="for denoise (default 300 3000)"
    )
    parser.add_argument(
        "--others", type=int, default=300, help="for the other commands; 0 for none (default 300)"
    )
    parser.add_argument("--like", type=Path, metavar="FOLDER", help="repeat this DICOM series, not a phantom")
    parser.add_argument("--out", type=Path, help="where the numbers go")
    arguments = parser.parse_args()
    jobs = [("denoise", n) for n in arguments.slices]
    jobs += [(command, arguments.others) for command in ("simulate", "evaluate") if arguments.others]
    rows: list[tuple[str, int, Usage]] = []
    with tempfile.TemporaryDirectory(prefix="lowdose-") as temporary:
        print(f"{'command':<10} {'slices':>6} {'peak MB':>8} {'seconds':>8}")
        for command, n_slices in jobs:
            folder = Path(temporary) / "series"
            described = write_series(folder, n_slices, arguments.like)
            usage = measured(command, folder, Path(temporary))
            shutil.rmtree(folder)
            rows.append((command, n_slices, usage))
            print(f"{command:<10} {n_slices:>6} {usage.peak_mb:8.0f} {usage.seconds:8.1f}", flush=True)
    numbers = [
        {"command": command, "slices": n, "peak_mb": usage.peak_mb, "seconds": usage.seconds}
        for command, n, usage in rows
    ]
    write("memory", [described, *PROTOCOL], {"runs": numbers}, findings(rows), arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
