from dataclasses import replace

import numpy as np
import pytest

from lowdose.quality.detection_summary import DetectionResult, summarise_detection
from lowdose.quality.lesion_detection import ImageFindings
from lowdose.quality.statistics import Interval
from lowdose.report.detection import detection_report, verdict
from lowdose.report.page import rendered
from lowdose.scan import Scan

BOX = [10.0, 10.0, 20.0, 20.0]
OWN = DetectionResult("own dose", 5, 40, 20, 0.9, 0.5, 0.8, 0.85, 0.2, Interval(0.8, 0.95))
LESS = replace(
    OWN, arm="ct-default", ap_50=0.8, ap_50_change=-0.1, ap_50_change_interval=Interval(-0.2, -0.02)
)


def test_the_verdict_says_by_how_much_and_whether_it_can_be_told():
    assert verdict(OWN, [LESS]) == (
        "AP-50 is 90.0\N{NO-BREAK SPACE}% with own dose, 10.0 points less with ct-default."
    )
    unsure = replace(LESS, ap_50_change=0.03, ap_50_change_interval=Interval(-0.1, 0.1))
    assert verdict(OWN, [unsure]).endswith("3.0 points more with ct-default (not told from chance).")
    assert verdict(OWN, [replace(unsure, ap_50_change_interval=None)]).endswith("(not told from chance).")
    assert verdict(replace(OWN, ap_50=float("nan")), [LESS]) == "own dose: AP-50 –\N{NO-BREAK SPACE}%."


@pytest.fixture
def page():
    images = [ImageFindings(p, np.array([BOX]), np.array([BOX]), np.array([0.9])) for p in "ABC"]
    found = {"own dose": images, "low <dose>": images}
    _, results = summarise_detection(found, "own dose", np.random.default_rng(0))
    scan = Scan.from_array(np.random.default_rng(1).normal(0, 20, (3, 32, 32)))
    return detection_report(results, found, dict.fromkeys(found, scan), 1, 0.5, {"Finds": "nodule"})


def test_the_page_is_whole_and_warns_of_leakage(page):
    html = rendered(page)
    assert "low &lt;dose&gt;" in html
    assert "must not be judged by it" in html
    assert html.count("<svg") >= 2
    assert page.slice_labels == ("slice 2 of 3",)
    assert [row[0] for row in page.tables[0].rows] == ["own dose", "low <dose>"]
    assert page.tables[0].rows[1][3] == "+0.0"
