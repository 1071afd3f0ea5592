from itertools import pairwise

import pytest

from lowdose.phantoms.catphan import CATPHAN_504, CATPHAN_600


def test_rods_lie_where_the_manual_has_them():
    angles = {insert.name: insert.angle for insert in CATPHAN_504.of_role("sensitometry").inserts}
    assert angles == {
        "air": -90.0, "PMP": -120.0, "LDPE": 180.0, "polystyrene": 120.0, "air (2nd)": 90.0,
        "acrylic": 60.0, "Delrin": 0.0, "Teflon": -60.0,
    }  # fmt: skip
    for insert in CATPHAN_504.of_role("sensitometry").inserts:
        low, high = insert.band
        assert low <= insert.hu <= high


def test_the_600_is_turned_and_has_a_vial_of_water():
    angles = {insert.name: insert.angle for insert in CATPHAN_600.of_role("sensitometry").inserts}
    assert angles["air"] == 90.0
    assert angles["Delrin"] == 180.0
    assert angles["Teflon"] == 120.0
    assert angles["water"] == -90.0


@pytest.mark.parametrize(
    ("layout", "places"),
    [(CATPHAN_504, {"CTP528": 30.0, "CTP515": -30.0, "CTP486": -65.0}),
     (CATPHAN_600, {"CTP528": -70.0, "CTP515": -110.0, "CTP486": -160.0})],
    ids=["504", "600"],
)  # fmt: skip
def test_modules_are_at_their_distances_and_do_not_overlap(layout, places):
    for module in layout.modules:
        if module.name in places:
            assert module.z == places[module.name]
    ends = sorted((module.z - module.depth / 2, module.z + module.depth / 2) for module in layout.modules)
    assert all(one[1] <= next_[0] + 1e-9 for one, next_ in pairwise(ends))


def test_groups_have_the_line_pairs_of_the_module():
    bars = CATPHAN_504.of_role("resolution").bars
    assert [group.line_pairs_per_cm for group in bars] == list(range(1, 22))
    assert all(abs(group.distance - 47.4) < 0.1 for group in bars)
