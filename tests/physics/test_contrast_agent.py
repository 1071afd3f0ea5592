"""Enhancement against closed forms: the plateau, the area, and when things happen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gamma

from lowdose.physics.contrast_agent import HU_PER_MG_ML, TRANSITS, Injection, Transit, enhancement


def test_an_endless_injection_reaches_iodine_flow_over_cardiac_output():
    found = enhancement(np.array([1e4]), Injection(duration=1e5), TRANSITS["aorta"], cardiac_output=90.0)
    assert found[0] == pytest.approx(HU_PER_MG_ML * 370 * 4.5 / 90)


@pytest.mark.parametrize("name", TRANSITS)
def test_the_area_is_all_iodine_over_cardiac_output_whatever_the_transit(name):
    """Stewart and Hamilton's law."""
    injection = Injection(duration=12.0)
    time = np.arange(0.0, 400.0, 0.05)
    area = np.trapezoid(enhancement(time, injection, TRANSITS[name], 80.0), time)
    assert area == pytest.approx(HU_PER_MG_ML * injection.iodine / 80.0, rel=1e-3)


def test_a_short_injection_shows_the_transit_itself():
    transit = Transit(3.0, 4.0, 1.5)
    time = np.linspace(0.0, 30.0, 61)
    found = enhancement(time, Injection(duration=1e-4), transit, 92.0)
    expected = HU_PER_MG_ML * 370 * 4.5 * 1e-4 / 92 * gamma(4.0, loc=3.0, scale=1.5).pdf(time)
    assert found == pytest.approx(expected, abs=1e-3 * expected.max())


def test_nothing_before_it_arrives_and_lung_arteries_fill_first():
    time = np.arange(0.0, 60.0, 0.1)
    curves = {name: enhancement(time, Injection(), transit) for name, transit in TRANSITS.items()}
    for name, transit in TRANSITS.items():
        assert not curves[name][time <= transit.delay].any()
    half = {name: time[curve > curve.max() / 2][0] for name, curve in curves.items()}
    assert half["lung artery"] < half["aorta"] < half["carotid artery"] < half["vena cava, below the heart"]
    assert 250 < curves["aorta"].max() < 500  # what angiographies of the aorta show


def test_a_heart_that_moves_nothing_is_refused():
    with pytest.raises(ValueError, match="must be positive"):
        enhancement(np.zeros(1), Injection(), TRANSITS["aorta"], 0.0)
