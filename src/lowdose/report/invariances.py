"""What a page about the invariances of a method says and shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lowdose.figures import INPUT_COLOUR, REFERENCE_COLOUR, RESULT_COLOURS, Figure
from lowdose.figures.invariances import LesionLeft, Pair, lesions_figure, pair_figure, places_figure
from lowdose.invariances.evidence import CONVICTED, Explanation, Finding
from lowdose.invariances.probes import VISIBLE
from lowdose.report.content import software_facts
from lowdose.report.page import Arm, Facts, KeyFigure, ReportContent, Table
from lowdose.report.pixels import stored_hu
from lowdose.report.tables import plain

_MOST_PAIRS = 4


def invariances_report(found: Explanation, notes: Sequence[str] = ()) -> ReportContent:
    """A page about what `found.method` ignores."""
    convicting = sum(place.convicts for place in found.places)
    verdict = {True: "ignores anatomy", False: "nothing ignored", None: "no verdict"}[found.verdict.convicted]
    return ReportContent(
        title="What the denoiser ignores",
        subtitle=f"{found.method} on {found.scan} at {100 * found.dose:g} % of its dose",
        lead=found.verdict.sentence,
        key_figures=(
            KeyFigure("Verdict", verdict),
            KeyFigure(
                "Largest change without an answer",
                plain(max((one.times for one in found.places), default=0.0), 1),
                "×",
                f"what noise explains; from {CONVICTED:g} on it speaks against the method",
            ),
            KeyFigure("Places that speak against it", f"{convicting} of {len(found.places)}"),
            KeyFigure(
                "Planted lesions ignored",
                f"{sum(one.ignored for one in found.shapes)} of "
                f"{sum(one.visible >= VISIBLE for one in found.shapes)}",
                "",
                "sizes and contrasts that the input shows",
            ),
        ),
        arms=(
            Arm(
                "own dose",
                "reference",
                np.stack([stored_hu(one.own) for one in found.slices]),
                REFERENCE_COLOUR,
            ),
            Arm("input", "input", np.stack([stored_hu(one.input) for one in found.slices]), INPUT_COLOUR),
            Arm(
                found.method,
                "result",
                np.stack([stored_hu(one.output) for one in found.slices]),
                RESULT_COLOURS[0],
            ),
        ),
        slice_labels=tuple(f"slice {one.z + 1}" for one in found.slices),
        slices_note="The slices that were looked at, in whole HU; the lower dose is simulated.",
        figures=(*_pairs(found.findings), *_figures(found)),
        figures_title="In pictures",
        tables=tuple(_tables(found)),
        facts=(_how(found), software_facts()),
        citations=(
            "Eulig E, et al. Reconstructing and analyzing the invariances of low-dose CT image denoising "
            "networks. Med Phys 2025;52:188. The two analyses here are ours.",
        ),
        footnotes=tuple(notes),
    )


def explanation_as_json(found: Explanation) -> dict[str, Any]:
    """The numbers of a page, for other programs."""
    return {
        "method": found.method,
        "scan": found.scan,
        "dose": found.dose,
        "convicted": found.verdict.convicted,
        "verdict": found.verdict.sentence,
        "places": [
            {"z": one.z, "y": one.y, "x": one.x, "tissue": one.tissue, "found": one.found, "times": one.times}
            for one in found.places
        ],
        "changes": [
            {
                "z": one.z,
                "y": one.y,
                "x": one.x,
                "tissue": one.tissue,
                "diameter_mm": one.diameter,
                "contrast_hu": one.contrast,
                "times": one.times,
                "response": one.candidate.change.response,
                "found_by": one.candidate.found_by,
            }
            for one in found.findings
        ],
        "lesions": [
            {
                "kind": one.kind,
                "diameter_mm": one.diameter,
                "contrast_hu": one.contrast,
                "n": one.n,
                "visible": one.visible,
                "kept": one.kept,
                "contrast_left": one.contrast_left,
                "ignored": one.ignored,
            }
            for one in found.shapes
        ],
        "noise": [vars(one) for one in found.noise],
        "directions": [
            vars(one) | {"times_noise": one.times_noise, "alters_anatomy": one.alters_anatomy}
            for one in found.directions
        ],
        "gates": [vars(one) for one in found.gates],
    }


def _pairs(findings: Sequence[Finding]) -> list[Figure]:
    figures = []
    for number, one in enumerate(findings[:_MOST_PAIRS], start=1):
        shade = "Brighter" if one.contrast > 0 else "Darker"
        title = f"{number}  {shade} by {abs(one.contrast):.0f} HU over {one.diameter:.0f} mm, unanswered"
        caption = (
            f"{one.tissue[0].upper()}{one.tissue[1:]}, slice {one.z + 1}, column {one.x}, row {one.y}; found "
            f"by {one.candidate.found_by}. The inputs differ by {one.times:.1f} times what noise explains, "
            f"the outputs by {one.candidate.change.response:.1f} times."
        )
        pair = Pair(
            one.input, one.candidate.input, one.output, one.candidate.output, one.candidate.change.place
        )
        figures.append(pair_figure(pair, title, caption))
    return figures


def _figures(found: Explanation) -> list[Figure]:
    figures = []
    if found.places:
        figures.append(places_figure([(one.tissue, one.times) for one in found.places], CONVICTED))
    for kind in dict.fromkeys(shape.kind for shape in found.shapes):
        lesions = [
            LesionLeft(one.diameter, one.contrast, one.visible >= VISIBLE, one.kept)
            for one in found.shapes
            if one.kind == kind
        ]
        figures.append(lesions_figure(kind, lesions))
    return figures


def _tables(found: Explanation) -> list[Table]:
    tables = [
        Table(
            "Noise",
            ("Tissue", "Input (HU)", "Output (HU)", "Left", "Of this very realisation"),
            tuple(
                (
                    one.tissue,
                    plain(one.input),
                    plain(one.output),
                    f"{100 * one.output / one.input:.0f} %",
                    f"{100 * one.correlation:.0f} %",
                )
                for one in found.noise
            ),
            "Standard deviations over noise realisations of the same anatomy: to what is not left, the "
            "method is invariant. The last column is the correlation of what is left with the noise that was "
            "there.",
        )
    ]
    altering = [one for one in found.directions if one.alters_anatomy]
    shown = sorted(altering or found.directions, key=lambda one: -one.times_noise)[:12]
    tables.append(
        Table(
            "Directions that alter anatomy"
            if altering
            else "Directions that were followed: none alters anatomy",
            (
                "Found by",
                "Structure",
                "Slice",
                "Column, row",
                "Its density",
                "By noise",
                "Its mask agrees",
                "By noise",
                "Input",
                "Output",
            ),
            tuple(
                (
                    one.found_by,
                    one.structure,
                    str(one.z + 1),
                    f"{one.x}, {one.y}",
                    f"{plain(one.density)} HU",
                    f"{plain(one.density_by_noise)} HU",
                    plain(one.dice, 2),
                    plain(one.dice_by_noise, 2),
                    f"{plain(one.structural)} ×",
                    f"{plain(one.response)} ×",
                )
                for one in shown
            ),
            "By how much the structure changes where the change is strong, and the Dice coefficient of its "
            "mask before and after; each beside the most that re-noising does. A direction alters anatomy "
            f"if input and density change {CONVICTED:g} times as much as by noise, and the output by no more "
            "than noise.",
            n_text_columns=2,
        )
    )
    tables.append(
        Table(
            "Gates",
            ("Condition", "Found", "Wanted", "Passed", "What it is for"),
            tuple(
                (one.name, one.value, one.wanted, "yes" if one.passed else "no", one.meaning)
                for one in found.gates
            ),
            n_text_columns=1,
            text_last=True,
        )
    )
    return tables


def _how(found: Explanation) -> Facts:
    searches = dict.fromkeys(who for one in found.places for who in one.found)
    rows: Mapping[str, str] = {
        "Shown to the method": f"the scan at {100 * found.dose:g} % of its dose, with several noises",
        "Places": f"{len(found.places)} windows in {len(found.slices)} slices",
        "Searched by": ", ".join(searches),
        "Change": "largest smoothed difference, in units of what re-noising reaches in 19 of 20 pairs",
        "Speaks against": f"a change of {CONVICTED:g} or more whose output changes by at most 1",
        "Lesions": f"ignored if visible (index {VISIBLE:g} or more) and half of index and contrast gone",
    }
    spread = [one.times for one in found.places if math.isfinite(one.times)]
    note = f"Median over places: {plain(float(np.median(spread)))} times." if spread else ""
    return Facts("How it was found", tuple(rows.items()), note)
