from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from lowdose.io import open_input
from lowdose.physics.dose import simulate
from tests.cli.runner import lowdose
from tests.io.body_series import SIDE, body_series, stored_hu
from tests.io.ct_factory import ct_slice, save


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Path:
    return body_series(tmp_path_factory.mktemp("in") / "series", 2)


@pytest.fixture(scope="module")
def quarter(series, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "quarter"
    assert lowdose("simulate", series, folder, "--dose", "0.25", "--seed", "3").status == 0
    return folder


def centre(hu: np.ndarray) -> np.ndarray:
    """Water, well away from the edge of the disc."""
    middle = slice(SIDE // 2 - 16, SIDE // 2 + 16)
    return hu[:, middle, middle]


def test_the_full_dose_is_the_scan_bit_for_bit(series, tmp_path):
    assert lowdose("simulate", series, tmp_path / "out", "--dose", "1").status == 0
    for was, now in zip(sorted(series.iterdir()), sorted((tmp_path / "out").glob("*.dcm")), strict=True):
        assert pydicom.dcmread(was).PixelData == pydicom.dcmread(now).PixelData


def test_a_quarter_of_the_dose_has_twice_the_noise_and_the_same_mean(series, quarter):
    was, now = centre(stored_hu(series)), centre(stored_hu(quarter))
    assert now.std() / was.std() == pytest.approx(2.0, rel=0.2)
    assert now.mean() == pytest.approx(was.mean(), abs=2.5)


def test_the_file_holds_what_the_simulator_gives(series, quarter):
    with open_input(series) as found:
        scan = found.cases[0].scan
        assert scan is not None
        expected = simulate(scan, 0.25, seed=3).hu
    assert np.array_equal(stored_hu(quarter), np.rint(expected))


def test_the_seed_decides(series, quarter, tmp_path):
    for seed in ("3", "4"):
        assert lowdose("simulate", series, tmp_path / seed, "--dose", "0.25", "--seed", seed).status == 0
    assert np.array_equal(stored_hu(tmp_path / "3"), stored_hu(quarter))
    assert not np.array_equal(stored_hu(tmp_path / "4"), stored_hu(quarter))


def test_the_header_says_that_it_is_simulated(quarter):
    header = pydicom.dcmread(quarter / "0001.dcm")
    assert header.SeriesDescription == "Chest 3.0 [lowdose dose 0.25 sim]"
    assert header.ImageType[4] == "LOWDOSE_SIM"
    assert "noise added as at 0.25 of the dose, seed 3. SIMULATED" in header.DerivationDescription


def test_the_record_says_how_it_was_made(series, quarter):
    record = json.loads((quarter / "run.json").read_text())
    assert (record["command"], record["options"]["dose"], record["options"]["seed"]) == ("simulate", 0.25, 3)
    (step,) = record["cases"][0]["history"]
    assert step["name"] == "simulate"
    assert (step["parameters"]["dose_fraction"], step["parameters"]["seed"]) == (0.25, 3)
    measured = step["parameters"]["noise_of_the_scan_hu"]
    assert measured == pytest.approx(centre(stored_hu(series)).std(), rel=0.1)


@pytest.mark.parametrize("dose", ["0", "-0.5", "1.5", "nan", "inf"])
def test_a_dose_that_does_not_exist_is_wrong_use(series, tmp_path, dose):
    outcome = lowdose("simulate", series, tmp_path / "out", "--dose", dose)
    assert outcome.status == 2
    assert outcome.error == f"--dose: the dose fraction is {dose}; it must be at least 0.005 and at most 1"
    assert list(tmp_path.iterdir()) == []


def test_where_no_noise_can_be_measured_it_is_told_what_is_assumed(tmp_path):
    for z in range(2):
        save(
            ct_slice(np.full((40, 40), -1000, np.int16), z=3.0 * z, number=z + 1),
            tmp_path / "in" / f"{z}.dcm",
        )
    outcome = lowdose("simulate", tmp_path / "in", tmp_path / "out", "--dose", "0.5", "--json")
    assert outcome.status == 0
    assert "note: Chest 3.0: There is too little flat soft tissue with noise" in outcome.err
    parameters = outcome.json["cases"][0]["history"][0]["parameters"]
    assert parameters["noise_of_the_scan_hu"] is None
    assert f"{parameters['photons_per_ray']} photons a ray and the pure ramp are assumed" in outcome.err


def test_padding_stays_padding(tmp_path):
    values = np.full((SIDE, SIDE), -3024, np.int16)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    inside = np.hypot(y, x) < 30
    values[inside] = np.random.default_rng(0).normal(40, 20, inside.sum()).astype(np.int16)
    attributes = {"hu": values, "intercept": 0, "PixelPaddingValue": -3024}
    save(ct_slice(**attributes), tmp_path / "in" / "1.dcm")
    assert lowdose("simulate", tmp_path / "in", tmp_path / "out", "--dose", "0.25").status == 0
    result = stored_hu(tmp_path / "out")[0]
    assert (result[~inside] == -3024).all()
    assert (result[inside] != values[inside]).mean() > 0.9


@pytest.mark.parametrize("side", [1, 2, 3, 31])
def test_slices_may_be_small(tmp_path, side):
    source = body_series(tmp_path / "in", 1, side=side)
    outcome = lowdose("simulate", source, tmp_path / "out", "--dose", "0.25")
    assert outcome.status == 0
    assert stored_hu(tmp_path / "out").shape == (1, side, side)


def test_a_ladder_of_doses_holds_what_each_dose_alone_gives(series, quarter, tmp_path):
    outcome = lowdose(
        *("simulate", series, tmp_path / "out", "--dose", "0.25", "--dose", "0.5", "--seed", "3", "--json")
    )
    assert outcome.status == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dose-0.25", "dose-0.5", "run.json"]
    assert np.array_equal(stored_hu(tmp_path / "out" / "dose-0.25"), stored_hu(quarter))
    assert [Path(case["output"]).name for case in outcome.json["cases"]] == ["dose-0.5", "dose-0.25"]
    noise = [
        centre(stored_hu(tmp_path / "out" / f"dose-{dose}") - stored_hu(series)).std() for dose in (0.25, 0.5)
    ]
    assert noise[0] / noise[1] == pytest.approx(np.sqrt(3.0), rel=0.1)


def test_a_ladder_needs_a_folder(series, tmp_path):
    outcome = lowdose("simulate", series, tmp_path / "out.nii", "--dose", "0.25", "--dose", "0.5")
    assert outcome.status == 2
    assert "named as one file for 2 doses" in outcome.error
    assert list(tmp_path.iterdir()) == []


def test_a_dose_of_a_ladder_that_cannot_be_written_does_not_hold_up_the_other(series, tmp_path):
    (tmp_path / "out" / "dose-0.5").mkdir(parents=True)
    (tmp_path / "out" / "dose-0.5" / "mine.txt").write_text("kept")
    outcome = lowdose("simulate", series, tmp_path / "out", "--dose", "0.25", "--dose", "0.5")
    assert outcome.status != 0
    assert (tmp_path / "out" / "dose-0.5" / "mine.txt").read_text() == "kept"


def test_the_report_stands_beside_the_series_and_says_what_was_found(series, tmp_path):
    assert lowdose("simulate", series, tmp_path / "out", "--dose", "0.25", "--report").status == 0
    page = (tmp_path / "out" / "report.html").read_text()
    for said in ("Noise by frequency", "Noise by direction", "Reconstruction kernel", "flat regions"):
        assert said in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_report_of_a_scan_without_noise_says_what_is_assumed(tmp_path):
    save(ct_slice(np.full((40, 40), -1000, np.int16)), tmp_path / "in" / "1.dcm")
    assert lowdose("simulate", tmp_path / "in", tmp_path / "out", "--dose", "0.5", "--report").status == 0
    assert "photons and kernel are assumed" in (tmp_path / "out" / "report.html").read_text()


def test_the_scanner_can_be_named_or_written(series, tmp_path):
    own = tmp_path / "ours.yaml"
    own.write_text("geometry: {kind: parallel, views: 180, channels: 200, channel_spacing_mm: 2}")
    for wanted, name in (("ge-lightspeed", "ge-lightspeed"), (str(own), "ours")):
        outcome = lowdose(
            *("simulate", series, tmp_path / name, "--dose", "0.5", "--scanner", wanted, "--json")
        )
        assert outcome.json["cases"][0]["history"][0]["parameters"]["scanner"] == name


def test_an_unknown_scanner_is_wrong_use(series, tmp_path):
    outcome = lowdose("simulate", series, tmp_path / "out", "--dose", "0.5", "--scanner", "ufo")
    assert outcome.status == 2
    assert "unknown scanner 'ufo'" in outcome.error
    assert list(tmp_path.iterdir()) == []
