import numpy as np

from lowdose.physics.flat_regions import find_flat_places, flat_regions
from lowdose.scan import Slice


def slice_with_water(rows: int) -> Slice:
    hu = np.full((128, 128), -1000.0, np.float32)
    hu[20 : 20 + rows, 10:118] = 0.0
    return Slice(hu, np.zeros(hu.shape, bool))


def test_regions_lie_in_flat_soft_tissue():
    corners = flat_regions(slice_with_water(90), 32, np.random.default_rng(0))
    assert len(corners) > 0
    assert (corners[:, 0] >= 15).all()
    assert (corners[:, 0] + 32 <= 115).all()


def test_smaller_regions_are_taken_where_large_ones_find_too_little():
    generator = np.random.default_rng(0)
    sides = [find_flat_places([(0, slice_with_water(rows))], generator)[0] for rows in (90, 42)]
    assert sides[0] == 32
    assert sides[1] < 32


def test_slices_without_any_are_left_out():
    air = Slice(np.full((128, 128), -1000.0, np.float32), np.zeros((128, 128), bool))
    places = find_flat_places([(3, air), (7, slice_with_water(90))], np.random.default_rng(0))[1]
    assert [place.z for place in places] == [7]


def test_an_image_smaller_than_a_region_has_none():
    small = Slice(np.zeros((20, 20), np.float32), np.zeros((20, 20), bool))
    assert flat_regions(small, 32, np.random.default_rng(0)).shape == (0, 2)
