"""`lowdose detect`: lesions of a scan, found by a detector, for a reader to judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lowdose.io import Case
    from lowdose.networks.lesion_detector import LesionDetector
    from lowdose.provenance import CaseRecord
    from lowdose.training.detector_model import DetectorCard

OVERLAY, FINDINGS, PAGE = "overlay.png", "findings.json", "report.html"


def detect(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="DICOM folder or file, zip, or NIfTI.")],
    detector: Annotated[Path, typer.Argument(metavar="DETECTOR", help="Folder of `lowdose train detector`.")],
    out: Annotated[Path, typer.Option(help="New folder; several series get a folder each in it.")],
    threshold: Annotated[
        float | None,
        typer.Option(help="Lowest score of a finding, 0 to 1; without it, the detector's own.", min=0, max=1),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary on standard output.")] = False,
) -> None:
    """Find lesions in every CT series of INPUT: an overlay to look at, a report, and boxes as JSON.

    Research software: what it marks is for a reader to judge, and what it does not mark may be there.
    """
    from lowdose.cli.cases import Job, finish, tell_cases
    from lowdose.cli.terminal import refuse, say
    from lowdose.cli.train_detector import need_detection

    need_detection()
    from lowdose.training.detector_model import DetectorError, load_detector

    try:
        network, card = load_detector(detector)
    except DetectorError as error:
        refuse(str(error))
    least = card.threshold if threshold is None else threshold
    options: dict[str, Any] = {
        "input": source, "detector": detector, "out": out, "threshold": least,
        "detector_sha256": card.weights_sha256,
    }  # fmt: skip
    job = Job("detect", source, out, options, as_json)
    run = tell_cases(job, lambda case, place: _one_case(case, place, network, card, least))
    say(f"look at {out}: {OVERLAY}, {PAGE}; boxes in {FINDINGS}")
    finish(run)


def _one_case(
    case: Case, place: Path, network: LesionDetector, card: DetectorCard, threshold: float
) -> CaseRecord:
    """Find, tell and write; a case that cannot be read is a record with one sentence."""
    from lowdose.cli.terminal import complain, counted, progress, say, warn
    from lowdose.figures.findings import findings_sheet
    from lowdose.io import InputError
    from lowdose.io.coco import AnnotatedScan, write_coco
    from lowdose.provenance import CaseRecord
    from lowdose.report import findings_report, shown_findings, write_report
    from lowdose.scan import read_ahead
    from lowdose.training.lesion_finding import find_lesions

    if case.scan is None:
        complain(str(case.error))
        return CaseRecord(case.name, case.source, error=str(case.error))
    scan = case.scan
    smallest, largest = card.pixel_mm
    if not smallest / 1.4 <= scan.spacing[2] <= largest * 1.4:
        warn(
            f"{case.name}: its pixels of {scan.spacing[2]:.2f} mm are not like those that the detector "
            f"learned from, {smallest:.2f} to {largest:.2f} mm; it will miss more"
        )
    try:
        with progress(f"searching {case.name}", len(scan)) as advance:
            found = find_lesions(network, card.kinds, read_ahead(scan), threshold, advance)
    except (InputError, MemoryError) as error:
        sentence = str(error) or f"{case.name}: not enough memory"
        complain(sentence)
        return CaseRecord(case.name, case.source, error=sentence)
    place.mkdir(exist_ok=True)
    _, n_y, n_x = scan.shape
    annotated = AnnotatedScan(case.source, case.name, (n_y, n_x), tuple(range(len(scan))), found)
    write_coco(place / FINDINGS, [annotated])
    shown = shown_findings(scan, found)
    (place / OVERLAY).write_bytes(findings_sheet(shown, card.window_hu))
    write_report(findings_report(scan, found, shown, card.window_hu, _told(card, threshold)), place / PAGE)
    say(f"{case.name}: {counted(len(found), 'finding')}")
    facts = {"findings": len(found), "slices": len(scan)}
    return CaseRecord(case.name, case.source, output=str(place.name), notes=scan.notes, facts=facts)


def _told(card: DetectorCard, threshold: float) -> dict[str, str]:
    from lowdose.cli.terminal import counted

    low, high = card.window_hu
    told = {
        "Finds": ", ".join(card.kinds),
        "Threshold": f"{threshold:.2f}",
        "Sees": f"{low:g} to {high:g} HU",
        "Training": card.training,
        "Shown": card.shown,
        "Patients": ", ".join(card.patients),
    }
    if card.metrics is not None:
        found = card.metrics
        told["On patients held back"] = (
            f"AP-50 {found.ap_50:.2f}, AP-75 {found.ap_75:.2f}; at its own threshold {found.sensitivity:.0%} "
            f"of the lesions, {found.false_positives:.2f} false positives a patch "
            f"({counted(found.patients, 'patient')})"
        )
    return told
