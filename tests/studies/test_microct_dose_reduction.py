"""The micro-CT study: its pure parts against numbers that can be worked out by hand."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lowdose.physics.fdk import fdk
from lowdose.physics.noise_matching import NoiseMatchError
from lowdose.training.manifest import read_manifest

STUDY = Path(__file__).parents[2] / "studies" / "microct_dose_reduction"


def module(name: str) -> Any:
    return import_module(name)


def tiny() -> Any:
    scans = module("scans")
    return scans.Bench(
        shape=(6, 48, 48), voxel=0.7, n_views=24, panel=(12, 64), pixel=1.2, counts=(2, 1, 1), margin=2,
        photons=2000.0, tv_iterations=2,
    )  # fmt: skip


def noisy(*shape: int, seed: int = 1, sd: float = 10.0) -> np.ndarray[Any, Any]:
    return (sd * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def test_a_ladder_gives_the_dose_in_closed_form() -> None:
    fitted_ladder = module("measures").fitted_ladder
    doses = np.array([1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0])
    ladder = fitted_ladder(doses, 5.0 + 100.0 / doses)
    assert (ladder.a, ladder.b, ladder.c) == (
        pytest.approx(5.0),
        pytest.approx(100.0),
        pytest.approx(0, abs=1e-6),
    )
    assert ladder.worst < 1e-9
    assert ladder.dose_of(5.0 + 100.0 / 3.2) == pytest.approx(3.2)
    assert ladder.dose_of(4.9) == float("inf")  # no dose takes away what is no noise of photons


def test_a_ladder_knows_electronic_noise() -> None:
    fitted_ladder = module("measures").fitted_ladder
    doses = np.array([1.0, 2.0, 4.0, 8.0, 64.0])
    ladder = fitted_ladder(doses, 100.0 / doses + 40.0 / doses**2)
    assert ladder.dose_of(100.0 / 5.0 + 40.0 / 25.0) == pytest.approx(5.0)
    assert ladder.a == pytest.approx(0.0, abs=1e-9)


def test_a_ladder_of_two_rungs_is_none() -> None:
    with pytest.raises(ValueError, match="three or more"):
        module("measures").fitted_ladder([1.0, 2.0], [4.0, 2.0])


def test_dose_factors_say_when_they_lie_beyond_the_ladder() -> None:
    measures = module("measures")
    doses = np.array([1.0, 2.0, 4.0])
    ladders = {"noise": measures.fitted_ladder(doses, 9.0 / doses)}
    ladders["cnr rod"] = measures.fitted_ladder(doses, 1 / (4.0 * doses))
    found = measures.equivalent_doses(ladders, noise=1.5, cnrs={"rod": 6.0})
    assert found["noise"] == {"factor": pytest.approx(4.0), "beyond_the_ladder": False}
    assert found["cnr rod"] == {"factor": pytest.approx(9.0), "beyond_the_ladder": True}


def test_every_filter_is_set_to_the_noise_that_is_asked_for() -> None:
    comparators = module("comparators")
    volumes = [noisy(5, 48, 48, seed=k) for k in range(2)]

    def noise(images: Any) -> float:
        return float(np.sqrt(np.mean([image[:, 8:-8, 8:-8].var() for image in images])))

    found = comparators.matched_filters(volumes, noise, 4.0)
    assert list(found) == list(comparators.FILTERS)
    for name, settings in found.items():
        smooth = comparators.filter_of(name, settings)
        assert noise([smooth(volume) for volume in volumes]) == pytest.approx(4.0, rel=0.04), name


def test_a_filter_that_cannot_leave_so_little_noise_comes_as_near_as_it_can() -> None:
    comparators = module("comparators")
    volumes = [noisy(3, 48, 48, seed=k) for k in range(2)]

    def noise(images: Any) -> float:  # with something that no filter takes away
        return float(np.hypot(6.0, np.mean([image.std() for image in images])))

    for name, settings in comparators.matched_filters(volumes, noise, 4.0).items():
        smooth = comparators.filter_of(name, settings)
        left = noise([smooth(volume) for volume in volumes])
        assert left == pytest.approx(settings["noise_when_set"]), name
        assert 6.0 < left < noise(volumes), name


def test_a_filter_is_set_before_its_noise_rises_again() -> None:
    crossing = module("comparators").crossing

    def left(parameter: float) -> float:  # what wide filters do to edges reads as noise
        return 10.0 / parameter + parameter**2

    assert crossing(left, (1.0, 1.5, 2.0, 3.0, 4.0), 9.5) == pytest.approx(1.27, abs=0.02)
    with pytest.raises(NoiseMatchError, match="times the noise"):
        crossing(left, (1.0, 2.0, 4.0), 5.0)


def test_the_strength_of_total_variation_is_the_closest_where_none_leaves_so_little_noise() -> None:
    matched = module("comparators").matched_strength

    def left(volumes: Any) -> float:  # falls, then rises: least is 12, at a strength of 50
        return float(12.0 * np.exp(0.3 * np.log(volumes[0] / 50.0) ** 2))

    reached = matched(lambda strength: [strength], left, 20.0, 30.0)
    assert reached["noise_when_set"] == pytest.approx(20.0, rel=0.05)
    closest = matched(lambda strength: [strength], left, 6.0, 30.0)
    assert closest["noise_when_set"] == pytest.approx(12.0, rel=0.02)
    assert closest["strength"] == pytest.approx(50.0, rel=0.25)


def test_the_report_says_where_the_noise_asked_for_is_not_reached() -> None:
    told = module("report")._settings
    assert told({"strength": 30.0, "noise_when_set": 10.2}, 10.0) == "strength 30"
    assert told({"strength": 30.0, "noise_when_set": 24.0}, 10.0) == (
        "strength 30: comes closest, with 2.40 times the noise"
    )


def test_a_median_between_two_sizes_is_their_mean() -> None:
    median, volume = module("comparators").median, noisy(3, 20, 20)
    for axes in (2, 3):
        mixed = (median(volume, 3.0, axes) + median(volume, 5.0, axes)) / 2
        assert np.allclose(median(volume, 4.0, axes), mixed, atol=1e-4)
    assert np.array_equal(median(volume, 1.0, 2), volume)


def test_iterative_reconstruction_starts_from_the_projections_of_the_scan() -> None:
    """The same counts as in the scan: what is compared differs in nothing but the reconstruction."""
    comparators, bench = module("comparators"), tiny()
    one = bench.mice[0]
    sinogram, _ = comparators.projections(one.scanner, bench.low, 0)
    protocol = one.scanner.protocol
    mu = fdk(bench.scanner.geometry, bench.grid(), sinogram, protocol.apodisation)
    assert np.allclose((mu / bench.scanner.water_mu - 1) * 1000, one.scanner.scan(bench.low, 0).hu, atol=0.5)


def test_no_ray_leaves_the_volume_of_the_iterative_reconstruction_within_a_mouse() -> None:
    scans, comparators = module("scans"), module("comparators")
    for bench in (scans.FULL, scans.SMOKE):
        for n_slices in (bench.shape[0], bench.shape[0] // 3):
            projector = comparators.IterativeTv(bench, n_slices).projector()
            panel, axis = projector.geometry.row_places[-1], bench.scanner.geometry.source_to_axis
            highest = panel / bench.scanner.geometry.magnification * (1 + 14.5 / axis)
            assert highest <= projector.grid.positions[-1] + bench.voxel / 2
            lowest = panel / bench.scanner.geometry.magnification * (1 - 14.5 / axis)
            assert lowest >= (n_slices - 1) / 2 * bench.voxel


def test_the_manifest_is_what_training_reads(tmp_path: Path) -> None:
    scans, bench = module("scans"), tiny()
    rows = scans.manifest_rows(bench.mice)
    assert all(tuple(row) == scans.COLUMNS for row in rows)
    scans.write_manifest(rows, tmp_path / "manifest.csv")
    manifest = read_manifest(tmp_path / "manifest.csv", needs=("training", "validation", "test"))
    low, high = manifest.pairs("training")[1]
    assert (low.patient, low.dose, high.dose) == ("mouse-02", "low", "high")
    assert [len(manifest.pairs(split)) for split in ("training", "validation", "test")] == [2, 1, 1]


def test_the_full_study_has_38_mice_and_each_its_own_bed() -> None:
    scans = module("scans")
    mice = scans.FULL.mice
    assert [len(scans.FULL.of_split(split)) for split in scans.SPLITS] == [30, 4, 4]
    assert len({mouse.bed for mouse in mice}) == len({mouse.seed for mouse in mice}) == 38
    assert scans.FULL.high == pytest.approx(4 * scans.FULL.low)


def test_a_volume_comes_back_in_whole_hu_and_in_its_place(tmp_path: Path) -> None:
    scans = module("scans")
    scan = tiny().mice[0].scanner.noise_free()
    assert scans.write_volume(scan, tmp_path / "a.nii") == 0
    again = scans.read_volume(tmp_path / "a.nii")
    assert np.abs(again - scan.hu).max() <= 0.51


def test_noise_of_a_mouse_leaves_out_what_a_whole_tissue_is_off() -> None:
    measures = module("measures")
    labels = np.ones((20, 40, 40), np.uint8)
    labels[:, 20:] = 2
    zero = np.zeros(labels.shape, np.float32)
    truth = measures.Truth(zero, zero, labels, ("muscle", "liver"), (0.1, 0.1, 0.1))
    image = noisy(*labels.shape) + np.where(labels == 2, np.float32(30.0), np.float32(-5.0))
    found = measures.mouse_measures(image, truth)
    assert found["noise"] == pytest.approx(10.0, rel=0.05)
    assert found["bias"] == {"muscle": pytest.approx(-5.0, abs=0.3), "liver": pytest.approx(30.0, abs=0.3)}
    assert all(mask[:, 16:24].sum() == 0 for mask in truth.flat)  # far enough from the border of both


def test_noise_between_repeats_knows_no_shading() -> None:
    measures = module("measures")
    shading = np.linspace(0, 500, 30, dtype=np.float32)
    volumes = [noisy(4, 30, 30, seed=k) + shading for k in range(5)]
    assert measures.noise_between(volumes, np.ones((30, 30), bool)) == pytest.approx(10.0, rel=0.03)


def test_tables_stand_between_their_markers(tmp_path: Path) -> None:
    report = module("report")
    page = tmp_path / "README.md"
    names = "".join(f"<!-- {name} -->\nold\n<!-- end -->\n" for name in report.TABLES)
    page.write_text(f"Before.\n{names}After.\n", encoding="utf-8")
    results = SimpleNamespace()
    tables = {name: lambda _results, name=name: f"| {name} |\n" for name in report.TABLES}
    report.TABLES, kept = tables, report.TABLES
    try:
        report.write_tables(results, page)
    finally:
        report.TABLES = kept
    text = page.read_text(encoding="utf-8")
    assert "old" not in text
    assert text.startswith("Before.\n<!-- settings -->\n| settings |\n<!-- end -->\n")
    assert text.endswith("After.\n")


def test_numbers_are_written_with_their_intervals() -> None:
    report = module("report")
    assert report.signed(-0.04) == "0.0"
    assert report.signed(-1.26) == "−1.3"
    found = report.summary([1.0, 2.0, 3.0, None])
    assert (found["mean"], found["n"]) == (pytest.approx(2.0), 3)
    assert report._factor({"factor": None, "beyond_the_ladder": True}) == "no dose"


def test_a_card_says_what_was_measured_beside_both_doses() -> None:
    def told(mean: float, interval: list[float] | None = None) -> dict[str, Any]:
        return {"mean": mean, "interval": interval, "n": 4}

    def row(noise: float) -> dict[str, Any]:
        rest = {key: told(0.5) for key in ("vessel_contrast_kept", "f50", "rmse_body")}
        return {"noise": told(noise, [noise - 0.12, noise + 0.12]), "bias": {"muscle": told(-1.23)}, **rest}

    arms = {"low dose": row(120.0), "higher dose": row(53.0), "2-D U-Net": row(6.4)}
    metrics = module("card_metrics").metrics_of("2-D U-Net", {"mice": {"summaries": arms}})
    noise, shift = metrics[:2]
    assert (noise.value, noise.unit, noise.interval) == (6.4, "HU", (6.3, 6.5))
    assert "low dose 120, higher dose 53; mean and bootstrap interval over 4 digital" in noise.protocol
    assert (shift.value, shift.interval) == (-1.2, None)
