"""What a page about a detector's findings in several arms of the same scans says and shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from lowdose.figures import REFERENCE_COLOUR, arm_colours
from lowdose.figures.detection import detection_figures
from lowdose.quality.detection_summary import ALLOWED, DetectionResult
from lowdose.quality.lesion_detection import ImageFindings, match
from lowdose.quality.statistics import Interval
from lowdose.report.content import software_facts
from lowdose.report.page import Arm, Facts, KeyFigure, ReportContent, Table
from lowdose.report.pixels import stored_hu
from lowdose.report.tables import plain
from lowdose.scan import Scan

_SPACE = "\N{NO-BREAK SPACE}"


def detection_report(
    results: Sequence[DetectionResult],
    findings: Mapping[str, Sequence[ImageFindings]],
    shown: Mapping[str, Scan],
    z: int,
    threshold: float,
    told: Mapping[str, str],
) -> ReportContent:
    """A page about `results`, the reference arm first; slice `z` of the scans `shown` is in the viewer."""
    reference, *others = results
    colours = {reference.arm: REFERENCE_COLOUR} | arm_colours([one.arm for one in others])
    n = reference.patients
    return ReportContent(
        title="Lesions found, arm by arm",
        subtitle=f"{reference.lesions} boxes in {reference.images} slices of {n} "
        f"{'patient' if n == 1 else 'patients'}",
        lead=verdict(reference, others),
        key_figures=tuple(
            KeyFigure(one.arm, _percent(one.ap_50), "%", "AP-50" + _change(one)) for one in results[:4]
        ),
        arms=tuple(
            Arm(name, "reference" if name == reference.arm else "result",
                np.stack([stored_hu(scan.read(z).hu)]), colours[name])
            for name, scan in list(shown.items())[:4]
        ),
        slice_labels=(f"slice {z + 1} of {len(next(iter(shown.values())))}",),
        slices_note="The first slice with a lesion, in whole HU.",
        figures=detection_figures({arm: match(images) for arm, images in findings.items()}, colours),
        figures_title="At every threshold",
        tables=(_table(results, threshold),),
        facts=(
            Facts(
                "The detector", tuple(told.items()),
                "A denoiser that this detector took part in training must not be judged by it: its figures "
                "would be better than any reader's.",
            ),
            software_facts(),
        ),
        citations=(
            "Lin T-Y, et al. Microsoft COCO: common objects in context. ECCV 2014 (average precision).",
            "Bunch PC, et al. A free response approach to the measurement and characterization of "
            "radiographic observer performance. SPIE 1977;127:124.",
        ),
    )  # fmt: skip


def verdict(reference: DetectionResult, others: Sequence[DetectionResult]) -> str:
    """What the arms differ in, in one sentence, and whether that can be told from chance."""
    if not others or math.isnan(reference.ap_50):
        return f"{reference.arm}: AP-50 {_percent(reference.ap_50)}{_SPACE}%."
    told = []
    for one in others:
        change = one.ap_50_change or 0.0
        interval = one.ap_50_change_interval
        sure = interval is not None and (interval.low > 0 or interval.high < 0)
        word = "more" if change > 0 else "less"
        told.append(
            f"{abs(100 * change):.1f} points {word} with {one.arm}"
            + ("" if sure else " (not told from chance)")
        )
    return f"AP-50 is {_percent(reference.ap_50)}{_SPACE}% with {reference.arm}, " + ", ".join(told) + "."


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def _change(one: DetectionResult) -> str:
    return "" if one.ap_50_change is None else f", {100 * one.ap_50_change:+.1f} points"


def _interval(interval: Interval | None) -> str:
    return "–" if interval is None else f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def _table(results: Sequence[DetectionResult], threshold: float) -> Table:
    rows = tuple(
        (
            one.arm, _percent(one.ap_50), _interval(one.ap_50_interval),
            "–" if one.ap_50_change is None else f"{100 * one.ap_50_change:+.1f}",
            _interval(one.ap_50_change_interval), _percent(one.ap_75), _percent(one.froc),
            _percent(one.sensitivity),
            "–" if math.isnan(one.false_positives) else plain(one.false_positives, 2),
        )
        for one in results
    )  # fmt: skip
    return Table(
        "Measured",
        (
            "Arm", "AP-50 (%)", "95 % interval", "Change (points)", "95 % interval", "AP-75 (%)", "FROC (%)",
            "Sensitivity (%)", "False positives, slices without lesions",
        ),
        rows,
        "Intervals are over patients, from three on. Sensitivity and false positives at the score "
        f"{threshold:.2f}, which leaves {ALLOWED:g} false positives a slice to the first arm and is the same "
        "for all.",
    )  # fmt: skip
