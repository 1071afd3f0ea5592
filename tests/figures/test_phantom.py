import re

import numpy as np
import pytest

from lowdose.figures.phantom import (
    bars_figure,
    linearity_figure,
    low_contrast_figure,
    plane_spectrum_figure,
    regions_figure,
    sharpness_by_contrast,
    spectra_figure,
    transfer_figure,
    uniformity_figure,
)
from lowdose.phantoms.layout import Bars, Insert, Module, Region, five_regions
from lowdose.phantoms.measurement import ArmMeasurement
from lowdose.phantoms.module_measurement import ModuleMeasurement, Spectrum
from lowdose.phantoms.pose import Pose
from lowdose.quality.bars import BarTransfer
from lowdose.quality.resolution import TaskTransfer
from lowdose.quality.spectra import RadialSpectrum
from lowdose.quality.uniformity import Circle

RODS = tuple(Insert(f"rod {hu:g}", 30.0, angle, 12.0, hu, (hu - 9, hu + 9)) for hu, angle in
             ((-500.0, 0.0), (100.0, 120.0), (900.0, 240.0)))  # fmt: skip
MODULE = Module(
    "all", "sensitometry", 0.0, 10.0, 0.0, RODS, (), (Bars(2.0, 3, 20.0, 60.0, 6.0, 9.0, 900.0),),
    (Region("b", 30.0, 60.0, 8.0),), five_regions(20.0, 8.0),
)  # fmt: skip
FREQUENCIES = np.linspace(0.0, 1.0, 51)
NAMES = ("the <scan>", "quiet & sharp")
COLOURS = dict(zip(NAMES, ("#111111", "#222222"), strict=True))


def transfer(f50, contrast):
    curve = np.exp(-np.log(2) * (FREQUENCIES / f50) ** 2)
    return TaskTransfer(FREQUENCIES, curve, (0.0, 0.0), 6.0, contrast, 5.0)


def arm(name, shift):
    circles = {one.name: Circle(one.hu + shift, 5.0, 100) for one in RODS}
    circles |= {one.name: Circle(shift, 4.0, 100) for one in (*MODULE.uniform, *MODULE.backgrounds)}
    radial = RadialSpectrum(FREQUENCIES[1:], 50 + shift + 0 * FREQUENCIES[1:])
    power = np.full((8, 8), 50.0)
    measured = ModuleMeasurement(
        MODULE, (2, 3), 2, np.zeros((80, 80), np.float32), np.zeros((80, 80), np.float32), circles,
        {one.name: one.hu + shift for one in RODS},
        {one.name: transfer(0.4 + shift / 100, one.hu) for one in RODS},
        {"2 lp/cm": BarTransfer(0.2, 0.8 - shift / 100, 0.02, 900.0)},
        {"centre": Spectrum(power, radial, 8, 4), "edge": Spectrum(power, radial, 8, 4)},
    )  # fmt: skip
    return ArmMeasurement(name, (measured,), 1)


ARMS = [arm(NAMES[0], 0.0), arm(NAMES[1], 10.0)]
FIGURES = {
    "linearity": linearity_figure(ARMS, "all", COLOURS),
    "transfer": transfer_figure(ARMS, "all", "rod 100", COLOURS),
    "by contrast": sharpness_by_contrast(ARMS, "all", COLOURS),
    "spectra": spectra_figure(ARMS, "all", COLOURS),
    "bars": bars_figure(ARMS, "all", COLOURS),
    "uniformity": uniformity_figure(ARMS, "all", COLOURS),
    "low contrast": low_contrast_figure(ARMS, "all", COLOURS),
    "plane": plane_spectrum_figure(ARMS[0].of("all"), NAMES[0], COLOURS),
    "regions": regions_figure(ARMS[0].of("all"), Pose((40.0, 40.0)), (2.0, 1.0, 1.0), 38.0),
}


def points(figure, gid):
    """x and y of the markers or of the line of one group, in the drawing's own units."""
    group = re.search(rf'<g id="{gid}">(.*?)</g>\s*(?=<g id=|</g>)', figure.svg, re.DOTALL)
    assert group, gid
    uses = re.findall(r'<use [^>]*?x="([-\d.]+)" y="([-\d.]+)"', group[1])
    path = re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", group[1])
    return np.array(uses or path, float)


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_a_drawing_is_one_element_without_the_names_of_arms(figure):
    assert figure.svg.startswith("<svg")
    assert figure.svg.count("<svg") == figure.svg.count("</svg>") == 1
    assert not any(word in figure.svg for word in ("scan&gt;", "<scan>", "quiet"))
    assert figure.caption
    assert figure.alt


def test_arms_are_in_the_legend_with_their_colours():
    assert FIGURES["linearity"].legend == tuple(COLOURS.items())
    assert FIGURES["plane"].legend == ((NAMES[0], COLOURS[NAMES[0]]),)
    assert [words for words, _ in FIGURES["regions"].legend] == [
        "inserts",
        "background",
        "uniformity",
        "bars",
    ]


def test_a_shift_of_ten_hu_is_drawn_as_ten():
    """The drawing of the shifted arm lies above the other by the same everywhere."""
    first, second = (points(FIGURES["linearity"], f"linearity-{k}") for k in (0, 1))
    assert len(first) == len(RODS)
    assert first[:, 0] == pytest.approx(second[:, 0])
    rise = first[:, 1] - second[:, 1]
    assert rise == pytest.approx(rise[0])
    assert rise[0] > 0


def test_curves_fall_where_the_transfer_falls():
    drawn = points(FIGURES["transfer"], "transfer-0")
    assert (np.diff(drawn[:, 0]) > 0).all()
    assert (np.diff(drawn[:, 1]) >= 0).all()  # down the page
    assert "+100 HU" in FIGURES["transfer"].title
    assert "slope 1.0000" in FIGURES["linearity"].caption


def test_one_insert_makes_no_curve_over_contrasts():
    single = ARMS[0].of("all")
    few = ModuleMeasurement(MODULE, (2,), 1, single.example, single.mean, single.circles, {},
                            {"rod 100": transfer(0.4, 100.0)})  # fmt: skip
    assert sharpness_by_contrast([ArmMeasurement(NAMES[0], (few,), 1)], "all", COLOURS) is None


def test_regions_lie_where_the_pose_puts_them():
    """Every insert, background and uniform region, and every group of bars, is a circle."""
    n_circles = len(RODS) + len(MODULE.backgrounds) + len(MODULE.uniform) + len(MODULE.bars)
    drawn = re.findall(r'<path d="M [^"]*C[^"]*"[^>]*style="[^"]*fill: none', FIGURES["regions"].svg)
    assert len(drawn) == n_circles
    assert "Slices 3 to 4" in FIGURES["regions"].caption
    assert "data:image/png;base64," in FIGURES["regions"].svg
