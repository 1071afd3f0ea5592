from dataclasses import replace

import numpy as np
import pytest

from lowdose.models.card import bundled_models, load_card
from lowdose.quality.comparison import evaluate
from lowdose.report.adaptation import adaptation_report, judgement, outcome
from lowdose.report.page import rendered
from lowdose.scan import Scan
from lowdose.training.evidence import AFTER, BEFORE, INPUT, SCAN, Evidence
from tests.report.test_noise_model import learned  # noqa: F401


def scan(level):
    hu = 40.0 + level * np.random.default_rng(int(10 * level)).standard_normal((2, 96, 96))
    return Scan.from_array(hu.astype(np.float32), spacing=(3.0, 0.7, 0.7), name="scan")


def evidence(before, after, name="scan"):
    """Errors of so many HU, of an input with 20."""
    truth = Scan.from_array(np.full((2, 96, 96), 40.0, np.float32), spacing=(3.0, 0.7, 0.7), name=name)
    arms = {INPUT: scan(20.0), BEFORE: scan(before), AFTER: scan(after)}
    results = {one.arm: one for one in evaluate(truth, arms, input_arm=INPUT)}
    itself = {arm: results[arm] for arm in (BEFORE, AFTER)}
    shown = {name: np.zeros((2, 96, 96), np.float32) for name in (SCAN, BEFORE, AFTER)}
    own = {SCAN: 20.0, BEFORE: before, AFTER: after}
    return Evidence(name, own, results, itself, {BEFORE: 0.8, AFTER: 0.9}, shown, (3, 7))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(12.0, 11.0, "helped"), (11.0, 12.0, "hurt"), (12.0, 12.0, "makes no difference")],
)
def test_the_error_at_their_own_dose_decides(before, after, expected):
    found = [evidence(before, after)]
    assert judgement(found) == expected
    assert expected in outcome(found, "ct-default", 4.0)


def test_a_shift_of_hu_hurts_however_small_the_error():
    found = evidence(12.0, 11.0)
    shifted = replace(found.at_fraction[AFTER], soft_tissue_bias=2.0)
    assert judgement([replace(found, at_fraction={**found.at_fraction, AFTER: shifted})]) == "hurt"


def test_without_a_simulation_nothing_is_claimed():
    found = [replace(evidence(12.0, 11.0), at_own_dose=None, at_fraction=None)]
    assert judgement(found) == "unknown"
    assert "cannot be said" in outcome(found, "ct-default", 4.0)


def test_the_page_has_every_scan_and_says_what_came_of_it(learned):  # noqa: F811
    card = load_card(bundled_models()["ct-default"]).model_copy(update={"name": "adapted"})
    found = [evidence(12.0, 11.0), replace(evidence(12.0, 10.0, "other"), at_own_dose=None, at_fraction=None)]
    content = adaptation_report(learned, found, card, "ct-default", 4.0)
    assert content.lead.startswith("The adaptation helped")
    own, fractions, itself, sources = content.tables
    assert own.rows == (("scan", "20.0", "12.00", "11.00", "0.917"), ("other", *["–"] * 4))
    assert [(one.value, one.unit) for one in content.key_figures[:2]] == [("12.00", "HU"), ("11.00", "HU")]
    assert fractions.rows[0][0] == "scan"
    assert [float(cell) for cell in fractions.rows[0][1:3]] == pytest.approx([60.0, 55.0], abs=0.5)
    assert fractions.rows[1] == ("other", *["–"] * 4)
    assert len(itself.rows) == 2
    assert sources.title == "Where the noise is from"
    assert [arm.name for arm in content.arms] == ["the low-dose scan", "ct-default", "adapted"]
    assert content.slice_labels == ("slice 4 of scan", "slice 8 of scan")
    assert "Adapted to your scans" in rendered(content)
