"""Scans of phantoms measured through the command line: made ones, and cylinders drawn with known noise."""

from __future__ import annotations

import csv
import errno
import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, gaussian_filter

from lowdose.cli.phantom_measure import _truth_beside
from lowdose.figures import INPUT_COLOUR, REFERENCE_COLOUR, RESULT_COLOURS
from lowdose.io import open_input
from lowdose.io.nifti import write_nifti
from lowdose.phantoms.any_object import Material, ObjectMeasurement
from lowdose.phantoms.finding import Located
from lowdose.phantoms.layout import Insert, Layout, Module, Region
from lowdose.phantoms.measurement import ArmMeasurement
from lowdose.phantoms.module_measurement import ModuleMeasurement, Spectrum
from lowdose.phantoms.object_readings import object_readings
from lowdose.phantoms.places import Places, Squares
from lowdose.phantoms.pose import Pose
from lowdose.phantoms.readings import Reading
from lowdose.quality.resolution import TaskTransfer
from lowdose.quality.spectra import RadialSpectrum
from lowdose.quality.uniformity import Circle
from lowdose.report import ReportContent, object_report, object_summary, phantom_report, write_readings_csv
from lowdose.report.page import STATEMENT, rendered
from lowdose.scan import Scan
from tests.cli.runner import everything_below, lowdose
from tests.test_report import Outline

MITA_RODS = {"3 mm, 14 HU": 14.0, "5 mm, 7 HU": 7.0, "7 mm, 5 HU": 5.0, "10 mm, 3 HU": 3.0}
SIDE, RADIUS = 128, 50.0
AXIS = (62.3, 65.1)


def cylinder(path: Path, noise: float = 10.0, seed: int = 0, hu: float = 0.0, n: int = 4, side: int = SIDE):
    """A cylinder of 100 mm in air, pixels of 1 mm, as NIfTI; returns the path."""
    y, x = np.mgrid[:side, :side]
    body = np.where(np.hypot(y - AXIS[0], x - AXIS[1]) <= RADIUS, 1000.0 + hu, 0.0)
    image = gaussian_filter(body, 0.8) - 1000.0
    values = image + noise * np.random.default_rng(seed).standard_normal((n, side, side))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(Scan.from_array(values, spacing=(3.0, 1.0, 1.0), name=path.name), path)
    return path


def in_circle(shape: tuple[int, int], spacing: tuple[float, float], centre, radius: float) -> np.ndarray:
    y, x = (np.arange(n) * d for n, d in zip(shape, spacing, strict=True))
    return np.hypot(y[:, None] - centre[0], x[None] - centre[1]) <= radius


def hu_of(path: Path) -> tuple[np.ndarray, tuple[float, float]]:
    """HU `[series, z, y, x]` of all series of an input, and their pixel size."""
    with open_input(path) as found:
        scans = [case.scan for case in found.cases]
        return np.stack([scan.hu for scan in scans]), scans[0].spacing[1:]


def rows(out: Path, arm: str) -> dict[tuple[str, str], dict[str, str]]:
    with (out / "measures.csv").open(newline="", encoding="utf-8") as file:
        return {(row["measure"], row["item"]): row for row in csv.DictReader(file) if row["arm"] == arm}


def value(out: Path, measure: str, item: str = "", arm: str = "input") -> float:
    return float(rows(out, arm)[measure, item]["value"])


@pytest.fixture(scope="module")
def mita(tmp_path_factory) -> Path:
    """Two repeats at each of two high doses."""
    out = tmp_path_factory.mktemp("mita") / "mita"
    words = ["--dose", 64, "--dose", 16, "--repeats", 2, "--slices", 2]
    assert lowdose("phantom", "make", "mita", out, *words).status == 0
    return out


@pytest.fixture(scope="module")
def compared(mita) -> Path:
    out = mita.parent / "compared"
    words = [f"low={mita / 'dose-16'}", f"full={mita / 'dose-64'}", "--reference", "full", "--out", out]
    assert lowdose("phantom", "measure", "mita", *words).status == 0
    return out


@pytest.fixture(scope="module")
def water(tmp_path_factory) -> Path:
    """One scan of a made water cylinder of 200 mm, with its truth beside it."""
    out = tmp_path_factory.mktemp("water") / "made"
    assert lowdose("phantom", "make", "water", out, "--slices", 2, "--format", "nifti").status == 0
    return out


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """A noisy cylinder, a repeat of it, a quiet one, one on another grid, and nothing but noise."""
    folder = tmp_path_factory.mktemp("drawn")
    cylinder(folder / "noisy.nii.gz", seed=1)
    cylinder(folder / "again.nii.gz", seed=2)
    cylinder(folder / "quiet.nii.gz", noise=5.0, seed=3)
    cylinder(folder / "larger.nii.gz", seed=4, side=SIDE + 8)
    return folder


# What is found


def test_a_made_water_cylinder_has_the_hu_and_the_noise_of_its_image(water, tmp_path):
    out = tmp_path / "m"
    assert lowdose("phantom", "measure", "water", water / "scan.nii.gz", "--out", out).status == 0
    (hu,), spacing = hu_of(water / "scan.nii.gz")
    middle = 255.5 * spacing[0]
    for item, (y, x) in {"centre": (0.0, 0.0), "right": (0.0, 1.0), "top": (-1.0, 0.0)}.items():
        place = middle + y * 200 / 3, middle + x * 200 / 3
        inside = hu[:, in_circle(hu.shape[1:], spacing, place, 10.0)]
        noise = np.sqrt(np.mean(inside.var(axis=1, ddof=1)))
        assert value(out, "noise", item) == pytest.approx(noise, rel=0.01)
        assert value(out, "mean", item) == pytest.approx(inside.mean(), abs=0.1)
        assert value(out, "mean", item) == pytest.approx(0.0, abs=1.0)
    assert rows(out, "input")["uniformity, largest difference", ""]["passes"] == "yes"
    pose = json.loads((out / "summary.json").read_text())["pose"]
    assert pose["radius_mm"] == pytest.approx(100.0, abs=0.1)
    assert pose["centre_mm"] == pytest.approx([middle, middle], abs=0.1)


def test_a_water_cylinder_of_any_size_is_measured_at_two_thirds_of_its_own_radius(drawn, tmp_path):
    out = tmp_path / "m"
    assert lowdose("phantom", "measure", "water", drawn / "noisy.nii.gz", "--out", out).status == 0
    (hu,), spacing = hu_of(drawn / "noisy.nii.gz")
    for item, offset in {"centre": (0.0, 0.0), "bottom": (2 / 3, 0.0), "left": (0.0, -2 / 3)}.items():
        place = AXIS[0] + RADIUS * offset[0], AXIS[1] + RADIUS * offset[1]
        inside = hu[:, in_circle(hu.shape[1:], spacing, place, RADIUS / 10)]
        assert value(out, "noise", item) == pytest.approx(10.0, rel=0.15)
        assert value(out, "mean", item) == pytest.approx(inside.mean(), abs=0.3)


def test_the_rods_of_a_mita_are_found_and_have_their_contrast(compared):
    for item, contrast in MITA_RODS.items():
        row = rows(compared, "full")["contrast", item]
        assert float(row["expected"]) == contrast
        assert float(row["value"]) == pytest.approx(contrast, abs=1.0 if contrast < 14 else 4.0)
    pose = json.loads((compared / "summary.json").read_text())["pose"]
    assert pose["angle_degrees"] == pytest.approx(0.0, abs=1.0)
    assert (pose["mirrored"], pose["likeness"]["disk"] > 0.8) == (False, True)


def test_two_repeats_in_one_folder_are_pooled_and_only_what_differs_is_noise(mita, compared):
    for arm, folder in (("low", "dose-16"), ("full", "dose-64")):
        hu, spacing = hu_of(mita / folder)
        assert len(hu) == 2
        inside = hu[:, :, in_circle(hu.shape[2:], spacing, (255.5 * spacing[0],) * 2, 10.0)]
        between = np.sqrt(np.mean((inside[0] - inside[1]) ** 2) / 2)
        assert value(compared, "noise", "centre", arm) == pytest.approx(between, rel=0.02)
        assert value(compared, "mean", "centre", arm) == pytest.approx(inside.mean(), abs=0.03)
    ratio = value(compared, "noise", "centre", "low") / value(compared, "noise", "centre", "full")
    assert ratio == pytest.approx(2.0, rel=0.1)
    arms = json.loads((compared / "summary.json").read_text())["arms"]
    assert [arm["repeats"] for arm in arms.values()] == [2, 2]
    assert all(arm["slices"] == {"disk": [1, 2]} for arm in arms.values())


def test_summary_table_page_and_record_say_the_same(mita, compared):
    assert set(everything_below(compared)) == {"measures.csv", "summary.json", "report.html", "run.json"}
    summary = json.loads((compared / "summary.json").read_text(), parse_constant=pytest.fail)
    assert list(summary["arms"]) == ["low", "full"]  # the reference needs no control
    for arm, told in summary["arms"].items():
        table = rows(compared, arm)
        assert [(one["measure"], one["item"]) for one in told["readings"]] == list(table)
        for one in told["readings"]:
            assert one["value"] == pytest.approx(float(table[one["measure"], one["item"]]["value"]), rel=1e-5)
    page = (compared / "report.html").read_text(encoding="utf-8")
    share = 100 * noise_of(summary["arms"]["full"]) / noise_of(summary["arms"]["low"])
    assert f"Of the noise of low is left: full {share:.0f}\N{NO-BREAK SPACE}%." in page
    record = json.loads((compared / "run.json").read_text())
    assert record["command"] == "phantom measure"
    assert record["options"]["inputs"] == {"low": str(mita / "dose-16"), "full": str(mita / "dose-64")}
    assert (record["options"]["name"], record["options"]["reference"]) == ("mita", "full")
    assert [(case["source"], case["error"]) for case in record["cases"]] == [(str(mita / "dose-16"), None)]


def noise_of(arm: dict) -> float:
    """The noise of the five regions together."""
    names = {"centre", "right", "bottom", "left", "top"}
    found = [
        one["value"] for one in arm["readings"] if (one["measure"], one["item"] in names) == ("noise", True)
    ]
    assert len(found) == 5
    return float(np.sqrt(np.mean(np.square(found))))


def test_json_is_the_summary_with_the_control_at_the_noise_of_its_arm(drawn, tmp_path):
    words = [drawn / "noisy.nii.gz", f"quiet={drawn / 'quiet.nii.gz'}", "--out", tmp_path / "m", "--json"]
    outcome = lowdose("phantom", "measure", "water", *words)
    assert outcome.status == 0
    (summary,) = outcome.json["cases"]
    assert summary == json.loads((tmp_path / "m" / "summary.json").read_text())
    control = "input, blurred to the noise of quiet"
    assert list(summary["arms"]) == ["input", "quiet", control]
    assert noise_of(summary["arms"][control]) == pytest.approx(noise_of(summary["arms"]["quiet"]), rel=0.05)
    # White noise of half the size is left by a Gaussian of 1 / sqrt(pi) pixels.
    assert summary["arms"][control]["blur_px"] == pytest.approx(1 / np.sqrt(np.pi), rel=0.1)
    assert summary["arms"]["quiet"]["blur_px"] is None
    without = [*words[:-2], tmp_path / "w", "--json", "--no-control"]
    (summary,) = lowdose("phantom", "measure", "water", *without).json["cases"]
    assert list(summary["arms"]) == ["input", "quiet"]


def test_an_arm_that_no_blur_can_match_has_no_control_and_is_measured_all_the_same(drawn, tmp_path):
    still = cylinder(tmp_path / "still.nii.gz", noise=0.01)
    words = [drawn / "noisy.nii.gz", f"still={still}", "--out", tmp_path / "m", "--json"]
    outcome = lowdose("phantom", "measure", "water", *words)
    assert outcome.status == 0
    (summary,) = outcome.json["cases"]
    assert list(summary["arms"]) == ["input", "still"]
    assert noise_of(summary["arms"]["still"]) == pytest.approx(0.01, rel=0.1)
    assert (
        "note: no control for still: no blur of the first arm could be matched to its noise"
        in outcome.err.splitlines()
    )


# Where the user says the phantom is


def test_a_phantom_is_measured_where_the_user_says_it_is(drawn, tmp_path):
    """A small shift by hand moves the regions, and the slices are counted from 1."""
    column, row = 70.0, 60.0
    words = ["--centre", column, row, "--angle", "90", "--slices", "2-3", "--out", tmp_path / "m", "--json"]
    (summary,) = lowdose("phantom", "measure", "water", drawn / "noisy.nii.gz", *words).json["cases"]
    assert summary["pose"]["centre_mm"] == [row, column]
    assert summary["pose"]["angle_degrees"] == 90.0
    assert summary["arms"]["input"]["slices"] == {"water": [2, 3]}
    (hu,), spacing = hu_of(drawn / "noisy.nii.gz")
    inside = hu[1:3, in_circle(hu.shape[1:], spacing, (row, column), 10.0)]
    noise = np.sqrt(np.mean(inside.var(axis=1, ddof=1)))
    assert value(tmp_path / "m", "noise", "centre") == pytest.approx(noise, rel=1e-4)
    assert value(tmp_path / "m", "mean", "centre") == pytest.approx(inside.mean(), abs=1e-3)


def test_slices_alone_say_where_a_module_is_measured(drawn, tmp_path):
    words = ["--slices", "water=3", "--out", tmp_path / "m", "--json"]
    (summary,) = lowdose("phantom", "measure", "water", drawn / "noisy.nii.gz", *words).json["cases"]
    assert summary["arms"]["input"]["slices"] == {"water": [3, 3]}
    assert summary["pose"]["centre_mm"] == pytest.approx(AXIS, abs=0.1)


@pytest.mark.parametrize("known", [[], ["--centre", "65", "62", "--angle", "0"]])
def test_slices_that_the_scan_does_not_have_are_refused(drawn, tmp_path, known):
    words = [drawn / "noisy.nii.gz", "--slices", "2-9", *known, "--out", tmp_path / "m"]
    outcome = lowdose("phantom", "measure", "water", *words)
    assert outcome.status == 1
    assert "noisy: has 4 slices, so water cannot be in 2 to 9" in outcome.err
    assert not (tmp_path / "m").exists()


# An object without a layout


def test_an_object_with_its_truth_beside_it_is_held_against_it(water, tmp_path):
    outcome = lowdose("phantom", "measure", "any", water / "scan.nii.gz", "--out", tmp_path / "m", "--json")
    assert outcome.status == 0
    assert "scan: its truth is known" in outcome.err.splitlines()
    (summary,) = outcome.json["cases"]
    assert summary["phantom"] == "any"
    (hu,), _ = hu_of(water / "scan.nii.gz")
    (labels,), _ = hu_of(water / "labels.nii.gz")
    row = rows(tmp_path / "m", "input")["mean", "water"]
    assert float(row["expected"]) == 0.0
    # Labels count from 1, and the housing comes first; two pixels off its edge.
    water_hu = np.concatenate(
        [image[binary_erosion(one == 2, iterations=2)] for image, one in zip(hu, labels, strict=True)]
    )
    assert float(row["value"]) == pytest.approx(water_hu.mean(), abs=0.01)
    assert value(tmp_path / "m", "noise", "water") == pytest.approx(water_hu.std(), rel=1e-3)
    assert value(tmp_path / "m", "transfer, f50") == pytest.approx(0.30, abs=0.01)  # hann:1, 250 mm in 512
    assert value(tmp_path / "m", "noise", "0 HU") == pytest.approx(hu[:, 240:272, 240:272].std(), rel=0.1)


@pytest.mark.parametrize("name", ["any", "mouse"])
def test_an_object_without_its_truth_is_not(drawn, tmp_path, name):
    outcome = lowdose("phantom", "measure", name, drawn / "noisy.nii.gz", "--out", tmp_path / "m")
    assert outcome.status == 0
    assert "truth is known" not in outcome.err
    assert value(tmp_path / "m", "noise", "0 HU") == pytest.approx(10.0, rel=0.05)
    assert not any(measure.startswith("transfer") for measure, _ in rows(tmp_path / "m", "input"))


def test_the_truth_of_another_grid_is_left_alone(water, drawn, tmp_path):
    for name in ("truth.json", "truth.nii.gz", "labels.nii.gz"):
        (tmp_path / name).write_bytes((water / name).read_bytes())
    scan = cylinder(tmp_path / "scan" / "noisy.nii.gz")
    outcome = lowdose("phantom", "measure", "any", scan, "--out", tmp_path / "m", "--no-control")
    assert outcome.status == 0
    assert "truth is known" not in outcome.err


# What is refused


@pytest.mark.parametrize("name", ["water", "any"])
def test_two_doses_in_one_input_are_no_repeats(tmp_path, name):
    cylinder(tmp_path / "in" / "a.nii.gz", noise=10.0, seed=1)
    cylinder(tmp_path / "in" / "b.nii.gz", noise=20.0, seed=2)
    outcome = lowdose("phantom", "measure", name, tmp_path / "in", "--out", tmp_path / "m", "--json")
    assert (outcome.status, outcome.out) == (1, "")
    first, last = (line for line in outcome.err.splitlines() if line.startswith("error: "))
    assert first.startswith("error: the 2 series of 'input' are no repeats of one scan: their noise is ")
    assert first.endswith(
        " HU; give each dose or method as an arm of its own, as in full=dose-1/ low=dose-0.25/"
    )
    low, _, high = first.split("their noise is ")[1].split()[:3]
    assert (float(low), float(high)) == (pytest.approx(10.0, rel=0.15), pytest.approx(20.0, rel=0.15))
    assert last == "error: nothing could be measured; nothing was written"
    assert not (tmp_path / "m").exists()


def test_an_arm_on_another_grid_is_refused(drawn, tmp_path):
    words = [drawn / "noisy.nii.gz", f"x={drawn / 'larger.nii.gz'}", "--out", tmp_path / "m"]
    outcome = lowdose("phantom", "measure", "water", *words)
    assert outcome.status == 1
    assert (
        "error: noisy: nothing in 'x' lies on its grid of 4 x 128 x 128 voxels; arms are images of one scan "
        "of the phantom, or scans of it that was not moved" in outcome.err.splitlines()
    )
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nope", "noisy.nii.gz"], "there is no phantom 'nope'; choose one of "),
        (["water", "nothing"], "nothing: not found"),
        (["water", "=noisy.nii.gz"], "=noisy.nii.gz: is not ARM=PATH, for instance denoised=out/"),
        (["water", "a="], "a=: is not ARM=PATH"),
        (["water", "a=noisy.nii.gz", "a=quiet.nii.gz"], "a=quiet.nii.gz: the name a is given twice"),
        (["water", "noisy.nii.gz", "--reference", "full"], "--reference full: is not one of the arms: input"),
        (["water", "noisy.nii.gz", "--slices", "x"], "--slices x: is not a number or two, as in 12-20"),
        (["water", "noisy.nii.gz", "--slices", "2-y"], "--slices 2-y: is not a number or two"),
        (["water", "noisy.nii.gz", "--slices", "0-2"], "--slices 0-2: slices are counted from 1"),
        (["water", "noisy.nii.gz", "--slices", "3-2"], "--slices 3-2: slices are counted from 1"),
        (
            ["water", "noisy.nii.gz", "--slices", "rods=2"],
            "--slices rods=2: name the module, one of water, as in water=12-20",
        ),
        (["catphan504", "noisy.nii.gz", "--slices", "2"], "--slices 2: name the module, one of CTP404, "),
        (["any", "noisy.nii.gz", "--slices", "2"], "--slices: places in any object are found by themselves"),
        (["any", "noisy.nii.gz", "--angle", "2"], "--angle: places in any object are found by themselves"),
        (
            ["any", "noisy.nii.gz", "--centre", "2", "3"],
            "--centre: places in any object are found by themselves",
        ),
        (["water", "noisy.nii.gz", "--out", "noisy.nii.gz"], "noisy.nii.gz is the input itself"),
        (["water", "noisy.nii.gz", "--out", "."], ". holds the input; name a folder that does not exist yet"),
    ],
)
def test_wrong_use_is_one_sentence(drawn, monkeypatch, words, sentence):
    monkeypatch.chdir(drawn)
    before = everything_below(drawn)
    outcome = lowdose("phantom", "measure", *(words if "--out" in words else [*words, "--out", "m"]))
    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.error.startswith(sentence)
    assert everything_below(drawn) == before


def test_two_arms_named_after_one_folder_are_told_apart_by_the_user(drawn, monkeypatch):
    monkeypatch.chdir(drawn)
    words = ["noisy.nii.gz", "quiet.nii.gz", "./quiet.nii.gz", "--out", "m"]
    outcome = lowdose("phantom", "measure", "water", *words)
    assert outcome.status == 2
    assert outcome.error == (
        "./quiet.nii.gz: the name quiet.nii.gz is given twice; give each arm its own, as in low=scan/ "
        "denoised=out/"
    )


# What fails, and what goes on


def test_a_series_without_the_phantom_leaves_the_others(tmp_path):
    cylinder(tmp_path / "in" / "cylinder.nii.gz")
    air = np.random.default_rng(0).normal(-1000, 10, (3, 96, 96))
    write_nifti(Scan.from_array(air, spacing=(3.0, 1.0, 1.0)), tmp_path / "in" / "empty.nii.gz")
    outcome = lowdose("phantom", "measure", "water", tmp_path / "in", "--out", tmp_path / "m", "--json")
    assert outcome.status == 1
    assert outcome.error == (
        "empty: no slice shows a round object: no water cylinder; say where it is with --centre, --angle "
        "and --slices"
    )
    (summary,) = outcome.json["cases"]
    assert noise_of(summary["arms"]["input"]) == pytest.approx(10.0, rel=0.1)
    assert set(everything_below(tmp_path / "m")) == {
        "measures.csv",
        "summary.json",
        "report.html",
        "run.json",
    }
    cases = {
        case["case"]: case["error"] for case in json.loads((tmp_path / "m/run.json").read_text())["cases"]
    }
    assert cases == {"cylinder": None, "empty": outcome.error}


def test_series_on_different_grids_are_measured_one_by_one(tmp_path):
    cylinder(tmp_path / "in" / "a.nii.gz", noise=10.0)
    cylinder(tmp_path / "in" / "b.nii.gz", noise=20.0, side=SIDE + 8)
    outcome = lowdose("phantom", "measure", "water", tmp_path / "in", "--out", tmp_path / "m", "--json")
    assert outcome.status == 0
    noises = [noise_of(one["arms"]["input"]) for one in outcome.json["cases"]]
    assert noises == [pytest.approx(10.0, rel=0.1), pytest.approx(20.0, rel=0.1)]
    places = {Path(name).parent.as_posix() for name in everything_below(tmp_path / "m")}
    assert places == {".", "series-01", "series-02"}
    for number, one in enumerate(outcome.json["cases"], 1):
        assert json.loads((tmp_path / f"m/series-{number:02d}/summary.json").read_text()) == one


def test_a_phantom_that_is_not_the_one_asked_for_is_one_sentence(drawn, tmp_path):
    outcome = lowdose("phantom", "measure", "mita", drawn / "noisy.nii.gz", "--out", tmp_path / "m")
    assert outcome.status == 1
    assert (
        "error: noisy: no slice shows a round object of 200 mm: no MITA CCT189; say where it is with "
        "--centre, --angle and --slices" in outcome.err.splitlines()
    )
    assert not (tmp_path / "m").exists()


def test_a_damaged_input_is_one_sentence_and_nothing_is_left(drawn, tmp_path):
    (tmp_path / "cut.nii.gz").write_bytes((drawn / "noisy.nii.gz").read_bytes()[:-2000])
    outcome = lowdose("phantom", "measure", "water", tmp_path / "cut.nii.gz", "--out", tmp_path / "m")
    assert outcome.status == 1
    first, *_ = (line for line in outcome.err.splitlines() if line.startswith("error: "))
    assert "cut.nii.gz" in first
    assert [path.name for path in tmp_path.iterdir()] == ["cut.nii.gz"]


def test_a_full_disk_is_one_sentence_and_nothing_is_left(drawn, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lowdose.report.write_report", full)
    outcome = lowdose("phantom", "measure", "water", drawn / "noisy.nii.gz", "--out", tmp_path / "m")
    assert outcome.status == 1
    assert outcome.error.startswith(f"{tmp_path / 'm'} cannot be written: no space is left")
    assert list(tmp_path.iterdir()) == []


# The pages, of measurements written down by hand

RODS = tuple(
    Insert(f"rod {hu:g}", 20.0, angle, 8.0, hu, band)
    for hu, angle, band in (
        (-100.0, 0.0, None),
        (100.0, 120.0, (95.0, 105.0)),
        (900.0, 240.0, (880.0, 920.0)),
    )
)
BODY = Region("plain", 20.0, 60.0, 8.0)
SENSITOMETRY = Module("rods", "sensitometry", 0.0, 10.0, 0.0, RODS, backgrounds=(BODY,))
LAYOUT = Layout("small", "small phantom", 60.0, 60.0, 0.0, (SENSITOMETRY,))
FREQUENCIES = np.linspace(0.0, 1.0, 501)
HOSTILE = "</script><img src=x onerror=alert(1)>"
REFERENCE, INPUT, FIRST, SECOND = REFERENCE_COLOUR, INPUT_COLOUR, *RESULT_COLOURS[:2]


def gaussian_transfer(f50: float, contrast: float) -> TaskTransfer:
    return TaskTransfer(FREQUENCIES, 0.5 ** ((FREQUENCIES / f50) ** 2), (0.0, 0.0), 4.0, contrast, 5.0)


def rods_arm(name: str, noise: float, shift: float = 0.0, blur: float | None = None) -> ArmMeasurement:
    """Rods that read `shift` HU too high; the sharpest has an f50 of 0.4 /mm."""
    circles = {rod.name: Circle(rod.hu + shift, noise, 50) for rod in RODS} | {
        "plain": Circle(0.0, noise, 50)
    }
    image = np.full((70, 70), shift, np.float32)
    transfers = {"rod 100": gaussian_transfer(0.4, 100.0)} if name != "soft" else {}
    measured = ModuleMeasurement(SENSITOMETRY, (1, 2, 3), 3, image, image, circles, transfers=transfers)
    return ArmMeasurement(name, (measured,), 1, blur)


def rods_page(*arms: ArmMeasurement, reference: str | None = None) -> ReportContent:
    scan = Scan.from_array(np.zeros((5, 70, 70)), spacing=(2.0, 1.0, 1.0), name="scan")
    located = Located(Pose((35.0, 34.0), height=4.0), 30.0, (0, 4), {"rods": 0.9}, ("It leans.",))
    return phantom_report(scan, LAYOUT, located, arms, reference)


def object_arm(name: str, noise: float, blur: float | None = None) -> ObjectMeasurement:
    radial = RadialSpectrum(np.array([0.1, 0.2, 0.3]), np.array([1.0, 1.0, 2.0]))
    spectra = {"centre": Spectrum(np.ones((8, 8)), radial, 8, 5)}
    endless = TaskTransfer(FREQUENCIES, np.ones(501), (0.0, 0.0), 4.0, 900.0, 5.0)
    return ObjectMeasurement(
        name,
        {"40 HU": Material(40.0, noise, 5, spectra)},
        {"12 mm, −1000 HU": (gaussian_transfer(0.4, -1000.0), gaussian_transfer(0.3, -1000.0)),
         "8 mm, +900 HU": (endless,)},
        (), None, {3: np.zeros((64, 64), np.float32)}, 1, blur, ("slice 4: no rod.",),
    )  # fmt: skip


PLACES = Places(
    8, (40.0,), {3: Squares(np.array([[4, 4], [20, 30]]), np.zeros(2, int), np.zeros(2, bool))}, ()
)


def object_page(*arms: ObjectMeasurement, reference: str | None = None) -> ReportContent:
    scan = Scan.from_array(np.zeros((5, 64, 64)), spacing=(2.0, 1.0, 1.0), name="scan")
    return object_report(scan, PLACES, arms, reference)


def spaced(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize("page", [rods_page, object_page])
def test_roles_and_colours_with_and_without_a_reference(page):
    make = rods_arm if page is rods_page else object_arm
    arms = [make("low", 10.0), make("full", 5.0), make("net", 4.0)]
    told = [(arm.name, arm.role, arm.colour) for arm in page(*arms).arms]
    assert told == [
        ("low", "reference", INPUT), ("full", "result", FIRST), ("net", "result", SECOND)
    ]  # fmt: skip
    told = [(arm.name, arm.role, arm.colour) for arm in page(*arms, reference="full").arms]
    assert told == [("full", "reference", REFERENCE), ("low", "input", INPUT), ("net", "result", FIRST)]
    told = [(arm.name, arm.role, arm.colour) for arm in page(*arms, reference="low").arms]
    assert told == [
        ("low", "reference", REFERENCE), ("full", "result", FIRST), ("net", "result", SECOND)
    ]  # fmt: skip


@pytest.mark.parametrize("page", [rods_page, object_page])
def test_more_arms_than_the_viewer_holds_are_all_in_the_table(page):
    make = rods_arm if page is rods_page else object_arm
    names = ["low", "a", "b", "c", "full"]
    content = page(*(make(name, 9.0) for name in names), reference="full")
    assert [arm.name for arm in content.arms] == ["full", "low", "a", "b"]
    (table,) = content.tables
    assert table.header == ("Measure", "Of", *names, "Nominal", "Range")
    assert all(len(row) == len(table.header) for row in table.rows)
    assert "The viewer shows 4 images; figures and tables have all 5." in content.footnotes


def test_the_lead_counts_the_inserts_in_range_and_what_is_left_of_the_noise():
    low, full = rods_arm("low", 10.0, shift=7.0), rods_arm("full", 5.0)
    control = rods_arm("low, blurred to the noise of full", 5.0, blur=0.8)
    # Off by 7 HU, of the two rods that have a range the one of 10 HU is out of it.
    assert spaced(rods_page(low, full, control).lead) == (
        "small phantom: 1 of 2 inserts read within their range of HU; the noise is 10.0 HU; half of the "
        "contrast is left at 0.40 /mm. Of the noise of low is left: full 50 %."
    )
    assert spaced(rods_page(rods_arm("soft", 10.0)).lead) == (
        "small phantom: 2 of 2 inserts read within their range of HU; the noise is 10.0 HU."
    )
    assert [(one.label, one.value, one.note) for one in rods_page(low, full).key_figures] == [
        ("Noise", "10.0", "standard deviation"),
        ("Sharpness", "0.40", "f50 of rod 100"),
        ("HU in range", "1 of 2", "inserts"),
    ]


def test_the_lead_of_an_object_names_its_noise_and_its_sharpest_rod():
    control = object_arm("low, blurred to the noise of net", 4.0, blur=0.8)
    page = object_page(object_arm("low", 10.0), object_arm("net", 4.0), control)
    assert spaced(page.lead) == (
        "The noise is 10.0 HU at 40 HU and half of a rod's contrast is left at 0.40 /mm. Of the noise of low "
        "is left: net 40 %."
    )
    assert [(one.label, one.value) for one in page.key_figures] == [
        ("Noise at 40 HU", "10.0"), ("Noise texture", f"{0.9 / 4:.2f}"), ("Sharpness", "0.40")
    ]  # fmt: skip
    assert page.footnotes[0] == "low: slice 4: no rod."
    assert page.slice_labels == ("slice 4 of 5",)
    nothing = ObjectMeasurement("low", {}, {}, (), None, {3: np.zeros((64, 64), np.float32)}, 1)
    assert object_page(nothing).lead == "Little can be measured in it."


def test_the_table_says_what_is_nominal_within_and_missing():
    (table,) = rods_page(rods_arm("low", 10.0, shift=7.0), rods_arm("soft", 5.0)).tables
    found = {row[:2]: row[2:] for row in table.rows}
    assert found["mean (HU)", "rod 100"] == ("107.0", "100.0", "100.0", "outside")
    assert found["mean (HU)", "rod 900"] == ("907.0", "900.0", "900.0", "within")
    assert found["mean (HU)", "rod -100"] == ("−93.0", "−100.0", "−100.0", "")
    assert found["HU linearity, intercept (HU)", ""][:2] == ("7.0", "0.0")
    assert found["task transfer, f50 (1/mm)", "rod 100"] == ("0.400", "–", "", "")
    assert [table.is_text(column) for column in range(6)] == [True, True, False, False, False, True]


def test_a_number_that_does_not_exist_is_null_and_an_empty_cell(tmp_path):
    arm = object_arm("low", 10.0)
    summary = json.loads(json.dumps(object_summary(PLACES, [arm])), parse_constant=pytest.fail)
    told = {(one["measure"], one["item"]): one["value"] for one in summary["arms"]["low"]["readings"]}
    assert told["task transfer, f50", "8 mm, +900 HU"] is None
    assert told["task transfer, f50", "12 mm, −1000 HU"] == pytest.approx(0.35, abs=1e-3)
    assert summary["arms"]["low"]["notes"] == ["slice 4: no rod."]
    write_readings_csv(object_readings(arm), tmp_path / "measures.csv")
    assert rows(tmp_path, "low")["task transfer, f50", "8 mm, +900 HU"]["value"] == ""


def test_every_cell_of_the_table_of_measures(tmp_path):
    """What a spreadsheet would take for a formula gets an apostrophe in front."""
    found = [
        Reading("=low", "rods", "mean", "@1", 101.23456789, "HU", 100.0, 95.0, 105.0),
        Reading("low", "rods", "mean", "b, c", -7.0, "HU", 0.0, None, -8.0),
        Reading("low", "rods", "noise", "", float("nan"), "HU"),
    ]
    write_readings_csv(found, tmp_path / "measures.csv")
    assert (tmp_path / "measures.csv").read_text(encoding="utf-8").splitlines() == [
        "arm,module,measure,item,value,unit,expected,low,high,passes",
        "'=low,rods,mean,'@1,101.235,HU,100,95,105,yes",
        'low,rods,mean,"b, c",-7,HU,0,,-8,no',
        "low,rods,noise,,,HU,,,,",
    ]


@pytest.mark.parametrize("page", [rods_page, object_page])
def test_the_page_asks_for_nothing_and_markup_in_names_stays_text(page):
    make = rods_arm if page is rods_page else object_arm
    content = page(make(HOSTILE, 10.0), make("net", 5.0), reference="net")
    assert not any("onerror" in figure.svg for figure in content.figures)
    written = rendered(content)
    outline = Outline(written)
    for tag, attributes in outline.tags:
        assert tag not in {"link", "iframe", "img", "object", "embed", "base", "form"}
        assert "src" not in attributes
        assert "onerror" not in attributes
        assert attributes.get("xlink:href", "#").startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"@import|url\((?!#)", written)
    assert f"Of the noise of {HOSTILE} is left: net 50" in outline.text
    assert STATEMENT in " ".join(outline.text.split())


def test_a_page_shows_the_middle_slice_of_every_module_as_it_is():
    content = rods_page(rods_arm("low", 10.0, shift=7.0))
    assert content.title == "small phantom, measured"
    assert content.subtitle == "scan, 5 slices of 70 × 70"
    assert content.slice_labels == ("rods, slice 3",)
    assert (content.arms[0].slices == 7).all()
    assert content.footnotes == ("It leans.",)
    place = dict(content.facts[0].rows)
    assert place["Axis in the first slice"] == "column 34.0, row 35.0"
    assert place["Diameter"] == "60.0 mm (nominal 60)"
    assert place["rods"] == "slices 2 to 4, 3 images"


def test_what_fails_beside_a_truth_is_told_as_it_is(tmp_path):
    """Reading the truth must not catch what the measurement raises."""
    out = tmp_path / "made"
    lowdose("phantom", "make", "water", out, "--slices", "2", "--format", "nifti")

    def failing():
        with open_input(out / "scan.nii.gz") as found, _truth_beside(found.cases[0].scan, out) as truth:
            raise ValueError(f"no repeats: {truth.names}")

    with pytest.raises(ValueError, match=r"no repeats: .*water"):
        failing()
