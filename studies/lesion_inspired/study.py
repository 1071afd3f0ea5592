"""LIDnet: do denoisers that a lesion detector teaches keep lesions findable?

    python studies/lesion_inspired/study.py DATA [--work FOLDER] [--smoke] [--stage STAGE] [--part K/N]

DATA holds the public scans. Nodules are put into real lungs through the projections, sarcomas have masks. For
each of three sets of scans five denoisers are trained as published and as LIDnet trains them, with and
without collaboration, and judged by the detector of the training and by another one that never saw a denoised
image. What is done is kept in the work folder and not done again, so that a run which was stopped goes on;
`--part 1/2` and `--part 2/2` in two processes train and measure half of the denoisers each. The last stage
writes results.json, figure.png and the tables of README.md into this folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments import FULL, SMOKE

FOLDER = Path(__file__).parent
STAGES = ("scans", "detectors", "denoisers", "report")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="the public scans, a folder each")
    parser.add_argument("--work", type=Path, help="for scans, models and measures; some 3 GB")
    parser.add_argument("--stage", choices=STAGES, help="do this alone")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="this share of detectors and denoisers")
    parser.add_argument("--smoke", action="store_true", help="everything tiny, in some minutes")
    arguments = parser.parse_args()
    study = SMOKE if arguments.smoke else FULL
    work = arguments.work or Path("runs/lesion-inspired-smoke" if arguments.smoke else "runs/lesion-inspired")
    number, n_parts = (int(one) for one in arguments.part.split("/"))
    part = slice(number - 1, None, n_parts)
    work.mkdir(parents=True, exist_ok=True)
    from report import report  # torch takes seconds, and --help none of them
    from scans import Scans
    from training import train_and_measure, train_detectors

    scans = Scans(study, arguments.data.resolve(), work.resolve())
    for stage in (arguments.stage,) if arguments.stage else STAGES:
        if stage == "scans":
            scans.make()
        elif stage == "detectors":
            train_detectors(scans, part)
        elif stage == "denoisers":
            train_and_measure(scans, part)
        else:
            report(scans, FOLDER, work if arguments.smoke else FOLDER)


if __name__ == "__main__":
    main()
