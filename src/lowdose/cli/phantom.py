"""`lowdose phantom`: scans of digital phantoms, with the truth beside them; `measure` is in a file of its
own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lowdose.cli.phantom_measure import measure

if TYPE_CHECKING:
    from lowdose.phantoms.acquisition import PhantomScanner, Protocol
    from lowdose.provenance import CaseRecord
    from lowdose.scan import Scan

phantom = typer.Typer(
    name="phantom",
    help="Scan digital phantoms, and measure scans of phantoms.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(StrEnum):
    """What series are written as."""

    dicom = "dicom"
    nifti = "nifti"


Name = Annotated[str, typer.Argument(metavar="NAME", help="A phantom; `lowdose phantom list` names them.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the series and the truth.")]
Doses = Annotated[
    list[float] | None,
    typer.Option(help="Times the scanner's routine dose; repeat for more. 1 unless given."),
]
Repeats = Annotated[int, typer.Option(help="Scans at each dose, each with its own noise.", min=1)]
Seed = Annotated[
    int,
    typer.Option(help="Which mouse, thorax, abdomen or neck; and which noise.", min=0, max=2**31 - 1),
]
ScannerName = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help="A known scanner or a YAML file instead of the usual one."),
]
Kernel = Annotated[
    str, typer.Option(help="Reconstruction window, and behind a colon its cut-off as a share of Nyquist.")
]
Contrast = Annotated[
    float | None, typer.Option(help="HU that a contrast agent adds to the blood (thorax, abdomen, neck).")
]
Slices = Annotated[int | None, typer.Option(help="Number of slices.", min=1, max=4096)]
Thickness = Annotated[float | None, typer.Option(help="Slice thickness in mm.", min=0.01)]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON summary on standard output.")]


@phantom.command("list")
def list_phantoms(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """Name the phantoms that there are."""
    from lowdose.cli.terminal import print_json
    from lowdose.phantoms.catalogue import PHANTOMS

    if as_json:
        print_json({name: entry.summary for name, entry in PHANTOMS.items()})
        return
    for name, entry in PHANTOMS.items():
        typer.echo(f"{name:14} {entry.summary}")


@phantom.command()
def make(
    name: Name,
    out: Out,
    dose: Doses = None,
    repeats: Repeats = 1,
    seed: Seed = 1,
    scanner: ScannerName = None,
    kernel: Kernel = "hann:1",
    contrast: Contrast = None,
    slices: Slices = None,
    thickness: Thickness = None,
    format_: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.dicom,
    as_json: AsJson = False,
) -> None:
    """Scan a digital phantom at any dose: exact line integrals, counted photons, filtered back projection.

    OUT holds a series for every dose and repeat, the true HU (truth.nii.gz), the structures (labels.nii.gz)
    and truth.json, which says what is where.
    """
    from datetime import UTC, datetime

    from lowdose.cli.terminal import give_up, print_json, refuse, say
    from lowdose.io import OutputError
    from lowdose.io.output import check_output, explained
    from lowdose.phantoms.acquisition import PhantomScanner
    from lowdose.phantoms.catalogue import PHANTOMS
    from lowdose.physics.scanner import ScannerError
    from lowdose.physics.scanners import named_scanner
    from lowdose.provenance import Run

    started = datetime.now(UTC)
    if name not in PHANTOMS:
        refuse(f"there is no phantom {name!r}; choose one of {', '.join(PHANTOMS)}")
    entry = PHANTOMS[name]
    if contrast is not None and not entry.enhances:
        refuse(f"--contrast: the {name} phantom has no blood to enhance; leave it out")
    doses = sorted(set(dose or [1.0]), reverse=True)
    try:
        named = None if scanner is None else named_scanner(scanner)
        protocol = _through(kernel, entry.protocol(named, slices, thickness))
        virtual = PhantomScanner(entry.make(seed, contrast), protocol, seed)
        plan = _planned(virtual, out, doses, repeats)
        check_output(out, [])
    except (ScannerError, OutputError, ValueError) as error:
        refuse(str(error))
    made = virtual.phantom
    say(f"{made.title}: {protocol.scanner.title}, {protocol.kernel_name}")
    try:
        with explained(out):
            out.mkdir(parents=True, exist_ok=True)
        records = _write_series(plan, made.title, format_, at_once=1 if virtual.is_cone else _SIDE_BY_SIDE)
        _write_truth(virtual, out)
    except OutputError as error:
        give_up(str(error))
    options = {
        "name": name, "out": out, "dose": doses, "repeats": repeats, "seed": seed, "scanner": scanner,
        "kernel": protocol.kernel_name, "contrast": contrast, "slices": protocol.grid.shape[0],
        "thickness": protocol.grid.spacing[0], "format": format_.value,
    }  # fmt: skip
    run = Run("phantom make", options, records, started)
    run.write(out / "run.json")
    say(f"{made.title}: {len(records)} series, truth and labels in {out}")
    if as_json:
        print_json(run.as_json())


phantom.command()(measure)


@dataclass(frozen=True)
class _Planned:
    """A series to be written."""

    scan: Scan
    dose: float
    repeat: int
    place: Path


def _through(kernel: str, protocol: Protocol) -> Protocol:
    """The protocol with `hann:0.8` as its window and cut-off."""
    window, _, share = kernel.partition(":")
    try:
        cutoff = float(share or 1.0)
    except ValueError:
        raise ValueError(f"--kernel: {kernel!r} is not a window and a number, like hann:0.8") from None
    return replace(protocol, kernel=window, cutoff=cutoff)


def _planned(virtual: PhantomScanner, out: Path, doses: list[float], repeats: int) -> list[_Planned]:
    """Every repeat at every dose."""
    return [
        _Planned(virtual.scan(dose, repeat), dose, repeat, _folder(out, doses, repeats, dose, repeat))
        for dose in doses
        for repeat in range(repeats)
    ]


def _folder(out: Path, doses: list[float], repeats: int, dose: float, repeat: int) -> Path:
    place = out / (f"dose-{dose:g}" if len(doses) > 1 else "scan")
    return place / f"repeat-{repeat + 1:02d}" if repeats > 1 else place


def _write_series(plan: list[_Planned], title: str, format_: Format, at_once: int) -> list[CaseRecord]:
    """Write the planned series, `at_once` of them slice by slice together."""
    from lowdose.cli.together import written_together
    from lowdose.io.new_series import Study, write_new_series
    from lowdose.io.nifti import write_nifti
    from lowdose.provenance import CaseRecord

    study = Study(f"PHANTOM-{title.replace(' ', '-')}".upper(), f"lowdose phantom: {title}")
    records: list[CaseRecord] = []
    for first in range(0, len(plan), at_once):
        part = plan[first : first + at_once]

        def write(
            number: int, scan: Scan, on_slice: Callable[[int], None], part: list[_Planned] = part
        ) -> CaseRecord:
            one = part[number]
            if format_ is Format.nifti:
                place = one.place.with_name(f"{one.place.name}.nii.gz")
                written = write_nifti(scan, place, on_slice, description="lowdose phantom")
            else:
                described = f"{title}, dose {one.dose:g}, repeat {one.repeat + 1}"
                written = write_new_series(
                    scan,
                    one.place,
                    study,
                    number=plan.index(one) + 1,
                    description=described,
                    on_slice=on_slice,
                )
            facts = {"slices": written.n_slices, "series_uid": written.series_uid}
            return CaseRecord(
                scan.name, "phantom", str(written.path), None, written.notes, scan.history, facts
            )

        scans = [one.scan for one in part]
        what = f"series {first + 1} to {first + len(part)} of {len(plan)}"
        records += written_together(scans, write, what)
    return records


def _write_truth(virtual: PhantomScanner, out: Path) -> None:
    """The true HU, the structures, and what is where."""
    from lowdose.cli.together import written_together
    from lowdose.io.nifti import write_nifti
    from lowdose.provenance import write_json

    names = ["truth.nii.gz", "labels.nii.gz"]
    written_together(
        [virtual.truth(), virtual.labels()],
        lambda number, scan, on_slice: write_nifti(scan, out / names[number], on_slice),
        "truth and labels",
    )
    made = virtual.phantom
    content = {
        "phantom": made.name,
        "title": made.title,
        "facts": made.facts,
        "labels": dict(enumerate(made.labels, 1)),
        "places": "(z, y, x) in mm, the patient coordinates of the series",
        "findings": [asdict(finding) for finding in made.findings],
    }
    write_json(out / "truth.json", content)


_SIDE_BY_SIDE = 8
"""Series that are written together: they share their line integrals, and each holds some slices."""
