"""The benchmarks measure what they say: each is held against numbers that can be worked out by hand."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pydicom
import pytest
import torch

from lowdose.io import open_input
from lowdose.physics.dose import simulate
from lowdose.physics.geometry import FanBeam, ImageGrid
from lowdose.physics.projector import Projector
from lowdose.quality.noise_level import flat_soft_tissue, scan_noise_level
from lowdose.scan import Scan
from tests.io.ct_factory import ct_slice, save

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RESULTS = sorted((BENCHMARKS / "results").glob("*.json"))
CHECKERBOARD = (np.indices((64, 64)).sum(axis=0) % 2 * 2 - 1).astype(np.int16)


@pytest.fixture(autouse=True)
def _scripts_find_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def script(name: str) -> Any:
    return import_module(name)


def series(folder: Path, *images: np.ndarray[Any, Any]) -> Path:
    for z, hu in enumerate(images):
        save(ct_slice(hu, z=3.0 * z, number=z + 1), folder / f"{z}.dcm")
    return folder


def test_red_cnn_has_its_published_size_and_keeps_the_matrix() -> None:
    network = script("throughput").red_cnn()
    assert sum(weights.numel() for weights in network.parameters()) == 1_848_865
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in network.modules()) == 5
    assert sum(isinstance(layer, torch.nn.ConvTranspose2d) for layer in network.modules()) == 5
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, 30, 34)).shape == (1, 1, 30, 34)


def test_red_cnn_adds_its_input_before_the_last_relu() -> None:
    network = script("throughput").red_cnn()
    for weights in network.parameters():
        torch.nn.init.zeros_(weights)
    image = torch.linspace(-1, 1, 32 * 32).reshape(1, 1, 32, 32)
    with torch.inference_mode():
        assert torch.equal(network(image), torch.relu(image))


def test_throughput_takes_ratios_within_rounds_and_their_median() -> None:
    throughput = script("throughput")
    runs = [
        throughput.Whole(0.2, 0.11, 2.0),
        throughput.Whole(0.4, 0.24, 3.0),
        throughput.Whole(0.1, 0.1, 1.0),
    ]
    found = throughput.findings(runs, [0.1, 0.2, 0.1], [8.0, 8.0, 8.0])
    values = {finding.what: finding.value for finding in found}
    assert values["slices/s, DICOM to DICOM, start-up included"] == pytest.approx(5.0)
    assert values["steady time over inference alone"] == pytest.approx(1.1)
    assert values["whole time over inference alone, start-up included"] == pytest.approx(2.0)
    assert values["start-up, to the first slice written"] == 2.0
    assert values["times as fast, DICOM to DICOM, as RED-CNN's inference"] == pytest.approx(40.0)
    assert [finding.met for finding in found[:2]] == [False, True]


def test_memory_grows_by_the_longest_over_the_shortest() -> None:
    memory, usage = script("memory"), script("command").Usage
    rows = [
        ("denoise", 300, usage(0.0, 1.0, 500.0)),
        ("denoise", 3000, usage(0.0, 1.0, 600.0)),
        ("simulate", 300, usage(0.0, 1.0, 1501.0)),
    ]
    *peaks, growth = memory.findings(rows)
    assert [peak.met for peak in peaks] == [True, True, False]
    assert (growth.value, growth.met) == (pytest.approx(1.2), False)


@pytest.mark.parametrize(
    ("value", "at_least", "met"),
    [
        (1.0, False, True),
        (1.1, False, False),
        (1.0, True, True),
        (0.9, True, False),
        (float("nan"), True, False),
    ],
)
def test_a_target_is_met_up_to_its_own_value(value: float, at_least: bool, met: bool) -> None:
    assert script("record").Finding("x", value, "", 1.0, at_least).met is met


def test_a_finding_without_a_target_is_neither_met_nor_missed() -> None:
    assert script("record").Finding("x", 1.0, "").met is None


def test_the_phantom_series_is_one_scan_of_the_stated_noise(tmp_path: Path) -> None:
    made = script("series")
    made.write_series(tmp_path / "series", 3)
    files = [pydicom.dcmread(path) for path in sorted((tmp_path / "series").iterdir())]
    assert (
        len({one.SOPInstanceUID for one in files})
        == len({tuple(one.ImagePositionPatient) for one in files})
        == 3
    )
    assert all(one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID for one in files)
    with open_input(tmp_path / "series") as found:
        (case,) = found.cases
        assert case.scan is not None
        assert case.scan.shape == (3, 512, 512)
        assert scan_noise_level(case.scan) == pytest.approx(made.NOISE_HU, rel=0.1)
        hu = case.scan.read(1).hu
        assert hu[flat_soft_tissue(hu)].mean() == pytest.approx(45, abs=1)


def test_a_real_series_is_repeated_in_order_without_compression(tmp_path: Path) -> None:
    source = series(tmp_path / "source", *(np.full((16, 16), value, np.int16) for value in (10, 20)))
    for path in source.iterdir():
        compressed = pydicom.dcmread(path)
        compressed.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
        compressed.save_as(path)
    script("series").write_series(tmp_path / "long", 5, like=source)
    with open_input(tmp_path / "long") as found:
        (case,) = found.cases
        assert case.scan is not None
        assert case.scan.hu[:, 0, 0].tolist() == [10, 20, 10, 20, 10]
    last = pydicom.dcmread(tmp_path / "long" / "00005.dcm")
    assert not last.file_meta.TransferSyntaxUID.is_compressed


def test_a_command_that_fails_ends_the_benchmark_with_what_it_said(tmp_path: Path) -> None:
    source = series(tmp_path / "source", np.zeros((16, 16), np.int16))
    with pytest.raises(SystemExit, match="unknown method 'none'"):
        script("command").run_lowdose("denoise", source, tmp_path / "out", "--method", "none")


def test_the_second_computation_of_the_pairs_is_right(tmp_path: Path) -> None:
    full = np.full((64, 64), 40, np.int16)
    low = full + 8 * CHECKERBOARD
    folders = (
        series(tmp_path / "full", full, full),
        series(tmp_path / "low", low, low),
        series(tmp_path / "denoised", full + 2 * CHECKERBOARD, low + np.int16(6)),
    )
    rows = script("real_pairs").independent(*folders)
    # The errors are 2 of 8, then the root of 8^2 + 6^2 of 8.
    assert rows == [(pytest.approx(0.25), pytest.approx(0.0)), (pytest.approx(1.25), pytest.approx(6.0))]


def test_identity_counts_every_value_that_differs(tmp_path: Path) -> None:
    differs = script("identity").differs
    hu = np.arange(256, dtype=np.int16).reshape(16, 16)
    changed = hu.copy()
    changed[3, 4] += 1
    one = save(ct_slice(hu), tmp_path / "one.dcm")
    assert differs(one, save(ct_slice(hu, number=2), tmp_path / "same.dcm")) == 0
    assert differs(one, save(ct_slice(changed), tmp_path / "changed.dcm")) == 1
    assert differs(one, save(ct_slice(hu, RescaleSlope=2), tmp_path / "scaled.dcm")) == 256


def test_identity_compares_each_file_with_its_own_source(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    source = series(tmp_path / "scan", *rng.integers(-1000, 1000, (3, 16, 24)).astype(np.int16))
    (row,), n_left = script("identity").compare(source)
    assert n_left == 0
    assert (row["data_set"], row["slices"], row["values"], row["different"]) == ("scan", 3, 3 * 16 * 24, 0)


def test_a_simulation_held_against_itself_is_perfect() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:128, :128] - 63.5
    hu = np.where(np.hypot(y, x) < 55, 40.0, -1000.0) + rng.normal(0, 10, (3, 128, 128))
    full = Scan.from_array(hu, spacing=(3.0, 1.5, 1.5))
    simulator = script("simulator")
    numbers = simulator.measured(full, simulate(full, 0.25, seed=1), 0.25, range(1, 2))
    assert all(row["simulated_sd_hu"] == row["real_sd_hu"] > 10 for row in numbers["slices"])
    assert numbers["misplaced_power"] == numbers["image_spectrum_rms"] == 0.0
    assert numbers["image_sd_ratio"] == 1.0
    other = simulator.measured(full, simulate(full, 0.1, seed=1), 0.25, range(1, 2))
    # Quantum noise goes with 1 / fraction - 1: three times against nine times the variance.
    ratios = [row["simulated_sd_hu"] / row["real_sd_hu"] for row in other["slices"]]
    assert ratios == pytest.approx([3**-0.5] * 3, rel=0.05)
    # With the noise of the full dose in them, four times against ten times.
    assert other["image_sd_ratio"] == pytest.approx(0.4**0.5, rel=0.05)
    assert [one.met for one in simulator.findings(other)[:1]] == [False]


@pytest.mark.parametrize(
    ("licence", "gpl"),
    [
        ("GPL-3.0-only", True),
        ("MIT AND AGPL-3.0-or-later", True),
        ("GNU General Public License v3 (GPLv3)", True),
        ("GNU Affero General Public License v3", True),
        ("LGPL-2.1-or-later", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1", False),
        ("MIT", False),
    ],
)
def test_gpl_is_told_from_what_may_be_shipped(licence: str, gpl: bool) -> None:
    assert script("install").is_gpl(licence) is gpl


def test_the_size_on_disk_counts_a_file_once(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "one").write_bytes(np.random.default_rng(0).bytes(10**6))
    before = script("install").size_mb(tmp_path)
    (tmp_path / "two").hardlink_to(tmp_path / "folder" / "one")
    assert before == pytest.approx(1.0, abs=0.1)
    assert script("install").size_mb(tmp_path) == before


def test_the_readme_shows_the_committed_results() -> None:
    run = script("run")
    page = run.README.read_text(encoding="utf-8")
    assert run.with_results(page, run.as_markdown(run.records())) == page, "benchmarks/run.py --table"


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_name_no_place_on_the_machine_that_made_them(path: Path) -> None:
    assert re.findall(r"(?<![\w.>)])(?:/[\w.-]+){2,}|\b[A-Z]:\\\\", path.read_text(encoding="utf-8")) == []


def test_the_readme_says_what_every_script_is_for() -> None:
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    missing = [path.name for path in BENCHMARKS.glob("*.py") if f"`{path.name}" not in page]
    assert missing == []


def test_the_discs_of_the_physics_benchmark_are_those_of_its_chords() -> None:
    """Every view of a parallel beam adds up to the discs' area times what they attenuate."""
    physics = script("physics")
    mass = sum(value * np.pi * radius**2 for _, _, radius, value in physics.DISCS)
    chords = physics.chords(physics.PARALLEL)
    assert chords.sum(axis=1) * physics.PARALLEL.channel_spacing == pytest.approx(mass, rel=2e-3)
    image = physics.discs(physics.GRID)
    assert image.sum() * 0.7 * 0.7 == pytest.approx(mass, rel=1e-3)
    centre = physics.chords(physics.FLAT)[0, 367:369].mean()
    angle = physics.FLAT.view_angles[0]
    offsets = [x * np.cos(angle) + y * np.sin(angle) for y, x, _, _ in physics.DISCS]
    through = zip(offsets, physics.DISCS, strict=True)
    expected = sum(2 * v * np.sqrt(max(r**2 - s**2, 0.0)) for s, (_, _, r, v) in through)
    assert centre == pytest.approx(expected, rel=1e-3)


def test_the_discs_are_where_they_are_said_to_be() -> None:
    physics = script("physics")
    image, flat = physics.discs(physics.GRID), physics.flat_parts(physics.GRID)
    at = {
        place: (round(place[0] / 0.7 + 255.5), round(place[1] / 0.7 + 255.5))
        for place in ((0, 0), (40, -50), (-60, 30), (70, 60), (0, 149), (162, 0), (125, 125))
    }
    values = [image[at[y, x]] for y, x, _, _ in physics.DISCS]
    assert values == pytest.approx([0.02, 0.03, 0.012, 0.04])
    assert [flat[place] for place in at.values()] == [True] * 4 + [False, False, False]
    assert np.ptp(image[flat & (image > 0.035)]) < 1e-6


def test_a_projection_of_the_discs_is_close_to_their_chords() -> None:
    """At every eighth view, and by code that shares nothing with the closed form."""
    physics = script("physics")
    image = physics.discs(physics.GRID)
    for geometry in (physics.FLAT, physics.ARC, physics.PARALLEL):
        fewer = replace(geometry, n_views=geometry.n_views // 8)
        exact = physics.chords(fewer)
        assert physics.rms(Projector(physics.GRID, fewer)(image) - exact) < 2e-3 * physics.rms(exact)


def test_the_first_run_warms_up_and_the_shortest_of_the_others_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    physics = script("physics")
    clock = iter((10.0, 13.0, 20.0, 22.0, 30.0, 35.0))
    monkeypatch.setattr(physics.time, "perf_counter", lambda: next(clock))
    calls: list[int] = []
    assert physics.shortest(lambda: calls.append(1) or len(calls), 3) == (4, 2.0)


def test_the_rows_that_rays_cross_are_counted() -> None:
    """Parallel rays, a pixel apart: every one meets 64 rows head-on, and at 45 degrees those it crosses."""
    rows_crossed = script("physics").rows_crossed
    for turn, lengths in ((0.0, np.full((1, 64), 32.0)), (np.pi / 4, np.array([[32.0 * 2**0.5, 0.0]]))):
        fan = FanBeam(1, lengths.shape[1], 1e-9, 500.0, 1000.0)
        views = SimpleNamespace(view_angles=np.array([turn]), channel_angles=fan.channel_angles)
        assert rows_crossed(lengths, views, 0.5) == pytest.approx(64 * np.count_nonzero(lengths))


def test_the_pixels_that_views_see_lie_in_the_fan() -> None:
    """Of a square that a fan cuts through its middle, a wedge is seen: its area is the angle's tangent."""
    fan = FanBeam(4, 201, 1.0, 500.0, 1000.0, "flat")
    depths = list(script("physics").depths_seen(ImageGrid((400, 400), (1.0, 1.0)), fan))
    assert [one.size for one in depths] == pytest.approx([2 * 0.1 * 500 * 400] * 4, rel=0.01)
    assert depths[0].mean() == pytest.approx(500 + 400**2 / 12 / 500, rel=0.01)
    whole = FanBeam(1, 2001, 1.0, 500.0, 1000.0, "flat")
    (all_seen,) = script("physics").depths_seen(ImageGrid((40, 30), (1.0, 1.0)), whole)
    assert all_seen.size == 40 * 30


def test_physics_findings_are_ratios_of_seconds() -> None:
    physics, machine = script("physics"), script("arithmetic").Peak(100.0, 10.0)
    kernel = {"forward seconds": 0.5, "adjoint seconds": 1.0, "fbp seconds": 0.25, "fdk seconds": 4.0}
    errors = {"sinogram error": 1e-3, "image error": 2e-3}
    own = dict.fromkeys(("flat fan", "arc fan", "parallel", "cone"), kernel | errors)
    needed = {"forward": 1e9, "fan FBP": 5e8, "cone forward": 2e9, "FDK": 1e9}
    line = {"forward seconds": 5.0, "adjoint seconds": 4.0, "sinogram error": 2e-3}
    others = {"scikit-image": {"forward seconds": 3.0, "fbp seconds": 2.0}}
    slices = {"first dose": 0.1, "further dose": 0.05}
    without = {one.what: one for one in physics.findings(own, needed, slices, others, machine)}
    assert not any("ASTRA" in what for what in without)
    assert without["parallel FBP, times as fast as scikit-image"].value == 8.0
    floors = {what.split(",")[0]: one.value for what, one in without.items() if "floor" in what}
    # A thousand million interpolations of 8 operations take 0.08 s.
    expected = [6.25, 12.5, 6.25, 3.125, 6.25, 50.0]
    kernels = ("forward", "adjoint", "fan FBP", "cone forward", "cone adjoint", "FDK")
    assert floors == pytest.approx(dict(zip(kernels, expected, strict=True)))
    others["astra"] = {"line": line, "parallel fbp seconds": 1.0}
    beside = {one.what: one for one in physics.findings(own, needed, slices, others, machine)}
    assert beside["forward, times as fast as ASTRA's line projector"].value == 10.0
    assert beside["parallel FBP, times as fast as ASTRA"].value == 4.0
    assert beside["sinogram error over that of ASTRA's line projector"].met is True


def test_the_peak_counts_two_operations_a_multiply_add(monkeypatch: pytest.MonkeyPatch) -> None:
    arithmetic = script("arithmetic")
    # a = 0.999 a + 0.002 from 1 is 2 - 0.999^n, on each of 64 chains.
    assert arithmetic.multiply_add(1000, 3) == pytest.approx([64 * (2 - 0.999**1000)] * 3, rel=1e-4)
    monkeypatch.setattr(arithmetic, "seconds", lambda work: 0.5)
    found = arithmetic.peak(repeats=1)
    assert found.gflops == pytest.approx(2 * 64 * 2e6 * numba.get_num_threads() / 0.5 / 1e9)
    assert found.gb_per_second == pytest.approx(2 * 4 * 2**26 / 0.5 / 1e9)


def test_astra_is_asked_only_where_its_python_is_named() -> None:
    jobs = script("run").jobs
    assert dict(jobs(None))["physics"] == []
    assert dict(jobs(None, "astra/bin/python"))["physics"] == ["--astra", "astra/bin/python"]


def test_the_operations_of_a_graph_convolution_are_those_counted_by_hand() -> None:
    from lowdose.networks.graph_convolution import GraphConvolution

    network = GraphConvolution(width=4, blocks=1, neighbours=3, window=4, rank=1).eval()
    local = 2 * (9 + 25 + 49) + 3 * 2 * 9 * 2 + 3 * 2 * 4  # kernels of 3, 5, 7; 3 x 3 of each; mixed
    embedding, distances = 9 * 4 * 8, 8 * 24 / 2  # to 5 x 5 places but its own, each for two pixels
    layer = 9 * 4 * 4 + 4 * 8 + 4 * 9 + 9 * 4  # 3 x 3; numbers of edges, shares, messages
    edges = 3 * (2 * 8 + 4 * 9)
    by_hand = 2 * (local + embedding + 2 * layer + 9 * 4) + 3 * distances + 2 * edges
    assert len(network.blocks[0].neighbours.offsets) == 24
    assert script("graph_convolution").operations(network, 100) == pytest.approx(100 * by_hand)


def test_what_the_graph_convolution_takes_stands_beside_its_targets() -> None:
    numbers = {"seconds": 2.0, "peak_mb": 3000.0, "floor_s": 0.25}
    slices, memory, floor = script("graph_convolution").findings(numbers)
    assert (slices.met, memory.met, floor.value) == (True, False, 8.0)
