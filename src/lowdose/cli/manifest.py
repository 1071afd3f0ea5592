"""`lowdose manifest`: from a folder of scans to the CSV that a training plan reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lowdose.io import LeftAside
    from lowdose.training.layouts import Layout
    from lowdose.training.manifest import Count, Row


def manifest(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the scans are.")],
    layout: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="How they are laid out: tcia-ldct, mayo-2016, pairs (of your own) or patients.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="New CSV file.")],
    validation: Annotated[float, typer.Option(help="Share of the patients kept for validation.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share of the patients kept for the final test.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Which patients those are.", min=0, max=2**31 - 1)] = 1,
    only: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help='mayo-2016: keep one reconstruction, for instance "3mm B30".'),
    ] = None,
    licence: Annotated[str | None, typer.Option(metavar="TEXT", help="Licence of the scans.")] = None,
    citation: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="What to cite for them; known for tcia-ldct and mayo-2016."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary on standard output.")] = False,
) -> None:
    """List scans for training: a CSV with the patient, split and dose role of each, to be edited as you like.

    The split is by patient and alike in every region; patients never cross splits. Nothing is copied.
    """
    from dataclasses import asdict
    from datetime import UTC, datetime

    from lowdose.cli.terminal import give_up, print_json, refuse, say
    from lowdose.io import OutputError
    from lowdose.io.output import check_output, explained
    from lowdose.provenance import Run
    from lowdose.training.layouts import LAYOUTS, assign_splits
    from lowdose.training.manifest import ManifestError, counts_of, write_manifest

    started = datetime.now(UTC)
    options = {
        "folder": folder, "layout": layout, "out": out, "validation": validation, "test": test, "seed": seed,
        "only": only, "licence": licence, "citation": citation,
    }  # fmt: skip
    if layout not in LAYOUTS:
        refuse(f"--layout {layout}: unknown layout; choose one of {', '.join(LAYOUTS)}")
    if only is not None and layout != "mayo-2016":
        refuse("--only: is for the layout mayo-2016; leave it out")
    if not folder.is_dir():
        refuse(f"{folder}: {'is no folder' if folder.exists() else 'not found'}; give a folder of scans")
    if out.is_dir():
        refuse(f"{out}: is a folder; name a new file such as {out / 'data.csv'}")
    try:
        check_output(out, [])
        assign_splits([], validation=validation, test=test)
    except (OutputError, ValueError) as error:
        refuse(str(error))
    try:
        found = _found(folder, layout, only)
        rows = assign_splits(found.rows, validation=validation, test=test, seed=seed)
        rows = tuple(_as_written(row, out, licence, citation) for row in rows)
        with explained(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            write_manifest(out, rows)
    except (ManifestError, OutputError) as error:
        give_up(str(error))
    counts = counts_of(rows)
    left_aside = [asdict(one) for one in found.left_aside]
    facts = {"counts": [asdict(count) for count in counts], "notes": found.notes}
    run = Run("manifest", options, [], started, left_aside, facts)
    run.write(out.with_name(f"{out.name}.run.json"))
    _tell(found, rows)
    if as_json:
        print_json(run.as_json())
    else:
        typer.echo(_table(counts))
    say(f"manifest in {out}")


def _found(folder: Path, layout: str, only: str | None) -> Layout:
    from lowdose.training.layouts import LAYOUTS, mayo_2016

    return LAYOUTS[layout](folder) if only is None else mayo_2016(folder, only=only)


def _as_written(row: Row, out: Path, licence: str | None, citation: str | None) -> Row:
    """The row as it stands in the CSV: its scan seen from there, and what the user says of its source."""
    from dataclasses import replace

    return replace(
        row,
        scan=_seen_from(out, row.scan),
        licence=row.licence if licence is None else licence,
        citation=row.citation if citation is None else citation,
    )


def _seen_from(out: Path, scan: Path) -> Path:
    """Relative where the scan lies beside or below the CSV, so that the two can be moved together."""
    place, home = scan.absolute(), out.absolute().parent
    return place.relative_to(home) if place.is_relative_to(home) else place


def _tell(found: Layout, rows: Sequence[Row]) -> None:
    """What was left aside, and what the user should know or add."""
    from lowdose.cli.terminal import say, warn

    for line in _grouped(found.left_aside):
        say(f"left aside: {line}")
    for note in found.notes:
        say(note)
    empty = [name for name in ("licence", "citation") if not all(getattr(row, name) for row in rows)]
    if empty:
        options = " and ".join(f"--{name}" for name in empty)
        warn(f"{' and '.join(empty)} left empty; whoever uses the model will ask for it: give {options}")


def _grouped(left_aside: Sequence[LeftAside]) -> list[str]:
    """A line for every reason; `run.json` lists each place."""
    places: dict[str, list[str]] = {}
    for one in left_aside:
        places.setdefault(one.reason, []).append(one.source)
    return [
        f"{some[0]}{f' and {len(some) - 1} more' if len(some) > 1 else ''}: {reason}"
        for reason, some in places.items()
    ]


def _table(counts: Sequence[Count]) -> str:
    heads = ("split", "region", "patients", "scans", "pairs")
    cells = [
        [count.split, count.region or "-", *map(str, (count.patients, count.scans, count.pairs))]
        for count in counts
    ]
    widths = [max(len(line[i]) for line in [heads, *cells]) for i in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in [heads, *cells]
    )
