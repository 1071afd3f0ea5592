"""What a page about the lesions found in a scan says and shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lowdose.figures import REFERENCE_COLOUR
from lowdose.figures.findings import Shown, finding_figure
from lowdose.lesions import Box, Lesion
from lowdose.quality.comparison import slice_positions
from lowdose.report.content import software_facts
from lowdose.report.page import Arm, Facts, KeyFigure, ReportContent, Table
from lowdose.report.pixels import stored_hu
from lowdose.report.tables import plain
from lowdose.scan import Scan

MOST_SHOWN = 24
"""Findings with a picture."""


def shown_findings(scan: Scan, found: Sequence[Lesion]) -> list[Shown]:
    """The surest findings, each in the slice where it is largest; reads those slices."""
    return [_shown(scan, lesion, number) for number, lesion in enumerate(found[:MOST_SHOWN], start=1)]


def findings_report(
    scan: Scan,
    found: Sequence[Lesion],
    shown: Sequence[Shown],
    window: tuple[float, float],
    told: Mapping[str, str],
) -> ReportContent:
    """A page about `found`, surest first, with the pictures `shown`; `told` are facts about the detector."""
    n = len(found)
    lead = (
        f"{n} {'finding' if n == 1 else 'findings'} in {len(scan)} slices, for a reader to judge."
        if n
        else f"Nothing was found in {len(scan)} slices. That does not mean that nothing is there."
    )
    slices = list(dict.fromkeys(largest(lesion)[0] for lesion in found[:MOST_SHOWN])) or [len(scan) // 2]
    return ReportContent(
        title="Findings of a lesion detector",
        subtitle=f"{scan.name}, {len(scan)} slices of {scan.shape[1]} × {scan.shape[2]}",
        lead=lead,
        key_figures=(
            KeyFigure("Findings", str(n), "", f"scores of at least {told['Threshold']}"),
            KeyFigure("Surest", plain(found[0].score or 0.0, 2) if n else "–", "", "score, 0 to 1"),
        ),
        arms=(Arm("scan", "reference", _stack(scan, slices), REFERENCE_COLOUR),),
        slice_labels=tuple(_slice_label(scan, z) for z in slices),
        slices_note="Slices with findings, in whole HU.",
        figures=tuple(finding_figure(one, window) for one in shown),
        figures_title="Finding by finding",
        tables=(_table(scan, found),),
        facts=(
            Facts(
                "The detector",
                tuple(told.items()),
                "Research software: it has been tested on few patients, it misses lesions, and it marks what "
                "are none.",
            ),
            software_facts(),
        ),
        citations=(
            "Ren S, et al. Faster R-CNN: towards real-time object detection with region proposal networks. "
            "NeurIPS 2015.",
        ),
        footnotes=scan.notes,
    )


def largest(lesion: Lesion) -> tuple[int, Box]:
    """The slice where a lesion is largest, and its box there."""
    return max(
        ((z, box) for z, boxes in lesion.boxes.items() for box in boxes),
        key=lambda one: (one[1].y1 - one[1].y0) * (one[1].x1 - one[1].x0),
    )


def _shown(scan: Scan, lesion: Lesion, number: int) -> Shown:
    z, box = largest(lesion)
    title = f"{number}  {lesion.kind}, score {lesion.score or 0.0:.2f}"
    caption = f"{_slice_label(scan, z)}, {_size(scan, box)}"
    return Shown(title, caption, scan.read(z).without_padding(), box, (scan.spacing[1], scan.spacing[2]))


def _size(scan: Scan, box: Box) -> str:
    _, dy, dx = scan.spacing
    return f"{(box.x1 - box.x0) * dx:.0f} × {(box.y1 - box.y0) * dy:.0f} mm"


def _slice_label(scan: Scan, z: int) -> str:
    return f"slice {z + 1} of {len(scan)}, {plain(slice_positions(scan)[z])} mm"


def _stack(scan: Scan, slices: Sequence[int]) -> NDArray[np.int16]:
    return np.stack([stored_hu(scan.read(z).hu) for z in slices])


def _table(scan: Scan, found: Sequence[Lesion]) -> Table:
    rows = []
    for number, lesion in enumerate(found, start=1):
        z, box = largest(lesion)
        places = lesion.slices
        rows.append(
            (
                str(number), lesion.kind, f"{lesion.score or 0.0:.2f}", _size(scan, box),
                f"{(box.x0 + box.x1) / 2:.0f}, {(box.y0 + box.y1) / 2:.0f}", str(z + 1),
                f"{places[0] + 1} to {places[-1] + 1}",
            )
        )  # fmt: skip
    return Table(
        "All findings",
        ("No", "Kind", "Score", "Width × height", "Column, row", "Largest in slice", "Slices"),
        tuple(rows),
        "Sizes are those of the box in the slice where it is largest. Slices count from 1, from the first "
        "along the stack.",
        n_text_columns=2,
    )
