"""All benchmarks, one after the other, then one table of what they found beside the targets: `make bench`.

    python benchmarks/run.py [--data FOLDER] [--astra PYTHON] [--ldct PYTHON] [--table]

Without data: throughput, memory, install, training, graph_convolution and physics, under half an hour on two
cores. `--data` is a folder of data sets; `mayo-l143/B30f_3mm/{full,quarter}` in it are the real pairs, and
every CT series in it goes through identity and dciodvfy. `--astra` is a Python with the ASTRA toolbox for
physics, `--ldct` one with ldct-benchmark. `--table` measures nothing and shows what is in `results/`. Either
way README.md gets the table. Exit status 1 if a benchmark fails; a missed target is only shown.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from record import RESULTS, as_lines, shown, verdict

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"
BEGIN, END = "<!-- results: written by run.py -->\n", "<!-- end of results -->\n"
ORDER = (
    "throughput",
    "memory",
    "install",
    "training",
    "graph_convolution",
    "physics",
    "real_pairs",
    "simulator",
    "identity",
    "dciodvfy",
)
PAIRS = Path("mayo-l143") / "B30f_3mm"


def jobs(data: Path | None, astra: str | None = None, ldct: str | None = None) -> list[tuple[str, list[str]]]:
    """What to run, and with which arguments."""
    chosen: list[tuple[str, list[str]]] = [
        ("throughput", []),
        ("memory", []),
        ("install", []),
        ("training", []),
        ("graph_convolution", []),
        ("physics", ["--astra", astra] if astra else []),
    ]
    if ldct:
        chosen.append(("ldct_benchmark", ["--ldct", ldct]))
    if data is None:
        return chosen
    full, low = data / PAIRS / "full", data / PAIRS / "quarter"
    if full.is_dir() and low.is_dir():
        chosen += [(name, [str(full), str(low)]) for name in ("real_pairs", "simulator")]
    folders = sorted(str(path) for path in data.iterdir() if path.is_dir())
    chosen.append(("identity", folders))
    if shutil.which("dciodvfy"):
        chosen.append(("dciodvfy", folders))
    return chosen


def run(chosen: Sequence[tuple[str, list[str]]]) -> list[str]:
    """Run them; the names of those that failed."""
    failed = []
    for name, arguments in chosen:
        print(f"\n== {name}", flush=True)
        started = time.perf_counter()
        done = subprocess.run([sys.executable, str(FOLDER / f"{name}.py"), *arguments], check=False)
        print(f"({time.perf_counter() - started:.0f} s)", flush=True)
        if done.returncode != 0:
            failed.append(name)
    return failed


def records() -> list[dict[str, Any]]:
    """What is in `results/`, in the order of the table."""
    paths = [RESULTS / f"{name}.json" for name in ORDER]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.is_file()]


def as_markdown(found: Sequence[dict[str, Any]]) -> str:
    """One table, and a line for each benchmark that says when and where it ran."""
    lines = ["| benchmark | finding | value | target | |", "|---|---|---:|---|---|"]
    for record in found:
        for row in record["findings"]:
            value = f"{shown(row['value'])} {row['unit']}".strip()
            cells = (record["benchmark"], row["what"], value, row["target"] or "", verdict(row))
            lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for record in found:
        machine = record["machine"]
        cores = "1 core" if machine["cores"] == 1 else f"{machine['cores']} cores"
        lines.append(
            f"- {record['benchmark']}: {record['date'][:10]}, {machine['cpu']}, {cores}, "
            f"{machine['memory_gb']:g} GB, {machine['system']}, Python {record['versions']['python']}"
        )
    return "\n".join(lines) + "\n"


def with_results(page: str, table: str) -> str:
    """The page with the table between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="real data sets; see above")
    parser.add_argument("--astra", metavar="PYTHON", help="a Python that has the ASTRA toolbox")
    parser.add_argument("--ldct", metavar="PYTHON", help="a Python that has ldct-benchmark")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    failed = [] if arguments.table else run(jobs(arguments.data, arguments.astra, arguments.ldct))
    found = records()
    print("\n== all results")
    for record in found:
        print("\n".join(as_lines(record)))
    README.write_text(with_results(README.read_text(encoding="utf-8"), as_markdown(found)), encoding="utf-8")
    rows = [row for record in found for row in record["findings"] if row["met"] is not None]
    print(f"{sum(row['met'] for row in rows)} of {len(rows)} targets met")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
