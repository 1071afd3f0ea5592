import pytest

from lowdose.phantoms.acr import ACR_464
from lowdose.phantoms.layout import Bars, five_regions, polar_place


def test_angles_run_clockwise_from_the_right():
    assert polar_place(10.0, 0.0) == pytest.approx((0.0, 10.0))
    assert polar_place(10.0, 90.0) == pytest.approx((10.0, 0.0))  # down
    names = {region.name: region.place for region in five_regions(50.0, 10.0)}
    assert names["top"] == pytest.approx((-50.0, 0.0))
    assert names["centre"] == (0.0, 0.0)


def test_bars_are_as_wide_as_their_gaps():
    bars = Bars(5.0, 5, 47.0, 0.0, 5.0, 2.0, 2000.0)
    assert bars.width == 1.0
    assert bars.extent == 9.0
    assert bars.name == "5 lp/cm"


def test_a_layout_knows_its_modules_and_its_extent():
    assert ACR_464.extent == (-20.0, 140.0)
    assert ACR_464.of_role("uniformity").z == 80.0
    assert ACR_464.of_role("plain") is None
