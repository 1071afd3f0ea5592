"""`lowdose simulate`: a scan as it would look at a lower dose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def simulate(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="DICOM folder or file, zip, or NIfTI.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="New folder, or *.nii / *.nii.gz.")],
    dose: Annotated[
        float, typer.Option(help="Fraction of the scan's own dose, at least 0.005 and at most 1.")
    ],
    seed: Annotated[int, typer.Option(help="The same seed gives the same noise.", min=0, max=2**63 - 1)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary on standard output.")] = False,
) -> None:
    """Add the noise that every CT series of INPUT would have at a fraction of its dose."""
    from lowdose.cli.cases import Job, finish, run_cases
    from lowdose.cli.derivations import simulation_derivation
    from lowdose.cli.terminal import refuse, warn
    from lowdose.io import Derivation
    from lowdose.physics.dose import simulate
    from lowdose.scan import Scan
    from lowdose.units import checked_dose_fraction

    try:
        checked_dose_fraction(dose)
    except ValueError as error:
        refuse(f"--dose: {error}")

    def process(scan: Scan) -> tuple[Scan, Derivation]:
        simulated = simulate(scan, dose, seed=seed)
        found = simulated.history[-1].parameters
        if dose < 1 and found["noise_of_the_scan_hu"] is None:
            warn(
                f"{scan.name}: too little flat soft tissue to measure its noise, so "
                f"{found['photons_per_ray']} photons a ray are assumed"
            )
        return simulated, simulation_derivation(dose, seed)

    options = {"input": source, "output": output, "dose": dose, "seed": seed}
    finish(run_cases(Job("simulate", source, output, options, as_json), process))
