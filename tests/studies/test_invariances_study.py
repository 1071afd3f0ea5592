"""The study of invariances: its pure parts against numbers that can be worked out by hand."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from lowdose.denoising import Identity
from lowdose.scan import Scan

STUDY = Path(__file__).parents[2] / "studies" / "invariances"


def module(name: str) -> Any:
    return import_module(name)


def test_an_eraser_erases_what_is_smaller_and_nothing_else() -> None:
    y, x = np.mgrid[:96, :96]
    hu = np.zeros((96, 96), np.float32)
    hu[np.hypot(y - 20, x - 20) < 3] = 300.0  # 4.2 mm
    hu[np.hypot(y - 70, x - 20) < 3] = -300.0
    hu[np.hypot(y - 50, x - 65) < 10] = 300.0  # 14 mm
    erased = module("planted").Eraser(Identity(), 60)(hu[None, None])[0, 0]
    assert not erased[:40, :40].any()
    assert not erased[60:, :40].any()
    assert np.array_equal(erased[30:, 50:], hu[30:, 50:])
    scan = Scan.from_array(hu[None], spacing=(2.0, 0.7, 0.7))
    made = module("planted").eraser(scan, 6.0, "gaussian")
    assert made.area_px == round(np.pi * 9 / 0.49)
    assert made.describe().parameters["area_px"] == made.area_px


def test_the_area_under_the_curve_by_hand() -> None:
    auc = module("report").auc
    assert auc([2.0, 3.0], [0.0, 1.0]) == 1.0
    assert auc([1.0, 3.0], [2.0, 0.0]) == 0.75
    assert auc([1.0], [1.0]) == 0.5
    assert auc([], [1.0]) is None


def test_nobody_who_is_tested_on_is_learned_from() -> None:
    experiments = module("experiments")
    learned = {*experiments.TRAINING, *experiments.VALIDATION}
    assert not learned & {*experiments.TEST}
    sizes = {*experiments.PLANTED_ERASERS_MM.values()}
    assert not sizes & {*experiments.GENERAL_ERASERS_MM.values()}


def explanation(times: float, times_noise: float, kept: float, learned: float | None) -> dict[str, Any]:
    place = {"z": 1, "y": 2, "x": 3}
    found = {"direct search": times} | ({} if learned is None else {"learned representation": learned})
    return {
        "places": [{"found": found, **place}],
        "directions": [
            {
                "found_by": "direct search", "times_noise": times_noise, "response": 0.5,
                "alters_anatomy": times_noise > 2, **place,
            },
            {
                "found_by": "direct search", "times_noise": 99.0, "response": 1.5, "alters_anatomy": False,
                **place,
            },
        ],
        "lesions": [
            {"visible": 9.0, "kept": kept, "diameter_mm": 2.0, "ignored": kept < 0.5},
            {"visible": 1.0, "kept": 0.0, "diameter_mm": 2.0, "ignored": False},
        ],
        "noise": [{"tissue": "lung", "input": 30.0, "output": 15.0, "correlation": 0.8}],
        "gates": [{"name": "a gate", "passed": False}],
        "verdict": "a sentence", "convicted": times >= 2,
    }  # fmt: skip


def test_tables_say_what_was_found() -> None:
    report, experiments = module("report"), module("experiments")
    guilty, innocent = explanation(5.0, 7.0, 0.1, 3.0), explanation(1.2, 0.9, 0.9, 0.2)
    abstaining = explanation(5.0, 7.0, 0.1, None)
    found = {"identity": [innocent], "ct-default": [innocent], "eraser-5mm": [guilty, abstaining]}
    results = report.gathered(found, experiments.FULL)
    assert results["planted"]["by rank, direct search"] == {"auc": 1.0, "guilty": 2, "innocent": 2}
    assert results["planted"]["by direction, direct search"]["auc"] == 1.0
    assert results["planted"]["by rank, learned representation"] == {"auc": 1.0, "guilty": 1, "innocent": 2}
    assert results["lesions"] == {"auc": 1.0, "guilty": 2, "innocent": 2, "false_convictions": 0}
    text = report.tables(results)
    assert "| by rank, direct search | 1.00 | 2 | 2 |" in text
    assert "| eraser-5mm | 2 of 2 | 5.0 × | 1 of 1 | 3.0 × | 2 of 4 | 2 of 2 | 2 mm | a gate |" in text
    assert "| ct-default | 50 % | 80 % | – | – |" in text
    assert "Faithful methods convicted: 0 of 4 searches; 0 of 2 planted lesions." in text
