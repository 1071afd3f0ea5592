from __future__ import annotations

import math

import numpy as np
import pytest

from lowdose.units import WATER_MU_PER_MM, checked_dose_fraction, hu_to_mu, mu_difference_to_hu


def test_water_air_and_what_lies_below_air():
    mu = hu_to_mu(np.array([0, -1000, -1024, -3024, 1000], np.float32))
    assert mu == pytest.approx([WATER_MU_PER_MM, 0.0, 0.0, 0.0, 2 * WATER_MU_PER_MM], rel=1e-6)
    assert mu.dtype == np.float32
    assert (mu[1:4] == 0.0).all()


def test_water_attenuates_as_published():
    """NIST XCOM: 0.1929 cm2/g at 70 keV, for water of 1 g/cm3."""
    assert pytest.approx(0.01929, rel=0.01) == WATER_MU_PER_MM


def test_the_input_is_not_touched():
    hu = np.array([-2000, 40], np.float32)
    hu_to_mu(hu)
    assert hu.tolist() == [-2000, 40]


@pytest.mark.parametrize("water", [WATER_MU_PER_MM, 0.05])
def test_differences_go_there_and_back(water):
    hu = np.linspace(-1000, 3000, 81, dtype=np.float32)
    shift = np.float32(25.0)
    difference = hu_to_mu(hu + shift, water) - hu_to_mu(hu, water)
    assert mu_difference_to_hu(difference, water) == pytest.approx(np.full(81, 25.0), abs=1e-3)


@pytest.mark.parametrize("fraction", [1.0, 0.25, 0.005])
def test_dose_fractions_that_exist(fraction):
    assert checked_dose_fraction(fraction) == fraction


@pytest.mark.parametrize("fraction", [0.0, 0.004, -0.5, 1.0000001, math.nan, math.inf])
def test_dose_fractions_that_do_not_exist(fraction):
    with pytest.raises(ValueError, match=r"at least 0\.005 and at most 1"):
        checked_dose_fraction(fraction)
