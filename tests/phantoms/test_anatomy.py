import numpy as np
import pytest

from lowdose.phantoms.anatomy import branches, ribs, spine, vessels, within
from lowdose.phantoms.phantom import Phantom
from lowdose.physics.geometry import VolumeGrid


def tree(seed, **options):
    return branches(
        np.random.default_rng(seed), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), radius=4.0, length=20.0, levels=4,
        **options,
    )  # fmt: skip


def test_vessels_fork_and_get_thinner():
    tubes = tree(1)
    assert len(tubes) == 1 + 2 + 4 + 8
    starts = {tuple(places[0]) for places, _ in tubes}
    assert len(starts) == 8  # both tubes of a fork begin where the one before ends
    for places, radii in tubes:
        assert len(places) == len(radii)
        assert (np.diff(radii) < 0).all()
    assert max(radii[0] for _, radii in tubes) == 4.0


def test_forks_follow_murrays_law():
    """The cubes of the radii of two tubes add up to that of the one they come from."""
    tubes = tree(2)
    by_start = {}
    for places, radii in tubes[1:]:
        by_start.setdefault(tuple(places[0]), []).append(radii[0])
    ends = {tuple(places[-1]): radii[-1] for places, radii in tubes}
    for start, radii in by_start.items():
        assert sum(radius**3 for radius in radii) == pytest.approx(ends[start] ** 3)


def test_vessels_stay_inside():
    inside = within((0.0, 0.0, 30.0), (30.0, 30.0, 31.0))
    places = [place for tube, _ in tree(3, inside=inside) for place in tube]
    assert all(inside(np.array(place)) for place in places[1:])


def test_a_spine_has_marrow_in_bone_and_a_canal_behind_it():
    phantom = Phantom("s", "s", tuple(spine(-50.0, 50.0, (10.0, 0.0), size=30.0, pitch=25.0)))
    image = phantom.image(VolumeGrid((5, 161, 161), (1.0, 0.5, 0.5)), 2, fine=1)  # between two vertebrae
    body = phantom.image(VolumeGrid((26, 161, 161), (1.0, 0.5, 0.5)), 25, fine=1)  # through one
    row = 80 + 20
    assert image[row, 80] == 90.0
    assert body[row, 80] == 200.0
    assert body[row].max() == 900.0
    assert body[row + round(0.72 * 30 / 0.5), 80] == 35.0


def test_ribs_come_in_pairs():
    solids = ribs((0.0,), (80.0, 120.0), thickness=8.0, drop=40.0)
    places = np.array([solid.centre for solid in solids])
    mirrored = places * (1, 1, -1)
    assert {tuple(row) for row in places.round(6)} == {tuple(row) for row in (mirrored + 0.0).round(6)}
    assert places[:, 0].min() >= -40.1
    assert vessels("none", 0.0, []) == []
