"""`lowdose lesions evaluate`: does a detector find lesions after denoising as it does before?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lowdose.io.coco import AnnotatedScan
    from lowdose.scan import Scan

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
    import numpy as np

    from lowdose.cli.cases import check_places
    from lowdose.cli.terminal import give_up, print_json, progress, refuse, say
    from lowdose.cli.train_detector import need_detection
    from lowdose.denoising import METHOD_SUMMARIES, MethodError, check_method, model_folder
    from lowdose.io import InputError, OutputError
    from lowdose.io.coco import read_coco
    from lowdose.io.output import explained, whole_folder
    from lowdose.models.card import ModelError
    from lowdose.models.denoiser import model_card
    from lowdose.provenance import Run, write_json
    from lowdose.quality.detection_summary import summarise_detection
    from lowdose.report import detection_report, write_report

    need_detection()
    from lowdose.training.detector_model import DetectorError, load_detector
    from lowdose.training.lesion_finding import slice_findings

    started = datetime.now(UTC)
    check_places(out, [lesions])
    methods = list(dict.fromkeys(method or []))
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
    with_low = all(scan.low is not None for scan in scans)
    arms = [OWN, *([LOW] if with_low else []), *methods]
    found: dict[str, list[Any]] = {arm: [] for arm in arms}
    try:
        with progress("searching", len(arms) * sum(len(scan.searched) for scan in scans)) as advance:
            for scan in scans:
                boxes: dict[int, list[Any]] = {}
                for lesion in scan.lesions:
                    for z, of_slice in lesion.boxes.items():
                        boxes.setdefault(z, []).extend(of_slice)
                with _arms(lesions, scan, arms, methods) as opened:
                    for arm, of_arm in opened.items():
                        found[arm] += slice_findings(
                            network, of_arm, scan.searched, boxes, scan.patient, 0, advance
                        )
        threshold, results = summarise_detection(found, OWN, np.random.default_rng(0))
        with explained(out), whole_folder(out) as folder:
            options = {"lesions": lesions, "detector": detector, "methods": methods, "out": out}
            summary = {"threshold": threshold, "arms": [asdict(one) for one in results]}
            write_json(folder / "summary.json", summary)
            first = next((one for one in scans if one.lesions), scans[0])
            z = min((z for lesion in first.lesions for z in lesion.boxes), default=first.searched[0])
            with _arms(lesions, first, arms, methods) as shown:
                told = {
                    "Finds": kind, "Training": card.training, "Shown": card.shown,
                    "Patients": ", ".join(card.patients),
                }  # fmt: skip
                write_report(
                    detection_report(results, found, shown, z, threshold, told), folder / "report.html"
                )
            Run("lesions evaluate", options, [], started, facts=summary).write(folder / "run.json")
    except (InputError, OutputError, ValueError) as error:
        give_up(str(error))
    for one in results:
        say(f"{one.arm}: AP-50 {100 * one.ap_50:.1f} %, AP-75 {100 * one.ap_75:.1f} %")
    say(f"look at {out / 'report.html'}")
    if as_json:
        print_json(summary)


@contextmanager
def _arms(
    lesions: Path, annotated: AnnotatedScan, arms: list[str], methods: list[str]
) -> Iterator[dict[str, Scan]]:
    """The scan, its low dose and what methods make of that, open for reading."""
    from lowdose.denoising import denoise, make_denoiser
    from lowdose.io import InputError, only_scan

    with ExitStack() as stack:
        opened = {OWN: stack.enter_context(only_scan(lesions.parent / annotated.source, own=True))}
        if LOW in arms:
            opened[LOW] = stack.enter_context(only_scan(lesions.parent / str(annotated.low), own=True))
        scan = opened[OWN]
        for one in opened.values():
            if one.shape[1:] != annotated.size or annotated.searched[-1] >= len(one):
                raise InputError(
                    f"{lesions}: the boxes of {annotated.source} do not fit the {len(one)} slices of "
                    f"{one.shape[1]} x {one.shape[2]} of {one.name}; give the lesions of this scan"
                )
        noisy = opened.get(LOW, scan)
        for name in methods:
            opened[name] = denoise(noisy, make_denoiser(name, noisy, {}))
        yield opened
