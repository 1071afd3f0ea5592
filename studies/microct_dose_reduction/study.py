"""Micro-CT dose reduction with digital mice: U-Nets against filters and iterative reconstruction.

    python studies/microct_dose_reduction/study.py [--work FOLDER] [--smoke]
                                                   [--stage scan|train|measure|report]

38 digital mice are scanned in a cone beam at a low dose and at four times that dose. Two networks learn to
give the higher dose from the low one, and are compared with filters and iterative total variation that leave
the same noise. Every mouse, training and measure is a file in the work folder, so a rerun goes on where the
last one stopped. The last stage writes results.json, figure.png and the tables of README.md into this folder.
About an hour and a quarter on two cores; with `--smoke` everything is tiny, takes some minutes, and means
nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from measuring import NETWORKS, Measuring, Repeats, network
from pictures import draw
from report import gathered, write_tables
from scans import FULL, SMOKE, Bench, make_scans

from lowdose.models.card import ONNX
from lowdose.provenance import sha256_of_file, write_json

FOLDER = Path(__file__).parent
A_TRIAL = "A trial at small size: only tables and figure are its own; the words are about the full study."
"""Heads the page of a smoke run."""
STAGES = ("scan", "train", "measure", "report")
MODELS = dict(zip(NETWORKS, ("microct-2d", "microct-3d"), strict=True))
PLANS = dict(zip(NETWORKS, ("plan-2d.yaml", "plan-3d.yaml"), strict=True))
MINUTES = dict(zip(NETWORKS, (45, 60), strict=True))
"""At most, of training."""
SMOKE_STEPS = 30


def scan(bench: Bench, work: Path) -> None:
    make_scans(bench, work)


def train(bench: Bench, work: Path) -> None:
    """Both networks; one whose time is over goes on in the next run of this stage."""
    from lowdose.training.checkpoint import CHECKPOINT  # torch: the other stages do without
    from lowdose.training.experiment import train as train_model
    from lowdose.training.plan import read_plan

    for name in NETWORKS:
        folder = work / "training" / MODELS[name]
        if (folder / MODELS[name]).is_dir():
            continue
        plan = read_plan(FOLDER / PLANS[name])
        if bench is not FULL:
            schedule = plan.schedule.model_copy(
                update={"n_steps": SMOKE_STEPS, "warmup": 10, "validate_every": 15, "checkpoint_every": 15}
            )
            patch = (1, 64, 64) if plan.patch[0] == 1 else (16, 32, 32)
            plan = plan.model_copy(update={"schedule": schedule, "patch": patch})
        resume = (folder / CHECKPOINT).exists()
        cache = work / "training" / "cache"
        exported = train_model(
            plan, work, folder, resume=resume, max_seconds=60.0 * MINUTES[name], cache=cache
        )
        if exported is None:
            raise SystemExit(f"{name}: {MINUTES[name]} minutes are over; run the stage again to go on")
        print(f"{name} trained", flush=True)


def measure(bench: Bench, work: Path) -> None:
    _check_models(work)
    repeats = Repeats() if bench is FULL else replace(Repeats(), filters=3, tv=2)
    models = {name: network(model_of(work, name), bench.voxel) for name in NETWORKS}
    Measuring(bench, work, _measured(work), models, repeats).run()


def report(bench: Bench, work: Path) -> None:
    """Into this folder, of a smoke run into the work folder, where it overwrites nothing that counts."""
    _check_models(work)
    out = FOLDER if bench is FULL else work
    results = gathered(bench, _measured(work))
    write_json(out / "results.json", results)
    if out != FOLDER:
        page = (FOLDER / "README.md").read_text(encoding="utf-8")
        (out / "README.md").write_text(f"> {A_TRIAL}\n\n{page}", encoding="utf-8")
    write_tables(results, out / "README.md")
    draw(results, bench, work, _measured(work), out / "figure.png")


def model_of(work: Path, name: str) -> Path:
    """Where the trained network `name` is."""
    return work / "training" / MODELS[name] / MODELS[name]


def _check_models(work: Path) -> None:
    missing = [name for name in NETWORKS if not model_of(work, name).is_dir()]
    if missing:
        raise SystemExit(f"{' and '.join(missing)} not trained yet; run the stage 'train' first")


def _measured(work: Path) -> Path:
    """Where the measures of these very models are: other models have others."""
    digests = (sha256_of_file(model_of(work, name) / ONNX)[:8] for name in NETWORKS)
    return work / "measures" / "-".join(digests)


RUN: dict[str, Callable[[Bench, Path], None]] = {
    "scan": scan, "train": train, "measure": measure, "report": report
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder for scans, models and measures (some 2 GB)")
    parser.add_argument("--stage", choices=STAGES, help="only this one")
    parser.add_argument("--smoke", action="store_true", help="everything tiny, in some minutes")
    arguments = parser.parse_args()
    bench = SMOKE if arguments.smoke else FULL
    work = arguments.work or Path("microct-smoke" if arguments.smoke else "microct-work")
    work.mkdir(parents=True, exist_ok=True)
    for stage in (arguments.stage,) if arguments.stage else STAGES:
        RUN[stage](bench, work)


if __name__ == "__main__":
    main()
