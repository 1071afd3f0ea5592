from dataclasses import replace

import numba
import numpy as np
import pytest

from lowdose.physics import fdk as module
from lowdose.physics.fdk import fdk, within_cone
from lowdose.physics.geometry import ConeBeam, VolumeGrid
from lowdose.physics.ramp import hann, nyquist
from lowdose.physics.reconstruction import fbp
from tests.physics.phantoms import ball_chords

BENCH = ConeBeam(
    n_views=240,
    n_rows=65,
    n_channels=120,
    row_spacing=1.2,
    channel_spacing=1.2,
    source_to_axis=150.0,
    source_to_detector=280.0,
)
BENCHES = {
    "full": BENCH,
    "quarter offset": replace(BENCH, channel_shift=0.25),
    "short": replace(BENCH, scan_angle=4.0),
    "displaced": replace(BENCH, n_channels=90, channel_shift=25.0),
}
GRID = VolumeGrid((33, 61, 61), (0.7, 0.7, 0.7))


def distances(grid, centre):
    z, y, x = (
        (np.arange(n) - (n - 1) / 2) * d - c for n, d, c in zip(grid.shape, grid.spacing, centre, strict=True)
    )
    return np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2)


@pytest.mark.parametrize("geometry", BENCHES.values(), ids=BENCHES)
@pytest.mark.parametrize("centre", [(0.0, 0.0, 0.0), (2.0, -5.0, 4.0)])
def test_exact_chords_of_a_ball_give_the_ball(geometry, centre):
    volume = fdk(geometry, GRID, ball_chords(geometry, 9.0, centre).astype(np.float32))
    away = distances(GRID, centre)
    assert volume[away < 3].mean() == pytest.approx(1.0, abs=0.002)
    assert volume[away < 7].mean() == pytest.approx(1.0, abs=0.003)
    assert np.abs(volume[away < 6] - 1).max() < 0.015
    assert abs(volume[(away > 11) & within_cone(geometry, GRID)].mean()) < 0.001


@pytest.mark.parametrize("geometry", BENCHES.values(), ids=BENCHES)
def test_the_mid_plane_is_the_fan_reconstruction(geometry):
    generator = np.random.default_rng(0)
    shape = geometry.n_views, geometry.n_rows, geometry.n_channels
    sinogram = generator.standard_normal(shape, np.float32)
    window = hann(0.8 * nyquist(geometry.mid_plane))
    flat = fbp(geometry.mid_plane, GRID.plane, sinogram[:, 32], window)
    assert fdk(geometry, GRID, sinogram, window)[16] == pytest.approx(
        flat, abs=2e-5 * float(np.abs(flat).max())
    )


def test_a_long_cylinder_is_exact_in_every_slice():
    """Its chords are those of its disc, longer by the slant of the ray; so is FDK's only approximation."""
    offsets = BENCH.mid_plane.channel_offsets
    chords = 2 * np.sqrt(np.maximum(15.0**2 - offsets**2, 0.0))
    slope = BENCH.row_places[:, None] / np.hypot(BENCH.source_to_detector, BENCH.channel_places)
    sinogram = np.broadcast_to(chords * np.sqrt(1 + slope**2), (BENCH.n_views, *slope.shape))
    volume = fdk(BENCH, GRID, sinogram.astype(np.float32))
    seen = within_cone(BENCH, GRID)
    assert seen.all()
    radii = distances(GRID, (0.0, 0.0, 0.0))[16]
    means = volume[:, radii < 7].mean(axis=1)
    assert means == pytest.approx(np.full(33, means[16]), abs=2e-4)
    assert means == pytest.approx(np.ones(33), abs=0.002)


def test_the_noise_does_not_grow_from_slice_to_slice():
    """A slice between two rows is smoother than one on a row; the means over slices agree."""
    sinogram = np.random.default_rng(1).standard_normal((240, 65, 120), np.float32)
    spreads = fdk(BENCH, GRID, sinogram)[:, 20:41, 20:41].std(axis=(1, 2))
    assert spreads[:16].mean() == pytest.approx(spreads[17:].mean(), rel=0.03)


def test_slabs_and_threads_change_nothing(monkeypatch):
    sinogram = np.random.default_rng(2).standard_normal((240, 65, 120), np.float32)
    whole = fdk(BENCH, GRID, sinogram)
    monkeypatch.setattr(module, "_SLAB_VOXELS", 61 * 61 * 5)
    n_threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert np.array_equal(fdk(BENCH, GRID, sinogram), whole)
    finally:
        numba.set_num_threads(n_threads)


def test_voxels_above_the_cone_are_told():
    tall = VolumeGrid((101, 61, 61), (0.7, 0.7, 0.7))
    seen = within_cone(BENCH, tall)
    top = BENCH.row_places[-1] / BENCH.source_to_detector * BENCH.source_to_axis
    assert seen[50].all()
    on_axis = np.abs(tall.positions)[seen[:, 30, 30]].max()
    assert top - 0.7 < on_axis <= top
    assert seen[:, 0, 0].sum() < seen[:, 30, 30].sum()
    near = replace(BENCH, n_channels=31)
    assert not within_cone(near, tall)[50, 0, 0]


def test_bad_sinograms_are_refused():
    good = np.zeros((240, 65, 120), np.float32)
    with pytest.raises(ValueError, match="this geometry measures"):
        fdk(BENCH, GRID, good[:-1])
    bad = good.copy()
    bad[3, 4, 5], bad[200, 0, 0] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"2 of \d+ line integrals are not finite"):
        fdk(BENCH, GRID, bad)
    with pytest.raises(ValueError, match="too short"):
        fdk(replace(BENCH, scan_angle=3.0), GRID, good)
    with pytest.raises(ValueError, match="inside the volume"):
        fdk(BENCH, VolumeGrid((1, 400, 400), (1.0, 1.0, 1.0)), good)
