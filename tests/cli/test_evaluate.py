from __future__ import annotations

import csv
import errno
import json
import math
from pathlib import Path

import numpy as np
import pytest

from lowdose.quality.fidelity import ssim
from tests.cli.runner import everything_below, lowdose
from tests.io.body_series import SIDE, body_series, stored_hu
from tests.io.ct_factory import ct_slice, save

SERIES = "1.2.826.0.1.3680043.8.498.8."


def series(folder: Path, hu: np.ndarray, uid: int = 1, **attributes) -> Path:
    """Write `hu` `[z, y, x]` of whole numbers as a DICOM series; returns the folder."""
    for z, values in enumerate(hu.astype(np.int16)):
        attributes = {"series_uid": f"{SERIES}{uid}"} | attributes
        save(ct_slice(values, z=3.0 * z, number=z + 1, **attributes), folder / f"{z + 1:04d}.dcm")
    return folder


def soft_tissue(seed: int = 0, n_slices: int = 2) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    noise = np.random.default_rng(seed).normal(0, 10, (n_slices, SIDE, SIDE))
    return np.rint(np.where(np.hypot(y, x) < 30, 50 + noise, -1000))


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return soft_tissue()


@pytest.fixture(scope="module")
def made(truth, tmp_path_factory) -> Path:
    """The reference, the same shifted by 7 HU, and the same with an error of plus and minus 20 HU."""
    folder = tmp_path_factory.mktemp("made")
    pattern = np.where(np.indices((SIDE, SIDE)).sum(axis=0) % 2, 20, -20)
    series(folder / "reference", truth, 1)
    series(folder / "shifted", truth + 7, 2)
    series(folder / "noisy", truth + pattern, 3)
    return folder


@pytest.fixture(scope="module")
def evaluated(made) -> Path:
    out = made / "evaluation"
    words = [made / "reference", f"low={made / 'noisy'}", f"shifted={made / 'shifted'}", "--input", "low"]
    assert lowdose("evaluate", *words, "--out", out).status == 0
    return out


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "cases.csv").open(newline="", encoding="utf-8") as file:
        return {row["arm"]: row for row in csv.DictReader(file)}


def test_the_numbers_are_those_by_hand(truth, made, evaluated):
    table = rows(evaluated)
    assert list(table) == ["low", "shifted"]
    window = (-160.0, 240.0)
    for arm, folder in (("low", "noisy"), ("shifted", "shifted")):
        clipped = np.clip(truth, *window), np.clip(stored_hu(made / folder), *window)
        error = math.sqrt(np.mean((clipped[1] - clipped[0]) ** 2))
        similarity = np.mean([ssim(*pair, window) for pair in zip(*clipped, strict=True)])
        row = table[arm]
        assert (row["n_slices"], row["n_pixels"]) == ("2", str(2 * SIDE * SIDE))
        assert float(row["rmse_hu"]) == pytest.approx(error, rel=1e-4)
        assert float(row["psnr_db"]) == pytest.approx(20 * math.log10(400 / error), rel=1e-4)
        assert float(row["ssim"]) == pytest.approx(similarity, rel=1e-4)
        assert "window −160 to 240 HU" in row["protocol"]
    # Air, which is far below the window, does not count as an error: only the disc does.
    inside = (truth > -500).mean()
    assert float(table["shifted"]["rmse_hu"]) == pytest.approx(7 * math.sqrt(inside), rel=0.01)
    assert float(table["shifted"]["bias_hu"]) == pytest.approx(7.0, abs=0.01)
    assert float(table["shifted"]["soft_tissue_bias_hu"]) == pytest.approx(7.0, abs=0.01)
    assert float(table["low"]["bias_hu"]) == pytest.approx(0.0, abs=0.3)
    assert float(table["low"]["error_left"]) == 1.0
    share = float(table["shifted"]["rmse_hu"]) / float(table["low"]["rmse_hu"])
    assert float(table["shifted"]["error_left"]) == pytest.approx(share, rel=1e-4)


def test_summary_report_and_record_say_the_same(made, evaluated):
    assert {path.name for path in evaluated.iterdir()} == {
        "cases.csv",
        "summary.json",
        "report.html",
        "run.json",
    }
    table = rows(evaluated)
    summary = json.loads((evaluated / "summary.json").read_text())
    assert summary["cases"] == 1
    assert summary["arms"]["shifted"]["rmse"]["mean"] == pytest.approx(
        float(table["shifted"]["rmse_hu"]), rel=1e-5
    )
    assert summary["arms"]["shifted"]["rmse"]["interval"] is None  # one case has none
    page = (evaluated / "report.html").read_text(encoding="utf-8")
    assert f"{float(table['shifted']['rmse_hu']):.2f}" in page
    assert "not a medical device" in page.lower()
    record = json.loads((evaluated / "run.json").read_text())
    assert record["options"]["arms"] == {"low": str(made / "noisy"), "shifted": str(made / "shifted")}
    assert (record["options"]["input"], record["options"]["window"]) == ("low", [-160.0, 240.0])


def test_json_is_the_summary_and_nothing_else(made, tmp_path):
    outcome = lowdose(
        "evaluate", made / "reference", f"same={made / 'reference'}", "--out", tmp_path / "e", "--json"
    )
    assert outcome.status == 0
    assert outcome.json == json.loads((tmp_path / "e" / "summary.json").read_text())
    assert outcome.json["arms"]["same"]["rmse"]["mean"] == 0.0
    assert outcome.json["arms"]["same"]["ssim"]["mean"] == pytest.approx(1.0)
    assert outcome.json["arms"]["same"]["psnr"]["mean"] is None  # without error there is none


def test_the_window_decides_what_counts(made, truth, tmp_path):
    words = ["evaluate", made / "reference", f"shifted={made / 'shifted'}", "--out", tmp_path / "e"]
    assert lowdose(*words, "--window", "-2000", "2000").status == 0
    assert float(rows(tmp_path / "e")["shifted"]["rmse_hu"]) == pytest.approx(7.0, abs=1e-4)


def test_the_chain_from_scan_to_report(tmp_path):
    """Simulate, denoise, evaluate: what one command writes, the next one reads."""
    source = body_series(tmp_path / "in", 2)
    assert lowdose("simulate", source, tmp_path / "low", "--dose", "0.25").status == 0
    words = ["--method", "gaussian", "--set", "sigma-px=1", "--set", "noise=40"]
    assert lowdose("denoise", tmp_path / "low", tmp_path / "smooth", *words).status == 0
    arms = [f"input={tmp_path / 'low'}", f"smooth={tmp_path / 'smooth'}"]
    outcome = lowdose("evaluate", source, *arms, "--input", "input", "--out", tmp_path / "e")
    assert outcome.status == 0
    table = rows(tmp_path / "e")
    for arm, folder in (("input", "low"), ("smooth", "smooth")):
        clipped = [np.clip(stored_hu(place), -160, 240) for place in (source, tmp_path / folder)]
        assert float(table[arm]["rmse_hu"]) == pytest.approx(
            math.sqrt(np.mean((clipped[1] - clipped[0]) ** 2)), rel=1e-4
        )
    left = float(table["smooth"]["rmse_hu"]) / float(table["input"]["rmse_hu"])
    assert float(table["smooth"]["error_left"]) == pytest.approx(left, rel=1e-4)
    record = json.loads((tmp_path / "e" / "run.json").read_text())
    assert record["options"]["arms"]["input"] == str(tmp_path / "low")
    assert record["options"]["input"] == "input"


def test_another_geometry_is_one_sentence(made, truth, tmp_path):
    moved = series(tmp_path / "moved", truth, 4, PixelSpacing=[0.5, 0.8])
    shorter = series(tmp_path / "shorter", truth[:1], 5)
    for arm, reason in ((moved, "mm from those of the reference"), (shorter, "1 slices of 72 x 72")):
        outcome = lowdose("evaluate", made / "reference", f"a={arm}", "--out", tmp_path / "e", "--json")
        assert (outcome.status, outcome.out) == (1, "")
        assert reason in outcome.err
        assert "nothing in 'a' fits it" in outcome.err
        assert "no case could be evaluated; nothing was written" in outcome.err
        assert not (tmp_path / "e").exists()


def test_one_case_that_cannot_be_compared_leaves_the_others(tmp_path):
    for name, uid in (("one", 1), ("two", 2)):
        series(tmp_path / "reference" / name, soft_tissue(uid), uid, SeriesDescription=name)
    series(tmp_path / "arm" / "two", soft_tissue(2) + 5, 2)
    file = tmp_path / "reference" / "one" / "0001.dcm"
    file.write_bytes(file.read_bytes()[:-100])
    outcome = lowdose("evaluate", tmp_path / "reference", f"a={tmp_path / 'arm'}", "--out", tmp_path / "e")
    assert outcome.status == 1
    assert str(file) in outcome.error
    with (tmp_path / "e" / "cases.csv").open(newline="") as table:
        assert [row["case"] for row in csv.DictReader(table)] == ["two"]
    record = json.loads((tmp_path / "e" / "run.json").read_text())
    assert [case["error"] is None for case in record["cases"]] == [False, True]
    assert "0001.dcm" in (tmp_path / "e" / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def kernels(tmp_path) -> tuple[Path, Path]:
    """Three reconstructions of one scan on one grid, and an arm of each that is off by 1, 2 and 3 HU."""
    for number, name in enumerate(("a", "b", "c"), start=1):
        hu = soft_tissue(number)
        series(tmp_path / "reference" / name, hu, number, SeriesDescription=name)
        series(tmp_path / "arm" / f"series-0{number}", hu + number, 10 + number)
    return tmp_path / "reference", tmp_path / "arm"


def test_reconstructions_on_one_grid_are_paired_by_their_place(kernels, tmp_path):
    reference, arm = kernels
    assert lowdose("evaluate", reference, f"x={arm}", "--out", tmp_path / "e").status == 0
    with (tmp_path / "e" / "cases.csv").open(newline="") as table:
        bias = {row["case"]: float(row["bias_hu"]) for row in csv.DictReader(table)}
    assert bias == pytest.approx({"a": 1.0, "b": 2.0, "c": 3.0}, abs=0.05)


@pytest.mark.parametrize("n_missing", [1, 2])
def test_a_pair_is_never_guessed(kernels, tmp_path, n_missing):
    """Where a series is missing, places no longer tell which belongs to which."""
    reference, arm = kernels
    for number in range(1, n_missing + 1):
        for file in (arm / f"series-0{number}").iterdir():
            file.unlink()
    outcome = lowdose("evaluate", reference, f"x={arm}", "--out", tmp_path / "e")
    assert outcome.status == 1
    assert outcome.err.count("it is not clear which of") == 3
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["reference", "noisy"], "noisy: is not NAME=PATH"),
        (["reference", "=noisy"], "=noisy: is not NAME=PATH"),
        (["reference", "a="], "a=: is not NAME=PATH"),
        (["reference", "a=noisy", "a=shifted"], "a=shifted: the name a is given twice"),
        (["reference", "a=nothing"], "nothing: not found"),
        (["nothing", "a=noisy"], "nothing: not found"),
        (["reference", "a=noisy", "--input", "b"], "--input b: is not one of the names given: a"),
        (["reference", "a=noisy", "--window", "5", "5"], "the window is 5 to 5 HU"),
        (["reference", "a=noisy", "--out", "reference"], "reference is the input itself"),
        (["reference", "a=noisy", "--out", "noisy/e"], "noisy/e: lies inside the input folder"),
        (["reference", "a=noisy", "--out", "shifted"], "shifted exists and is not empty"),
    ],
)
def test_wrong_use_is_one_sentence(made, monkeypatch, words, sentence):
    monkeypatch.chdir(made)
    before = everything_below(made)
    outcome = lowdose("evaluate", *(words if "--out" in words else [*words, "--out", "e"]), "--json")
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.error.startswith(sentence)
    assert everything_below(made) == before


def test_a_full_disk_is_one_sentence_and_nothing_is_left(made, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lowdose.report.write_report", full)
    outcome = lowdose("evaluate", made / "reference", f"a={made / 'noisy'}", "--out", tmp_path / "e")
    assert outcome.status == 1
    assert outcome.error.startswith(f"{tmp_path / 'e'} cannot be written: no space is left")
    assert list(tmp_path.iterdir()) == []
