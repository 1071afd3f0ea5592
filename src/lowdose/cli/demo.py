"""`lowdose demo`: a public chest CT at a quarter of its dose, denoised, compared, and shown."""

from __future__ import annotations

import webbrowser
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lowdose.models.card import ModelCard
    from lowdose.report import Facts
    from lowdose.scan import Scan

DOSE = 0.25
SEED = 1
METHOD = "ct-default"


def demo(
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="New folder for the series and the report; lowdose-demo, or the next free name.",
        ),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--input", help="A CT series of your own instead of the public one.")
    ] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the report in the browser.")] = True,
) -> None:
    """Fetch a public chest CT, simulate a quarter of its dose, denoise it, and open a report."""
    from lowdose.cli.cases import check_places
    from lowdose.cli.terminal import console, give_up, say
    from lowdose.io import InputError, OutputError, open_input
    from lowdose.io.output import explained
    from lowdose.models.denoiser import DenoisingError

    folder = out or _free_folder(Path("lowdose-demo"))
    started = datetime.now(UTC)
    try:
        series = source or _public_series()
    except InputError as error:
        give_up(str(error))
    check_places(folder, [series])
    try:
        with open_input(series) as found, explained(folder):
            usable = [case.scan for case in found.cases if case.scan is not None]
            if not usable:
                give_up(str(found.cases[0].error))
            _run(max(usable, key=len), folder, started, public=source is None)
    except (InputError, OutputError, DenoisingError) as error:
        give_up(str(error))
    report = folder / "report.html"
    say(f"\nreport           {report}")
    say(f"low-dose series  {folder / 'low-dose'}\ndenoised series  {folder / 'denoised'}")
    if show and console.is_terminal:
        webbrowser.open(report.resolve().as_uri())


def _run(scan: Scan, folder: Path, started: datetime, *, public: bool) -> None:
    """Simulate, denoise, compare and report: each step reads what the one before has written."""
    from lowdose.cli.derivations import denoising_derivation, simulation_derivation
    from lowdose.cli.terminal import progress
    from lowdose.denoising import denoise, make_denoiser
    from lowdose.io.public_data import CITATION
    from lowdose.models.denoiser import ModelDenoiser
    from lowdose.physics.dose import simulate
    from lowdose.provenance import CaseRecord, Run
    from lowdose.quality.comparison import evaluate
    from lowdose.report import comparison_report, write_cases_csv, write_report
    from lowdose.scan import read_ahead

    simulated = simulate(scan, DOSE, seed=SEED)
    suffix = "" if not _is_volume(scan) else ".nii.gz"
    low = _written(simulated, folder / f"low-dose{suffix}", simulation_derivation(DOSE, SEED), "simulating")
    denoiser = make_denoiser(METHOD, low)
    assert isinstance(denoiser, ModelDenoiser)
    denoised = _written(
        denoise(read_ahead(low), denoiser),
        folder / f"denoised{suffix}",
        denoising_derivation(denoiser, 1.0),
        "denoising",
    )
    arms = {"a quarter of the dose": low, "denoised": denoised}
    with progress("comparing", len(scan)) as advance:
        results = evaluate(
            read_ahead(scan),
            {name: read_ahead(arm) for name, arm in arms.items()},
            case=scan.name,
            input_arm="a quarter of the dose",
            on_slice=lambda _done: advance(),
        )
    write_cases_csv(results, folder / "cases.csv")
    content = comparison_report(
        scan,
        arms,
        results,
        title="A chest CT at a quarter of its dose, denoised"
        if public
        else f"{scan.name}, a quarter of its dose",
        input_arm="a quarter of the dose",
        reference_name="full dose",
        facts=[model_facts(denoiser.card)],
        citations=[CITATION] if public else [],
    )
    write_report(content, folder / "report.html")
    record = CaseRecord(
        scan.name, "public data" if public else scan.name, str(folder), history=denoised.history
    )
    Run("demo", {"dose": DOSE, "seed": SEED, "method": METHOD}, [record], started).write(folder / "run.json")


def _written(scan: Scan, output: Path, derivation: object, what: str) -> Scan:
    """Write `scan` and read it back: what is shown is what was written."""
    from lowdose.cli.terminal import progress
    from lowdose.io import Derivation, InputError, open_input, write_derived
    from lowdose.scan import read_ahead

    assert isinstance(derivation, Derivation)
    with progress(what, len(scan)) as advance:
        write_derived(read_ahead(scan), output, derivation, on_slice=lambda _z: advance())
    with open_input(output, own=True) as found:
        read_back = found.cases[0].scan
    if read_back is None:
        raise InputError(str(found.cases[0].error))
    return replace(read_back, history=scan.history)


def model_facts(card: ModelCard) -> Facts:
    """What a report says of the model that was used."""
    from lowdose.report import Facts

    rows = [
        ("Model", f"{card.name} {card.version}, network {card.digest}"),
        ("In short", card.summary),
        ("Dose gain", "not stated" if card.dose_gain is None else f"{card.dose_gain:g}"),
        (
            "Trained on",
            "; ".join(f"{item.name} ({item.licence})" for item in card.data if item.use == "training"),
        ),
        (
            "Held back",
            "patients of " + "; ".join(item.name for item in card.data if item.use == "validation"),
        ),
        *(("Known limit", limit) for limit in card.known_limits),
    ]
    return Facts("The model", tuple(rows))


def _public_series() -> Path:
    from lowdose.cli.terminal import say
    from lowdose.io.public_data import CITATION, default_cache, fetch_demo_series

    say(f"public data: {CITATION}")
    return fetch_demo_series(default_cache(), on_progress=say)


def _is_volume(scan: Scan) -> bool:
    from lowdose.io.origin import NiftiOrigin

    return isinstance(scan.origin, NiftiOrigin)


def _free_folder(wanted: Path) -> Path:
    """`wanted`, or the first of wanted-2, wanted-3 ... that is not there yet."""
    number, folder = 1, wanted
    while folder.exists():
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder
