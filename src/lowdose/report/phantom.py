"""What a phantom says about images: a page of what was measured, where, and beside which controls."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.figures import INPUT_COLOUR, REFERENCE_COLOUR, RESULT_COLOURS, Figure
from lowdose.figures.phantom import (
    bars_figure,
    linearity_figure,
    low_contrast_figure,
    plane_spectrum_figure,
    regions_figure,
    sharpness_by_contrast,
    shows_faint_rods,
    spectra_figure,
    transfer_figure,
    uniformity_figure,
)
from lowdose.phantoms.finding import Located
from lowdose.phantoms.layout import Layout
from lowdose.phantoms.measurement import ArmMeasurement
from lowdose.phantoms.module_measurement import ModuleMeasurement
from lowdose.phantoms.readings import PROTOCOL, Reading, readings
from lowdose.provenance import written_whole
from lowdose.report.content import software_facts
from lowdose.report.page import MOST_ARMS, Arm, Facts, KeyFigure, ReportContent, Role, Table
from lowdose.report.pixels import stored_hu
from lowdose.report.tables import cell, plain, text_cell
from lowdose.scan import Scan

_SPACE = "\N{NO-BREAK SPACE}"
_COLUMNS = ("arm", "module", "measure", "item", "value", "unit", "expected", "low", "high", "passes")


def write_readings_csv(found: Sequence[Reading], path: Path) -> None:
    """One row a number, whole or not at all."""
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for one in found:
            words = [text_cell(word) for word in (one.arm, one.module, one.measure, one.item)]
            numbers = [cell(one.expected), cell(one.low), cell(one.high)]
            passes = {None: "", True: "yes", False: "no"}[one.passes]
            writer.writerow([*words, cell(one.value), one.unit, *numbers, passes])


def phantom_summary(layout: Layout, located: Located, arms: Sequence[ArmMeasurement]) -> dict[str, Any]:
    """All readings and where they were taken, ready for JSON; a number that does not exist is null."""
    pose = located.pose
    return {
        "phantom": layout.name,
        "title": layout.title,
        "pose": {
            "centre_mm": list(pose.centre),
            "lean_mm_per_mm": list(pose.lean),
            "height_mm": pose.height,
            "angle_degrees": pose.angle,
            "mirrored": pose.mirrored,
            "upwards": pose.upwards,
            "radius_mm": located.radius,
            "likeness": dict(located.likeness),
        },
        "protocol": list(PROTOCOL),
        "arms": {
            arm.name: {
                "repeats": arm.n_repeats,
                "blur_px": arm.blur,
                "slices": {one.module.name: [one.slices[0] + 1, one.slices[-1] + 1] for one in arm.modules},
                "notes": [*arm.notes, *(note for one in arm.modules for note in one.notes)],
                "readings": readings_as_json(readings(arm)),
            }
            for arm in arms
        },
    }


def phantom_report(
    scan: Scan, layout: Layout, located: Located, arms: Sequence[ArmMeasurement], reference: str | None = None
) -> ReportContent:
    """A page about `arms`, of which the first is the input; `scan` is one of its scans.

    `reference` names the arm at full dose, if there is one.
    """
    names = [arm.name for arm in arms]
    colours = colours_of(names, reference)
    shown = [next(arm for arm in arms if arm.name == name) for name in in_view(names, reference)]
    found = {arm.name: readings(arm) for arm in arms}
    notes = [*scan.notes, *located.notes]
    for arm in arms:
        notes += [f"{arm.name}: {note}" for note in (*arm.notes, *(n for m in arm.modules for n in m.notes))]
    if len(shown) < len(arms):
        notes.append(f"The viewer shows {len(shown)} images; figures and tables have all {len(arms)}.")
    modules = arms[0].modules
    size = " × ".join(str(n) for n in scan.shape[1:])
    repeats = "" if arms[0].n_repeats == 1 else f", {arms[0].n_repeats} repeats"
    return ReportContent(
        title=f"{layout.title}, measured",
        subtitle=f"{scan.name}, {len(scan)} slices of {size}{repeats}",
        lead=_lead(layout, arms, found),
        key_figures=_key_figures(arms, found),
        arms=tuple(
            Arm(arm.name, arm_role(arm.name, names, reference), _examples(arm, modules), colours[arm.name])
            for arm in shown
        ),
        slice_labels=tuple(
            f"{one.module.name}, slice {one.slices[len(one.slices) // 2] + 1}" for one in modules
        ),
        slices_note="One slice of every module, whole HU, none of its pixels changed.",
        figures_title="Where it was measured, and what was found",
        figures=_figures(scan, layout, located, arms, colours),
        tables=tuple(
            readings_table(one.module.name, names, _of_module(found, one.module.name)) for one in modules
        ),
        facts=(_pose_facts(scan, layout, located, arms[0]), _protocol_facts(), software_facts()),
        citations=(
            "Samei E, et al. Performance evaluation of computed tomography systems: summary of AAPM Task "
            "Group 233. "
            "Med Phys 2019;46:e735.",
            "ICRU Report 87. Radiation dose and image-quality assessment in computed tomography. J ICRU "
            "2012;12(1).",
        ),
        footnotes=tuple(dict.fromkeys(notes)),
    )


def colours_of(names: Sequence[str], reference: str | None) -> dict[str, str]:
    """Grey for the full dose, orange for the first arm, the others in order."""
    results = iter(RESULT_COLOURS * len(names))
    first = names[0]
    return {
        name: REFERENCE_COLOUR if name == reference else INPUT_COLOUR if name == first else next(results)
        for name in names
    }


def arm_role(name: str, names: Sequence[str], reference: str | None) -> Role:
    """The reference is the arm at full dose, or else the first one."""
    if name == (reference or names[0]):
        return "reference"
    return "input" if name == names[0] else "result"


def in_view(names: Sequence[str], reference: str | None) -> list[str]:
    """The reference first, then the others as far as there is room."""
    return sorted(names, key=lambda name: name != reference)[:MOST_ARMS]


def _examples(arm: ArmMeasurement, modules: Sequence[ModuleMeasurement]) -> NDArray[np.int16]:
    return np.stack([stored_hu(arm.of(one.module.name).example) for one in modules])


def _figures(
    scan: Scan, layout: Layout, located: Located, arms: Sequence[ArmMeasurement], colours: Mapping[str, str]
) -> tuple[Figure, ...]:
    first = arms[0]
    figures = [
        regions_figure(
            one, located.pose, scan.spacing, layout.diameter / 2 if layout.name != "water" else located.radius
        )
        for one in first.modules
    ]
    for one in first.modules:
        name = one.module.name
        if one.module.role == "sensitometry" and len(one.circles) > 3:
            figures.append(linearity_figure(arms, name, colours))
        if one.transfers:
            clearest = max(one.transfers, key=lambda item: one.transfers[item].cnr)
            faintest = min(one.transfers, key=lambda item: abs(one.transfers[item].contrast))
            figures.append(transfer_figure(arms, name, clearest, colours))
            if faintest != clearest:
                figures.append(transfer_figure(arms, name, faintest, colours))
            by_contrast = sharpness_by_contrast(arms, name, colours)
            figures += [by_contrast] if by_contrast is not None else []
        if one.bars:
            figures.append(bars_figure(arms, name, colours))
        if shows_faint_rods(one.module):
            figures.append(low_contrast_figure(arms, name, colours))
        if one.module.uniform:
            figures.append(uniformity_figure(arms, name, colours))
        if one.spectra:
            figures.append(spectra_figure(arms, name, colours))
            figures += [plane_spectrum_figure(arm.of(name), arm.name, colours) for arm in arms[:MOST_ARMS]]
    return tuple(figures)


def _values(found: Sequence[Reading], measure: str) -> list[Reading]:
    return [one for one in found if one.measure == measure]


def _lead(layout: Layout, arms: Sequence[ArmMeasurement], found: Mapping[str, Sequence[Reading]]) -> str:
    own = found[arms[0].name]
    judged = [one for one in own if one.measure == "mean" and one.passes is not None]
    parts = []
    if judged:
        good = sum(one.passes is True for one in judged)
        parts.append(f"{good} of {len(judged)} inserts read within their range of HU")
    if not math.isnan(arms[0].noise):
        parts.append(f"the noise is {arms[0].noise:.1f}{_SPACE}HU")
    clear = _values(own, "task transfer, f50")
    if clear:
        middle = float(np.nanmedian([one.value for one in clear]))
        parts.append(f"half of the contrast is left at {middle:.2f}{_SPACE}/mm")
    told = "; ".join(parts) if parts else "its scan shows little that can be measured"
    sentence = f"{layout.title}: {told}."
    compared = [arm for arm in arms[1:] if arm.blur is None and not math.isnan(arm.noise)]
    if compared:
        changes = [f"{arm.name} {100 * arm.noise / arms[0].noise:.0f}{_SPACE}%" for arm in compared]
        sentence += f" Of the noise of {arms[0].name} is left: {', '.join(changes)}."
    return sentence


def _key_figures(
    arms: Sequence[ArmMeasurement], found: Mapping[str, Sequence[Reading]]
) -> tuple[KeyFigure, ...]:
    own = found[arms[0].name]
    figures = []
    if not math.isnan(arms[0].noise):
        figures.append(KeyFigure("Noise", f"{arms[0].noise:.1f}", "HU", "standard deviation"))
    frequency = _values(own, "noise power, mean frequency")
    if frequency:
        figures.append(
            KeyFigure("Noise texture", f"{frequency[0].value:.2f}", "/mm", "mean frequency, at the centre")
        )
    clear = _values(own, "task transfer, f50")
    if clear:
        best = max(clear, key=lambda one: _cnr_of(own, one.item))
        figures.append(KeyFigure("Sharpness", plain(best.value, 2), "/mm", f"f50 of {best.item}"))
    judged = [one for one in own if one.measure == "mean" and one.passes is not None]
    if judged:
        good = sum(one.passes is True for one in judged)
        figures.append(KeyFigure("HU in range", f"{good} of {len(judged)}", "", "inserts"))
    uniform = _values(own, "uniformity, largest difference")
    if uniform:
        note = "passes (5 HU)" if uniform[0].passes else "above the 5 HU that pass"
        figures.append(KeyFigure("Non-uniformity", f"{uniform[0].value:.1f}", "HU", note))
    return tuple(figures[:5])


def _cnr_of(found: Sequence[Reading], item: str) -> float:
    values = [
        one.value for one in found if one.measure == "task transfer, contrast to noise" and one.item == item
    ]
    return values[0] if values else 0.0


def readings_table(title: str, names: Sequence[str], found: Mapping[str, Sequence[Reading]]) -> Table:
    """A row a number of the first arm, a column an arm."""
    rows = []
    for one in found[names[0]]:
        values = [_same(found[name], one) for name in names]
        expected = "" if one.expected is None else plain(one.expected, _digits(one))
        passes = {None: "", True: "within", False: "outside"}[one.passes]
        label = f"{one.measure} ({one.unit})" if one.unit else one.measure
        rows.append((label, one.item, *(plain(value, _digits(one)) for value in values), expected, passes))
    header = ("Measure", "Of", *names, "Nominal", "Range")
    return Table(title, header, tuple(rows), n_text_columns=2, text_last=True)


def readings_as_json(found: Sequence[Reading]) -> list[dict[str, Any]]:
    """Ready for JSON; a number that does not exist is null."""
    return [
        {
            "module": one.module,
            "measure": one.measure,
            "item": one.item,
            "value": one.value if math.isfinite(one.value) else None,
            "unit": one.unit,
            "expected": one.expected,
            "passes": one.passes,
        }
        for one in found
    ]


def _of_module(found: Mapping[str, Sequence[Reading]], module: str) -> dict[str, list[Reading]]:
    return {name: [one for one in readings if one.module == module] for name, readings in found.items()}


def _same(found: Sequence[Reading], like: Reading) -> float:
    """The same number of another arm; NaN where it has none."""
    key = like.module, like.measure, like.item
    return next((one.value for one in found if (one.module, one.measure, one.item) == key), math.nan)


def _digits(reading: Reading) -> int:
    if reading.measure.endswith("contrast to noise"):
        return 2
    return {"HU": 1, "lp/cm": 0, "%": 2, "1/mm": 3}.get(reading.unit, 3)


def _pose_facts(scan: Scan, layout: Layout, located: Located, arm: ArmMeasurement) -> Facts:
    pose = located.pose
    tilt = [math.degrees(math.atan(part)) for part in pose.lean]
    rows = [
        ("Axis in the first slice", f"column {pose.centre[1] / scan.spacing[2]:.1f}, "
         f"row {pose.centre[0] / scan.spacing[1]:.1f}"),
        ("Leans by", f"{plain(tilt[1], 2)}° to the right, {plain(tilt[0], 2)}° down"),
        ("Turned by", f"{plain(pose.angle, 1)}° clockwise" + (", seen from behind" if pose.mirrored else "")),
        ("Diameter", f"{2 * located.radius:.1f} mm"
         + ("" if layout.name == "water" else f" (nominal {layout.diameter:g})")),
    ]  # fmt: skip
    rows += [
        (f"Likeness of {name}", f"{value:.2f} (correlation)") for name, value in located.likeness.items()
    ]
    rows += [
        (one.module.name, f"slices {one.slices[0] + 1} to {one.slices[-1] + 1}, {one.n_images} images")
        for one in arm.modules
    ]
    return Facts("Where the phantom lies", tuple(rows))


def _protocol_facts() -> Facts:
    return Facts(
        "How it was measured",
        tuple((words.split(":", 1)[0], words.split(":", 1)[1].strip()) for words in PROTOCOL),
    )
