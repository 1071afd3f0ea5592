"""What do well-known denoisers ignore, and does the search for it convict the right ones?

    python studies/invariances/study.py DATA [--work FOLDER] [--smoke] [--stage STAGE]

DATA holds the public scans. Four networks are trained as published, small; a representation is learned once,
and a flow for every method; then each is explained on test patients, beside methods whose invariances are
known because they were built in, and others that must be acquitted. What is done is kept in the work folder
and not done again, so that a run which was stopped goes on. The last stage writes results.json, figure.png
and the tables of README.md into this folder.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from experiments import FULL, SMOKE

FOLDER = Path(__file__).parent
STAGES = ("networks", "examples", "representation", "flows", "explain", "report")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="the public scans, a folder each")
    parser.add_argument("--work", type=Path, help="for networks, examples and what is learned; some 3 GB")
    parser.add_argument("--stage", choices=STAGES, help="do this alone")
    parser.add_argument("--smoke", action="store_true", help="everything tiny, in some minutes")
    arguments = parser.parse_args()
    study = SMOKE if arguments.smoke else FULL
    work = arguments.work or Path("runs/invariances-smoke" if arguments.smoke else "runs/invariances")
    data, work = arguments.data.resolve(), work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    from explaining import explain_all  # torch takes seconds, and --help none of them
    from learning import train_flow, train_representation
    from networks import train_networks
    from report import report
    from scans import examples, methods_of

    from lowdose.invariances.experiment import FlowPlan, RepresentationPlan
    from lowdose.invariances.learning import IDENTITY

    for stage in (arguments.stage,) if arguments.stage else STAGES:
        if stage == "networks":
            train_networks(data, work, study)
            continue
        methods = methods_of(work, study)
        if stage == "explain":
            explain_all(data, work, study, methods)
        elif stage == "report":
            report(work, study, FOLDER, FOLDER if study is FULL else work)
        else:
            written = {name: make for name, make in methods.items() if name != IDENTITY}
            shown = examples(data, work, written, study.shorter)
            if stage == "representation":
                plan = RepresentationPlan()
                train_representation(shown, work, replace(plan, n_steps=plan.n_steps // study.shorter))
            elif stage == "flows":
                flow_plan = FlowPlan()
                for name in study.explained:
                    train_flow(
                        shown, work, name, replace(flow_plan, n_steps=flow_plan.n_steps // study.shorter)
                    )


if __name__ == "__main__":
    main()
