"""`lowdose lesions`: lesions of scans, read from annotations or inserted, in one JSON file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lowdose.io.coco import AnnotatedScan
    from lowdose.lesions import Lesion
    from lowdose.scan import Scan

LESIONS = "lesions.json"
"""Beside inserted series."""

lesions = typer.Typer(
    name="lesions",
    help="Lesions of scans, as boxes in one JSON file: read from annotations, or inserted.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Patient = Annotated[
    str | None, typer.Option(metavar="NAME", help="Whose scan it is; without it, the name of the scan.")
]


@lesions.command()
def read(
    scan: Annotated[Path, typer.Argument(metavar="SCAN", help="The CT series that was annotated.")],
    annotations: Annotated[
        list[Path],
        typer.Argument(
            metavar="ANNOTATION...", help="DICOM SEG or RTSTRUCT, XML of LIDC-IDRI, or a NIfTI label map."
        ),
    ],
    out: Annotated[Path, typer.Option(help="JSON file; scans that it holds already are kept.")],
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN=KIND",
            help="What regions of a name, or a label's value, are: GTV.*=tumour. Others are left aside. "
            "Repeat for more.",
        ),
    ] = None,
    readers: Annotated[
        int, typer.Option(help="Of LIDC-IDRI's readers, so many must have marked a nodule.", min=1, max=4)
    ] = 3,
    low: Annotated[
        Path | None, typer.Option(help="The same slices at a low dose, where they were taken.")
    ] = None,
    patient: Patient = None,
) -> None:
    """Read the lesions that annotations mark in a scan, and add them to a JSON file."""
    from lowdose.cli.terminal import counted, give_up, refuse, say, warn
    from lowdose.io import InputError, only_scan
    from lowdose.io.annotations import read_annotations

    kinds = _patterns(kind or [])
    for path in (scan, *annotations, *([low] if low else [])):
        if not path.exists():
            refuse(f"{path}: not found")
    try:
        known = _known(out)
        with only_scan(scan, own=True) as one:
            marked: list[Lesion] = []
            for path in annotations:
                told = read_annotations(path, one, kinds or None, at_least=readers)
                for note in told.notes:
                    warn(note)
                marked += told.lesions
            entry = _annotated(scan, out, one, marked, patient, low)
        _write(out, [*(old for old in known if old.source != entry.source), entry])
    except InputError as error:
        give_up(str(error))
    boxes = sum(len(boxes) for lesion in marked for boxes in lesion.boxes.values())
    say(f"{one.name}: {counted(len(marked), 'lesion')}, {boxes} boxes; written to {out}")


@lesions.command()
def insert(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="DICOM folder, zip or NIfTI.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="New folder.")],
    kind: Annotated[str, typer.Option(help="nodule (in lung) or soft-tissue-lesion.")] = "nodule",
    number: Annotated[int, typer.Option(help="Lesions in every series.", min=1)] = 10,
    dose: Annotated[
        float | None, typer.Option(help="Also write the series at this fraction of its dose.")
    ] = None,
    patient: Patient = None,
    seed: Annotated[int, typer.Option(help="Of places, lesions and noise.", min=0, max=2**31 - 1)] = 0,
) -> None:
    """Put lesions into real scans through their projections, at places that hold nothing else.

    OUTPUT gets the derived series and lesions.json with the boxes. The rest of the scan does not change.
    """
    import numpy as np

    from lowdose.cli.cases import Job, Product, finish, run_cases
    from lowdose.cli.derivations import insertion_derivation, simulation_derivation
    from lowdose.cli.terminal import refuse
    from lowdose.io import InputError
    from lowdose.lesions import LesionError
    from lowdose.physics.dose import dose_simulator
    from lowdose.physics.lesion_insertion import with_lesions
    from lowdose.physics.lesion_sites import RECIPES, draw_lesions
    from lowdose.units import checked_dose_fraction

    if kind not in RECIPES:
        refuse(f"--kind {kind}: unknown; known are {', '.join(RECIPES)}")
    try:
        fraction = None if dose is None else checked_dose_fraction(dose)
    except ValueError as error:
        refuse(f"--dose: {error}")
    made: dict[int, tuple[Lesion, ...]] = {}

    def process(scan: Scan) -> list[Product]:
        simulator = dose_simulator(scan, seed=seed)
        try:
            models = draw_lesions(scan, RECIPES[kind], number, np.random.default_rng([seed, len(scan)]))
            inserted, made[id(scan.origin)] = with_lesions(simulator, models)
        except LesionError as error:
            raise InputError(str(error)) from None
        derived = Product(inserted.scan, insertion_derivation(kind, number, seed), "own-dose")
        if fraction is None:
            return [derived]
        return [derived, Product(inserted.at(fraction), simulation_derivation(fraction, seed), "low-dose")]

    def note(scan: Scan, place: Path) -> None:
        low = place / "low-dose" if fraction is not None else None
        path = output / LESIONS
        entry = _annotated(place / "own-dose", path, scan, made[id(scan.origin)], patient, low)
        _write(path, [*_known(path), entry])

    options = {"input": source, "output": output, "kind": kind, "number": number, "dose": dose, "seed": seed}
    finish(run_cases(Job("lesions insert", source, output, options), process, note))


@lesions.command()
def merge(
    files: Annotated[list[Path], typer.Argument(metavar="LESIONS.json...", help="Files to put together.")],
    out: Annotated[Path, typer.Option(help="New JSON file.")],
) -> None:
    """Put several files of lesions together, to train on all of their scans."""
    from dataclasses import replace

    from lowdose.cli.terminal import counted, give_up, say
    from lowdose.io import InputError
    from lowdose.io.coco import read_coco

    try:
        scans = []
        for path in files:
            for scan in read_coco(path):
                low = None if scan.low is None else _from(out, path.parent / scan.low)
                scans.append(replace(scan, source=_from(out, path.parent / scan.source), low=low))
        _write(out, scans)
    except InputError as error:
        give_up(str(error))
    n_lesions = sum(len(scan.lesions) for scan in scans)
    say(f"{counted(len(scans), 'scan')}, {counted(n_lesions, 'lesion')}; written to {out}")


def _patterns(given: Sequence[str]) -> dict[str, str]:
    from lowdose.cli.terminal import refuse

    found = {}
    for one in given:
        pattern, separator, kind = one.rpartition("=")
        if not separator or not pattern or not kind:
            refuse(f"--kind {one}: is not PATTERN=KIND, for instance GTV.*=tumour")
        found[pattern] = kind
    return found


def _annotated(
    where: Path, out: Path, scan: Scan, found: Sequence[Lesion], patient: str | None, low: Path | None
) -> AnnotatedScan:
    from lowdose.io.coco import AnnotatedScan

    _, n_y, n_x = scan.shape
    return AnnotatedScan(
        _from(out, where), patient or scan.name, (n_y, n_x), tuple(range(len(scan))), tuple(found),
        None if low is None else _from(out, low),
    )  # fmt: skip


def _from(out: Path, where: Path) -> str:
    """A path as it is written into the file `out`: from its folder."""
    return os.path.relpath(where.resolve(), out.resolve().parent)


def _known(path: Path) -> tuple[AnnotatedScan, ...]:
    from lowdose.io.coco import read_coco

    return read_coco(path) if path.exists() else ()


def _write(path: Path, scans: Sequence[AnnotatedScan]) -> None:
    from lowdose.io.coco import write_coco

    path.parent.mkdir(parents=True, exist_ok=True)
    write_coco(path, scans)
