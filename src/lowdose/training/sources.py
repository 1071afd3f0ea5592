"""The scans of a plan, read, prepared and split by patient."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lowdose.io import InputError, only_scan, open_input
from lowdose.models.card import TrainingData
from lowdose.scan import Scan
from lowdose.training.dataset import Prepared, cache_folder, prepare, prepare_pair
from lowdose.training.loop import Progress
from lowdose.training.manifest import (
    Manifest,
    ManifestError,
    Row,
    Split,
    check_scans,
    pair_mismatch,
    read_manifest,
)
from lowdose.training.plan import PlanError, Source, TrainingPlan


@dataclass
class Watcher:
    """Whom a run tells what it does; every field may be left as it is."""

    on_scan: Callable[[str, int, int], None] = field(default=lambda _name, _index, _n: None)
    on_left_out: Callable[[str], None] = field(default=lambda _sentence: None)
    on_progress: Callable[[Progress], None] = field(default=lambda _progress: None)


@dataclass(frozen=True)
class PreparedData:
    """All scans of a plan, split by patient."""

    training: tuple[Prepared, ...]
    validation: tuple[Prepared, ...]
    described: tuple[TrainingData, ...]


@dataclass(frozen=True)
class _Wanted:
    """One scan to be prepared, or the two of a pair."""

    source: str
    patient: str
    split: str
    weight: float
    licence: str
    citation: str
    scan: Path
    low: Path | None = None
    """The low dose, where `scan` is the high dose of a pair."""


def prepare_data(plan: TrainingPlan, root: Path, cache: Path, watcher: Watcher) -> PreparedData:
    """Read and prepare every scan of the plan; scans that cannot be used are left out, each with a sentence.

    PlanError if a source is missing, a patient is in two splits, or nothing is left to train on.
    """
    wanted = _of_manifest(plan, root) if plan.manifest is not None else _of_sources(plan.sources, root)
    wanted = [one for one in wanted if one.split != "test"]
    splits: dict[str, list[Prepared]] = {"training": [], "validation": []}
    found: dict[tuple[str, str, str, str], list[Prepared]] = {}
    for index, one in enumerate(wanted):
        watcher.on_scan(f"{one.source} {one.patient}", index, len(wanted))
        prepared = _prepared(one, cache, plan.schedule.seed, watcher)
        splits[one.split] += prepared
        found.setdefault((one.source, one.split, one.licence, one.citation), []).extend(prepared)
    shared = {scan.patient for scan in splits["training"]} & {scan.patient for scan in splits["validation"]}
    if shared:
        raise PlanError(f"patients in both splits: {', '.join(sorted(shared))}; give each one split")
    for split, scans in splits.items():
        asked = [one for one in wanted if one.split == split]
        if not scans and (asked or split == "training"):
            raise PlanError(f"no scan below {root} can be used for {split}; see the reasons above")
    described = [_described(*origin, scans) for origin, scans in found.items() if scans]
    return PreparedData(tuple(splits["training"]), tuple(splits["validation"]), tuple(described))


def _of_sources(sources: Sequence[Source], root: Path) -> list[_Wanted]:
    """Every patient of every source; those of a split share its weight."""
    wanted = []
    for source in sources:
        patients = _patients(source, root)
        splits = [source.split_of(patient) for patient, _ in patients]
        for split, (patient, path) in zip(splits, patients, strict=True):
            weight = source.weight / splits.count(split)
            wanted.append(_Wanted(source.name, patient, split, weight, source.licence, source.citation, path))
    return wanted


def _of_manifest(plan: TrainingPlan, root: Path) -> list[_Wanted]:
    """The scans and pairs of both splits; those for testing are never opened."""
    assert plan.manifest is not None
    path = root / plan.manifest
    try:
        manifest = read_manifest(path)
        check_scans(manifest)
    except ManifestError as error:
        raise PlanError(str(error)) from None
    wanted = []
    splits: tuple[Split, ...] = ("training", "validation")
    for split in splits:
        n_of_patient = _counts(manifest, split)
        scans: list[tuple[Row | None, Row]] = [(None, row) for row in manifest.own(split)]
        for low, high in [*scans, *manifest.pairs(split)]:
            wanted.append(
                _Wanted(
                    path.stem, high.patient, split, high.weight / n_of_patient[high.patient],
                    high.licence or "not stated", high.citation or "not stated",
                    manifest.scan_of(high), None if low is None else manifest.scan_of(low),
                )
            )  # fmt: skip
    return wanted


def _counts(manifest: Manifest, split: Split) -> dict[str, int]:
    """How many scans or pairs each patient has: all of them together weigh as one."""
    rows: list[Row] = [*manifest.own(split), *(high for _, high in manifest.pairs(split))]
    return {row.patient: sum(other.patient == row.patient for other in rows) for row in rows}


def _patients(source: Source, root: Path) -> list[tuple[str, Path]]:
    path = root / source.path
    if not path.exists():
        raise PlanError(f"{path}: the source '{source.name}' is not there; mend its path or --data")
    if source.patients == "one":
        return [(source.name, path)]
    if not path.is_dir():
        raise PlanError(f"{path}: is no folder of patients; mend the source '{source.name}'")
    found = [(folder.name, folder) for folder in sorted(path.iterdir()) if folder.is_dir()]
    missing = {*source.validation_patients, *source.test_patients} - {patient for patient, _ in found}
    if missing:
        names = ", ".join(sorted(missing))
        raise PlanError(f"{path}: holds no patient {names}; mend validation_patients or test_patients")
    return found


def _prepared(one: _Wanted, cache: Path, seed: int, watcher: Watcher) -> list[Prepared]:
    prepared: list[Prepared] = []
    try:
        if one.low is not None:
            return [_prepared_pair(one, one.low, cache)]
        for scan in _scans(one.scan, watcher):
            where = cache_folder(cache, str(one.scan), scan)
            try:
                prepared.append(prepare(scan, where, patient=one.patient, weight=one.weight, seed=seed))
            except (ValueError, InputError) as error:
                watcher.on_left_out(str(error))
    except InputError as error:
        watcher.on_left_out(str(error))
    return prepared


def _prepared_pair(one: _Wanted, low_path: Path, cache: Path) -> Prepared:
    """PlanError if the two scans are not of one grid: a pair that does not match would teach a shift."""
    with only_scan(low_path) as low, only_scan(one.scan) as high:
        mismatch = pair_mismatch(low, high)
        if mismatch is not None:
            raise PlanError(f"{low_path} and {one.scan}: {mismatch}; take the pair out of the manifest")
        where = cache_folder(cache, f"{low_path}\n{one.scan}", high)
        return prepare_pair(low, high, where, patient=one.patient, weight=one.weight)


def _scans(path: Path, watcher: Watcher) -> Iterator[Scan]:
    with open_input(path) as found:
        for case in found.cases:
            if case.scan is None:
                watcher.on_left_out(str(case.error))
            else:
                yield case.scan


def _described(
    source: str, split: str, licence: str, citation: str, scans: Sequence[Prepared]
) -> TrainingData:
    return TrainingData(
        name=source,
        use=split,
        patients=len({scan.patient for scan in scans}),
        slices=sum(scan.shape[0] for scan in scans),
        licence=licence,
        citation=citation,
    )
