"""`lowdose simulate`: a scan as it would look at lower doses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="DICOM folder or file, zip, or NIfTI.")],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT", help="New folder, or *.nii / *.nii.gz. Several doses get a folder each in it."
        ),
    ],
    dose: Annotated[
        list[float],
        typer.Option(help="Fraction of the scan's own dose, at least 0.005 and at most 1. Repeat for more."),
    ],
    scanner: Annotated[
        str,
        typer.Option(
            metavar="auto|NAME|FILE",
            help="auto reads the header; else the name of a known scanner, or a YAML file of one's own.",
        ),
    ] = "auto",
    report: Annotated[
        bool, typer.Option("--report", help="Write report.html: what was found and how well the noise fits.")
    ] = False,
    seed: Annotated[int, typer.Option(help="The same seed gives the same noise.", min=0, max=2**63 - 1)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary on standard output.")] = False,
) -> None:
    """Add the noise that every CT series of INPUT would have at a fraction of its dose."""
    from lowdose.cli.cases import Job, Product, finish, run_cases
    from lowdose.cli.derivations import simulation_derivation
    from lowdose.cli.terminal import refuse, say
    from lowdose.physics.dose import DoseSimulator, dose_simulator
    from lowdose.physics.scan_projection import image_grid
    from lowdose.physics.scanner import ScannerError
    from lowdose.physics.scanners import AUTO, find_scanner, named_scanner
    from lowdose.report import simulation_report, write_report
    from lowdose.scan import Scan

    doses = _checked_doses(dose, output)
    try:
        if scanner.lower() != AUTO:
            named_scanner(scanner)
    except ScannerError as error:
        refuse(f"--scanner: {error}")
    simulators: dict[int, DoseSimulator] = {}

    def process(scan: Scan) -> list[Product]:
        choice = find_scanner(scanner, scan.acquisition, image_grid(scan))
        for sentence in (*choice.read, *choice.assumed):
            say(f"{scan.name}: {sentence}")
        simulator = dose_simulator(scan, seed=seed, scanner=choice)
        if report:
            simulators[id(scan.origin)] = simulator
        return [
            Product(
                simulator.at(fraction),
                simulation_derivation(fraction, seed),
                f"dose-{fraction:g}" if len(doses) > 1 else "",
            )
            for fraction in doses
        ]

    def page(scan: Scan, place: Path) -> None:
        name = place / "report.html" if place.is_dir() else place.with_name(f"{place.name}.report.html")
        content = simulation_report(simulators.pop(id(scan.origin)), doses)
        write_report(content, name)
        say(f"{scan.name}: report in {name}")

    options = {
        "input": source,
        "output": output,
        "dose": doses if len(doses) > 1 else doses[0],
        "scanner": scanner,
        "seed": seed,
    }
    job = Job("simulate", source, output, options, as_json)
    finish(run_cases(job, process, page if report else None))


def _checked_doses(doses: list[float], output: Path) -> list[float]:
    """The doses from high to low, each once; ends with the status of wrong use where one is impossible."""
    from lowdose.cli.terminal import refuse
    from lowdose.io.nifti import is_nifti_name
    from lowdose.units import checked_dose_fraction

    try:
        checked = sorted({float(f"{checked_dose_fraction(dose):g}") for dose in doses}, reverse=True)
    except ValueError as error:
        refuse(f"--dose: {error}")
    if len(checked) > 1 and (is_nifti_name(output) or output.suffix.lower() == ".dcm"):
        refuse(f"{output}: is named as one file for {len(checked)} doses; name a folder instead")
    return checked
