from dataclasses import replace

import numpy as np
import pytest

from lowdose.physics.geometry import FanBeam, ImageGrid, ParallelBeam
from lowdose.physics.symmetry import Turn, orbits

FAN = FanBeam(n_views=48, n_channels=20, channel_spacing=2.0, source_to_axis=100.0, source_to_detector=200.0)
PARALLEL = ParallelBeam(n_views=48, n_channels=20, channel_spacing=1.0)
SQUARE, OBLONG = ImageGrid((32, 32), (1.0, 1.0)), ImageGrid((32, 40), (1.0, 1.0))
GEOMETRIES = [
    replace(geometry, n_views=n_views, channel_shift=shift)
    for geometry in (FAN, replace(FAN, scan_angle=4.0), PARALLEL)
    for n_views in (1, 2, 47, 48, 50)
    for shift in (0.0, 0.25)
]


@pytest.mark.parametrize("grid", [SQUARE, OBLONG], ids=["square", "oblong"])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_every_view_is_in_one_group_and_sees_its_turned_image(geometry, grid):
    """A point turned back is on the same channel in the lane's view as in the group's first."""
    groups = orbits(geometry, grid)
    assert sorted(groups.views[groups.views >= 0]) == list(range(geometry.n_views))
    x, y = 3.7, -5.1  # right and down, off every line of symmetry
    for group in groups.views:
        first = _distance(geometry, group[0], x, y)
        for view, turn in zip(group, groups.turns, strict=True):
            if view < 0:
                continue
            place = (-x if turn.mirrored else x), y
            for _ in range(turn.quarters):
                place = -place[1], place[0]
            backwards = groups.reversing and turn.mirrored
            assert _distance(geometry, view, *place) == pytest.approx(-first if backwards else first)


def _distance(geometry, view, x, y):
    """From the central ray: mm in a parallel beam, the tangent of the angle in a fan."""
    c, s = np.cos(geometry.view_angles[view]), np.sin(geometry.view_angles[view])
    if isinstance(geometry, FanBeam):
        return (x * c + y * s) / (geometry.source_to_axis + x * s - y * c)
    return x * c + y * s


@pytest.mark.parametrize(
    ("geometry", "grid", "n_groups"),
    [
        (FAN, SQUARE, 12),
        (replace(FAN, channel_shift=0.25), SQUARE, 12),
        (replace(FAN, channel_shift=0.25), OBLONG, 24),
        (replace(FAN, n_views=47), SQUARE, 24),
        (replace(FAN, n_views=47, channel_shift=0.25), SQUARE, 47),
        (PARALLEL, SQUARE, 13),
        (PARALLEL, OBLONG, 25),
    ],
)
def test_groups_are_as_large_as_the_symmetry_allows(geometry, grid, n_groups):
    assert len(orbits(geometry, grid).views) == n_groups


def test_some_views_are_grouped_among_themselves():
    groups = orbits(FAN, SQUARE, (0, 1, 12, 30, 36))
    assert sorted(sorted(set(group.tolist()) - {-1}) for group in groups.views) == [[0, 2, 4], [1], [3]]


@pytest.mark.parametrize("turn", [Turn(q, m) for q in range(4) for m in (False, True)])
def test_a_turn_is_undone(turn):
    image = np.random.default_rng(0).random((5, 5), np.float32)
    assert (turn.undone(turn.of(image)) == image).all()


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_lanes_hold_every_view_once(geometry):
    groups = orbits(geometry, SQUARE)
    sinogram = np.random.default_rng(0).random((geometry.n_views, geometry.n_channels), np.float32)
    lanes = groups.gathered(sinogram, n_beyond=2)
    assert not lanes[:, -2:].any()
    assert lanes.sum(dtype=float) == pytest.approx(sinogram.sum(dtype=float))
    assert (groups.spread(lanes[:, :-2]) == sinogram).all()
