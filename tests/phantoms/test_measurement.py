"""A small phantom with everything in it, drawn finely, blurred by a known Gaussian, with known noise."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lowdose.phantoms.layout import Bars, Insert, Layout, Module, Region, five_regions
from lowdose.phantoms.measurement import (
    blurred_arm,
    check_repeats,
    matching_blur,
    measure,
    module_slices,
    noise_module,
)
from lowdose.phantoms.pose import Pose
from lowdose.phantoms.readings import linearity, readings
from lowdose.phantoms.twins import twin
from lowdose.physics.geometry import ImageGrid, VolumeGrid
from lowdose.scan import Scan

F50 = 0.18739
BLUR_MM, NOISE = 0.8, 15.0
SPACING = (2.0, 0.5, 0.5)
RODS = tuple(
    Insert(f"rod {hu:g}", 30.0, angle, 12.0, hu, (hu - 6.0, hu + 6.0))
    for angle, hu in ((20.0, 400.0), (140.0, -300.0), (-100.0, 1000.0))
)
BACKGROUNDS = (Region("plain 1", 30.0, 80.0, 10.0), Region("plain 2", 30.0, -40.0, 10.0))
LAYOUT = Layout(
    "small",
    "small phantom",
    110.0,
    100.0,
    20.0,
    (
        Module("rods", "sensitometry", 0.0, 12.0, 50.0, RODS, backgrounds=BACKGROUNDS),
        Module("plain", "uniformity", 12.0, 12.0, 5.0, uniform=five_regions(32.0, 14.0)),
        Module(
            "bars", "resolution", 24.0, 12.0, 0.0, backgrounds=(Region("middle", 0.0, 0.0, 20.0),),
            bars=tuple(
                Bars(lp, n, 30.0, angle, 8.0, 12.0, 900.0)
                for lp, n, angle in ((2.0, 3, 0.0), (4.0, 4, 120.0), (6.0, 5, -120.0), (12.0, 5, 60.0))
            ),
        ),
    ),
)  # fmt: skip
POSE = Pose((60.2, 60.9), height=3.0, angle=15.0)
FINE = 3


def turned_twin():
    def moved(item):
        return replace(item, angle=item.angle + POSE.angle)

    modules = tuple(
        replace(m, inserts=tuple(map(moved, m.inserts)), bars=tuple(map(moved, m.bars)))
        for m in LAYOUT.modules
    )
    return twin(replace(LAYOUT, modules=modules))


def pure():
    """Slices 0 to 17 at 0, 2, 4 ... mm without noise, `[z, y, x]`."""
    shape = 242 * FINE
    grid = VolumeGrid((1, shape, shape), (2.0, SPACING[1] / FINE, SPACING[2] / FINE))
    middle = (242 - 1) / 2 * SPACING[1]
    made, found = turned_twin(), {}
    for z in (0, 6, 12):  # one of each module: they are prisms
        shift = (-(z * SPACING[0] - POSE.height), POSE.centre[0] - middle, POSE.centre[1] - middle)
        solids = tuple(solid.moved(shift) for solid in made.solids)
        image = gaussian_filter(
            replace(made, solids=solids).image(grid, 0, fine=1), BLUR_MM / SPACING[1] * FINE
        )
        found[z] = image.reshape(242, FINE, 242, FINE)[:, 1, :, 1]
    order = [0] * 5 + [6] * 6 + [12] * 7
    return np.stack([found[z] for z in order]).astype(np.float32)


@pytest.fixture(scope="module")
def truth():
    return pure()


def scan_of(truth, seed=0, noise=NOISE):
    generator = np.random.default_rng(seed)
    hu = truth + noise * generator.standard_normal(truth.shape, np.float32)
    return Scan.from_array(hu, spacing=SPACING, name=f"scan {seed}")


def slices_of(scan, by_hand=None):
    return module_slices(scan, LAYOUT, POSE, (0, len(scan) - 1), by_hand or {})


@pytest.fixture(scope="module")
def arm(truth):
    scan = scan_of(truth)
    return measure("scan", [scan], LAYOUT, POSE, slices_of(scan))


def value(arm, measure, item=""):
    """The number of that name; of the first module that has it."""
    return next(one.value for one in readings(arm) if (one.measure, one.item) == (measure, item))


def test_every_module_is_measured_in_its_own_slices(truth):
    # Modules from -3 to 9, 9 to 21 and 21 to 33 mm, a millimetre off their ends and by whole slices.
    assert slices_of(scan_of(truth)) == {
        "rods": (0, 1, 2, 3),
        "plain": (6, 7, 8, 9),
        "bars": (11, 12, 13, 14, 15, 16),
    }
    assert slices_of(scan_of(truth), {"plain": (7, 8)})["plain"] == (7, 8)
    part = Scan.from_array(truth[:5], spacing=SPACING)
    found = measure("part", [part], LAYOUT, POSE, slices_of(part))
    assert [one.module.name for one in found.modules] == ["rods"]
    assert found.notes == tuple(
        f"{name} lies outside the scan and is not measured" for name in ("plain", "bars")
    )


def test_hu_noise_and_contrast_are_those_that_were_put_in(arm):
    for rod in RODS:
        assert value(arm, "mean", rod.name) == pytest.approx(rod.hu, abs=3.0)
        assert value(arm, "contrast", rod.name) == pytest.approx(rod.hu - 50.0, abs=4.0)
    assert value(arm, "mean", "background") == pytest.approx(50.0, abs=1.5)
    assert value(arm, "noise", "background") == pytest.approx(NOISE, rel=0.05)
    assert value(arm, "contrast to noise", "rod 400") == pytest.approx(350 / NOISE, rel=0.05)
    assert arm.noise == pytest.approx(NOISE, rel=0.03)
    assert value(arm, "HU linearity, slope") == pytest.approx(1.0, abs=0.003)
    assert value(arm, "HU linearity, intercept") == pytest.approx(0.0, abs=1.5)
    assert linearity(arm.of("plain")) is None
    within = {one.item: one.passes for one in readings(arm) if one.measure == "mean" and one.module == "rods"}
    assert within == {"rod 400": True, "rod -300": True, "rod 1000": True, "background": None}


def test_rods_and_bars_show_the_blur_that_was_put_in(arm):
    for rod in RODS:
        assert value(arm, "task transfer, f50", rod.name) == pytest.approx(F50 / BLUR_MM, rel=0.03)
    bars = arm.of("bars").bars
    assert list(bars) == ["2 lp/cm", "4 lp/cm", "6 lp/cm"]  # 12 lp/cm are finer than the pixels
    for group in bars.values():
        expected = np.exp(-2 * (np.pi * BLUR_MM * group.frequency) ** 2)
        assert group.transfer == pytest.approx(expected, abs=0.02)
    assert value(arm, "bars, finest resolved") == pytest.approx(4.0)


def test_the_noise_power_is_that_of_white_noise_at_centre_and_edge(arm):
    spectra = arm.of("plain").spectra
    assert set(spectra) == {"centre", "edge"}
    for spectrum in spectra.values():
        assert spectrum.radial.power[3:].mean() == pytest.approx(NOISE**2 * 0.25, rel=0.05)
        assert spectrum.radial.mean_frequency == pytest.approx(
            0.5, abs=0.04
        )  # the trend takes coarse noise along


def test_uniformity_is_told_by_the_edges(truth):
    shaded = truth.copy()
    shaded[6:10, :, 150:] += 7.0
    scan = scan_of(shaded, noise=2.0)
    found = measure("shaded", [scan], LAYOUT, POSE, slices_of(scan))
    assert value(found, "uniformity, largest difference") == pytest.approx(7.0, abs=0.3)
    assert value(found, "uniformity index") == pytest.approx(100 * 7 / 1005, abs=0.03)
    (judged,) = [one for one in readings(found) if one.measure == "uniformity, largest difference"]
    assert judged.passes is False


def test_of_repeats_only_what_differs_is_noise(truth):
    streaks = 60 * np.random.default_rng(9).standard_normal(truth.shape, np.float32)
    scans = [scan_of(truth + streaks, seed) for seed in range(4)]
    found = measure("repeats", scans, LAYOUT, POSE, slices_of(scans[0]))
    assert found.n_repeats == 4
    assert found.of("plain").n_images == 16
    assert found.noise == pytest.approx(NOISE, rel=0.03)
    check_repeats(scans, LAYOUT, POSE, slices_of(scans[0]), "repeats")
    with pytest.raises(
        ValueError, match=r"the 2 series of 'both' are no repeats .* give each dose or method as"
    ):
        check_repeats([scan_of(truth), scan_of(truth, noise=30.0)], LAYOUT, POSE, slices_of(scans[0]), "both")


def test_the_control_has_the_noise_of_the_arm_and_the_sharpness_of_its_blur(truth, arm):
    scan = scan_of(truth)
    chosen = slices_of(scan)
    quiet = measure("quiet", [scan_of(truth, 5, noise=5.0)], LAYOUT, POSE, chosen)
    control = blurred_arm(arm, quiet, [scan], LAYOUT, POSE, chosen)
    assert control.name == "scan, blurred to the noise of quiet"
    assert control.noise == pytest.approx(quiet.noise, rel=0.05)
    assert control.blur == pytest.approx(NOISE / 5 / (2 * np.sqrt(np.pi)), rel=0.06)  # of white noise
    expected = F50 / np.hypot(BLUR_MM, control.blur * SPACING[1])
    assert value(control, "task transfer, f50", "rod 1000") == pytest.approx(expected, rel=0.04)
    with pytest.raises(ValueError, match="ask for less than there is"):
        matching_blur([scan], LAYOUT, POSE, chosen, 20.0)


def test_faint_rods_have_no_resolution_and_are_told_about():
    faint = Insert("faint", 20.0, 0.0, 10.0, 6.0)
    module = Module(
        "faint", "low contrast", 0.0, 10.0, 0.0, (faint,), backgrounds=(Region("b", 20.0, 180.0, 8.0),)
    )
    layout = Layout("f", "faint", 80.0, 80.0, 0.0, (module,))
    grid = ImageGrid((160, 160), (0.5, 0.5))
    y, x = (np.arange(n) * 0.5 - 39.75 for n in grid.shape)
    image = 6.0 * (np.hypot(y[:, None], x[None] - 20.0) <= 5.0)
    noise = np.random.default_rng(0).standard_normal((4, 160, 160))
    pose = Pose((39.75, 39.75), height=3.0)
    found = {}
    for sigma in (20.0, 1.5, 0.1):
        scan = Scan.from_array(image + sigma * noise, spacing=(2.0, 0.5, 0.5))
        slices = module_slices(scan, layout, pose, (0, 3), {"faint": (0, 3)})
        found[sigma] = measure("a", [scan], layout, pose, slices).of("faint")
    assert not found[20.0].transfers
    assert not found[1.5].transfers
    assert "times the noise of the averaged image, too little for its resolution" in found[1.5].notes[0]
    assert found[0.1].transfers["faint"].contrast == pytest.approx(6.0, rel=0.05)
    assert found[20.0].contrasts["faint"] == pytest.approx(6.0, abs=6 * 20 / np.sqrt(4 * 150))


def test_noise_is_measured_where_it_is_uniform():
    assert noise_module(LAYOUT.modules).name == "plain"
    assert noise_module(LAYOUT.modules[:1]).name == "rods"
    assert noise_module([]) is None
