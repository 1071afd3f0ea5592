"""The study of denoising without pairs: its pure parts against numbers that can be worked out by hand."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lowdose.scan import Scan

STUDY = Path(__file__).parents[2] / "studies" / "task_driven"


def module(name: str) -> Any:
    return import_module(name)


def test_poisson_noise_has_the_variance_of_counts_in_the_image() -> None:
    source = module("image_noise").ImageSpacePoisson((20.0,))
    hu = np.repeat(np.float32([-1000.0, 0.0, 1000.0]), 40_000).reshape(3, 200, 200)
    noise = source(np.full(hu.shape, 20.0, np.float32), hu, np.random.default_rng(1))
    air, water, bone = noise
    assert not air.any()
    assert water.std() == pytest.approx(20.0, rel=0.02)
    assert bone.std() == pytest.approx(20.0 * np.sqrt(2.0), rel=0.02)
    assert abs(water.mean()) < 0.5
    neighbours = (water[:, 1:] * water[:, :-1]).mean() / water.var()
    assert abs(neighbours) < 0.02  # white
    counts = water / 0.4  # 2500 of them in water of 1000 HU over air
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-3)
    assert not source(np.zeros_like(hu), hu, np.random.default_rng(1)).any()


def test_nobody_who_is_tested_on_is_learned_from(tmp_path: Path) -> None:
    experiments = module("experiments")
    patients = experiments.FULL.patients
    assert not {*patients.test} & {*patients.low_dose}
    assert {*patients.validation} < {*patients.low_dose}
    for name in (*patients.test, *patients.low_dose, "STS_001", "STS_004"):
        (tmp_path / "soft-tissue-sarcoma" / name).mkdir(parents=True)
    (folders,) = (one for one in experiments.FULL.clean(tmp_path) if one.get("patients") == "folders")
    assert {*folders["test_patients"]} == {*patients.test, *patients.low_dose}
    assert not {*folders["validation_patients"]} & {*folders["test_patients"]}


def test_every_network_meets_every_noise_it_is_compared_with() -> None:
    experiments = module("experiments")
    runs = list(experiments.FULL.runs())
    assert len(runs) == len({run.name for run in runs})
    for network in experiments.NETWORKS:
        of_twin = {run.noise for run in runs if (run.experiment, run.network) == ("twin", network)}
        of_real = {run.noise for run in runs if (run.experiment, run.network) == ("real", network)}
        assert {"learned", "image-space", "pairs"} <= of_twin
        assert {"learned", "image-space"} <= of_real
        assert "pairs" not in of_real  # no training sees them
    assert any(run.noise == "own" for run in experiments.FULL.tested("real"))


def test_a_plan_names_clean_scans_or_true_pairs(tmp_path: Path) -> None:
    experiments, plans = module("experiments"), module("plans")
    for name in (*experiments.FULL.patients.test, "STS_004"):
        (tmp_path / "soft-tissue-sarcoma" / name).mkdir(parents=True)
    pairs = tmp_path / "pairs.csv"
    for network in experiments.NETWORKS:
        learned, true = (
            plans.plan_of(experiments.Run("twin", network, noise), experiments.FULL, tmp_path, pairs)
            for noise in ("learned", "pairs")
        )
        assert learned.sources
        assert learned.manifest is None
        assert (true.sources, true.manifest) == ((), pairs)
        assert learned.schedule == true.schedule
        assert learned.network == true.network
        assert learned.dose_gain == 4.0
        assert learned.method == "supervised"


def test_slices_of_a_scan_keep_their_values() -> None:
    scans = module("scans")
    scan = Scan.from_array(np.arange(5, dtype=np.float32)[:, None, None] * np.ones((5, 4, 4), np.float32))
    few = scans.some_slices(scan, (0, 4))
    assert few.shape == (2, 4, 4)
    assert few.hu[:, 0, 0].tolist() == [0.0, 4.0]


def told(left: float, bias: float | None = 0.5) -> dict[str, Any]:
    new = {"error_left": left}
    told = {"error_left": left, "bias": bias, "noise": 5.0, "input_noise": 20.0, "new slices": new}
    return {**told, "input_bias": 0.1}


def measured_by(experiments: Any, left: dict[str, float]) -> dict[str, Any]:
    """Three patients, of whom each network leaves as much as its noise says, and 0.02 more or less."""
    study = experiments.FULL
    twin, real = (
        {run.name: left[run.noise] for run in study.tested(experiment)} for experiment in ("twin", "real")
    )
    return {
        "twin": {
            name: {f"patient {k}": told(one + 0.02 * k) for k in (-1, 0, 1)}
            for name, one in {**twin, "ct-default": 0.7}.items()
        },
        "real": {name: {"Mayo L143": told(one)} for name, one in {**real, "ct-default": 0.7}.items()},
    }


def test_the_gap_that_is_closed_is_that_between_nothing_and_true_pairs() -> None:
    experiments, report = module("experiments"), module("report")
    left = {"learned": 0.6, "image-space": 0.7, "generated": 0.65, "own": 0.62, "pairs": 0.5}
    results = {"measures": measured_by(experiments, left)}
    (row,) = (
        line.split(" | ") for line in report.twin_table(results).splitlines()
        if line.startswith("| RED-CNN | learned")
    )  # fmt: skip
    assert row[2].startswith("60.0 [")
    assert row[3] == "80 %"  # 0.4 of 0.5
    assert row[4] == "+10.0 [+10.0, +10.0], 3 of 3"
    assert row[5] == "+0.5 (+0.5)"
    assert row[6].startswith("25")
    assert "| none |  | 100 | – | – | +0.1 (+0.1) | 100 |" in report.twin_table(results)
    (real,) = (
        line.split(" | ") for line in report.real_table(results).splitlines()
        if line.startswith("| RED-CNN | learned")
    )  # fmt: skip
    assert real[4] == "80 %"  # of the half that an ideal denoiser gains
    assert "| true pairs | +0.0 [+0.0, +0.0], 0 of 3 |" in report.graph_table(results)


def test_numbers_are_written_with_a_true_minus() -> None:
    report = module("report")
    assert report.number(-1.25, 1, signed=True) == "\N{MINUS SIGN}1.2"
    assert report.interval_of([1.0, 1.0, 1.0], 1) == "1.0 [1.0, 1.0]"
    assert report.interval_of([2.0], 0) == "2"
