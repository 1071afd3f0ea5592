import numpy as np
import pytest

from lowdose.figures.simulation import direction_match, kernel_gain, slice_levels, spectrum_match
from tests.figures.test_comparison import points

FREQUENCIES = np.linspace(0.05, 0.5, 4)


def test_spectra_are_drawn_to_scale():
    svg = spectrum_match(FREQUENCIES, np.array([1.0, 3, 2, 1]), np.array([1.0, 2, 2, 1]), 0.2).svg
    own, simulated = points(svg, "own")[:, 1], points(svg, "simulated")[:, 1]
    assert (own[0] - own[2]) / (own[0] - own[1]) == pytest.approx(0.5, rel=1e-3)
    assert simulated[1] == pytest.approx(own[2], abs=0.01)


def test_directions_cover_half_a_turn():
    svg = direction_match(np.ones(24), np.linspace(0.5, 1.5, 24)).svg
    assert len(points(svg, "own")) == len(points(svg, "simulated")) == 24


def test_every_measured_slice_has_a_dot():
    svg = slice_levels([0.0, 5.0, 10.0], [0.9, 1.1, 1.0], [1.0, 1.0, 1.0], "mm").svg
    group = svg[svg.index('id="measured"') :]
    assert group[: group.index("</g>\n   </g>")].count("<use") == 3


def test_the_kernel_stands_beside_the_ramp():
    figure = kernel_gain(FREQUENCIES, np.array([1.0, 0.8, 0.5, 0.2]), 0.5)
    y = points(figure.svg, "gain")[:, 1]
    assert (np.diff(y) > 0).all()
    assert "pure ramp" in figure.caption
