"""A page about an object without a layout: what could be measured in it, where, and beside which controls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lowdose.figures import Figure
from lowdose.figures.any_object import (
    object_spectra,
    places_figure,
    rod_transfers,
    structures_figure,
    truth_transfer_figure,
)
from lowdose.phantoms.any_object import ObjectMeasurement
from lowdose.phantoms.object_readings import OBJECT_PROTOCOL, object_readings
from lowdose.phantoms.places import Places
from lowdose.report.content import software_facts
from lowdose.report.page import Arm, Facts, KeyFigure, ReportContent
from lowdose.report.phantom import arm_role, colours_of, in_view, readings_as_json, readings_table
from lowdose.report.pixels import stored_hu
from lowdose.report.tables import plain
from lowdose.scan import Scan

_SPACE = "\N{NO-BREAK SPACE}"
_MOST_MATERIALS, _MOST_KINDS, _MOST_PICTURES = 3, 4, 4


def object_summary(places: Places, arms: Sequence[ObjectMeasurement]) -> dict[str, Any]:
    """All readings, ready for JSON; a number that does not exist is null."""
    return {
        "phantom": "any",
        "square_px": places.side,
        "protocol": list(OBJECT_PROTOCOL),
        "arms": {
            arm.name: {
                "repeats": arm.n_repeats,
                "blur_px": arm.blur,
                "notes": list(arm.notes),
                "readings": readings_as_json(object_readings(arm)),
            }
            for arm in arms
        },
    }


def object_report(
    scan: Scan, places: Places, arms: Sequence[ObjectMeasurement], reference: str | None = None
) -> ReportContent:
    """A page about `arms`, of which the first is the input; `scan` is one of its scans.

    `reference` names the arm at full dose, if there is one.
    """
    names = [arm.name for arm in arms]
    colours = colours_of(names, reference)
    shown = [next(arm for arm in arms if arm.name == name) for name in in_view(names, reference)]
    slices = sorted(arms[0].examples)
    notes = [*scan.notes, *(f"{arm.name}: {note}" for arm in arms for note in arm.notes)]
    if len(shown) < len(arms):
        notes.append(f"The viewer shows {len(shown)} images; figures and tables have all {len(arms)}.")
    size = " × ".join(str(n) for n in scan.shape[1:])
    found = {arm.name: object_readings(arm) for arm in arms}
    return ReportContent(
        title="An object, measured",
        subtitle=f"{scan.name}, {len(scan)} slices of {size}",
        lead=_lead(arms),
        key_figures=_key_figures(arms[0]),
        arms=tuple(
            Arm(
                arm.name,
                arm_role(arm.name, names, reference),
                np.stack([stored_hu(arm.examples[z]) for z in slices]),
                colours[arm.name],
            )
            for arm in shown
        ),
        slice_labels=tuple(f"slice {z + 1} of {len(scan)}" for z in slices),
        slices_note="Slices in which most is measured, whole HU, none of their pixels changed.",
        figures_title="Where it was measured, and what was found",
        figures=_figures(scan, places, arms, colours),
        tables=(readings_table("Measured", names, found),),
        facts=(_place_facts(places), _protocol_facts(), software_facts()),
        footnotes=tuple(dict.fromkeys(notes)),
    )


def _figures(
    scan: Scan, places: Places, arms: Sequence[ObjectMeasurement], colours: dict[str, str]
) -> tuple[Figure, ...]:
    first = arms[0]
    figures = [
        places_figure(first, z, places, scan.spacing[1:]) for z in sorted(first.examples)[:_MOST_PICTURES]
    ]
    if first.structures:
        figures.append(structures_figure(arms, colours))
    if first.transfer is not None:
        figures.append(truth_transfer_figure(arms, colours))
    figures += [object_spectra(arms, name, colours) for name in list(first.materials)[:_MOST_MATERIALS]]
    kinds = sorted(first.rods, key=lambda kind: -_sharpest(first, kind))[:_MOST_KINDS]
    figures += [rod_transfers(arms, kind, colours) for kind in kinds]
    return tuple(figures)


def _sharpest(arm: ObjectMeasurement, kind: str) -> float:
    values = [one.f50 for one in arm.rods.get(kind, ()) if not math.isnan(one.f50)]
    return max(values, default=0.0)


def _lead(arms: Sequence[ObjectMeasurement]) -> str:
    first = arms[0]
    parts = []
    if first.materials:
        name, material = next(iter(first.materials.items()))
        parts.append(f"the noise is {material.noise:.1f}{_SPACE}HU at {name.replace(' ', _SPACE)}")
    sharpest = max((_sharpest(first, kind) for kind in first.rods), default=0.0)
    if sharpest:
        parts.append(f"half of a rod's contrast is left at {sharpest:.2f}{_SPACE}/mm")
    elif first.transfer is not None:
        parts.append(f"half of the structure is left at {plain(first.transfer.falls_to(0.5), 2)}{_SPACE}/mm")
    told = " and ".join(parts) if parts else "little can be measured in it"
    sentence = f"{told[0].upper()}{told[1:]}."
    compared = [arm for arm in arms[1:] if arm.blur is None and first.noise > 0 and not math.isnan(arm.noise)]
    if compared:
        changes = [f"{arm.name} {100 * arm.noise / first.noise:.0f}{_SPACE}%" for arm in compared]
        sentence += f" Of the noise of {first.name} is left: {', '.join(changes)}."
    return sentence


def _key_figures(first: ObjectMeasurement) -> tuple[KeyFigure, ...]:
    figures = []
    for name, material in list(first.materials.items())[:2]:
        figures.append(KeyFigure(f"Noise at {name}", f"{material.noise:.1f}", "HU", "standard deviation"))
    for material in list(first.materials.values())[:1]:
        part, spectrum = next(iter(material.spectra.items()))
        figures.append(
            KeyFigure(
                "Noise texture", f"{spectrum.radial.mean_frequency:.2f}", "/mm", f"mean frequency, {part}"
            )
        )
    sharpest = max((_sharpest(first, kind) for kind in first.rods), default=0.0)
    if sharpest:
        figures.append(KeyFigure("Sharpness", f"{sharpest:.2f}", "/mm", "f50 of the clearest rod"))
    if first.transfer is not None:
        value = plain(first.transfer.falls_to(0.5), 2)
        figures.append(KeyFigure("Sharpness", value, "/mm", "f50 from the truth"))
    return tuple(figures[:5])


def _place_facts(places: Places) -> Facts:
    n = sum(len(one.corners) for one in places.squares.values())
    rows = [
        ("Squares", f"{n} of {places.side} × {places.side} pixels in {len(places.squares)} slices"),
        ("Materials", ", ".join(f"{round(hu)} HU".replace("-", "−") for hu in places.materials) or "none"),
        ("Rods", f"{len(places.rods)}"),
    ]
    return Facts("What was found in it", tuple(rows))


def _protocol_facts() -> Facts:
    rows = tuple((words.split(":", 1)[0], words.split(":", 1)[1].strip()) for words in OBJECT_PROTOCOL)
    return Facts("How it was measured", rows)
