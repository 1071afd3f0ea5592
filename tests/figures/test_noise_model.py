import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lowdose.figures.noise_model import (
    main_directions,
    noise_directions,
    noise_levels,
    noise_places,
    noise_spectra,
)
from tests.figures.test_comparison import points


def streaks(sigma_y, sigma_x, n=40, seed=1):
    white = np.random.default_rng(seed).standard_normal((n, 48, 48))
    return gaussian_filter(white, (0, sigma_y, sigma_x))[:, 8:-8, 8:-8]


def test_directions_are_those_of_the_power_and_not_of_the_streaks():
    """Noise that is smooth along y changes along x: 0 degrees."""
    along_x = main_directions(streaks(2.0, 0.3))
    assert (np.minimum(along_x, 17 - along_x) <= 2).mean() > 0.9
    assert (abs(main_directions(streaks(0.3, 2.0)) - 8.5) <= 2).mean() > 0.9


def test_the_figures_have_a_curve_of_either_noise():
    real, made = streaks(1.0, 1.0), streaks(1.0, 1.0, seed=2)
    for figure in (noise_spectra(real, made, (0.7, 0.7)), noise_directions(real, made)):
        assert [name for name, _ in figure.legend] == ["measured", "learned"]
        assert len(points(figure.svg, "measured")) == len(points(figure.svg, "learned")) > 10


def test_spectra_are_compared_over_their_own_areas():
    real = streaks(1.0, 1.0)
    svg = noise_spectra(real, 3.0 * real, (0.7, 0.7)).svg
    assert np.allclose(points(svg, "measured"), points(svg, "learned"), atol=0.01)


def test_levels_name_four_scans_and_say_how_many_there_are():
    names = [f"scan {k}" for k in range(6)]
    figure = noise_levels([np.full(30, 10.0 + k) for k in range(6)], names)
    assert [name for name, _ in figure.legend] == names[:4]
    assert "the first four of 6 scans" in figure.caption


@pytest.mark.parametrize("n", [1, 3])
def test_every_patch_is_drawn_where_it_is(n):
    corners = np.array([[10, 20], [40, 40], [60, 5]])[:n]
    figure = noise_places(np.zeros((96, 96)), corners, 32, "slice 3 of scan")
    assert figure.svg.count("#5bd0e6") == n
    assert f"{n} patches without anatomy in slice 3 of scan" in figure.caption
