"""Task-driven denoising without pairs: learned noise against Poisson in the image, and against true pairs.

    python studies/task_driven/study.py DATA [--work FOLDER] [--smoke] [--stage STAGE] [--experiment NAME]

DATA holds the public scans that clean.yaml names, and the real pairs of `mayo-l143`. Noise is learned from
low-dose scans alone, put on clean scans of other patients, and four networks learn from what that gives. They
are tested on real pairs, and on a twin of the experiment where true pairs can be learned from, too. What is
done is kept in the work folder and not done again, so that a run which was stopped goes on. The last stage
writes results.json, figure.png and the tables of README.md into this folder. An hour and three quarters on
two slow cores; with `--smoke` everything is tiny, takes some minutes, and means nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments import EXPERIMENTS, FULL, SMOKE

FOLDER = Path(__file__).parent
A_TRIAL = "A trial at small size: only tables and figure are its own; the words are about the full study."
"""Heads the page of a smoke run."""
STAGES = ("scans", "noise", "train", "measure", "report")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="the public scans, a folder each")
    parser.add_argument("--work", type=Path, help="for scans, models and measures; some 2 GB")
    parser.add_argument("--stage", choices=STAGES, help="do this alone")
    parser.add_argument("--experiment", choices=EXPERIMENTS, help="train only the networks of this one")
    parser.add_argument("--smoke", action="store_true", help="everything tiny, in some minutes")
    arguments = parser.parse_args()
    study = SMOKE if arguments.smoke else FULL
    work = arguments.work or Path("runs/task-driven-smoke" if arguments.smoke else "runs/task-driven")
    work.mkdir(parents=True, exist_ok=True)
    from measuring import measure  # torch takes seconds, and --help none of them
    from pictures import draw
    from report import gathered, write_tables
    from scans import Scans
    from training import learn, train_all

    from lowdose.provenance import write_json

    scans = Scans(study, arguments.data, work)
    runs = [run for run in study.runs() if arguments.experiment in (None, run.experiment)]
    for stage in (arguments.stage,) if arguments.stage else STAGES:
        if stage == "scans":
            scans.make()
        elif stage == "noise":
            learn(scans)
        elif stage == "train":
            train_all(scans, runs)
        elif stage == "measure":
            measure(scans)
        else:
            out = FOLDER if study is FULL else work
            results = gathered(scans)
            write_json(out / "results.json", results)
            if out != FOLDER:
                page = (FOLDER / "README.md").read_text(encoding="utf-8")
                (out / "README.md").write_text(f"> {A_TRIAL}\n\n{page}", encoding="utf-8")
            write_tables(results, out / "README.md")
            draw(results, scans, out / "figure.png")


if __name__ == "__main__":
    main()
