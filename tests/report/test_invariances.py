import json
from dataclasses import replace

import numpy as np
import pytest

from lowdose.invariances.candidates import judged
from lowdose.invariances.evidence import (
    DirectionEffect,
    Explanation,
    Gate,
    NoiseKept,
    SearchedPlace,
    SeenSlice,
    Verdict,
    finding_of,
)
from lowdose.invariances.probes import Shape
from lowdose.provenance import as_plain
from lowdose.report.invariances import explanation_as_json, invariances_report
from lowdose.report.page import rendered
from tests.invariances.places import CONSTANT, SPACING, place_of


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    place = place_of(CONSTANT)
    y, x = np.mgrid[:64, :64]
    spot = 300 * np.exp(-((y - 30) ** 2 + (x - 40) ** 2) / 18)
    (candidate,) = judged(place, (place.input + spot).astype(np.float32)[None], "direct search")
    image = np.zeros((32, 32), np.float32)
    return Explanation(
        method="the <method>", scan="a scan", dose=0.25,
        places=(SearchedPlace(3, 80, 80, "lung", {"direct search": 4.0}), SearchedPlace(3, 9, 9, "fat", {})),
        findings=(finding_of(place, candidate, "lung", SPACING[1:]),),
        shapes=(
            Shape("nodule in lung", 3.0, 100.0, 2, 8.0, 1.0, 0.1),
            Shape("nodule in lung", 6.0, 100.0, 2, 20.0, 19.0, 0.9),
            Shape("nodule in lung", 2.0, 50.0, 2, 1.0, 1.0, 1.0),
        ),
        noise=(NoiseKept("lung", 30.0, 12.0, 0.8),),
        gates=(Gate("control", "0.00", "below 2", True, "why"),),
        verdict=Verdict(True, "the <method> ignores anatomy."),
        directions=(
            DirectionEffect(3, 80, 80, "direct search", float("nan"), "lung", 90.0, 9.0, 0.5, 0.9, 4.0, 0.5),
        ),
        slices=(SeenSlice(3, image, image, image),),
    )  # fmt: skip


def test_the_page_is_whole_and_names_are_escaped(explanation):
    html = rendered(invariances_report(explanation, ["a note"]))
    assert "the &lt;method&gt; ignores anatomy." in html
    assert html.count("<svg") == 3  # a pair, the places, the nodules
    assert "a note" in html


def test_the_numbers_at_the_head_are_those_of_the_evidence(explanation):
    page = invariances_report(explanation)
    assert [figure.value for figure in page.key_figures] == ["ignores anatomy", "4.0", "1 of 2", "1 of 2"]
    assert page.tables[0].rows == (("lung", "30.0", "12.0", "40 %", "80 %"),)
    assert page.tables[1].title == "Directions that alter anatomy"
    assert "Brighter by" in page.figures[0].title


def test_lesions_that_the_input_does_not_show_are_blank(explanation):
    nodules = invariances_report(explanation).figures[-1]
    assert nodules.svg.count("not seen") == 1
    assert "95 %" in nodules.svg


def test_the_numbers_are_json(explanation):
    told = json.loads(json.dumps(as_plain(explanation_as_json(explanation))))
    assert told["convicted"] is True
    assert told["changes"][0]["tissue"] == "lung"
    assert told["lesions"][0]["ignored"] is True
    assert told["directions"][0]["share"] is None
    assert told["directions"][0]["alters_anatomy"] is True


def test_nothing_found_makes_a_page_too(explanation):
    bare = replace(explanation, findings=(), shapes=(), directions=(), verdict=Verdict(None, "No verdict."))
    page = invariances_report(bare)
    assert page.key_figures[0].value == "no verdict"
    assert rendered(page)
