"""Folders as data sets are handed out: which scan is whose, at which dose, and what is no use.

A layout is a function from a folder to rows of a manifest. It looks at names, and at one header where a name
says nothing; it never reads pixels. What it can't place it leaves aside with a reason, and never guesses.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, NoReturn

from lowdose.io import InputError, LeftAside
from lowdose.io.dicom import read_header
from lowdose.io.origin import one_line
from lowdose.training.manifest import Dose, ManifestError, Row, Split

TCIA_CITATION = (
    "McCollough C, et al. Low Dose CT Image and Projection Data (LDCT-and-Projection-data). "
    "The Cancer Imaging Archive, 2020. doi:10.7937/9NPB-2637. Moen TR, et al. Med Phys 2021;48:902-911"
)
MAYO_CITATION = (
    "McCollough CH, et al. Low-dose CT for the detection and classification of metastatic liver lesions: "
    "results of the 2016 Low Dose CT Grand Challenge. Med Phys 2017;44:e339-e352"
)

_DOSE_OF: Mapping[str, Dose] = {
    "full": "high",
    "fd": "high",
    "high": "high",
    "quarter": "low",
    "qd": "low",
    "low": "low",
}
_REGIONS = {"C": "chest", "L": "abdomen", "N": "head"}
_TCIA_PATIENT = re.compile(r"[CLN]\d{3}", re.IGNORECASE)
_TCIA_SERIES = re.compile(r"(full|low)[\s_-]*dose[\s_-]*(image|projection)", re.IGNORECASE)
_MAYO_PATIENT = re.compile(r"(?<![a-z0-9])L\d{3}(?!\d)", re.IGNORECASE)
_MAYO_DOSE = re.compile(r"(?<![a-z])(full|quarter|fd|qd)(?=dose|[^a-z]|$)", re.IGNORECASE)
_PROJECTIONS = re.compile(r"ct-pd|projection|(?<![a-z])proj(?![a-z])", re.IGNORECASE)
_THICKNESS = re.compile(r"(?<![\d.])(\d(?:\.\d+)?)[\s_]*mm", re.IGNORECASE)
_THICKNESS_IN_FILE = re.compile(r"_(?:fd|qd)_(\d)_", re.IGNORECASE)
_KERNEL = re.compile(r"(?<![a-z0-9])([bd]\d{2})f?(?![a-z0-9])", re.IGNORECASE)
_SHARP = re.compile(r"(?<![a-z])sharp(?![a-z])", re.IGNORECASE)
_PATIENT_ID, _SERIES_DESCRIPTION = 0x00100020, 0x0008103E
_FOLDERS_ABOVE = 3
"""How far above the folder that is given its patient's name is looked for."""

_FILES_TRIED = 5
"""A readme or a licence may lie among the slices."""

_PROJECTION_DATA = "projection data (DICOM-CT-PD), no images"


@dataclass(frozen=True)
class Layout:
    """What a folder holds; every row still has split `training`."""

    rows: tuple[Row, ...]
    left_aside: tuple[LeftAside, ...] = ()
    notes: tuple[str, ...] = ()
    """What is known about the data set as a whole."""


class _Member(NamedTuple):
    """A series that may become one half of a pair."""

    scan: Path
    patient: str
    dose: Dose
    pair: str


def tcia_ldct(root: Path) -> Layout:
    """TCIA LDCT-and-Projection-data below `root`, as the NBIA retriever or a tool that names by UID wrote it.

    `root` may be the download, the collection, or one patient's folder. Raises ManifestError if it holds no
    pair.
    """
    aside: list[LeftAside] = []
    members = _told_apart_by_study(_members(root, _tcia_series, aside))
    pairs = _complete_pairs(
        members,
        aside,
        {
            "high": "full-dose images without low-dose ones (for GE scanners the collection has none); "
            "they can be listed with dose own",
            "low": "low-dose images without full-dose ones",
        },
    )
    rows = tuple(_row(one, _REGIONS[one.patient[0]], TCIA_CITATION) for one in pairs)
    notes = (
        "low dose: 10 % of routine in the chest (C...), 25 % in abdomen (L...) and head (N...); "
        "check it in the description of the collection",
    )
    return _layout(root, rows, aside, "tcia-ldct", notes)


def mayo_2016(root: Path, *, only: str = "") -> Layout:
    """Image data of the AAPM challenge of 2016 below `root`: full and quarter dose, by thickness and kernel.

    Each thickness and kernel is a pair of its own, labelled like "3mm B30"; `only` keeps one of them.
    Raises ManifestError if there is no pair.
    """
    aside: list[LeftAside] = []
    members = _members(root, _mayo_series, aside)
    if only:
        members = _only(only, members, root)
    pairs = _complete_pairs(
        members,
        aside,
        {
            "high": "full dose without a quarter dose of the same thickness and kernel",
            "low": "quarter dose without a full dose of the same thickness and kernel",
        },
    )
    rows = tuple(_row(one, "abdomen", MAYO_CITATION) for one in pairs)
    return _layout(root, rows, aside, "mayo-2016", ("low dose: 25 % of routine",))


def own_pairs(root: Path) -> Layout:
    """Pairs of one's own: `PATIENT/low` and `PATIENT/high`, or `PATIENT/NAME/low` and `PATIENT/NAME/high`.

    `low` and `high` are folders, or files such as `low.nii.gz`. Raises ManifestError if there is no pair.
    """
    aside: list[LeftAside] = []
    members = []
    for patient in _patient_folders(root, aside):
        places = [(patient, ""), *((name, name.name) for name in _folders(patient) if not _role(name))]
        found = []
        for folder, label in places:
            for entry in _entries(folder):
                dose = _role(entry)
                if dose is None:
                    if folder != patient or entry.is_file():
                        aside.append(_aside(entry, "neither low nor high"))
                elif not _holds_files(entry):
                    aside.append(_aside(entry, "an empty folder"))
                else:
                    found.append(_Member(entry, patient.name, dose, label))
        if not found:
            aside.append(_aside(patient, "a patient without low and high"))
        members += found
    lonely: Mapping[Dose, str] = {"high": "high without low beside it", "low": "low without high beside it"}
    pairs = _complete_pairs(members, aside, lonely)
    rows = tuple(_row(one) for one in pairs)
    return _layout(root, rows, aside, "pairs")


def patients(root: Path) -> Layout:
    """One folder a patient, every series in it its own target. Raises ManifestError if there is none."""
    aside: list[LeftAside] = []
    rows = []
    for folder in _patient_folders(root, aside):
        if _holds_files(folder):
            rows.append(Row(scan=folder, patient=folder.name, dose="own"))
        else:
            aside.append(_aside(folder, "an empty folder"))
    return _layout(root, tuple(rows), aside, "patients")


LAYOUTS: Mapping[str, Callable[[Path], Layout]] = {
    "tcia-ldct": tcia_ldct,
    "mayo-2016": mayo_2016,
    "pairs": own_pairs,
    "patients": patients,
}


def assign_splits(
    rows: Sequence[Row], *, validation: float = 0.1, test: float = 0.2, seed: int = 1
) -> tuple[Row, ...]:
    """`rows` with a split for every patient: shares of the patients, the same in every region.

    A share above 0 gets at least one patient while one is left for training. The result depends on the seed
    and on which patients there are, not on the order of the rows. ValueError if the shares leave nothing to
    train on.
    """
    if not (0 <= validation < 1 and 0 <= test < 1 and validation + test < 1):
        raise ValueError(
            f"the shares {validation:g} for validation and {test:g} for test leave nothing to train on; "
            "give numbers from 0 up, together below 1"
        )
    regions: dict[str, set[str]] = {}
    for row in rows:
        regions.setdefault(row.patient, set()).add(row.region)
    strata: dict[str, list[str]] = {}
    for patient in sorted(regions, key=lambda name: (_drawn(seed, name), name)):
        strata.setdefault(" ".join(sorted(regions[patient])), []).append(patient)
    n_validation = _n_held_back(validation, len(regions), len(regions))
    n_test = _n_held_back(test, len(regions), len(regions) - n_validation)
    split_of: dict[str, Split] = {}
    shares: tuple[tuple[Split, int], ...] = (("validation", n_validation), ("test", n_test))
    for split, count in shares:
        quotas = _apportioned(count, {name: len(stratum) for name, stratum in strata.items()})
        for name, quota in quotas.items():
            split_of |= dict.fromkeys(strata[name][:quota], split)
            strata[name] = strata[name][quota:]
    return tuple(replace(row, split=split_of.get(row.patient, "training")) for row in rows)


def _n_held_back(share: float, n_patients: int, n_left: int) -> int:
    """How many patients a share is: one at least where it is asked for, and one at least left over."""
    return min(max(round(share * n_patients), 1), max(n_left - 1, 0)) if share > 0 else 0


def _apportioned(count: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """`count` shared out in proportion to `sizes`; what is left over goes to the largest remainders."""
    total = max(sum(sizes.values()), 1)
    quotas = {name: count * size // total for name, size in sizes.items()}
    left = count - sum(quotas.values())
    by_remainder = sorted(sizes, key=lambda name: (-(count * sizes[name] % total), name))
    for name in by_remainder[:left]:
        quotas[name] += 1
    return quotas


def _drawn(seed: int, patient: str) -> bytes:
    """A place in a random order that each patient has by itself, so that new ones don't move the others."""
    return hashlib.sha256(f"{seed}\n{patient}".encode("utf-8", "surrogateescape")).digest()


def _members(
    root: Path,
    series_of: Callable[[Path, Path, Sequence[str]], _Member | str],
    aside: list[LeftAside],
) -> list[_Member]:
    """What `series_of` finds in the folders at and below `root`; the others are left aside."""
    members = []
    for folder, names in _folders_with_files(root):
        found = series_of(root, folder, names)
        if isinstance(found, str):
            aside.append(_aside(folder, found))
        else:
            members.append(found)
    return members


def _tcia_series(root: Path, folder: Path, names: Sequence[str]) -> _Member | str:
    """The series in `folder`, or why it is none."""
    description, header_patient = folder.name, None
    patient = next((one.upper() for one in _words(root, folder) if _TCIA_PATIENT.fullmatch(one)), None)
    told = _TCIA_SERIES.search(description)
    if told is None or patient is None:
        header = _header_words(folder, names)
        if header is None:
            return "no series of the collection: neither its name nor a header in it says what it is"
        header_patient, described = header
        told = told or _TCIA_SERIES.search(described)
        description = described or description
    if told is None:
        return f"series '{one_line(description, 60)}', neither full- nor low-dose images"
    if told[2].lower() == "projection":
        return _PROJECTION_DATA
    patient = patient or (header_patient or "").upper()
    if not _TCIA_PATIENT.fullmatch(patient):
        return "no patient such as C001, L004 or N012 in its path or header"
    return _Member(folder, patient, _DOSE_OF[told[1].lower()], "")


def _header_words(folder: Path, names: Sequence[str]) -> tuple[str, str] | None:
    """PatientID and SeriesDescription of a DICOM file in `folder`; None if the first few files are none."""
    for name in names[:_FILES_TRIED]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd values, which are judged here
                dataset, _ = read_header(folder / name, tags=[_PATIENT_ID, _SERIES_DESCRIPTION])
                return str(dataset.get("PatientID") or ""), str(dataset.get("SeriesDescription") or "")
        except (InputError, ValueError, LookupError):
            continue
    return None


def _told_apart_by_study(members: list[_Member]) -> list[_Member]:
    """Several full- or low-dose series of one patient are labelled with their study's folder."""
    doses: dict[str, list[Dose]] = {}
    for one in members:
        doses.setdefault(one.patient, []).append(one.dose)
    several = {patient for patient, found in doses.items() if len(found) > len(set(found))}
    return [one._replace(pair=one.scan.parent.name) if one.patient in several else one for one in members]


def _mayo_series(root: Path, folder: Path, names: Sequence[str]) -> _Member | str:
    """The series in `folder`, or why it is none."""
    below = list(reversed(folder.relative_to(root).parts))
    if any(_PROJECTIONS.search(part) for part in below):
        return _PROJECTION_DATA
    in_files = {_DOSE_OF[told.lower()] for name in names for told in _MAYO_DOSE.findall(name)}
    if len(in_files) > 1:
        return "full- and quarter-dose files in one folder; sort them into two"
    in_path = [{_DOSE_OF[told.lower()] for told in _MAYO_DOSE.findall(part)} for part in below]
    dose = next((told for told in in_path if len(told) == 1), in_files)
    if not dose:
        return "neither full nor quarter in its path"
    if in_files and dose != in_files:
        return "its folder and its files name different doses"
    patient = next((told[0].upper() for one in below if (told := _MAYO_PATIENT.search(one))), None)
    if patient is None:
        told_by_files = {told[0].upper() for name in names if (told := _MAYO_PATIENT.search(name))}
        if len(told_by_files) > 1:
            return "files of several patients in one folder; sort them into one each"
        above = (told[0].upper() for one in _words(root, root) if (told := _MAYO_PATIENT.search(one)))
        patient = next(iter(told_by_files), None) or next(above, None)
    if patient is None:
        return "no patient such as L067 in its path"
    if _header_words(folder, names) is None:
        return "no DICOM files"
    return _Member(folder, patient, next(iter(dose)), _reconstruction([*below, names[0]]))


def _reconstruction(words: Sequence[str]) -> str:
    """Thickness and kernel such as "3mm B30". The challenge has two kernels: what isn't sharp is B30."""
    thickness = next((told[1] for word in words if (told := _THICKNESS.search(word))), None)
    if thickness is None and (in_file := _THICKNESS_IN_FILE.search(words[-1])):
        thickness = in_file[1]
    kernel = next((told[1].upper() for word in words if (told := _KERNEL.search(word))), None)
    if kernel is None:
        kernel = "D45" if any(_SHARP.search(word) for word in words) else "B30"
    return f"{thickness}mm {kernel}" if thickness else kernel


def _only(label: str, members: list[_Member], root: Path) -> list[_Member]:
    wanted = set(label.lower().split())
    kept = [one for one in members if set(one.pair.lower().split()) == wanted]
    if members and not kept:
        known = ", ".join(sorted({one.pair for one in members}))
        raise ManifestError(f"{root}: has no reconstruction '{one_line(label, 60)}'; there is {known}")
    return kept


def _complete_pairs(
    members: Sequence[_Member], aside: list[LeftAside], lonely: Mapping[Dose, str]
) -> list[_Member]:
    """The members of complete pairs; the others are left aside."""
    pairs: dict[tuple[str, str], dict[Dose, list[_Member]]] = {}
    for one in members:
        pairs.setdefault((one.patient, one.pair), {}).setdefault(one.dose, []).append(one)
    kept = []
    for (patient, label), pair in pairs.items():
        listed = [one for same in pair.values() for one in same]
        if len(listed) > len(pair):
            what = f"pair '{label}' of {patient}" if label else patient
            reason = one_line(f"more than one series of the same dose for {what}; keep one of them")
            aside += [_aside(one.scan, reason) for one in listed]
        elif len(pair) == 1:
            aside += [_aside(one.scan, lonely[one.dose]) for one in listed]
        else:
            kept += [pair["low"][0], pair["high"][0]]
    return kept


def _row(one: _Member, region: str = "", citation: str = "") -> Row:
    return Row(
        scan=one.scan, patient=one.patient, dose=one.dose, pair=one.pair, region=region, citation=citation
    )


def _layout(
    root: Path,
    rows: tuple[Row, ...],
    aside: Sequence[LeftAside],
    name: str,
    notes: tuple[str, ...] = (),
) -> Layout:
    """The layout in the order of patients. Raises ManifestError if there are no rows."""
    if not rows:
        reasons = list(dict.fromkeys(one.reason for one in aside))
        seen = (
            f" (left aside: {'; '.join(reasons[:3])}{'; ...' if len(reasons) > 3 else ''})" if reasons else ""
        )
        raise ManifestError(
            f"{one_line(str(root))}: holds nothing in the layout {name}{seen}; "
            "check the folder, or choose another layout"
        )
    ordered = sorted(rows, key=lambda row: (row.patient, row.pair))
    return Layout(tuple(ordered), tuple(aside), notes)


def _aside(path: Path, reason: str) -> LeftAside:
    return LeftAside(one_line(str(path)), reason)


def _words(root: Path, folder: Path) -> list[str]:
    """Names of `folder` and of those above it, the nearest first, up to a little above `root`."""
    above = Path(os.path.realpath(root)).parts[1:]
    below = folder.relative_to(root).parts
    return [*reversed(below), *list(reversed(above))[:_FOLDERS_ABOVE]]


def _folders_with_files(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder at or below `root` that holds files, and their names. Links are followed, but no place is
    visited twice. OSError where a folder can't be read.
    """
    visited = set()
    for place, folders, files in os.walk(root, onerror=_raised, followlinks=True):
        folders.sort()
        folders[:] = [name for name in folders if not name.startswith(".")]
        real = os.path.realpath(place)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        names = sorted(name for name in files if not name.startswith("."))
        if names:
            yield Path(place), names


def _raised(error: OSError) -> NoReturn:
    raise error


def _entries(folder: Path) -> list[Path]:
    """What `folder` holds, by name, without hidden files."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.is_dir()]


def _patient_folders(root: Path, aside: list[LeftAside]) -> list[Path]:
    """The folders directly below `root`."""
    aside += [
        _aside(entry, "a file beside the patients' folders") for entry in _entries(root) if entry.is_file()
    ]
    return _folders(root)


def _role(entry: Path) -> Dose | None:
    """`low` and `high` from `low/`, `LOW.nii.gz`, ..."""
    name = entry.name.lower()
    if entry.is_file():
        name = re.sub(r"\.(nii|nii\.gz|zip|dcm)$", "", name)
    return _DOSE_OF[name] if name in ("low", "high") else None


def _holds_files(place: Path) -> bool:
    return place.is_file() or next(_folders_with_files(place), None) is not None
