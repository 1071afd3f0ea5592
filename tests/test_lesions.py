"""Boxes of masks, lesions across slices, and what readers agree on, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import label, regionprops

from lowdose.lesions import Box, Lesion, LesionError, around, boxes_of_mask, check_lesions, consensus, linked


def square(y: float, x: float, side: float = 4.0) -> Box:
    return Box(y, x, y + side, x + side)


@given(st.integers(0, 10_000))
def test_the_boxes_of_a_mask_are_those_of_its_connected_parts(seed):
    mask = np.random.default_rng(seed).random((9, 11)) < 0.25
    expected = {tuple(map(float, region.bbox)) for region in regionprops(label(mask, connectivity=2))}
    assert set(boxes_of_mask(mask)) == expected


def test_boxes_that_meet_in_neighbouring_slices_are_one_lesion():
    boxes = {
        3: [square(0, 0), square(20, 20)],
        4: [square(2, 2)],
        5: [square(5, 5), square(20, 20)],
        7: [square(5, 5)],
    }
    lesions = linked(boxes, "nodule")
    assert [lesion.slices for lesion in lesions] == [(3, 4, 5), (3,), (5,), (7,)]
    assert lesions[0].boxes == {3: (square(0, 0),), 4: (square(2, 2),), 5: (square(5, 5),)}


def test_a_lesion_that_splits_keeps_its_parts():
    lesions = linked({0: [square(0, 0, 10)], 1: [square(0, 0, 3), square(6, 6, 3)]}, "tumour")
    assert len(lesions) == 1
    assert lesions[0].boxes[1] == (square(0, 0, 3), square(6, 6, 3))


def test_boxes_that_only_touch_do_not_meet():
    assert not square(0, 0).meets(square(0, 4))
    assert square(0, 0).meets(square(3.9, 3.9))
    assert around([square(0, 1), square(5, 0)]) == Box(0, 0, 9, 5)


def nodule(*slices: int, at: Box) -> Lesion:
    return Lesion("nodule", dict.fromkeys(slices, (at,)))


def test_readers_agree_on_the_slices_that_half_of_them_marked_and_on_the_median_of_their_edges():
    readings = [
        [nodule(1, 2, 3, at=square(0, 0)), nodule(9, at=square(40, 40))],
        [nodule(2, 3, at=square(1, 2))],
        [nodule(2, at=square(2, 1, 5))],
        [],
    ]
    (agreed,) = consensus(readings, 3)
    assert agreed.slices == (2, 3)
    assert agreed.boxes[2] == (Box(1, 1, 5, 6),)
    assert agreed.boxes[3] == (Box(0.5, 1, 4.5, 5),)
    assert len(consensus(readings, 1)) == 2
    assert consensus(readings, 4) == ()


def test_marks_are_joined_through_other_readers_and_kinds_stay_apart():
    readings = [[nodule(1, at=square(0, 0))], [nodule(1, at=square(3, 3))], [nodule(1, at=square(6, 6))]]
    assert len(consensus(readings, 3)) == 1
    readings[1] = [Lesion("mass", {1: (square(3, 3),)})]
    assert consensus(readings, 2) == ()


@pytest.mark.parametrize("at_least", [0, 3])
def test_readers_who_are_not_there_cannot_agree(at_least):
    with pytest.raises(ValueError, match="of 2 readers cannot agree"):
        consensus([[], []], at_least)


@pytest.mark.parametrize(
    ("z", "box", "sentence"),
    [
        (5, square(0, 0), "lies in slice 5 and the scan has 5"),
        (0, square(18, 0), "outside the image of 20 x 30, rows 18 to 22, columns 0 to 4"),
        (0, Box(-1, 0, 3, 3), "outside the image"),
        (0, Box(3, 3, 3, 8), "a box without an area, rows 3 to 3"),
        (0, Box(3, 8, 5, 4), "a box without an area"),
        (0, Box(0, 0, float("nan"), 4), "a box without an area"),
    ],
)
def test_boxes_that_cannot_be_are_told_with_their_place(z, box, sentence):
    check_lesions([nodule(4, at=Box(0, 0, 20, 30))], (5, 20, 30), "lesions.json")
    with pytest.raises(LesionError, match=sentence):
        check_lesions([nodule(z, at=box)], (5, 20, 30), "lesions.json")
