import numpy as np
import pytest

from lowdose.physics.scan_projection import image_grid, line_integrals, sampled_slices
from lowdose.scan import Scan
from lowdose.units import WATER_MU_PER_MM
from tests.physics.phantoms import FAN, GRID, chords, disc

WATER = Scan.from_array((disc(GRID, 100.0) * 1000 - 1000)[None].repeat(9, axis=0), spacing=(2.0, 1.3, 1.3))


def test_the_grid_is_that_of_a_slice():
    assert image_grid(WATER) == GRID


def test_line_integrals_are_those_of_the_water_in_the_slice():
    found = line_integrals(WATER.read(0), GRID, FAN)
    exact = WATER_MU_PER_MM * chords(FAN, 100.0)
    inner = chords(FAN, 90.0) > 0
    assert found[inner] == pytest.approx(exact[inner], rel=0.02)


def test_padding_attenuates_nothing():
    padding = np.ones((1, *GRID.shape), bool)
    scan = Scan.from_array(np.full((1, *GRID.shape), -2000.0), spacing=(1.0, 1.3, 1.3), padding=padding)
    assert np.abs(line_integrals(scan.read(0), GRID, FAN)).max() == 0


def test_sampled_slices_are_spread_over_the_scan():
    assert [z for z, _ in sampled_slices(WATER, 3)] == [1, 4, 7]
    assert [z for z, _ in sampled_slices(WATER, 100)] == list(range(9))
