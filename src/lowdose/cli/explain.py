"""`lowdose explain`: what a method ignores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lowdose.invariances.explain import Thoroughness
    from lowdose.invariances.gradients import DifferentiableMethod
    from lowdose.invariances.sampling import Learned
    from lowdose.io import Case
    from lowdose.provenance import CaseRecord, Run
    from lowdose.scan import Scan

PAGE, SUMMARY = "report.html", "explanation.json"
_PARTS = 100
"""That progress is told in."""


def explain(
    method: Annotated[
        str,
        typer.Argument(
            help="A name from `lowdose methods`, a model folder, or FILE.onnx with a card beside it."
        ),
    ],
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="DICOM folder or file, zip, NIfTI or TIFF stack.")
    ],
    out: Annotated[Path, typer.Option(help="New folder; several series get a folder each in it.")],
    dose: Annotated[
        float,
        typer.Option(help="Fraction of the scan's own dose that the method is shown.", min=0.01, max=0.9),
    ] = 0.25,
    slices: Annotated[int, typer.Option(help="How many slices are looked at.", min=1)] = 3,
    invariances: Annotated[
        Path | None,
        typer.Option(
            help="Folder of `lowdose train invariances`, learned of METHOD; without it what comes with the "
            "model, if anything does."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A setting of the method, for instance noise=25 (HU)."
        ),
    ] = None,
    onto_card: Annotated[
        bool, typer.Option("--card", help="Write the verdicts onto the card of METHOD, a model folder.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the simulated noise and the planted lesions.", min=0)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary on standard output.")] = False,
) -> None:
    """Find out what a method ignores, anatomy included, on every CT series of INPUT: a report and numbers.

    The scan is taken to a lower dose, and inputs are sought that differ in structure while the method's
    output stays the same; lesions are planted to see which sizes and contrasts are kept.
    """
    from lowdose.cli.cases import Job, finish, tell_cases
    from lowdose.cli.denoise import parsed_settings
    from lowdose.cli.terminal import refuse, say
    from lowdose.denoising import METHOD_SUMMARIES, MethodError, check_method, model_folder
    from lowdose.invariances.explain import Thoroughness
    from lowdose.models.card import CARD, ModelError
    from lowdose.models.denoiser import model_card

    if onto_card and not (Path(method) / CARD).is_file():
        refuse(f"--card writes onto the card of a model folder, and {method} is none; leave it out")
    chosen = parsed_settings(settings or [])
    try:
        check_method(method, chosen)
        if method not in METHOD_SUMMARIES:
            model_card(model_folder(method))
    except (MethodError, ModelError) as error:
        refuse(str(error))
    thoroughness = Thoroughness(dose=dose, n_slices=slices, seed=seed)
    learned, network = _learned(method, invariances), _network(method)
    options: dict[str, Any] = {
        "method": method, "input": source, "out": out, "dose": dose, "slices": slices,
        "settings": chosen, "invariances": invariances, "seed": seed,
    }  # fmt: skip
    run = tell_cases(
        Job("explain", source, out, options, as_json),
        lambda case, place: _one_case(case, place, method, chosen, thoroughness, learned, network),
    )
    if onto_card:
        _write_onto_card(Path(method), run)
    say(f"look at {out}: {PAGE}; numbers in {SUMMARY}")
    finish(run)


def _write_onto_card(model: Path, run: Run) -> None:
    """The verdicts of `run`, in the place of earlier ones; scans without one are left out."""
    from lowdose.models.card import load_card
    from lowdose.models.foreign import write_card

    told = tuple(
        f"{record.case}: {record.facts['verdict']}"
        for record in run.cases
        if record.error is None and record.facts["convicted"] is not None
    )
    write_card(load_card(model).model_copy(update={"ignores": told}), model)


def _learned(method: str, folder: Path | None) -> Learned | None:
    """What was learned of `method`, in `folder` or beside the model; None if nothing was."""
    from lowdose.cli.terminal import refuse, say
    from lowdose.denoising import METHOD_SUMMARIES, model_folder
    from lowdose.models.card import INVARIANCES
    from lowdose.models.denoiser import model_card

    beside = None if method in METHOD_SUMMARIES else model_folder(method) / INVARIANCES
    if folder is None and (beside is None or not (beside / "flow.json").is_file()):
        return None
    try:
        from lowdose.invariances.models import InvarianceError, load_learned
    except ModuleNotFoundError as error:
        wanted = f"needs {error.name}; install it with: pip install 'lowdose[train]'"
        if folder is not None:
            refuse(f"--invariances {wanted}")
        say(f"what was learned of {method} is left out: it {wanted}")
        return None
    folder = folder or beside
    assert folder is not None
    try:
        learned, card, _ = load_learned(folder)
    except InvarianceError as error:
        refuse(str(error))
    digest = None if method in METHOD_SUMMARIES else model_card(model_folder(method)).digest
    is_of_it = card.method_digest == digest if digest else card.method == Path(method).name
    if not is_of_it:
        refuse(f"{folder}: was learned of {card.method}, not of {method}; train it for this method")
    return learned


def _network(method: str) -> DifferentiableMethod | None:
    """The method with gradients, where it is a network of ours and torch is there."""
    from lowdose.denoising import METHOD_SUMMARIES, model_folder

    if method in METHOD_SUMMARIES:
        return None
    try:
        from lowdose.invariances.gradients import differentiable
    except ModuleNotFoundError:
        return None
    return differentiable(model_folder(method))


def _cautions(method: str, scan: Scan) -> tuple[str, ...]:
    """What in `scan` a model says it was not trained for."""
    from lowdose.denoising import METHOD_SUMMARIES, model_folder
    from lowdose.models.denoiser import model_card

    return () if method in METHOD_SUMMARIES else model_card(model_folder(method)).cautions(scan)


def _one_case(
    case: Case, place: Path, method: str, settings: dict[str, Any], thoroughness: Thoroughness,
    learned: Learned | None, network: DifferentiableMethod | None,
) -> CaseRecord:  # fmt: skip
    """Explain, tell and write; a case that cannot be explained is a record with one sentence."""
    from lowdose.cli.terminal import complain, progress, say, warn
    from lowdose.denoising import MethodError, make_denoiser
    from lowdose.invariances.explain import explained
    from lowdose.invariances.response import ResponseError
    from lowdose.invariances.windows import ExplanationError
    from lowdose.io import InputError
    from lowdose.models.denoiser import DenoisingError
    from lowdose.physics.scanner import ScannerError
    from lowdose.provenance import CaseRecord, write_json
    from lowdose.report import explanation_as_json, invariances_report, write_report

    if case.scan is None:
        complain(str(case.error))
        return CaseRecord(case.name, case.source, error=str(case.error))
    scan = case.scan
    done = 0
    try:
        with progress(f"explaining {method}", _PARTS, unit="step") as advance:

            def on_step(_what: str, share: float) -> None:
                nonlocal done
                while done < round(share * _PARTS):
                    done += 1
                    advance()

            found = explained(
                Path(method).name, lambda low: make_denoiser(method, low, settings), scan, thoroughness,
                learned, network, on_step=on_step,
            )  # fmt: skip
    except (
        InputError, MethodError, DenoisingError, ScannerError, ExplanationError, ResponseError, MemoryError,
    ) as error:  # fmt: skip
        sentence = str(error) or f"{case.name}: not enough memory"
        complain(sentence)
        return CaseRecord(case.name, case.source, error=sentence)
    place.mkdir(exist_ok=True)
    cautions = _cautions(method, scan)
    for caution in cautions:
        warn(f"{case.name}: {caution}")
    notes = (*scan.notes, *cautions)
    write_report(invariances_report(found, notes), place / PAGE)
    write_json(place / SUMMARY, explanation_as_json(found))
    say(f"{case.name}: {found.verdict.sentence}")
    if found.verdict.convicted is not None:  # else the sentence names the control that failed
        for gate in found.gates:
            if not gate.passed:
                say(f"what was learned does not count: {gate.name} is {gate.value}, not {gate.wanted}")
    facts = {"convicted": found.verdict.convicted, "verdict": found.verdict.sentence}
    return CaseRecord(case.name, case.source, output=str(place.name), notes=notes, facts=facts)
