"""Measurements written down by hand, and what is drawn of them, read back in the units of the axes."""

from __future__ import annotations

import base64
import io
import math
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from lowdose.figures import INPUT_COLOUR, REFERENCE_COLOUR, RESULT_COLOURS
from lowdose.figures.any_object import (
    object_spectra,
    places_figure,
    rod_transfers,
    structures_figure,
    truth_transfer_figure,
)
from lowdose.figures.phantom import (
    bars_figure,
    linearity_figure,
    low_contrast_figure,
    plane_spectrum_figure,
    regions_figure,
    sharpness_by_contrast,
    shows_faint_rods,
    spectra_figure,
    transfer_figure,
    uniformity_figure,
)
from lowdose.phantoms.any_object import Material, ObjectMeasurement, Structure
from lowdose.phantoms.layout import Bars, Insert, Layout, Module, Region, five_regions
from lowdose.phantoms.measurement import ArmMeasurement
from lowdose.phantoms.module_measurement import INNER_SHARE, ModuleMeasurement, Spectrum
from lowdose.phantoms.places import Places, Rod, Squares
from lowdose.phantoms.pose import Pose
from lowdose.quality.bars import BarTransfer
from lowdose.quality.resolution import TaskTransfer
from lowdose.quality.spectra import RadialSpectrum, radial_average
from lowdose.quality.truth_transfer import TruthTransfer
from lowdose.quality.uniformity import Circle

SPACING = (2.0, 1.0, 1.0)
POSE = Pose((68.0, 72.0), height=4.0, angle=30.0)
SHAPE = (140, 144)
NAN = float("nan")
INSERTS = (
    Insert("air", 30.0, 0.0, 12.0, -1000.0, (-1010.0, -980.0)),
    Insert("foam", 30.0, 90.0, 12.0, -300.0, (-310.0, -290.0)),
    Insert("soft", 30.0, 180.0, 12.0, 100.0),
    Insert("bone", 30.0, 270.0, 6.0, 1000.0, (980.0, 1020.0)),
)
FAINT = (Insert("4 mm, 5 HU", 25.0, 0.0, 4.0, 5.0), Insert("9 mm, 3 HU", 25.0, 120.0, 9.0, 3.0))
LAYOUT = Layout(
    "small", "Small phantom", 110.0, 100.0, 0.0,
    (
        Module("rods", "sensitometry", 0.0, 8.0, 0.0, INSERTS, backgrounds=(Region("by", 28.0, 45.0, 8.0),)),
        Module("plain", "uniformity", 8.0, 8.0, 0.0, uniform=five_regions(32.0, 14.0)),
        Module("faint", "low contrast", 16.0, 8.0, 0.0, FAINT, backgrounds=(Region("back", 0.0, 0.0, 9.0),)),
        Module(
            "bars", "resolution", 24.0, 8.0, 0.0,
            bars=tuple(Bars(lp, 4, 30.0, 60.0 * lp, 8.0, 12.0, 900.0) for lp in (2.0, 4.0, 6.0)),
        ),
    ),
)  # fmt: skip


def rod_transfer(width: float, contrast: float, noise: float = 10.0) -> TaskTransfer:
    frequencies = np.linspace(0.0, 0.5, 101)
    curve = np.exp(-2 * (np.pi * width * frequencies) ** 2)
    return TaskTransfer(frequencies, curve, (0.0, 0.0), 6.0, contrast, noise)


def spectrum(side: int, level: float) -> Spectrum:
    """Power that falls along x from twice the level to nothing and is the same everywhere along y."""
    falls = 2.0 * level * (1.0 - np.abs(np.fft.fftfreq(side, SPACING[2])) / 0.5)
    power = np.broadcast_to(falls, (side, side)).copy()
    return Spectrum(power, radial_average(power, SPACING[1:]), side, 9)


def arm_of(name: str, offset: float = 0.0, noise: float = 10.0, width: float = 0.8, **rest) -> ArmMeasurement:
    """An arm that reads `offset` HU too much."""
    rods, plain, faint, bars = LAYOUT.modules
    example = np.zeros(SHAPE, np.float32)

    def measured(module: Module, first: int, **found) -> ModuleMeasurement:
        regions = (*module.inserts, *module.backgrounds, *module.uniform)
        circles = {
            one.name: Circle(getattr(one, "hu", module.hu) + offset, noise + k, 100)
            for k, one in enumerate(regions)
        }
        return ModuleMeasurement(module, (first, first + 1, first + 2), 3, example, example, circles, **found)

    return ArmMeasurement(
        name,
        (
            measured(
                rods, 0, contrasts={one.name: one.hu for one in INSERTS},
                transfers={
                    one.name: rod_transfer(width + 0.1 * k * width, one.hu) for k, one in enumerate(INSERTS)
                },
            ),
            measured(plain, 4, spectra={"centre": spectrum(16, noise), "edge": spectrum(16, 2 * noise)}),
            measured(faint, 8, contrasts={one.name: one.hu + 0.1 * offset for one in FAINT}),
            measured(
                bars, 12,
                bars={
                    one.name: BarTransfer(lp / 10, 1 - lp / 8, 0.04, 900.0)
                    for one in bars.bars
                    for lp in [one.line_pairs_per_cm]
                },
            ),
        ),
        rest.pop("n_repeats", 1),
        **rest,
    )  # fmt: skip


ARMS = (arm_of("scan", 2.0), arm_of("denoised", -3.0, noise=5.0, width=1.1))
COLOURS = {"scan": INPUT_COLOUR, "denoised": RESULT_COLOURS[0]}


def object_of(name: str, noise: float = 20.0, width: float = 0.8, **rest) -> ObjectMeasurement:
    materials = {
        "40 HU": Material(
            40.0, noise, 50, {"centre": spectrum(16, noise), "edge": spectrum(16, noise / 2)}
        ),
        "−100 HU": Material(-99.5, 2 * noise, 9, {"edge": spectrum(16, noise)}),
    }  # fmt: skip
    rods = {
        "12 mm, −1000 HU": (rod_transfer(width, -1040.0), rod_transfer(1.1 * width, -1050.0)),
        "8 mm, +900 HU": (rod_transfer(1.2 * width, 910.0),),
    }
    examples = {z: np.full((64, 80), 40.0 + z, np.float32) for z in (1, 3)}
    return ObjectMeasurement(
        name,
        materials,
        rods,
        rest.pop("structures", ()),
        rest.pop("transfer", None),
        examples,
        1,
        **rest,
    )


OBJECTS = (object_of("scan"), object_of("denoised", noise=9.0, width=1.3))
PLACES = Places(
    16,
    (40.0, -100.0),
    {
        1: Squares(
            np.array([[4, 6], [20, 30], [40, 50]]), np.array([0, 0, 1]), np.array([False, True, True])
        ),
        3: Squares(np.array([[8, 8]]), np.array([0]), np.array([False])),
    },
    (Rod(1, (24.0, 50.0), 6.0, 10.0, -1000.0, 40.0), Rod(3, (20.0, 20.0), 4.0, 8.0, -1000.0, 40.0)),
)


# Reading a drawing


def parts(svg: str, tag: str) -> list[ElementTree.Element]:
    return [one for one in ElementTree.fromstring(svg).iter() if one.tag.endswith("}" + tag)]


def named(svg: str, name: str) -> ElementTree.Element:
    (found,) = [one for one in ElementTree.fromstring(svg).iter() if one.get("id") == name]
    return found


_BASE_LINE = 3.418945


def axis(svg: str, letter: str) -> tuple[float, float]:
    """Slope and intercept that turn places in the drawing into values of an axis, by its first and last tick.

    Ticks that are words count from 0.
    """
    found = []
    for k in range(1, 20):
        ticks = [one for one in ElementTree.fromstring(svg).iter() if one.get("id") == f"{letter}tick_{k}"]
        for tick in ticks:
            label = "".join(tick.itertext()).strip().replace("−", "-")
            value = float(label) if re.fullmatch(r"-?[\d.]+", label) else float(k - 1)
            uses = [one for one in tick.iter() if one.tag.endswith("}use")]
            lines = [one for one in tick.iter() if one.tag.endswith("}path") and one.get("clip-path")]
            if uses or lines:
                at = float(uses[0].get(letter)) if uses else float(lines[0].get("d").split()[2])
            else:  # a label alone, whose base line is this much below its middle
                (text,) = [one for one in tick.iter() if one.tag.endswith("}text")]
                at = float(text.get(letter)) - _BASE_LINE
            found.append((at, value))
    (first, low), (last, high) = found[0], found[-1]
    slope = (high - low) / (last - first)
    return slope, low - slope * first


def drawn(svg: str, name: str) -> np.ndarray:
    """The points `[point, (x, y)]` of the named line or dots, in the units of the axes."""
    group = named(svg, name)
    marks = [(one.get("x"), one.get("y")) for one in group.iter() if one.tag.endswith("}use")]
    lines = [one.get("d") for one in group.iter() if one.tag.endswith("}path") and one.get("clip-path")]
    places = np.array(marks or re.findall(r"[ML] (\S+) (\S+)", lines[0]), float)
    (a, b), (c, d) = axis(svg, "x"), axis(svg, "y")
    return places * (a, c) + (b, d)


def outlines(svg: str, colour: str) -> np.ndarray:
    """Middle and size `[shape, (x, y, width, height)]` of all outlines of a colour, as drawn."""
    found = []
    for path in parts(svg, "path"):
        if f"stroke: {colour}" in path.get("style", ""):
            numbers = np.array(re.findall(r"-?\d+\.?\d*", path.get("d")), float).reshape(-1, 2)
            low, high = numbers.min(axis=0), numbers.max(axis=0)
            found.append([*(low + high) / 2, *(high - low)])
    return np.array(found).reshape(-1, 4)


def picture(svg: str) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Grey values `[y, x]` of the image, upright, and where it is: left, top, width, height."""
    (image,) = parts(svg, "image")
    data = base64.b64decode(image.get("{http://www.w3.org/1999/xlink}href").split("base64,")[1])
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), float).mean(axis=2)[::-1]
    x, y, width, height = (float(image.get(key)) for key in ("x", "y", "width", "height"))
    shift = re.fullmatch(r"scale\(1 -1\) translate\(0 (\S+)\)", image.get("transform"))
    return pixels, (x, -(y + height + float(shift[1])), width, height)


def to_scale(places: np.ndarray, true: np.ndarray) -> None:
    """`places` in a drawing `[point, (x, y)]` are `true` ones times one factor, and moved."""
    ones, zeros = np.ones(len(true)), np.zeros(len(true))
    design = np.concatenate(
        [np.column_stack([true[:, 0], ones, zeros]), np.column_stack([true[:, 1], zeros, ones])]
    )
    values = np.concatenate([places[:, 0], places[:, 1]])
    solution = np.linalg.lstsq(design, values, rcond=None)[0]
    assert solution[0] > 0
    assert design @ solution == pytest.approx(values, abs=0.02)


# A phantom


def test_measured_less_nominal_hu_is_drawn_at_the_nominal_hu_with_the_bands():
    figure = linearity_figure(ARMS, "rods", COLOURS)
    nominal = [one.hu for one in INSERTS]
    for k, offset in enumerate((2.0, -3.0)):
        points = drawn(figure.svg, f"linearity-{k}")
        assert points[:, 0] == pytest.approx(nominal, abs=1.0)
        assert points[:, 1] == pytest.approx([offset] * 4, abs=0.02)
    slope, _ = axis(figure.svg, "y")
    heights = outlines(figure.svg, "#dfe4e9; stroke-width: 9")[:, 3] * abs(slope)
    assert heights == pytest.approx([30.0, 20.0, 40.0], abs=0.1)
    assert figure.caption.endswith("The line of the first image: slope 1.0000, intercept +2.0 HU.")


def test_inserts_that_an_arm_does_not_show_are_left_out():
    rods = ARMS[1].of("rods")
    circles = {name: one for name, one in rods.circles.items() if name != "foam"}
    lacking = replace(ARMS[1], modules=(replace(rods, circles=circles), *ARMS[1].modules[1:]))
    svg = linearity_figure((ARMS[0], lacking), "rods", COLOURS).svg
    assert len(drawn(svg, "linearity-0")) == 4
    assert drawn(svg, "linearity-1")[:, 0] == pytest.approx([-1000.0, 100.0, 1000.0], abs=1.0)


def test_the_task_transfer_is_drawn_for_every_arm_that_has_it():
    figure = transfer_figure(ARMS, "rods", "foam", COLOURS)
    assert figure.title == "Sharpness at −300 HU"
    assert "“foam”" in figure.caption
    for k, arm in enumerate(ARMS):
        line, found = drawn(figure.svg, f"transfer-{k}"), arm.of("rods").transfers["foam"]
        assert line[0] == pytest.approx((0.0, 1.0), abs=2e-3)
        assert line[:, 1] == pytest.approx(np.interp(line[:, 0], found.frequencies, found.transfer), abs=3e-3)
    faint = replace(ARMS[0].of("rods"), transfers={})
    without = replace(ARMS[0], modules=(faint, *ARMS[0].modules[1:]))
    alone = transfer_figure((without, ARMS[1]), "rods", "foam", COLOURS)
    assert alone.legend == (("denoised", RESULT_COLOURS[0]),)
    assert "transfer-1" not in alone.svg


def test_f50_is_drawn_at_the_contrast_of_every_insert():
    figure = sharpness_by_contrast(ARMS, "rods", COLOURS)
    slope, _ = axis(figure.svg, "y")
    order = sorted(range(4), key=lambda k: INSERTS[k].hu)
    for number, width in enumerate((0.8, 1.1)):
        expected = [math.sqrt(math.log(2) / 2) / (math.pi * width * (1 + 0.1 * k)) for k in order]
        assert drawn(figure.svg, f"f50-{number}")[:, 1] == pytest.approx(expected, rel=0.01)
    assert slope < 0
    # The axis is not linear, but it has ticks at just these contrasts.
    ticks = {
        "".join(tick.itertext()).strip(): next(
            float(one.get("x")) for one in tick.iter() if one.tag.endswith("}use")
        )
        for k in range(1, 9)
        for tick in [named(figure.svg, f"xtick_{k}")]
    }
    marks = [float(one.get("x")) for one in named(figure.svg, "f50-0").iter() if one.tag.endswith("}use")]
    assert marks == pytest.approx([ticks[name] for name in ("−1000", "−300", "100", "1000")], abs=0.01)


def test_one_insert_says_nothing_of_contrast():
    rods = ARMS[0].of("rods")
    one = replace(rods, transfers={"foam": rods.transfers["foam"]})
    assert sharpness_by_contrast([replace(ARMS[0], modules=(one,))], "rods", COLOURS) is None
    lost = replace(rods.transfers["air"], transfer=np.ones(101))  # never falls to a half
    two = replace(rods, transfers={"foam": rods.transfers["foam"], "air": lost})
    assert sharpness_by_contrast([replace(ARMS[0], modules=(two,))], "rods", COLOURS) is None


def test_spectra_are_drawn_at_centre_and_edge():
    svg = spectra_figure(ARMS, "plain", COLOURS).svg
    for k, arm in enumerate(ARMS):
        for part in ("centre", "edge"):
            radial = arm.of("plain").spectra[part].radial
            line = drawn(svg, f"spectrum-{part}-{k}")
            assert line[:, 0] == pytest.approx(radial.frequencies, abs=2e-3)
            assert line[:, 1] == pytest.approx(radial.power, abs=0.1)
            dashed = "stroke-dasharray" in next(
                one.get("style") for one in named(svg, f"spectrum-{part}-{k}").iter() if one.get("style")
            )
            assert dashed == (part == "edge")


def test_the_plane_of_frequencies_has_its_axes_at_its_pixels():
    """A peak at 3/16 per mm across and -5/16 down is where the axes say so."""
    side, power = 16, np.zeros((16, 16))
    power[-5, 3] = 1.0
    one = Spectrum(power, radial_average(power, SPACING[1:]), side, 1)
    plain = replace(ARMS[0].of("plain"), spectra={"centre": one})
    figure = plane_spectrum_figure(plain, "scan", COLOURS)
    pixels, (left, top, width, height) = picture(figure.svg)
    y, x = (found.mean() + 0.5 for found in np.nonzero(pixels > 0.9 * pixels.max()))
    (a, b), (c, d) = axis(figure.svg, "x"), axis(figure.svg, "y")
    assert a * (left + x / pixels.shape[1] * width) + b == pytest.approx(3 / 16, abs=0.01)
    assert c * (top + y / pixels.shape[0] * height) + d == pytest.approx(-5 / 16, abs=0.01)
    assert figure.legend == (("scan", INPUT_COLOUR),)


def test_bars_are_drawn_in_line_pairs_per_cm_with_their_noise():
    svg = bars_figure(ARMS, "bars", COLOURS).svg
    for k in range(2):
        assert drawn(svg, f"bars-{k}") == pytest.approx(
            np.array([[2.0, 0.75], [4.0, 0.5], [6.0, 0.25]]), abs=5e-3
        )
    slope, _ = axis(svg, "y")
    whiskers = outlines(svg, INPUT_COLOUR + "; stroke-width: 0.9")[:, 3] * abs(slope)
    assert whiskers == pytest.approx([0.08] * 3, abs=2e-3)


def test_uniformity_is_drawn_region_by_region_with_noise():
    svg = uniformity_figure(ARMS, "plain", COLOURS).svg
    slope, _ = axis(svg, "y")
    for k, (offset, noise, colour) in enumerate(((2.0, 10.0, INPUT_COLOUR), (-3.0, 5.0, RESULT_COLOURS[0]))):
        points = drawn(svg, f"uniformity-{k}")
        assert np.rint(points[:, 0]).tolist() == [0, 1, 2, 3, 4]
        assert points[:, 1] == pytest.approx([offset] * 5, abs=0.05)
        whiskers = outlines(svg, colour + "; stroke-width: 0.9")[:, 3] * abs(slope)
        assert whiskers == pytest.approx([2 * (noise + region) for region in range(5)], abs=0.1)
    labels = [one.text for one in parts(svg, "text")]
    assert labels[:5] == ["centre", "right", "bottom", "left", "top"]


def test_faint_rods_are_drawn_by_diameter_with_their_standard_error():
    svg = low_contrast_figure(ARMS[:1], "faint", COLOURS).svg
    assert drawn(svg, "contrast-0") == pytest.approx(np.array([[4.0, 5.2], [9.0, 3.2]]), abs=0.02)
    slope, _ = axis(svg, "y")
    whiskers = outlines(svg, INPUT_COLOUR + "; stroke-width: 0.8")[:, 3] * abs(slope)
    # 100 pixels in 3 images, noise 10 and 11 HU
    assert whiskers == pytest.approx([2 * noise / math.sqrt(300) for noise in (10.0, 11.0)], abs=0.01)
    assert shows_faint_rods(LAYOUT.modules[2])
    assert not shows_faint_rods(LAYOUT.modules[0])


@pytest.mark.parametrize("number", range(4))
def test_regions_are_drawn_where_the_pose_puts_them(number):
    measured = ARMS[0].modules[number]
    height = measured.slices[1] * SPACING[0]
    axis_ = POSE.axis_at(height)
    figure = regions_figure(measured, POSE, SPACING, LAYOUT.diameter / 2)
    module, found, places, sizes = measured.module, [], [], []
    for regions, share, colour in (
        (module.inserts, INNER_SHARE, "#f5a860"), (module.backgrounds, 1.0, "#5bd0e6"),
        (module.uniform, 1.0, "#b5d96a"), (module.bars, 1.0, "#f58fb4"),
    ):  # fmt: skip
        rings = outlines(figure.svg, colour)
        assert len(rings) == len(regions)
        found += rings.tolist()
        places += [POSE.place(one.distance, one.angle, height)[::-1] for one in regions]
        sizes += [
            math.hypot(one.extent, one.length) if isinstance(one, Bars) else share * one.diameter
            for one in regions
        ]
    found, places = np.array(found), np.array(places)
    to_scale(found[:, :2], places)
    assert found[:, 2:] == pytest.approx(found[:, [2, 2]], abs=0.01)  # circles
    assert found[:, 2] / found[0, 2] == pytest.approx(np.array(sizes) / sizes[0], rel=1e-3)
    # The picture goes 1.06 radii around the axis.
    (clip,) = parts(figure.svg, "rect")
    middle = float(clip.get("x")) + float(clip.get("width")) / 2
    scale = float(clip.get("width")) / (2 * 1.06 * LAYOUT.diameter / 2)
    assert found[:, 0] == pytest.approx(middle + (places[:, 0] - axis_[1]) * scale, abs=0.05)
    assert figure.title == module.name
    assert figure.caption.startswith(f"Slices {4 * number + 1} to {4 * number + 3}; shown from ")


def test_the_image_lies_under_its_regions():
    """A bright insert, turned by 30 degrees, is inside of its circle."""
    measured = ARMS[0].of("rods")
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] * 1.0
    place = POSE.place_of(INSERTS[1], 2.0)
    image = (480.0 * np.clip(5.5 - np.hypot(y - place[0], x - place[1]), 0.0, 1.0)).astype(np.float32)
    svg = regions_figure(replace(measured, example=image), POSE, SPACING, LAYOUT.diameter / 2).svg
    pixels, (left, top, width, height) = picture(svg)
    bright = pixels - pixels.min()
    rows, columns = (np.arange(n) + 0.5 for n in pixels.shape)
    at = (
        left + (bright.sum(axis=0) @ columns) / bright.sum() / pixels.shape[1] * width,
        top + (bright.sum(axis=1) @ rows) / bright.sum() / pixels.shape[0] * height,
    )
    assert at == pytest.approx(tuple(outlines(svg, "#f5a860")[1, :2]), abs=0.3)  # a tenth of a pixel


def test_only_large_inserts_are_named_and_one_slice_is_called_so():
    one = replace(ARMS[0].of("rods"), slices=(7,))
    figure = regions_figure(one, POSE, SPACING, 55.0)
    assert {text.text for text in parts(figure.svg, "text")} == {"air", "foam", "soft"}
    assert figure.caption.startswith("Slice 8; ")
    assert [words for words, _ in figure.legend] == ["inserts", "background"]


def test_a_phantom_at_the_border_of_the_image_is_still_drawn_to_scale():
    pose = replace(POSE, centre=(30.0, 110.0))
    rings = outlines(regions_figure(ARMS[0].of("rods"), pose, SPACING, 55.0).svg, "#f5a860")
    places = np.array([pose.place_of(one, 2.0)[::-1] for one in INSERTS])
    to_scale(rings[:, :2], places)


def all_phantom_figures(arms, colours):
    first = arms[0]
    return [
        *(regions_figure(one, POSE, SPACING, 55.0) for one in first.modules),
        linearity_figure(arms, "rods", colours),
        transfer_figure(arms, "rods", "soft", colours),
        sharpness_by_contrast(arms, "rods", colours),
        spectra_figure(arms, "plain", colours),
        plane_spectrum_figure(first.of("plain"), first.name, colours),
        uniformity_figure(arms, "plain", colours),
        low_contrast_figure(arms, "faint", colours),
        bars_figure(arms, "bars", colours),
    ]


# An object without a layout


def test_squares_and_rods_are_drawn_where_they_are():
    figure = places_figure(OBJECTS[0], 1, PLACES, (0.5, 0.5))
    squares = np.concatenate([outlines(figure.svg, colour) for colour in ("#5bd0e6", "#b5d96a")])
    (rod,) = outlines(figure.svg, "#f5a860")
    # Squares of 16 pixels of 0.5 mm, whose places are those of their middles.
    middles = [((x + 8) * 0.5, (y + 8) * 0.5) for y, x in PLACES.squares[1].corners]
    assert len(outlines(figure.svg, "#5bd0e6")) == 2
    places = np.array([*middles, (50.0 + 0.25, 24.0 + 0.25)])
    to_scale(np.array([*squares[:, :2], rod[:2]]), places)
    assert rod[2] / squares[0, 2] == pytest.approx(2 * 6.0 / 8.0, rel=1e-3)
    assert figure.title == "Slice 2"
    assert figure.legend == (("40 HU", "#5bd0e6"), ("−100 HU", "#b5d96a"), ("rods", "#f5a860"))
    assert figure.caption.endswith("Shown from −260 to 340 HU.")


def test_only_what_a_slice_shows_is_in_its_legend():
    assert [words for words, _ in places_figure(OBJECTS[0], 3, PLACES, (0.5, 0.5)).legend] == [
        "40 HU",
        "rods",
    ]
    bare = replace(PLACES, squares={}, materials=(), rods=())
    figure = places_figure(OBJECTS[0], 3, bare, (0.5, 0.5))
    assert figure.legend == ()
    assert figure.caption.endswith("Shown from −160 to 240 HU.")


def test_the_image_lies_under_its_squares():
    image = np.full((64, 80), -260.0, np.float32)
    (y, x), *_ = PLACES.squares[1].corners
    image[y : y + 16, x : x + 16] = 340.0
    svg = places_figure(replace(OBJECTS[0], examples={1: image}), 1, PLACES, (0.5, 0.5)).svg
    pixels, (left, top, width, height) = picture(svg)
    rows, columns = np.nonzero(pixels > 128)
    at = [
        left + (columns.mean() + 0.5) / pixels.shape[1] * width,
        top + (rows.mean() + 0.5) / pixels.shape[0] * height,
    ]
    assert at == pytest.approx(outlines(svg, "#5bd0e6")[0, :2], abs=0.5)


def test_large_images_are_averaged_down():
    coarse = (np.indices((1280, 1280)).sum(axis=0) % 2 * 200.0 - 60.0).astype(np.float32)
    svg = places_figure(replace(OBJECTS[0], examples={1: coarse}), 1, PLACES, (0.1, 0.1)).svg
    inside = picture(svg)[0][20:-20, 20:-20]
    assert inside == pytest.approx(255 / 2, abs=2.0)  # 40 HU, in the middle of the window


def test_spectra_of_a_material_are_drawn_where_there_are_squares():
    figure = object_spectra(OBJECTS, "−100 HU", COLOURS)
    assert figure.title == "Noise by frequency at −100 HU"
    assert "object-spectrum-centre" not in figure.svg
    for k, arm in enumerate(OBJECTS):
        radial = arm.materials["−100 HU"].spectra["edge"].radial
        line = drawn(figure.svg, f"object-spectrum-edge-{k}")
        assert line == pytest.approx(np.column_stack([radial.frequencies, radial.power]), abs=0.1)
    missing = replace(OBJECTS[1], materials={})
    svg = object_spectra((OBJECTS[0], missing), "40 HU", COLOURS).svg
    assert "object-spectrum-centre-0" in svg
    assert "object-spectrum-centre-1" not in svg


def test_every_rod_is_a_line_in_the_colour_of_its_arm():
    kind = "12 mm, −1000 HU"
    figure = rod_transfers(OBJECTS, kind, COLOURS)
    groups = [one for one in ElementTree.fromstring(figure.svg).iter() if one.get("id") == "rod-1"]
    assert len(groups) == 2
    assert figure.svg.count(f"stroke: {RESULT_COLOURS[0]}") == 2
    (single,) = rod_transfers(OBJECTS[:1], "8 mm, +900 HU", COLOURS).legend
    assert single == ("scan", INPUT_COLOUR)
    svg = rod_transfers(OBJECTS[:1], "8 mm, +900 HU", COLOURS).svg
    line = drawn(svg, "rod-0")
    assert line[:, 1] == pytest.approx(np.exp(-2 * (np.pi * 0.96 * line[:, 0]) ** 2), abs=5e-3)


def test_the_transfer_from_the_truth_is_drawn():
    generator = np.random.default_rng(0)
    truth, found = generator.standard_normal((32, 32)), TruthTransfer((32, 32), (0.5, 0.5))
    found.add(0.5 * truth, truth)
    arms = (replace(OBJECTS[0], transfer=found), OBJECTS[1])
    svg = truth_transfer_figure(arms, COLOURS).svg
    assert drawn(svg, "truth-0") == pytest.approx(
        np.column_stack([found.frequencies, found.transfer]), abs=5e-3
    )
    assert "truth-1" not in svg


def test_structures_are_drawn_by_how_far_they_are_off():
    one = (Structure("liver", 60.0, 63.5, 9.0, 900), Structure("lung", -850.0, -846.0, 20.0, 900))
    other = (Structure("lung", -850.0, -855.0, 20.0, 900),)
    arms = (replace(OBJECTS[0], structures=one), replace(OBJECTS[1], structures=other))
    svg = structures_figure(arms, COLOURS).svg
    first, second = drawn(svg, "structures-0"), drawn(svg, "structures-1")
    assert first == pytest.approx(np.array([[-0.07, 3.5], [0.93, 4.0]]), abs=0.05)
    assert second == pytest.approx(np.array([[1.07, -5.0]]), abs=0.05)


def all_object_figures(arms, colours):
    structures = (Structure("liver", 60.0, 63.5, 9.0, 900),)
    found = TruthTransfer((32, 32), (0.5, 0.5))
    truth = np.random.default_rng(0).standard_normal((32, 32))
    found.add(truth, truth)
    arms = [replace(arm, structures=structures, transfer=found) for arm in arms]
    return [
        places_figure(arms[0], 1, PLACES, (0.5, 0.5)),
        object_spectra(arms, "40 HU", colours),
        rod_transfers(arms, "12 mm, −1000 HU", colours),
        truth_transfer_figure(arms, colours),
        structures_figure(arms, colours),
    ]


# All of them


FIRST, SECOND = "<b>$x^2_&", "</svg>qq"
"""Dollar signs would be typeset as mathematics, and angle brackets are for the page to escape."""


@pytest.fixture(scope="module")
def every_figure():
    colours = {FIRST: REFERENCE_COLOUR, SECOND: RESULT_COLOURS[1]}
    phantoms = [replace(ARMS[0], name=FIRST), replace(ARMS[1], name=SECOND)]
    objects = [replace(OBJECTS[0], name=FIRST), replace(OBJECTS[1], name=SECOND)]
    return all_phantom_figures(phantoms, colours) + all_object_figures(objects, colours)


def test_every_figure_stands_alone_inside_a_page(every_figure):
    for figure in every_figure:
        root = ElementTree.fromstring(figure.svg)  # one element, or it is an error
        assert root.tag.endswith("}svg")
        assert root.get("viewBox")
        assert (root.get("width"), root.get("height")) == (None, None)
        assert "<metadata" not in figure.svg
        references = re.findall(r'(?:href|src)="([^#"][^"]*)"', figure.svg)
        assert all(one.startswith("data:image/png;base64,") for one in references)
        assert figure.title
        assert figure.caption
        assert figure.alt


def test_names_of_arms_never_enter_a_drawing(every_figure):
    for figure in every_figure:
        words = "".join(text.text or "" for text in parts(figure.svg, "text"))
        assert "x^2_" not in figure.svg
        assert "qq" not in words
        assert FIRST not in figure.title + figure.caption + figure.alt
    # All but the five pictures of where it was measured name the arms beside them.
    assert [(FIRST, REFERENCE_COLOUR) in figure.legend for figure in every_figure].count(False) == 5


def test_the_same_measurement_gives_the_same_drawings():
    def made():
        return [linearity_figure(ARMS, "rods", COLOURS), places_figure(OBJECTS[0], 1, PLACES, (0.5, 0.5))]

    assert made() == made()


def test_a_spectrum_of_one_ring_is_a_spectrum():
    """No line, but no error either: a very small square."""
    tiny = Spectrum(np.ones((2, 2)), RadialSpectrum(np.array([0.5]), np.array([4.0])), 2, 1)
    plain = replace(ARMS[0].of("plain"), spectra={"centre": tiny})
    svg = spectra_figure([replace(ARMS[0], modules=(plain,))], "plain", COLOURS).svg
    assert len(drawn(svg, "spectrum-centre-0")) == 1
