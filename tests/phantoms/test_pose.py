import pytest

from lowdose.phantoms.layout import Module, Region
from lowdose.phantoms.pose import Pose

RIGHT, BELOW = Region("right", 50.0, 0.0, 10.0), Region("below", 50.0, 90.0, 10.0)


def test_angles_turn_clockwise_from_the_right():
    upright, turned = Pose((100.0, 120.0)), Pose((100.0, 120.0), angle=90.0)
    assert upright.place_of(RIGHT, 0.0) == pytest.approx((100.0, 170.0))
    assert upright.place_of(BELOW, 0.0) == pytest.approx((150.0, 120.0))
    assert turned.place_of(RIGHT, 0.0) == pytest.approx((150.0, 120.0))
    assert turned.place_of(BELOW, 0.0) == pytest.approx((100.0, 70.0))


def test_from_the_other_side_left_and_right_change_places():
    mirrored = Pose((100.0, 120.0), mirrored=True)
    assert mirrored.place_of(RIGHT, 0.0) == pytest.approx((100.0, 70.0))
    assert mirrored.place_of(BELOW, 0.0) == pytest.approx((150.0, 120.0))
    assert mirrored.turned(30.0) == pytest.approx(150.0)


def test_the_axis_leans_and_runs_either_way():
    pose = Pose((100.0, 120.0), lean=(0.01, -0.02), height=40.0, upwards=False)
    assert pose.axis_at(50.0) == pytest.approx((100.5, 119.0))
    assert pose.place(10.0, 0.0, 50.0) == pytest.approx((100.5, 129.0))
    assert pose.height_of(30.0) == pytest.approx(10.0)
    assert Pose((0.0, 0.0), height=40.0).height_of(30.0) == pytest.approx(70.0)


def test_slices_lie_wholly_in_their_module():
    module = Module("module", "plain", 30.0, 20.0, 0.0)
    pose = Pose((0.0, 0.0), height=0.0)
    # From 20 to 40 mm; a slice of 2.5 mm around k * 2.5 must lie inside: k from 9 to 15.
    assert pose.slices_of(module, 40, 2.5) == tuple(range(9, 16))
    assert pose.slices_of(module, 40, 2.5, margin=2.5) == tuple(range(10, 15))
    assert pose.slices_of(module, 12, 2.5) == (9, 10, 11)
    assert pose.slices_of(module, 5, 2.5) == ()


def test_of_a_thin_module_the_nearest_slice_is_taken():
    module = Module("thin", "plain", 30.0, 2.0, 0.0)
    assert Pose((0.0, 0.0), height=0.6).slices_of(module, 40, 5.0) == (6,)
    assert Pose((0.0, 0.0), height=2.4).slices_of(module, 40, 5.0) == ()
