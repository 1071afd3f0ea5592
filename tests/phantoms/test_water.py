import pytest

from lowdose.phantoms.water import water_layout


def test_regions_lie_within_the_cylinder():
    layout = water_layout(90.0, 20.0)
    for region in layout.modules[0].uniform:
        assert region.distance + region.diameter / 2 < 45.0
    assert layout.extent == (-10.0, 10.0)


def test_sizes_that_can_not_be_are_refused():
    with pytest.raises(ValueError, match="can't be made"):
        water_layout(0.0)
