"""The scans of a file of lesions, read, prepared and split by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lowdose.io import InputError, only_scan
from lowdose.io.coco import AnnotatedScan, read_coco
from lowdose.scan import Scan
from lowdose.training.dataset import (
    Prepared,
    PreparedImages,
    cache_folder,
    prepare,
    prepare_images,
    prepare_pair,
)
from lowdose.training.lesion_sampling import LesionScan, boxes_by_slice
from lowdose.training.manifest import pair_mismatch
from lowdose.training.sources import Watcher

_HELD_BACK = 5
"""Every fifth patient is kept for validation where nobody says which."""


class LesionDataError(Exception):
    """One sentence: which lesions, what is wrong with them, what to do."""


@dataclass(frozen=True)
class LesionData:
    """Scans with lesions, split by patient."""

    kinds: tuple[str, ...]
    training: tuple[LesionScan, ...]
    validation: tuple[LesionScan, ...]


def prepare_lesions(
    path: Path,
    cache: Path,
    *,
    with_noise: bool,
    seed: int,
    watcher: Watcher,
    validation_patients: Sequence[str] = (),
    kinds: Sequence[str] = (),
) -> LesionData:
    """Read and prepare the scans that the COCO file `path` names; `with_noise` as pairs are drawn from.

    `kinds` is what a detector knows; without it all that the file has. Scans whose own noise cannot be
    measured are left out, each with a sentence. LesionDataError if a scan is missing or does not fit its
    boxes, if nothing is left to train on, or no lesion at all.
    """
    scans = _read(path)
    found = tuple(dict.fromkeys(lesion.kind for scan in scans for lesion in scan.lesions))
    if not found:
        raise LesionDataError(f"{path}: holds no lesion; give one with boxes")
    kinds = tuple(kinds) or found
    unknown = sorted(set(found) - set(kinds))
    if unknown:
        raise LesionDataError(
            f"{path}: has lesions of the kind {', '.join(unknown)}, and the detector knows "
            f"{', '.join(kinds)}; leave them out or train another detector"
        )
    held_back = _held_back(path, scans, validation_patients)
    split: dict[bool, list[LesionScan]] = {False: [], True: []}
    for index, scan in enumerate(scans):
        watcher.on_scan(f"{scan.patient} {scan.source}", index, len(scans))
        n_of_patient = sum(other.patient == scan.patient for other in scans)
        try:
            prepared = _prepared(path, scan, cache, 1.0 / n_of_patient, seed, with_noise=with_noise)
        except ValueError as error:
            watcher.on_left_out(str(error))
            continue
        lesions = LesionScan(prepared, scan.searched, boxes_by_slice(scan.lesions, kinds))
        split[scan.patient in held_back].append(lesions)
    if not any(scan.boxes for scan in split[False]):
        raise LesionDataError(
            f"{path}: no patient is left with lesions to train on; hold fewer back for validation"
        )
    return LesionData(kinds, tuple(split[False]), tuple(split[True]))


def _read(path: Path) -> tuple[AnnotatedScan, ...]:
    try:
        return read_coco(path)
    except InputError as error:
        raise LesionDataError(str(error)) from None


def _held_back(path: Path, scans: Sequence[AnnotatedScan], asked: Sequence[str]) -> set[str]:
    patients = sorted({scan.patient for scan in scans})
    missing = sorted(set(asked) - set(patients))
    if missing:
        raise LesionDataError(
            f"{path}: has no patient {', '.join(missing)} to hold back; it has {', '.join(patients[:8])}"
        )
    return set(asked or patients[_HELD_BACK - 1 :: _HELD_BACK] or patients[1:][-1:])


def _prepared(
    path: Path, annotated: AnnotatedScan, cache: Path, weight: float, seed: int, *, with_noise: bool
) -> Prepared | PreparedImages:
    """ValueError where the scan's own noise is needed and cannot be measured."""
    where = path.parent / annotated.source
    try:
        with only_scan(where, own=True) as scan:
            _check_fit(path, annotated, scan)
            if not with_noise:
                folder = cache_folder(cache, f"images\n{where}", scan)
                return prepare_images(scan, folder, patient=annotated.patient, weight=weight)
            if annotated.low is not None:
                return _prepared_pair(path, annotated, scan, cache, weight)
            folder = cache_folder(cache, str(where), scan)
            return prepare(scan, folder, patient=annotated.patient, weight=weight, seed=seed)
    except InputError as error:
        raise LesionDataError(str(error)) from None


def _prepared_pair(path: Path, annotated: AnnotatedScan, scan: Scan, cache: Path, weight: float) -> Prepared:
    assert annotated.low is not None
    low_path = path.parent / annotated.low
    with only_scan(low_path, own=True) as low:
        mismatch = pair_mismatch(low, scan)
        if mismatch is not None:
            raise LesionDataError(
                f"{low_path} and {annotated.source}: {mismatch}, so the boxes do not fit the low dose; give "
                "reconstructions of one grid"
            )
        folder = cache_folder(cache, f"{low_path}\n{annotated.source}", scan)
        return prepare_pair(low, scan, folder, patient=annotated.patient, weight=weight)


def _check_fit(path: Path, annotated: AnnotatedScan, scan: Scan) -> None:
    n_z, *size = scan.shape
    if tuple(size) != annotated.size or annotated.searched[-1] >= n_z:
        raise LesionDataError(
            f"{path}: the boxes of {annotated.source} are of {annotated.searched[-1] + 1} or more slices of "
            f"{annotated.size[0]} x {annotated.size[1]}, and the scan has {n_z} of {size[0]} x {size[1]}; "
            "give the lesions of this scan"
        )
