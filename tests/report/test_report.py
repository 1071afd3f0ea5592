"""What a page about a phantom or an object holds; its reader's view is tested with the command."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from lowdose.figures import INPUT_COLOUR, REFERENCE_COLOUR, RESULT_COLOURS
from lowdose.phantoms.any_object import ObjectMeasurement, Structure
from lowdose.phantoms.finding import Located
from lowdose.phantoms.measurement import ArmMeasurement
from lowdose.phantoms.object_readings import OBJECT_PROTOCOL, object_readings
from lowdose.phantoms.pose import Pose
from lowdose.phantoms.readings import PROTOCOL, Reading, readings
from lowdose.quality.truth_transfer import TruthTransfer
from lowdose.report import (
    ReportContent,
    object_report,
    object_summary,
    phantom_report,
    phantom_summary,
    write_readings_csv,
)
from lowdose.report.page import rendered
from lowdose.report.phantom import arm_role, colours_of, in_view, readings_as_json, readings_table
from lowdose.scan import Scan
from tests.figures.test_figures import ARMS, LAYOUT, OBJECTS, PLACES, arm_of, object_of
from tests.test_report import Outline, embedded

POSE = Pose((68.0, 72.0), (0.1, -0.2), 4.0, 30.0, mirrored=True, upwards=False)
LOCATED = Located(POSE, 54.8, (0, 15), {"rods": 0.93}, ("found by its rods",))


@cache
def phantom_page(arms: tuple[ArmMeasurement, ...] = ARMS, reference: str | None = None) -> ReportContent:
    scan = Scan.from_array(np.zeros((16, 140, 144)), spacing=(2.0, 1.0, 1.0), name="scan")
    return phantom_report(scan, LAYOUT, LOCATED, arms, reference)


@cache
def object_page(arms: tuple[ObjectMeasurement, ...] = OBJECTS, reference: str | None = None) -> ReportContent:
    scan = Scan.from_array(np.zeros((5, 64, 80)), spacing=(2.0, 0.5, 0.5), name="thing")
    return object_report(scan, PLACES, arms, reference)


def spaced(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


# A phantom


def test_the_summary_says_where_the_phantom_lies_and_counts_slices_from_one():
    control = arm_of("scan, blurred to the noise of denoised", blur=0.7)
    noted = replace(ARMS[1], notes=("the table lies outside the scan and is not measured",))
    found = phantom_summary(LAYOUT, LOCATED, [ARMS[0], noted, control])
    assert (found["phantom"], found["title"]) == ("small", "Small phantom")
    assert found["pose"] == {
        "centre_mm": [68.0, 72.0],
        "lean_mm_per_mm": [0.1, -0.2],
        "height_mm": 4.0,
        "angle_degrees": 30.0,
        "mirrored": True,
        "upwards": False,
        "radius_mm": 54.8,
        "likeness": {"rods": 0.93},
    }
    assert list(found["arms"]) == ["scan", "denoised", "scan, blurred to the noise of denoised"]
    first, second, third = found["arms"].values()
    assert first["slices"] == {"rods": [1, 3], "plain": [5, 7], "faint": [9, 11], "bars": [13, 15]}
    assert (first["blur_px"], third["blur_px"]) == (None, 0.7)
    assert second["notes"] == ["the table lies outside the scan and is not measured"]
    assert found["protocol"] == list(PROTOCOL)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_table_of_numbers_holds_every_reading(tmp_path: Path):
    told = [one for arm in ARMS for one in readings(arm)]
    write_readings_csv(told, tmp_path / "measures.csv")
    with (tmp_path / "measures.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(told) > 60
    for row, one in zip(rows, told, strict=True):
        assert (row["arm"], row["module"], row["measure"], row["unit"]) == (
            one.arm, one.module, one.measure, one.unit
        )  # fmt: skip
        assert float(row["value"]) == pytest.approx(one.value, rel=1e-5)
    by_key = {(row["arm"], row["measure"], row["item"]): row for row in rows}
    # 2 HU too much is within -1010 to -980 and 980 to 1020 HU; "soft" has no range.
    air = by_key["scan", "mean", "air"]
    assert [air[key] for key in ("value", "expected", "low", "high", "passes")] == [
        "-998", "-1000", "-1010", "-980", "yes"
    ]  # fmt: skip
    assert by_key["denoised", "mean", "soft"]["passes"] == ""
    assert by_key["scan", "uniformity, largest difference", ""]["passes"] == "yes"


def test_a_table_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "measures.csv"
    write_readings_csv(readings(ARMS[0]), path)
    before = path.read_bytes()
    monkeypatch.setattr("lowdose.report.phantom.cell", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_readings_csv(readings(ARMS[1]), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["measures.csv"]


def test_a_number_that_does_not_exist_is_null():
    values = [float("nan"), float("inf"), -float("inf"), 1.5]
    found = readings_as_json([Reading("a", "m", "x", "", value, "HU") for value in values])
    assert [one["value"] for one in found] == [None, None, None, 1.5]


def test_the_lead_of_a_phantom_by_hand():
    """Of three ranges all are met by 2 HU too much; the widths of four rods are 0.8 to 1.04 mm."""
    widths = 0.8 * np.array([1.0, 1.1, 1.2, 1.3])
    middle = float(np.median(np.sqrt(np.log(2) / 2) / (np.pi * widths)))
    # Five regions, of 10 to 14 HU and of 5 to 9 HU.
    noise, less = (float(np.sqrt(np.mean((start + np.arange(5.0)) ** 2))) for start in (10.0, 5.0))
    assert spaced(phantom_page().lead) == (
        f"Small phantom: 3 of 3 inserts read within their range of HU; the noise is {noise:.1f} HU; half of "
        f"the contrast is left at {middle:.2f} /mm. Of the noise of scan is left: denoised "
        f"{100 * less / noise:.0f} %."
    )


def test_what_is_read_first():
    figures = {one.label: (one.value, one.note) for one in phantom_page().key_figures}
    assert figures["HU in range"] == ("3 of 3", "inserts")
    assert figures["Non-uniformity"] == ("0.0", "passes (5 HU)")
    # All rods have the same noise: the one of most contrast is clearest, the first of two.
    assert figures["Sharpness"][1] == "f50 of air"
    plain = ARMS[0].of("plain")
    circles = plain.circles | {"left": plain.circles["left"]._replace(mean=8.5)}
    modules = tuple(replace(one, circles=circles) if one is plain else one for one in ARMS[0].modules)
    figures = {
        one.label: (one.value, one.note)
        for one in phantom_page((replace(ARMS[0], modules=modules),)).key_figures
    }
    assert figures["Non-uniformity"] == ("6.5", "above the 5 HU that pass")


def test_every_module_has_its_figures():
    titles = [figure.title for figure in phantom_page().figures]
    assert titles == [
        "rods", "plain", "faint", "bars",
        # The clearest and the faintest of the rods, then all of them.
        "HU linearity", "Sharpness at −1000 HU", "Sharpness at +100 HU", "Sharpness by contrast",
        "Uniformity", "Noise by frequency", "Noise in all directions", "Noise in all directions",
        "Low contrast", "Line pairs",
    ]  # fmt: skip
    assert [table.title for table in phantom_page().tables] == ["rods", "plain", "faint", "bars"]
    assert phantom_page().slice_labels == (
        "rods, slice 2", "plain, slice 6", "faint, slice 10", "bars, slice 14"
    )  # fmt: skip


def test_where_it_lies_is_told_in_pixels_and_degrees():
    place = dict(phantom_page().facts[0].rows)
    assert place["Axis in the first slice"] == "column 72.0, row 68.0"
    assert place["Leans by"] == "−11.31° to the right, 5.71° down"  # atan of 0.2 and 0.1
    assert place["Turned by"] == "30.0° clockwise, seen from behind"
    assert place["Diameter"] == "109.6 mm (nominal 110)"
    assert place["Likeness of rods"] == "0.93 (correlation)"
    assert place["plain"] == "slices 5 to 7, 3 images"


def test_repeats_and_notes_are_told_once():
    rods = replace(ARMS[0].of("rods"), notes=("air is not measured", "air is not measured"))
    arm = replace(ARMS[0], modules=(rods, *ARMS[0].modules[1:]), n_repeats=3)
    content = phantom_page((arm, ARMS[1]))
    assert content.subtitle == "scan, 16 slices of 140 × 144, 3 repeats"
    assert content.footnotes == ("found by its rods", "scan: air is not measured")


def test_a_row_of_the_table_has_a_column_for_every_arm():
    found = {arm.name: readings(arm) for arm in ARMS}
    lacking = {**found, "denoised": [one for one in found["denoised"] if one.item != "foam"]}
    table = readings_table("rods", ["scan", "denoised"], lacking)
    assert table.header == ("Measure", "Of", "scan", "denoised", "Nominal", "Range")
    rows = {row[:2]: row[2:] for row in table.rows}
    assert rows["mean (HU)", "bone"] == ("1002.0", "997.0", "1000.0", "within")
    assert rows["mean (HU)", "foam"] == ("−298.0", "–", "−300.0", "within")
    assert rows["contrast to noise", "soft"][0] == f"{100.0 / 14.0:.2f}"


# Roles and colours


def test_colours_go_round_when_there_are_many_arms():
    names = [f"arm {k}" for k in range(7)]
    found = colours_of(names, None)
    assert found["arm 0"] == INPUT_COLOUR
    assert [found[name] for name in names[1:]] == [*RESULT_COLOURS, *RESULT_COLOURS[:2]]
    found = colours_of(names, "arm 3")
    assert (found["arm 0"], found["arm 3"]) == (INPUT_COLOUR, REFERENCE_COLOUR)
    assert found["arm 4"] == RESULT_COLOURS[2]


def test_the_reference_comes_first_and_the_input_is_never_left_out():
    names = ["low", "a", "b", "c", "full"]
    assert in_view(names, "full") == ["full", "low", "a", "b"]
    assert in_view(names, None) == ["low", "a", "b", "c"]
    assert [arm_role(name, names, "full") for name in names] == ["input", *["result"] * 3, "reference"]
    assert [arm_role(name, names, None) for name in names] == ["reference", *["result"] * 4]


# An object without a layout


def test_the_summary_of_an_object():
    noted = replace(OBJECTS[1], notes=("slice 2: no rod",), blur=1.25, n_repeats=2)
    found = object_summary(PLACES, [OBJECTS[0], noted])
    assert (found["phantom"], found["square_px"]) == ("any", 16)
    assert found["protocol"] == list(OBJECT_PROTOCOL)
    second = found["arms"]["denoised"]
    assert (second["repeats"], second["blur_px"], second["notes"]) == (2, 1.25, ["slice 2: no rod"])
    assert len(second["readings"]) == len(object_readings(noted))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_without_rods_the_truth_tells_the_resolution():
    generator = np.random.default_rng(0)
    transfer = TruthTransfer((64, 64), (0.5, 0.5))
    truth = generator.standard_normal((64, 64))
    transfer.add(truth, truth)
    arm = replace(
        object_of("scan"), rods={}, transfer=transfer, structures=(Structure("liver", 60.0, 61.0, 9.0, 500),)
    )
    page = object_page((arm,))
    f50 = f"{transfer.falls_to(0.5):.2f}" if np.isfinite(transfer.falls_to(0.5)) else "–"
    assert (
        spaced(page.lead) == f"The noise is 20.0 HU at 40 HU and half of the structure is left at {f50} /mm."
    )
    assert [(one.value, one.note) for one in page.key_figures if one.label == "Sharpness"] == [
        (f50, "f50 from the truth")
    ]
    assert [figure.title for figure in page.figures] == [
        "Slice 2", "Slice 4", "HU of the structures", "Resolution against the truth",
        "Noise by frequency at 40 HU", "Noise by frequency at −100 HU",
    ]  # fmt: skip


def test_the_sharpest_kind_of_rods_is_drawn_first():
    titles = [figure.title for figure in object_page().figures]
    assert titles[-2:] == ["Sharpness of rods of 12 mm, −1000 HU", "Sharpness of rods of 8 mm, +900 HU"]


def test_what_was_found_in_it_is_counted():
    facts = {one.title: dict(one.rows) for one in object_page().facts}
    assert facts["What was found in it"] == {
        "Squares": "4 of 16 × 16 pixels in 2 slices",
        "Materials": "40 HU, −100 HU",
        "Rods": "2",
    }


@pytest.mark.parametrize("make", [phantom_page, object_page])
def test_the_page_holds_the_images_and_every_sentence(make):
    content = make()
    page = rendered(content)
    text = " ".join(Outline(page).text.split())
    assert " ".join(content.lead.split()) in text
    for figure in content.figures:
        assert " ".join(figure.caption.split()) in text
    for words in (PROTOCOL if make is phantom_page else OBJECT_PROTOCOL)[:2]:
        assert " ".join(words.split(":", 1)[1].split()) in text
    data = embedded(page)
    assert [arm["name"] for arm in data["arms"]] == ["scan", "denoised"]
    assert [len(arm["images"]) for arm in data["arms"]] == [len(content.slice_labels)] * 2
