"""What is in the input: every CT stack as a case, everything else left aside with a reason."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lowdose.io.archive import is_zip, unpacked
from lowdose.io.dicom import NotDicomError
from lowdose.io.header import FaultySlice, NotAScan, SliceHeader, read_slice_header
from lowdose.io.origin import InputError, one_line, unreadable
from lowdose.io.stacks import Stack, scan_of, split_series
from lowdose.scan import Scan

_IGNORED_FOLDERS = ("__MACOSX",)
_TIFF_ENDINGS = {".tif", ".tiff"}
_SIDECAR_ENDINGS = {".yaml", ".yml"}
_IGNORED_FILES = ("DICOMDIR",)


@dataclass(frozen=True)
class LeftAside:
    """Something in the input that is no CT scan to work on."""

    source: str
    reason: str


@dataclass(frozen=True)
class Case:
    """One CT stack: its scan, or the one sentence that says why there is none."""

    name: str
    source: str
    scan: Scan | None
    error: str | None


@dataclass(frozen=True)
class Found:
    """What an input holds."""

    cases: tuple[Case, ...]
    left_aside: tuple[LeftAside, ...]


@contextmanager
def open_input(path: Path, *, own: bool = False) -> Iterator[Found]:
    """The CT stacks of a DICOM folder (nested, mixed), one DICOM file, a zip, a NIfTI volume or TIFF stacks.

    `own` lets our own derived series in, which are left aside otherwise, because nothing should be denoised
    twice. Only headers are read; slices are read when they are asked for, which needs the input to be open.
    Raises InputError if there is nothing to work on. A stack that can't be used is a case with an error.
    """
    label = one_line(str(path))
    try:
        exists = path.exists()
    except OSError as error:  # a name that is too long, a folder on the way that is closed
        raise unreadable(label, error) from None
    if not exists:
        raise InputError(f"{label} does not exist; give a DICOM folder or file, a zip, NIfTI or TIFF")
    if path.is_dir():
        survey = _Survey(own)
        survey.add(_files_below(path, survey))
        yield survey.found(label)
    elif not path.is_file():
        raise InputError(f"{label} is neither a file nor a folder; give a DICOM folder or file")
    elif is_zip(path):
        with unpacked(path) as files:
            survey = _Survey(own)
            survey.add((file, name) for file, name in files if not _is_ignored(name[len(str(path)) :]))
            yield survey.found(label)
    else:
        survey = _Survey(own, alone=True)
        beside = (path.with_suffix(ending) for ending in _SIDECAR_ENDINGS)
        survey.add([(path, str(path))])
        if survey.tiffs:
            survey.add((one, str(one)) for one in (*beside, path.parent / "scan.yaml") if one.is_file())
        yield survey.found(label)


@contextmanager
def only_scan(path: Path, *, own: bool = False) -> Iterator[Scan]:
    """The one CT series in `path`, open for reading; InputError if there is none, or more than one."""
    with open_input(path, own=own) as found:
        scans = [case.scan for case in found.cases if case.scan is not None]
        if len(scans) != 1:
            label = one_line(str(path))
            raise InputError(f"{label}: holds {len(scans)} CT series where just one is needed; name that one")
        yield scans[0]


@dataclass
class _Survey:
    """What has been seen of an input so far."""

    own: bool
    alone: bool = False
    """True for a file that was given by itself."""
    headers: dict[str, list[SliceHeader]] = field(default_factory=dict)
    """By series UID."""
    faults: dict[str, list[tuple[str, FaultySlice]]] = field(default_factory=dict)
    """By series UID, or by folder where a file does not tell its series: label and fault."""
    volumes: list[tuple[Path, str]] = field(default_factory=list)
    tiffs: dict[str, Path] = field(default_factory=dict)
    """By label."""
    sidecars: dict[str, Path] = field(default_factory=dict)
    """YAML files by label: what TIFF cannot say."""
    aside: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """First label and number of files, by folder and reason."""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    pool: dict[Any, Any] = field(default_factory=dict)

    def leave_aside(self, label: str, reason: str) -> None:
        key = str(Path(label).parent), reason
        self.counts[key] += 1
        self.aside.setdefault(key, [label])

    def add(self, files: Iterable[tuple[Path, str]]) -> None:
        """Read the header of each file."""
        for path, label in files:
            if path.name.lower().endswith((".nii", ".nii.gz")):
                self.volumes.append((path, label))
                continue
            if path.suffix.lower() in _TIFF_ENDINGS:
                self.tiffs[label] = path
                continue
            if path.suffix.lower() in _SIDECAR_ENDINGS:
                self.sidecars[label] = path
                continue
            try:
                header = read_slice_header(path, label, self.pool, own=self.own)
            except NotDicomError as error:
                archive = "an archive within the input: give it by itself"
                self.leave_aside(label, archive if is_zip(path) else error.reason)
            except InputError as error:
                fault = FaultySlice("", "", str(error))
                self.faults.setdefault(str(Path(label).parent), []).append((label, fault))
            else:
                if isinstance(header, NotAScan):
                    self.leave_aside(label, header.reason)
                elif isinstance(header, FaultySlice):
                    uid = header.series_uid or str(Path(label).parent)
                    self.faults.setdefault(uid, []).append((label, header))
                else:
                    self.headers.setdefault(header.facts.series_uid, []).append(header)

    def found(self, label: str) -> Found:
        """The cases in the order of their files. Raises InputError if there is none."""
        cases: list[tuple[str, Case, int | None]] = []
        for uid in {**self.headers, **self.faults}:
            cases += _series_cases(self.headers.get(uid, []), self.faults.get(uid, []))
        for path, name in self.volumes:
            if cases and self.headers.keys() | self.faults.keys():
                self.leave_aside(name, "a NIfTI volume beside DICOM files: give it by itself")
            else:
                cases.append((name, _volume_case(path, name), None))
        if cases:
            for name in self.tiffs:
                self.leave_aside(name, "a TIFF image beside DICOM files or volumes: give it by itself")
        elif self.tiffs:
            cases = [
                (name, case, None) for name, case in _tiff_cases(self.tiffs, self.sidecars, alone=self.alone)
            ]
        if not self.tiffs:
            for name in self.sidecars:
                self.leave_aside(name, "not a DICOM file (no mark DICM at byte 128)")
        left_aside = tuple(self._left_aside())
        if not cases:
            raise InputError(
                f"{label} holds no CT series{_summary(self.counts)}; "
                "give classic CT slices, NIfTI or TIFF stacks"
            )
        cases.sort(key=lambda item: item[0])
        return Found(_named_apart([(case, number) for _, case, number in cases]), left_aside)

    def _left_aside(self) -> Iterator[LeftAside]:
        for (folder, reason), (label,) in self.aside.items():
            count = self.counts[folder, reason]
            if count == 1:
                yield LeftAside(one_line(label), reason)
            else:
                yield LeftAside(one_line(folder), f"{count} files: {reason}")


def _files_below(root: Path, survey: _Survey) -> Iterator[tuple[Path, str]]:
    """Regular files below `root`, folder by folder in the order of their names; nothing outside of it."""
    inside = Path(os.path.realpath(root))
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if folder == root:
                raise InputError(
                    f"{one_line(str(root))} cannot be read: {error.strerror}; check its permissions"
                ) from None
            survey.leave_aside(str(folder), f"a folder that cannot be read: {error.strerror}")
            continue
        below = []
        for entry in entries:
            if _is_ignored(entry.name):
                continue
            if entry.is_symlink():
                reason = _why_not_followed(Path(entry.path), inside)
                if reason is not None:
                    survey.leave_aside(entry.path, reason)
                    continue
                if _is_found_anyway(Path(entry.path), inside):
                    continue
            if entry.is_dir():
                below.append(Path(entry.path))
            elif entry.is_file():
                yield Path(entry.path), entry.path
            else:
                survey.leave_aside(entry.path, "neither a file nor a folder")
        folders += reversed(below)


def _is_ignored(name: str) -> bool:
    """True for hidden files, folders of the operating system and the index of a medium."""
    parts = Path(name).parts
    return any(
        (part.startswith(".") and part not in (".", ".."))
        or part in _IGNORED_FOLDERS
        or part in _IGNORED_FILES
        for part in parts
    )


def _why_not_followed(link: Path, inside: Path) -> str | None:
    target = Path(os.path.realpath(link))
    if not target.is_relative_to(inside):
        return "a symbolic link that leads out of the input, so it is not followed"
    if not target.exists():
        return "a symbolic link that leads nowhere"
    return None


def _is_found_anyway(link: Path, inside: Path) -> bool:
    """True if what the link leads to is visited under its own name; a folder is never visited twice."""
    target = Path(os.path.realpath(link))
    return target.is_dir() or not _is_ignored(str(target.relative_to(inside)))


def _series_cases(
    headers: list[SliceHeader], faults: list[tuple[str, FaultySlice]]
) -> list[tuple[str, Case, int | None]]:
    """The cases of one series, each with what it is sorted by and its series number."""
    labels = sorted([header.label for header in headers] + [label for label, _ in faults])
    description = headers[0].facts.description if headers else faults[0][1].description
    name, source = _name(description, labels), _source(labels)
    number = headers[0].facts.series_number if headers else None
    error = None
    if faults:
        more = len(faults) - 1
        error = faults[0][1].sentence + (f" ({more} more like it)" if more else "")
    elif len({header.facts.patient_id for header in headers}) > 1:
        error = f"{source} holds one series of several patients (PatientID); sort its files first"
    if error is not None:
        return [(labels[0], Case(name, source, None, error), number)]
    return [
        (min(header.label for header in stack.headers), _stack_case(stack, name), number)
        for stack in split_series(headers)
    ]


def _stack_case(stack: Stack, series_name: str) -> Case:
    name = series_name + (f" [{', '.join(stack.distinction)}]" if stack.distinction else "")
    name = one_line(name, 120)
    source = _source([header.label for header in stack.headers])
    try:
        return Case(name, source, scan_of(stack, name), None)
    except InputError as error:
        return Case(name, source, None, str(error))


def _volume_case(path: Path, label: str) -> Case:
    # Imported here because nibabel takes as long to import as everything else that reads.
    from lowdose.io.nifti import read_nifti

    name = one_line(Path(label).name, 120)
    for ending in (".gz", ".nii"):
        name = name.removesuffix(ending)
    try:
        return Case(name, one_line(label), replace(read_nifti(path), name=name), None)
    except InputError as error:
        return Case(name, one_line(label), None, str(error).replace(str(path), one_line(label)))


def _tiff_cases(
    tiffs: dict[str, Path], sidecars: dict[str, Path], *, alone: bool
) -> Iterator[tuple[str, Case]]:
    """The cases of TIFF files by label: files of several pages, and folders with a file for each slice."""
    # Imported here because only those who have TIFF need to wait for its reader.
    from lowdose.io.tiff_header import n_slices, stacks_of

    folders: dict[str, list[str]] = {}
    for label, path in tiffs.items():
        if alone or n_slices(path) != 1:
            yield label, _tiff_case([path], label, sidecars, folder=False)
        else:
            folders.setdefault(str(Path(label).parent), []).append(label)
    for folder, labels in folders.items():
        for stack in stacks_of([Path(label).name for label in labels]):
            paths = [tiffs[labels[index]] for index in stack.order]
            case = _tiff_case(paths, folder, sidecars, folder=True)
            if case.scan is not None and stack.n_missing:
                gap = f"The numbers of its files leave out {stack.n_missing}: are slices missing?"
                case = replace(case, scan=replace(case.scan, notes=(*case.scan.notes, gap)))
            yield labels[stack.order[0]], case


def _tiff_case(paths: list[Path], label: str, sidecars: dict[str, Path], *, folder: bool) -> Case:
    from lowdose.io.tiff import read_tiff, sidecar_names

    name = one_line(Path(label).name if folder else Path(label).stem, 120)
    told, source = (sidecars.get(one) for one in sidecar_names(label, folder=folder)), one_line(label)
    sidecar = next((path for path in told if path is not None), None)
    try:
        return Case(name, source, read_tiff(tuple(paths), source, sidecar, folder=folder), None)
    except InputError as error:
        return Case(name, source, None, str(error))


def _name(description: str, labels: list[str]) -> str:
    if description:
        return description
    first = Path(labels[0])
    return one_line(first.stem if len(labels) == 1 else first.parent.name, 64) or "series"


def _source(labels: list[str]) -> str:
    return one_line(labels[0] if len(labels) == 1 else os.path.commonpath(labels))


def _named_apart(cases: list[tuple[Case, int | None]]) -> tuple[Case, ...]:
    """Cases whose names differ: by their series number, else by counting."""
    numbered = []
    frequency = Counter(case.name for case, _ in cases)
    for case, number in cases:
        apart = frequency[case.name] > 1 and number is not None
        numbered.append(_renamed(case, f"{case.name} (series {number})" if apart else case.name))
    frequency = Counter(case.name for case in numbered)
    seen: Counter[str] = Counter()
    result = []
    for case in numbered:
        seen[case.name] += 1
        result.append(
            _renamed(case, f"{case.name} ({seen[case.name]})") if frequency[case.name] > 1 else case
        )
    return tuple(result)


def _renamed(case: Case, name: str) -> Case:
    return replace(case, name=name, scan=None if case.scan is None else replace(case.scan, name=name))


def _summary(counts: Counter[tuple[str, str]]) -> str:
    """ ", only ..." with the most frequent reasons."""
    reasons: Counter[str] = Counter()
    for (_, reason), count in counts.items():
        reasons[reason] += count
    if not reasons:
        return " (it is empty)"
    listed = [f"{count} x {reason}" for reason, count in reasons.most_common(3)]
    return f" ({'; '.join(listed)}{'; ...' if len(reasons) > 3 else ''})"
