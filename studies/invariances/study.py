"""What do well-known denoisers ignore, and does the search for it convict the right ones?

    python studies/invariances/study.py DATA [--work FOLDER] [--anew] [--smoke] [--stage STAGE]

DATA holds the public scans. Four networks are trained as published, small; a representation is learned once,
and a flow for every method; then each is explained on test patients, beside methods whose invariances are
known because they were built in, and others that must be acquitted. What is done is kept in the work folder
and not done again, so that a run which was stopped goes on. The last stage writes results.json, figure.png
and the tables of README.md into this folder.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

from experiments import FULL, N_FLOW_SLICES, N_SLICES, SMOKE

FOLDER = Path(__file__).parent
STAGES = ("representation", "networks", "flows", "explain", "report")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="the public scans, a folder each")
    parser.add_argument("--work", type=Path, help="for networks, examples and what is learned; some 3 GB")
    parser.add_argument("--stage", choices=STAGES, help="do this alone")
    parser.add_argument("--anew", action="store_true", help="train what is kept, too: some hours more")
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
    from scans import examples, general_methods, methods_of

    from lowdose.invariances.experiment import FlowPlan, RepresentationPlan
    from lowdose.invariances.learning import IDENTITY

    anew = arguments.anew or study is not FULL
    methods = methods_of(work, study)
    for stage in (arguments.stage,) if arguments.stage else STAGES:
        if stage == "representation":
            plan = RepresentationPlan()
            plan = replace(plan, n_steps=plan.n_steps // study.shorter)
            shown = partial(
                examples, data, work / "examples", general_methods(), N_SLICES, shorter=study.shorter
            )
            train_representation(shown, work, plan, anew=anew)
        elif stage == "networks":
            train_networks(data, work, study, anew=anew)
        elif stage == "flows":
            written = {name: methods[name] for name in study.explained if name != IDENTITY}
            of_flows = examples(data, work / "flow-examples", written, N_FLOW_SLICES, study.shorter)
            flow_plan = FlowPlan()
            flow_plan = replace(flow_plan, n_steps=flow_plan.n_steps // study.shorter)
            for name in study.explained:
                train_flow(of_flows, work, name, flow_plan, anew=anew)
        elif stage == "explain":
            explain_all(data, work, study, methods)
        else:
            report(work, study, FOLDER, FOLDER if study is FULL else work)


if __name__ == "__main__":
    main()
