import numpy as np

from lowdose.phantoms.catalogue import LAYOUTS, PHANTOMS
from lowdose.phantoms.microct_phantom import MICRO_CT
from lowdose.phantoms.twins import twin


def test_the_sections_touch_and_all_of_them_are_in_one_scan():
    ends = [(module.z - module.depth / 2, module.z + module.depth / 2) for module in MICRO_CT.modules]
    assert np.allclose([first for first, _ in ends[1:]], [last for _, last in ends[:-1]])
    z = PHANTOMS[MICRO_CT.name].protocol().grid.positions
    for first, last in ends:
        assert np.count_nonzero((z > first + 0.8) & (z < last - 0.8)) >= 15
    assert MICRO_CT.extent[0] < z[0]
    assert MICRO_CT.extent[1] > z[-1]


def test_rods_and_bars_stand_apart_from_each_other_and_from_the_rim():
    rods = MICRO_CT.of_role("sensitometry").inserts
    places = np.array([rod.place for rod in rods])
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)[~np.eye(len(rods), dtype=bool)]
    assert apart.min() > 2 * rods[0].diameter  # so that an edge can be looked at to twice the radius
    assert np.hypot(*places.T).max() + rods[0].diameter < MICRO_CT.diameter / 2
    for group in MICRO_CT.of_role("resolution").bars:
        reach = group.distance + group.length / 2
        assert np.hypot(reach, group.extent / 2) < MICRO_CT.diameter / 2 - 3.0
        assert group.distance - group.length / 2 > 3.0 + 2.0


def test_its_twin_shows_every_rod_at_its_place():
    phantom, module = twin(MICRO_CT), MICRO_CT.of_role("sensitometry")
    places = np.array([(module.z, *rod.place) for rod in module.inserts])
    assert phantom.structures_at(places) == [rod.name for rod in module.inserts]
    assert phantom.radius == MICRO_CT.diameter / 2


def test_it_is_not_among_those_that_can_be_found_in_a_scan():
    """Finding works on centimetres; this one is measured where it was put."""
    assert MICRO_CT.name not in LAYOUTS
