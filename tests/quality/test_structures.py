import numpy as np
import pytest

from lowdose.quality.structures import AIRWAY, BONE, FAT, LUNG, NAMES, SOFT, VESSEL, dice, structures


@pytest.fixture(scope="module")
def masks():
    y, x = np.mgrid[:200, :200]
    hu = np.full((200, 200), -1000.0)
    hu[np.hypot(y - 100, x - 100) < 90] = -100.0  # fat
    hu[np.hypot(y - 100, x - 100) < 80] = 50.0  # soft tissue
    hu[np.hypot(y - 100, x - 60) < 30] = -850.0  # lung
    hu[np.hypot(y - 100, x - 60) < 4] = 30.0  # a vessel in it
    hu[np.hypot(y - 60, x - 130) < 8] = -1000.0  # an airway
    hu[np.hypot(y - 150, x - 120) < 10] = 500.0  # bone
    return structures(hu)


@pytest.mark.parametrize(
    ("name", "y", "x"),
    [
        (FAT, 15, 100),
        (SOFT, 100, 110),
        (LUNG, 100, 80),
        (VESSEL, 100, 60),
        (AIRWAY, 60, 130),
        (BONE, 150, 120),
    ],
)
def test_every_place_has_its_structure_and_no_other(masks, name, y, x):
    assert [other for other in NAMES if masks[other][y, x]] == [name]


def test_outside_the_body_there_is_nothing(masks):
    assert not any(mask[5, 5] for mask in masks.values())


def test_areas_are_those_that_were_drawn(masks):
    assert np.count_nonzero(masks[BONE]) == pytest.approx(np.pi * 100, rel=0.05)
    assert np.count_nonzero(masks[VESSEL]) == pytest.approx(np.pi * 16, rel=0.2)


def test_a_scan_without_lungs_has_none():
    masks = structures(np.full((100, 100), 40.0))
    assert not masks[LUNG].any()
    assert masks[SOFT][5:-5, 5:-5].all()


def test_dice_by_hand():
    one, other = np.zeros((2, 10), bool)
    one[:6] = other[3:9] = True
    assert dice(one, other) == pytest.approx(6 / 12)
    assert dice(np.zeros(3, bool), np.zeros(3, bool)) == 1.0
    assert dice(one, np.zeros(10, bool)) == 0.0


def test_gas_in_the_stomach_is_no_lung():
    y, x = np.mgrid[:200, :200]
    hu = np.where(np.hypot(y - 100, x - 100) < 90, 50.0, -1000.0)
    hu[np.hypot(y - 100, x - 60) < 30] = -850.0
    hu[np.hypot(y - 100, x - 140) < 30] = -1000.0
    masks = structures(hu)
    assert masks[LUNG][100, 60]
    assert masks[AIRWAY][100, 140]
    assert not (masks[LUNG] | masks[VESSEL])[:, 110:].any()
