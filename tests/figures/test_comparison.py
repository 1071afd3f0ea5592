import re
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from lowdose.figures import INPUT_COLOUR, RESULT_COLOURS
from lowdose.figures.comparison import (
    bias_by_tissue,
    comparison_figures,
    difference_histogram,
    error_by_slice,
    noise_by_slice,
)
from lowdose.quality.comparison import DIFFERENCE_EDGES, CaseResult, SliceCurves
from lowdose.quality.fidelity import TISSUES, Protocol


def result(arm: str, error: list[float], noise: list[float] | None = None) -> CaseResult:
    values = np.array(error)
    curves = SliceCurves(
        z=np.arange(values.size) * 2.5,
        rmse=values,
        ssim=np.ones(values.size),
        soft_tissue_bias=np.zeros(values.size),
        noise=values if noise is None else np.array(noise),
        reference_noise=np.full(values.size, 9.0),
    )
    counts = np.zeros(DIFFERENCE_EDGES.size - 1, np.int64)
    counts[90:110] = 50
    return CaseResult(
        case="one",
        arm=arm,
        protocol=Protocol(),
        n_slices=values.size,
        n_pixels=1000,
        rmse=12.0,
        psnr=30.0,
        ssim=0.9,
        bias=0.1,
        soft_tissue_bias=0.2,
        noise=10.0,
        reference_noise=9.0,
        tissue_bias={name: float("nan") if name == "lung" else float(k) for k, name in enumerate(TISSUES)},
        slices=curves,
        difference=counts,
    )


def points(svg: str, name: str) -> np.ndarray:
    """The points of the named line, in the drawing's own units; y counts downward."""
    group = next(one for one in ElementTree.fromstring(svg).iter() if one.get("id") == name)
    path = next(one for one in group.iter() if one.tag.endswith("path"))
    return np.array(re.findall(r"[ML] (\S+) (\S+)", path.get("d")), float)


COLOURS = {"a": INPUT_COLOUR, "b": RESULT_COLOURS[0]}


def test_error_is_drawn_to_scale_at_every_slice():
    svg = error_by_slice([result("a", [10, 30, 20]), result("b", [5, 5, 5])], COLOURS).svg
    first, second = points(svg, "error-0"), points(svg, "error-1")
    x, y = first.T
    assert np.diff(x) == pytest.approx([x[1] - x[0]] * 2, rel=1e-4)
    assert (y[0] - y[2]) / (y[0] - y[1]) == pytest.approx(0.5, rel=1e-4)
    assert (second[0, 1] - y[0]) / (y[0] - y[1]) == pytest.approx(0.25, rel=1e-4)


def test_noise_skips_slices_where_there_is_none():
    svg = noise_by_slice([result("a", [1, 1, 1], [10, np.nan, 30])], COLOURS, "full").svg
    assert len(points(svg, "noise-0")) == 2
    assert len(points(svg, "noise-reference")) == 3


def test_tissues_that_the_case_does_not_show_are_left_out():
    svg = bias_by_tissue([result("a", [1, 2])], COLOURS).svg
    assert ">fat<" in svg
    assert ">lung<" not in svg


def test_the_difference_histogram_covers_what_occurs():
    svg = difference_histogram([result("a", [1, 2])], COLOURS).svg
    assert len(points(svg, "difference-0")) >= 4
    empty = replace(result("a", [1, 2]), difference=np.zeros(DIFFERENCE_EDGES.size - 1, np.int64))
    assert difference_histogram([empty], COLOURS).svg.startswith("<svg")


def test_every_figure_stands_alone_inside_a_page():
    figures = comparison_figures([result("a", [1, 2]), result("b", [2, 3])], COLOURS, "full dose")
    assert len(figures) == 4
    for figure in figures:
        drawing = ElementTree.fromstring(figure.svg)
        assert drawing.get("viewBox")
        assert drawing.get("width") is None
        assert drawing.get("height") is None
        assert "<metadata" not in figure.svg
        assert set(re.findall(r'(?:href|src)="([^#][^"]*)"', figure.svg)) == set()
        assert figure.caption
        assert figure.alt
        assert ("a", INPUT_COLOUR) in figure.legend
    assert figures[1].legend[0][0] == "full dose"


def test_names_never_enter_a_drawing():
    """Dollar signs would be typeset as mathematics, and angle brackets are for the page to escape."""
    name = "<b>$x^2_&"
    for figure in comparison_figures([replace(result(name, [1, 2]), case=name)], {name: INPUT_COLOUR}, name):
        assert "x^2_" not in figure.svg
        assert figure.legend[-1] == (name, INPUT_COLOUR)


def test_the_same_result_gives_the_same_drawing():
    assert error_by_slice([result("a", [1, 2])], COLOURS) == error_by_slice([result("a", [1, 2])], COLOURS)


def test_one_slice_is_a_dot_and_nothing_to_show_is_an_empty_plot():
    assert error_by_slice([result("a", [4.0])], COLOURS).svg.count("<use") > 0
    assert noise_by_slice([result("a", [1.0], [np.nan])], COLOURS).svg.startswith("<svg")


def test_figures_of_two_cases_are_refused():
    with pytest.raises(ValueError, match="one case"):
        comparison_figures([result("a", [1, 2]), replace(result("b", [1, 2]), case="two")], COLOURS)


def test_settings_are_left_as_they_were():
    before = dict(matplotlib.rcParams)
    comparison_figures([result("a", [1, 2])], COLOURS)
    assert dict(matplotlib.rcParams) == before
