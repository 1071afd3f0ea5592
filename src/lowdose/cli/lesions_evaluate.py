"""`lowdose lesions evaluate`: does a detector find lesions after denoising as it does before?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lowdose.io.coco import AnnotatedScan
    from lowdose.lesions import Box
    from lowdose.networks.lesion_detector import LesionDetector
    from lowdose.quality.detection_summary import DetectionResult
    from lowdose.quality.lesion_detection import ImageFindings
    from lowdose.scan import Scan
    from lowdose.training.detector_model import DetectorCard

OWN, LOW = "own dose", "low dose"


def evaluate_lesions(
    lesions: Annotated[
        Path, typer.Argument(metavar="LESIONS.json", help="Scans and their lesions; see `lowdose lesions`.")
    ],
    detector: Annotated[Path, typer.Argument(metavar="DETECTOR", help="Folder of `lowdose train detector`.")],
    out: Annotated[Path, typer.Option(help="New folder for summary.json and report.html.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FOLDER",
            help="Also after denoising with this method: of the low dose where there is one, else of the "
            "scan itself. Repeat for more.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary on standard output.")] = False,
) -> None:
    """Measure how well a detector finds known lesions: average precision, FROC, false positives, by patient.

    Every arm is searched in the same slices. A detector that took part in training a denoiser must not judge
    it.
    """
    from lowdose.cli.cases import check_places
    from lowdose.cli.terminal import give_up, print_json, say
    from lowdose.cli.train_detector import need_detection
    from lowdose.denoising import MethodError
    from lowdose.io import InputError, OutputError
    from lowdose.models.denoiser import DenoisingError
    from lowdose.provenance import as_plain

    need_detection()
    started = datetime.now(UTC)
    check_places(out, [lesions])
    work = _checked(lesions, detector, list(dict.fromkeys(method or [])))
    try:
        measured = _measured(work)
        _write(work, measured, out, started, detector)
    except (InputError, OutputError, MethodError, DenoisingError) as error:
        give_up(str(error))
    for one in measured.results:
        say(f"{one.arm}: AP-50 {100 * one.ap_50:.1f} %, AP-75 {100 * one.ap_75:.1f} %")
    say(f"look at {out / 'report.html'}")
    if as_json:
        print_json(as_plain(measured.summary))


@dataclass(frozen=True, eq=False)
class _Work:
    """What is to be searched, by whom."""

    lesions: Path
    scans: tuple[AnnotatedScan, ...]
    network: LesionDetector
    card: DetectorCard
    methods: list[str]

    @property
    def arms(self) -> list[str]:
        """The low dose only where every scan has one, so that arms are of the same images."""
        with_low = all(scan.low is not None for scan in self.scans)
        return [OWN, *([LOW] if with_low else []), *self.methods]


@dataclass(frozen=True, eq=False)
class _Measured:
    """What was found in every arm, and what that amounts to."""

    found: dict[str, list[ImageFindings]]
    threshold: float
    results: list[DetectionResult]

    @property
    def summary(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "arms": [asdict(one) for one in self.results]}


def _checked(lesions: Path, detector: Path, methods: list[str]) -> _Work:
    """Ends with the status of wrong use where something is not there or does not go together."""
    from lowdose.cli.terminal import refuse
    from lowdose.denoising import METHOD_SUMMARIES, MethodError, check_method, model_folder
    from lowdose.io import InputError
    from lowdose.io.coco import read_coco
    from lowdose.models.card import ModelError
    from lowdose.models.denoiser import model_card
    from lowdose.training.detector_model import DetectorError, load_detector

    try:
        for name in methods:
            check_method(name, {})
            if name not in METHOD_SUMMARIES:
                model_card(model_folder(name))
        network, card = load_detector(detector)
        scans = read_coco(lesions)
    except (DetectorError, MethodError, ModelError, InputError) as error:
        refuse(str(error))
    kind = card.kinds[0]
    others = sorted({lesion.kind for scan in scans for lesion in scan.lesions} - {kind})
    if others:
        refuse(
            f"{lesions}: has lesions of the kind {', '.join(others)}; this detector is judged on {kind} alone"
        )
    return _Work(lesions, scans, network, card, methods)


def _measured(work: _Work) -> _Measured:
    """Search every arm in the same slices."""
    import numpy as np

    from lowdose.cli.terminal import progress
    from lowdose.quality.detection_summary import summarise_detection
    from lowdose.training.lesion_finding import slice_findings

    found: dict[str, list[ImageFindings]] = {arm: [] for arm in work.arms}
    n_slices = sum(len(scan.searched) for scan in work.scans)
    with progress("searching", len(found) * n_slices) as advance:
        for scan in work.scans:
            boxes: dict[int, list[Box]] = {}
            for lesion in scan.lesions:
                for z, of_slice in lesion.boxes.items():
                    boxes.setdefault(z, []).extend(of_slice)
            with _arms(work, scan) as opened:
                for arm, of_arm in opened.items():
                    found[arm] += slice_findings(
                        work.network, of_arm, scan.searched, boxes, scan.patient, 0, advance
                    )
    return _Measured(found, *summarise_detection(found, OWN, np.random.default_rng(0)))


def _write(work: _Work, measured: _Measured, out: Path, started: datetime, detector: Path) -> None:
    """The summary, the page and the record, all or nothing."""
    from lowdose.io.output import explained, whole_folder
    from lowdose.provenance import Run, write_json
    from lowdose.report import detection_report, write_report

    card = work.card
    told = {
        "Finds": card.kinds[0], "Training": card.training, "Shown": card.shown,
        "Patients": ", ".join(card.patients),
    }  # fmt: skip
    first = next((one for one in work.scans if one.lesions), work.scans[0])
    z = min((z for lesion in first.lesions for z in lesion.boxes), default=first.searched[0])
    options = {"lesions": work.lesions, "detector": detector, "methods": work.methods, "out": out}
    with explained(out), whole_folder(out) as folder:
        write_json(folder / "summary.json", measured.summary)
        with _arms(work, first) as shown:
            page = detection_report(measured.results, measured.found, shown, z, measured.threshold, told)
            write_report(page, folder / "report.html")
        Run("lesions evaluate", options, [], started, facts=measured.summary).write(folder / "run.json")


@contextmanager
def _arms(work: _Work, annotated: AnnotatedScan) -> Iterator[dict[str, Scan]]:
    """The scan, its low dose and what methods make of that, open for reading."""
    from lowdose.denoising import denoise, make_denoiser
    from lowdose.io import InputError, only_scan

    with ExitStack() as stack:
        opened = {OWN: stack.enter_context(only_scan(work.lesions.parent / annotated.source, own=True))}
        if LOW in work.arms:
            opened[LOW] = stack.enter_context(only_scan(work.lesions.parent / str(annotated.low), own=True))
        scan = opened[OWN]
        for one in opened.values():
            if one.shape[1:] != annotated.size or annotated.searched[-1] >= len(one):
                raise InputError(
                    f"{work.lesions}: the boxes of {annotated.source} do not fit the {len(one)} slices of "
                    f"{one.shape[1]} x {one.shape[2]} of {one.name}; give the lesions of this scan"
                )
        noisy = opened.get(LOW, scan)
        for name in work.methods:
            opened[name] = denoise(noisy, make_denoiser(name, noisy, {}))
        yield opened
