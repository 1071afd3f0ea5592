import math

import numpy as np
import pytest

from lowdose.phantoms.layout import Insert, Module, Region, five_regions
from lowdose.phantoms.measurement import ArmMeasurement
from lowdose.phantoms.module_measurement import ModuleMeasurement
from lowdose.phantoms.readings import PROTOCOL, Reading, linearity, readings
from lowdose.quality.bars import BarTransfer
from lowdose.quality.uniformity import Circle

NOTHING = np.zeros((2, 2), np.float32)
BANDS = {-100.0: None, 0.0: (-7.0, 7.0), 500.0: (490.0, 510.0)}
RODS = tuple(Insert(f"rod {hu:g}", 30.0, 0.0, 10.0, hu, band) for hu, band in BANDS.items())
SENSITOMETRY = Module(
    "rods", "sensitometry", 0.0, 10.0, 20.0, RODS, backgrounds=(Region("b", 30.0, 90.0, 10.0),)
)
UNIFORM = Module("plain", "uniformity", 20.0, 10.0, 0.0, uniform=five_regions(40.0, 10.0))


def arm(*modules):
    return ArmMeasurement("scan", modules, 1)


def measured(module, circles, **rest):
    return ModuleMeasurement(module, (0,), 1, NOTHING, NOTHING, circles, **rest)


def rods():
    values = {"rod -100": (-108.0, 5.0), "rod 0": (2.0, 6.0), "rod 500": (512.0, 7.0), "b": (20.0, 10.0)}
    circles = {name: Circle(mean, noise, 50) for name, (mean, noise) in values.items()}
    return measured(SENSITOMETRY, circles, contrasts={"rod 500": 480.0})


def named(found, measure, item=""):
    (one,) = [one for one in found if (one.measure, one.item) == (measure, item)]
    return one


def test_a_number_passes_from_one_bound_to_the_other():
    def judged(value, low, high):
        return Reading("a", "m", "mean", "x", value, "HU", 0.0, low, high).passes

    assert judged(1.0, None, None) is None
    assert [judged(value, -7.0, 7.0) for value in (-7.1, -7.0, 7.0, 7.1)] == [False, True, True, False]
    assert [judged(value, None, 5.0) for value in (-99.0, 5.0, 5.1)] == [True, True, False]
    assert judged(math.nan, None, 5.0) is False


def test_inserts_are_held_against_their_nominal_hu():
    found = readings(arm(rods()))
    assert named(found, "mean", "rod 0") == Reading(
        "scan", "rods", "mean", "rod 0", 2.0, "HU", 0.0, -7.0, 7.0
    )
    assert named(found, "mean", "rod 500").passes is False
    assert named(found, "mean", "rod -100").passes is None
    assert named(found, "contrast", "rod 500").expected == 480.0
    assert named(found, "contrast to noise", "rod 500").value == pytest.approx(48.0)
    slope, intercept = np.polyfit([-100, 0, 500], [-108, 2, 512], 1)
    assert named(found, "HU linearity, slope").value == pytest.approx(slope)
    assert named(found, "HU linearity, intercept").value == pytest.approx(intercept)


def test_two_inserts_make_no_line():
    part = rods()
    few = {name: circle for name, circle in part.circles.items() if name != "rod 0"}
    assert linearity(measured(SENSITOMETRY, few)) is None


def test_uniformity_by_hand():
    values = {"centre": (0, 10), "right": (6, 8), "bottom": (1, 9), "left": (-2, 9), "top": (0, 9)}
    circles = {name: Circle(float(mean), float(noise), 9) for name, (mean, noise) in values.items()}
    found = readings(arm(measured(UNIFORM, circles)))
    worst = named(found, "uniformity, largest difference")
    assert (worst.value, worst.passes) == (6.0, False)
    assert named(found, "integral non-uniformity").value == pytest.approx(8 / 2004)
    assert named(found, "uniformity index").value == pytest.approx(0.6)
    assert named(found, "noise non-uniformity").value == pytest.approx(2 / 18)


def test_bars_are_resolved_up_to_the_first_that_is_lost():
    bars = {
        f"{10 * f:g} lp/cm": BarTransfer(f, t, 0.01, 900.0) for f, t in ((0.4, 0.6), (0.5, 0.3), (0.6, 0.01))
    }
    module = Module("bars", "resolution", 0.0, 10.0, 0.0)
    found = readings(arm(measured(module, {}, bars=bars)))
    assert named(found, "bars, finest resolved").value == pytest.approx(5.0)
    assert named(found, "bars, modulation transfer", "4 lp/cm").value == 0.6


def test_every_protocol_line_has_a_name():
    assert all(": " in line for line in PROTOCOL)
