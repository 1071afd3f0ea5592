from dataclasses import replace

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from lowdose.physics.cone import ConeProjector
from lowdose.physics.geometry import ConeBeam, VolumeGrid
from lowdose.physics.projector import Projector
from tests.physics.phantoms import ball_chords

BENCH = ConeBeam(
    n_views=8,
    n_rows=7,
    n_channels=13,
    row_spacing=4.0,
    channel_spacing=3.0,
    source_to_axis=60.0,
    source_to_detector=110.0,
)
BENCHES = {
    "square": BENCH,
    "quarter offset": replace(BENCH, channel_shift=0.25),
    "displaced": replace(BENCH, channel_shift=4.5, n_views=7),
    "short": replace(BENCH, scan_angle=4.3),
    "one row": replace(BENCH, n_rows=1),
}
GRIDS = {
    "square": VolumeGrid((10, 20, 20), (1.5, 1.1, 1.1)),
    "oblong": VolumeGrid((9, 14, 31), (1.2, 1.3, 0.9)),
    "one slice": VolumeGrid((1, 12, 12), (2.0, 1.5, 1.5)),
}


def joseph(volume, grid, geometry):
    """The definition: every ray sampled where it crosses the planes of rows or columns, linearly in them."""
    padded = np.pad(volume.astype(float), 1)
    middle = [(n - 1) / 2 for n in padded.shape]
    sinogram = np.empty((geometry.n_views, geometry.n_rows, geometry.n_channels))
    for view, row, channel in np.ndindex(sinogram.shape):
        c, s = np.cos(geometry.view_angles[view]), np.sin(geometry.view_angles[view])
        u, depth = geometry.channel_places[channel], geometry.source_to_detector
        ray = np.array([geometry.row_places[row], u * s - depth * c, u * c + depth * s])
        source = geometry.source_to_axis * np.array([0.0, c, -s])
        main = 1 if abs(ray[1]) >= abs(ray[2]) else 2
        planes = (np.arange(padded.shape[main]) - middle[main]) * grid.spacing[main]
        share = (planes - source[main]) / ray[main]
        places = (source[:, None] + ray[:, None] * share) / np.array(grid.spacing)[:, None]
        sampled = map_coordinates(padded, places + np.array(middle)[:, None], order=1)
        sinogram[view, row, channel] = sampled.sum() * grid.spacing[main] * np.linalg.norm(ray / ray[main])
    return sinogram


@pytest.mark.parametrize("geometry", BENCHES.values(), ids=BENCHES)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_every_ray_follows_the_definition(geometry, grid):
    volume = np.random.default_rng(0).random(grid.shape, np.float32)
    angle = geometry.view_angles[:, None] + geometry.mid_plane.channel_angles
    tie = np.abs(np.abs(np.cos(angle)) - np.abs(np.sin(angle))) < 1e-9  # rows or columns: both are right
    expected = joseph(volume, grid, geometry)
    error = np.abs(ConeProjector(grid, geometry)(volume) - expected).max(axis=1)
    assert error[~tie].max() < 2e-6 * expected.max()
    assert tie.mean() < 0.2


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 20), st.integers(1, 20)),
    is_square=st.booleans(),
    name=st.sampled_from(list(BENCHES)),
    n_rows=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_the_adjoint_is_exact(shape, is_square, name, n_rows, seed):
    shape = (shape[0], shape[1], shape[1]) if is_square else shape
    projector = ConeProjector(
        VolumeGrid(shape, (0.9, 1.2, 1.2 if is_square else 1.0)), replace(BENCHES[name], n_rows=n_rows)
    )
    generator = np.random.default_rng(seed)
    volume = generator.random(projector.domain_shape, np.float32)
    sinogram = generator.random(projector.range_shape, np.float32)
    there = np.vdot(projector(volume).astype(float), sinogram)
    back = np.vdot(volume.astype(float), projector.adjoint(sinogram))
    assert there == pytest.approx(back, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), (2.0, -4.0, 5.0)])
def test_line_integrals_of_a_ball_are_its_chords(centre):
    geometry = replace(BENCH, n_rows=41, n_channels=61, row_spacing=1.0, channel_spacing=1.0)
    grid, fine = VolumeGrid((60, 72, 72), (0.5, 0.5, 0.5)), 3
    places = [
        ((np.arange(n * fine) + 0.5) / fine - n / 2) * d - c
        for n, d, c in zip(grid.shape, grid.spacing, centre, strict=True)
    ]
    squared = places[0][:, None, None] ** 2 + places[1][:, None] ** 2 + places[2] ** 2
    blocks = [size for n in grid.shape for size in (n, fine)]
    ball = (squared < 10.0**2).reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float32)
    exact = ball_chords(geometry, 10.0, centre)
    measured = ConeProjector(grid, geometry)(ball)
    inner = exact > 12.0  # rays that graze the edge see the voxels, not the ball
    assert np.abs(measured - exact)[inner].max() < 0.35
    assert abs((measured - exact)[inner].mean()) < 0.03
    assert not measured[ball_chords(geometry, 11.5, centre) == 0].any()


@pytest.mark.parametrize("name", ["square", "quarter offset", "short"])
def test_the_middle_row_is_the_fan_of_the_middle_slice(name):
    grid = GRIDS["oblong"]
    volume = np.random.default_rng(3).random(grid.shape, np.float32)
    fan = Projector(grid.plane, BENCHES[name].mid_plane)(volume[4])
    angle = BENCHES[name].view_angles[:, None] + BENCHES[name].mid_plane.channel_angles
    tie = np.abs(np.abs(np.cos(angle)) - np.abs(np.sin(angle))) < 1e-9
    cone = ConeProjector(grid, BENCHES[name])(volume)[:, 3]
    assert cone[~tie] == pytest.approx(fan[~tie], rel=2e-5)


def test_some_views_are_those_of_all():
    grid = GRIDS["square"]
    volume = np.random.default_rng(3).random(grid.shape, np.float32)
    all_views = ConeProjector(grid, BENCH)(volume)
    some = ConeProjector(grid, BENCH, (1, 3, 6))
    assert some(volume) == pytest.approx(all_views[[1, 3, 6]], rel=1e-5)
    sinogram = np.zeros_like(all_views)
    sinogram[[1, 3, 6]] = np.random.default_rng(4).random(some.range_shape, np.float32)
    back = ConeProjector(grid, BENCH).adjoint(sinogram)
    assert some.adjoint(sinogram[[1, 3, 6]]) == pytest.approx(back, rel=1e-4, abs=1e-4)


def test_results_do_not_depend_on_threads():
    grid, n_threads = GRIDS["oblong"], numba.get_num_threads()
    projector = ConeProjector(grid, BENCH)
    volume = np.random.default_rng(5).random(grid.shape, np.float32)
    sinogram = projector(volume)
    numba.set_num_threads(1)
    try:
        assert np.array_equal(projector(volume), sinogram)
    finally:
        numba.set_num_threads(n_threads)


def test_what_can_not_be_projected_is_refused():
    with pytest.raises(ValueError, match="inside the volume"):
        ConeProjector(VolumeGrid((4, 90, 90), (1.0, 1.0, 1.0)), BENCH)
    with pytest.raises(ValueError, match="must ascend and lie between 0 and 7"):
        ConeProjector(GRIDS["square"], BENCH, (3, 8))
    projector = ConeProjector(GRIDS["square"], BENCH)
    with pytest.raises(ValueError, match="the volume is"):
        projector(np.zeros((2, 2, 2), np.float32))
    with pytest.raises(ValueError, match="the sinogram is"):
        projector.adjoint(np.zeros((2, 2, 2), np.float32))
