"""`lowdose evaluate`: arms against a reference, as a table, a summary and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lowdose.io import Case
    from lowdose.quality.comparison import CaseResult
    from lowdose.quality.fidelity import Protocol
    from lowdose.scan import Scan


def evaluate(
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help="DICOM folder, zip or NIfTI.")],
    arms: Annotated[
        list[str], typer.Argument(metavar="NAME=PATH...", help="Scans to hold against it, each with a name.")
    ],
    out: Annotated[Path, typer.Option(help="New folder for cases.csv, summary.json and report.html.")],
    input_arm: Annotated[
        str | None,
        typer.Option("--input", metavar="NAME", help="The arm whose error is the whole: the low-dose scan."),
    ] = None,
    window: Annotated[
        tuple[float, float],
        typer.Option(metavar="LOW HIGH", help="HU range in which errors count."),
    ] = (-160.0, 240.0),
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary on standard output.")] = False,
) -> None:
    """Measure how far each arm is from the reference, in HU, and write a report."""
    from lowdose.cli.cases import check_places
    from lowdose.cli.terminal import SOME_FAILED, give_up, print_json, refuse
    from lowdose.io import InputError, OutputError, open_input
    from lowdose.quality.fidelity import Protocol

    paths = _named_paths(arms)
    if input_arm is not None and input_arm not in paths:
        refuse(f"--input {input_arm}: is not one of the names given: {', '.join(paths)}")
    try:
        protocol = Protocol(window=window)
    except ValueError as error:
        refuse(str(error))
    check_places(out, [reference, *paths.values()])
    started = datetime.now(UTC)
    with ExitStack() as stack:
        try:
            truth = stack.enter_context(open_input(reference, own=True)).cases
            found = {
                name: stack.enter_context(open_input(path, own=True)).cases for name, path in paths.items()
            }
        except InputError as error:
            give_up(str(error))
        evaluated = [_one_case(index, truth, found, protocol, input_arm) for index in range(len(truth))]
        options = {"reference": reference, "arms": paths, "input": input_arm, "window": window, "out": out}
        try:
            summary = write_evaluation(evaluated, out, options, started, input_arm)
        except OutputError as error:
            give_up(str(error))
    if as_json:
        print_json(summary)
    if any(isinstance(outcome, str) for _, outcome in evaluated):
        raise typer.Exit(SOME_FAILED)


def _named_paths(arms: Sequence[str]) -> dict[str, Path]:
    from lowdose.cli.terminal import refuse

    paths: dict[str, Path] = {}
    for arm in arms:
        name, separator, path = arm.partition("=")
        if not separator or not name or not path:
            refuse(f"{arm}: is not NAME=PATH, for instance denoised=out/")
        if name in paths:
            refuse(f"{arm}: the name {name} is given twice; give each arm its own")
        paths[name] = Path(path)
    return paths


def _one_case(
    index: int,
    truth: tuple[Case, ...],
    found: dict[str, tuple[Case, ...]],
    protocol: Protocol,
    input_arm: str | None,
) -> tuple[Case, str | tuple[dict[str, Scan], list[CaseResult]]]:
    """The case with its arms and results, or with the sentence that says why there are none."""
    from lowdose.cli.terminal import complain, progress
    from lowdose.io import InputError
    from lowdose.quality.comparison import evaluate
    from lowdose.scan import read_ahead

    case = truth[index]
    try:
        if case.scan is None:
            raise InputError(str(case.error))
        arms = {name: _matching(index, truth, name, cases) for name, cases in found.items()}
        ahead = {name: read_ahead(scan) for name, scan in arms.items()}
        with progress(case.name, len(case.scan)) as advance:
            results = evaluate(
                read_ahead(case.scan),
                ahead,
                protocol,
                case=case.name,
                input_arm=input_arm,
                on_slice=lambda _done: advance(),
            )
    except (InputError, ValueError, MemoryError) as error:
        sentence = str(error) or f"{case.name}: not enough memory"
        complain(sentence)
        return case, sentence
    return case, (arms, results)


def _matching(index: int, truth: tuple[Case, ...], name: str, candidates: tuple[Case, ...]) -> Scan:
    """The scan of an arm that lies on the grid of case `index`; InputError where it can't be told which.

    Several reconstructions of one scan lie on one grid. They are paired by their place in the list, and only
    if the arm holds as many series as the reference: a wrong pair would give wrong numbers.
    """
    from lowdose.io import InputError

    case = truth[index]
    assert case.scan is not None
    misfits = [_misfit(case.scan, candidate, name) for candidate in candidates]
    fitting = [position for position, misfit in enumerate(misfits) if misfit is None]
    if not fitting:
        raise InputError(f"{case.name}: nothing in '{name}' fits it: {misfits[-1]}")
    rivals = [
        other
        for other in truth
        if other.scan is not None and _misfit(other.scan, candidates[fitting[0]], name) is None
    ]
    chosen = fitting[0]
    if len(fitting) > 1 or len(rivals) > 1:
        if len(candidates) != len(truth) or index not in fitting:
            raise InputError(
                f"{case.name}: it is not clear which of {len(fitting)} series of '{name}' belongs to it; "
                "compare one series at a time"
            )
        chosen = index
    scan = candidates[chosen].scan
    assert scan is not None
    return scan


def _misfit(reference: Scan, candidate: Case, name: str) -> str | None:
    """Why `candidate` can't be held against `reference`, or None if it can."""
    from lowdose.quality.comparison import align

    if candidate.scan is None:
        return str(candidate.error)
    try:
        align(reference, candidate.scan, name)
    except ValueError as error:
        return str(error)
    return None


def write_evaluation(
    evaluated: list[tuple[Case, str | tuple[dict[str, Scan], list[CaseResult]]]],
    out: Path,
    options: Mapping[str, object],
    started: datetime,
    input_arm: str | None,
) -> dict[str, object]:
    """Write `cases.csv`, `summary.json`, `report.html` and `run.json`, all or none; return the summary."""

    import numpy as np

    from lowdose.cli.terminal import give_up, say
    from lowdose.io.output import explained, whole_folder
    from lowdose.provenance import CaseRecord, Run, write_json
    from lowdose.report import comparison_report, results_summary, write_cases_csv, write_report

    records = [
        CaseRecord(case.name, case.source, error=outcome if isinstance(outcome, str) else None)
        for case, outcome in evaluated
    ]
    done = [(case, outcome) for case, outcome in evaluated if not isinstance(outcome, str)]
    if not done:
        give_up("no case could be evaluated; nothing was written")
    results = [result for _, (_, case_results) in done for result in case_results]
    summary = results_summary(results, np.random.default_rng(0))
    case, (arms, _) = done[0]
    assert case.scan is not None
    content = comparison_report(
        case.scan,
        arms,
        results,
        title=f"{', '.join(arms)} against the reference",
        input_arm=input_arm,
        footnotes=[r.error for r in records if r.error],
    )
    with whole_folder(out) as folder, explained(out):
        write_cases_csv(results, folder / "cases.csv")
        write_json(folder / "summary.json", summary)
        write_report(content, folder / "report.html")
        Run("evaluate", options, records, started).write(folder / "run.json")
    say(f"report in {out / 'report.html'}")
    return summary
