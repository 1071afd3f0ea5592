"""The CSV file that says what to train on: one line a scan, with its patient, split and dose role.

It needs no torch, so that the command line can write and check it on any machine.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from lowdose.provenance import written_whole

if TYPE_CHECKING:
    from lowdose.scan import Scan

Split = Literal["training", "validation", "test"]
Dose = Literal["own", "high", "low"]

SPLITS: tuple[Split, ...] = get_args(Split)
DOSES: tuple[Dose, ...] = get_args(Dose)
REQUIRED = ("scan", "patient", "split", "dose")
COLUMNS = (*REQUIRED, "pair", "region", "weight", "licence", "citation")

SPACING_TOLERANCE_MM = 1e-3
POSITION_TOLERANCE_MM = 0.1

_NAMED = 3
"""How many patients a sentence names before it counts the rest."""


class ManifestError(Exception):
    """One sentence: which file and line, what is wrong there, what to do."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One scan. With dose `own` it is its own target, and lower doses are simulated from it; `high` and `low`
    are the two members of a real pair.
    """

    scan: Path
    """A DICOM folder or file, a zip or a NIfTI volume; relative to the folder of the CSV unless absolute."""
    patient: str
    split: Split = "training"
    dose: Dose
    pair: str = ""
    """Joins a low and a high of one patient, where a patient has several pairs."""
    region: str = ""
    weight: float = 1.0
    """How often patches are drawn from this patient, relative to others; of a pair, the high one's counts."""
    licence: str = ""
    citation: str = ""
    line: int = field(default=0, compare=False)
    """Where in the file it stands; 0 for a row that was not read."""


@dataclass(frozen=True)
class Manifest:
    """The rows of one file, checked as a whole."""

    path: Path
    rows: tuple[Row, ...]

    @property
    def folder(self) -> Path:
        """What relative scans are relative to."""
        return self.path.parent

    def scan_of(self, row: Row) -> Path:
        """Where the scan of `row` is."""
        return self.folder / row.scan

    def patients(self, split: Split) -> tuple[str, ...]:
        """In the order of their first rows."""
        return tuple(dict.fromkeys(row.patient for row in self.rows if row.split == split))

    def own(self, split: Split) -> tuple[Row, ...]:
        """The scans that are their own targets."""
        return tuple(row for row in self.rows if row.split == split and row.dose == "own")

    def pairs(self, split: Split) -> tuple[tuple[Row, Row], ...]:
        """`(low, high)` of every pair."""
        return pairs_of(row for row in self.rows if row.split == split)


@dataclass(frozen=True)
class Count:
    """How much of a split shows a region."""

    split: Split
    region: str
    patients: int
    scans: int
    pairs: int


def read_manifest(path: Path, *, needs: Sequence[Split] = ("training",)) -> Manifest:
    """The manifest in the CSV file `path`; `needs` are the splits that must not be empty.

    UTF-8 with commas or semicolons between the values. ManifestError names the first line that is wrong.
    Whether the scans are there is asked with `check_scans`.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ManifestError(
            f"{path}: cannot be read ({error.strerror}); `lowdose manifest` writes one"
        ) from None
    except UnicodeDecodeError:
        raise ManifestError(f"{path}: is not UTF-8 text; save it as CSV with encoding UTF-8") from None
    rows = _parsed(text, path)
    if not rows:
        raise ManifestError(f"{path}: holds no rows below its column names; add a line for every scan")
    _check_together(rows, path)
    for split in needs:
        if all(row.split != split for row in rows):
            raise ManifestError(
                f"{path}: no row has split '{split}'; give it to the rows of at least one patient"
            )
    return Manifest(path, rows)


def write_manifest(path: Path, rows: Sequence[Row]) -> None:
    """Write `rows` as CSV, whole or not at all. ManifestError if they could not be read back as they are."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_cells(row) for row in rows)
    read_back = _parsed(text.getvalue(), path)
    for row, again in zip(rows, read_back, strict=True):
        if row != again:
            raise ManifestError(
                f"{path}: the row of {_quoted(row.scan)} would not be read back as it is; "
                "rename what has spaces at an end or control characters in its name"
            )
    if not rows:
        raise ManifestError(f"{path}: there are no rows to write; give a folder that holds scans")
    _check_together(read_back, path)
    try:
        content = text.getvalue().encode("utf-8")
    except UnicodeEncodeError as error:
        odd = text.getvalue()[error.start : error.end]
        raise ManifestError(f"{path}: a name holds {odd!r}, which is no text; rename that file") from None
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def check_scans(manifest: Manifest, root: Path | None = None) -> None:
    """ManifestError if a scan is not there; `root` stands in for the folder of the CSV."""
    for row in manifest.rows:
        place = (manifest.folder if root is None else root) / row.scan
        try:
            there = place.exists()
        except (OSError, ValueError):  # a name that is too long, a folder on the way that is closed
            there = False
        if not there:
            raise ManifestError(
                f"{_at(manifest.path, row)}: the scan {_quoted(place)} is not there; "
                "mend its path, which is relative to the folder of this file"
                + ("" if root is None else f" or to {root}")
            )


def pairs_of(rows: Iterable[Row]) -> tuple[tuple[Row, Row], ...]:
    """`(low, high)` of every complete pair among `rows`, in the order of their first members."""
    members: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row.dose != "own":
            members.setdefault((row.patient, row.pair), {})[row.dose] = row
    return tuple((pair["low"], pair["high"]) for pair in members.values() if len(pair) == 2)


def counts_of(rows: Sequence[Row]) -> tuple[Count, ...]:
    """Patients, scans and pairs of every split and region that there is, by split and then by region."""
    counts = []
    for split in SPLITS:
        for region in sorted({row.region for row in rows if row.split == split}):
            part = [row for row in rows if row.split == split and row.region == region]
            n_patients = len({row.patient for row in part})
            n_scans = len({row.scan for row in part})
            counts.append(Count(split, region, n_patients, n_scans, len(pairs_of(part))))
    return tuple(counts)


def pair_mismatch(low: Scan, high: Scan) -> str | None:
    """Why two scans can't be a pair, voxel by voxel: one sentence, or None where they can."""
    names = f"{low.name} (low dose) and {high.name} (high dose)"
    if low.shape != high.shape:
        return (
            f"{names} differ in shape: {_counted(low.shape)} and {_counted(high.shape)}; "
            "give two reconstructions with the same slices and matrix"
        )
    apart = [abs(one - other) for one, other in zip(low.spacing, high.spacing, strict=True)]
    if not max(apart) <= SPACING_TOLERANCE_MM:
        return (
            f"{names} differ in spacing: {_sizes(low.spacing)} and {_sizes(high.spacing)} mm; "
            "give two reconstructions with the same field of view and slice distance"
        )
    corners = np.indices((2, 2, 2)).reshape(3, -1) * (np.array(low.shape)[:, None] - 1)
    moved = (low.affine - high.affine) @ np.vstack([corners, np.ones(corners.shape[1])])
    distance = float(np.linalg.norm(moved[:3], axis=0).max())
    if not distance <= POSITION_TOLERANCE_MM:
        return (
            f"{names} differ in position or orientation: their voxels lie up to {distance:.1f} mm apart; "
            "give two reconstructions of the same place"
        )
    return None


def _parsed(text: str, path: Path) -> tuple[Row, ...]:
    """The rows of `text`, each right by itself."""
    if "\0" in text:
        raise ManifestError(f"{path}: is no text file; save it as CSV with encoding UTF-8")
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = ";" if first.count(";") > first.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[Row] = []
    columns: list[str] | None = None
    begun = 1
    try:
        for cells in reader:
            values = [cell.strip() for cell in cells]
            while values and not values[-1]:  # spreadsheets pad lines with empty cells
                values.pop()
            if values and columns is None:
                columns = _checked_columns([value.lower() for value in values], f"{path}, line {begun}")
            elif values and columns is not None:
                rows.append(_row(values, columns, path, begun, delimiter))
            begun = reader.line_num + 1
    except csv.Error as error:
        raise ManifestError(
            f"{path}, line {begun}: is not CSV ({error}); mend the quotes there, or save it as CSV again"
        ) from None
    return tuple(rows)


def _checked_columns(names: list[str], where: str) -> list[str]:
    missing = [name for name in REQUIRED if name not in names]
    if len(missing) == len(REQUIRED):
        raise ManifestError(f"{where}: does not name the columns; begin with {','.join(COLUMNS)}")
    for name in names:
        if name not in COLUMNS:
            raise ManifestError(f"{where}: unknown column {_quoted(name)}; known are {', '.join(COLUMNS)}")
        if names.count(name) > 1:
            raise ManifestError(f"{where}: names the column '{name}' twice; keep one of them")
    if missing:
        raise ManifestError(f"{where}: has no column {_listed(missing)}; add it, it can't be guessed")
    return names


def _row(values: list[str], columns: list[str], path: Path, line: int, delimiter: str) -> Row:
    where = f"{path}, line {line}"
    if len(values) > len(columns):
        raise ManifestError(
            f"{where}: has {len(values)} values for {len(columns)} columns; "
            f"put a value that holds '{delimiter}' between double quotes"
        )
    values = values + [""] * (len(columns) - len(values))
    cells: dict[str, Any] = dict(zip(columns, values, strict=True))
    for name in REQUIRED:
        if not cells[name]:
            raise ManifestError(f"{where}: '{name}' is empty; fill it in")
    for name, known in (("split", SPLITS), ("dose", DOSES)):
        if cells[name] not in known:
            raise ManifestError(f"{where}: unknown {name} {_quoted(cells[name])}; use {_listed(known, 'or')}")
    if cells.get("pair") and cells["dose"] == "own":
        raise ManifestError(
            f"{where}: a scan of dose 'own' has the pair {_quoted(cells['pair'])}; "
            "leave pair empty, or make its dose 'high' or 'low'"
        )
    weight = cells.pop("weight", "") or "1"
    cells["weight"] = _weight(weight.replace(",", ".") if delimiter == ";" else weight, where)
    cells["scan"] = Path(cells["scan"])
    return Row(**cells, line=line)


def _weight(text: str, where: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not (weight > 0 and math.isfinite(weight)):
        raise ManifestError(
            f"{where}: the weight {_quoted(text)} is no number above 0; use 1 for an equal one"
        )
    return weight


def _check_together(rows: Sequence[Row], path: Path) -> None:
    """What no row shows by itself: splits, pairs, and scans that are listed more than once."""
    _check_splits(rows, path)
    _check_scans_apart(rows, path)
    _check_pairs(rows, path)


def _check_splits(rows: Sequence[Row], path: Path) -> None:
    splits: dict[str, dict[Split, int]] = {}
    for row in rows:
        splits.setdefault(row.patient, {}).setdefault(row.split, row.line)
    crossing = [
        f"{_quoted(patient)} ({', '.join(f'{split} in line {line}' for split, line in lines.items())})"
        for patient, lines in splits.items()
        if len(lines) > 1
    ]
    if crossing:
        more = len(crossing) - _NAMED
        named = "; ".join(crossing[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
        raise ManifestError(
            f"{path}: patients in more than one split: {named}; give all scans of a patient the same split"
        )


def _check_scans_apart(rows: Sequence[Row], path: Path) -> None:
    """One image, one patient and one role; the high dose of several pairs may be listed for each of them."""
    seen: dict[Path, Row] = {}
    for row in rows:
        other = seen.setdefault(Path(os.path.realpath(path.parent / row.scan)), row)
        if other is row:
            continue
        where = f"{_at(path, row)}: the scan {_quoted(row.scan)} is listed in line {other.line} too"
        if row.patient != other.patient:
            raise ManifestError(
                f"{where}, there for patient {_quoted(other.patient)}; it can only be one patient's"
            )
        if row.dose != other.dose:
            raise ManifestError(f"{where}, there with dose '{other.dose}'; give it one role")
        if row.dose == "own" or row.pair == other.pair:
            raise ManifestError(f"{where}; list it once, a weight makes it count for more")
    for place, row in seen.items():
        for outer in (seen[parent] for parent in place.parents if parent in seen):
            raise ManifestError(
                f"{_at(path, row)}: the scan {_quoted(row.scan)} lies inside the one of line {outer.line}; "
                "list either the outer folder or the folders in it"
            )


def _check_pairs(rows: Sequence[Row], path: Path) -> None:
    members: dict[tuple[str, str], dict[Dose, Row]] = {}
    for row in rows:
        if row.dose == "own":
            continue
        pair = members.setdefault((row.patient, row.pair), {})
        if row.dose in pair:
            raise ManifestError(
                f"{_at(path, row)}: a second scan of dose '{row.dose}' for {_pair_of(row)} "
                f"(the first is in line {pair[row.dose].line}); give each pair its own label in 'pair'"
            )
        pair[row.dose] = row
    for pair in members.values():
        if len(pair) == 1:
            (row,) = pair.values()
            lacking = "high" if row.dose == "low" else "low"
            raise ManifestError(
                f"{_at(path, row)}: {_pair_of(row)} has a scan of dose '{row.dose}' and none of dose "
                f"'{lacking}'; add that one with the same patient and pair, or make this one 'own'"
            )


def _pair_of(row: Row) -> str:
    patient = f"patient {_quoted(row.patient)}"
    return f"pair {_quoted(row.pair)} of {patient}" if row.pair else patient


def _cells(row: Row) -> dict[str, str]:
    cells = {name: str(getattr(row, name)) for name in COLUMNS}
    short = f"{row.weight:g}"
    return cells | {
        "scan": row.scan.as_posix(),
        "weight": short if float(short) == row.weight else repr(row.weight),
    }


def _at(path: Path, row: Row) -> str:
    return f"{path}, line {row.line}"


def _quoted(value: object) -> str:
    """What a file says, on one line and not too long."""
    text = str(value)
    return repr(text if len(text) <= 120 else f"{text[:119]}…")


def _listed(names: Sequence[str], word: str = "and") -> str:
    quoted = [f"'{name}'" for name in names]
    return f" {word} ".join(part for part in (", ".join(quoted[:-1]), quoted[-1]) if part)


def _counted(shape: tuple[int, int, int]) -> str:
    n_z, n_y, n_x = shape
    return f"{n_z} slices of {n_y} x {n_x}"


def _sizes(spacing: tuple[float, float, float]) -> str:
    return " x ".join(f"{size:.4g}" for size in spacing)
