"""Virtual projections: what they cover, and what they measure."""

from __future__ import annotations

import numpy as np
import pytest

from lowdose.physics.geometry import CLINICAL_FAN, FanBeam, ImageGrid, ParallelBeam
from lowdose.physics.iterative import cgls
from lowdose.physics.projector import Projector
from lowdose.physics.virtual_scan import ELECTRONIC, PHOTONS, in_words, virtual_geometry, virtual_scan
from lowdose.units import WATER_MU_PER_MM
from tests.physics.phantoms import chords, disc

GRIDS = pytest.mark.parametrize(
    "grid",
    [
        ImageGrid((512, 512), (0.7, 0.7)),
        ImageGrid((512, 512), (0.98, 0.98)),
        ImageGrid((60, 200), (2.0, 1.5)),
        ImageGrid((256, 256), (0.1, 0.1)),
        ImageGrid((400, 400), (2.5, 2.5)),
    ],
    ids=["body", "large body", "oblong", "specimen", "too large for a fan"],
)


@GRIDS
def test_every_corner_is_in_every_view(grid):
    corners = np.zeros(grid.shape, np.float32)
    corners[[0, 0, -1, -1], [0, -1, 0, -1]] = 1.0
    geometry = virtual_geometry(grid)
    views = tuple(range(0, geometry.n_views, 7))
    for one in (corners, corners * (np.arange(corners.size).reshape(grid.shape) == 0)):
        assert (Projector(grid, geometry, views)(one).max(axis=1) > 0).all()
    assert np.abs(geometry.channel_offsets).min() < grid.radius < np.abs(geometry.channel_offsets).max()


@GRIDS
def test_rays_are_at_least_as_fine_as_the_pixels(grid):
    geometry = virtual_geometry(grid)
    assert geometry.sampling_at_axis <= min(grid.spacing) * (1 + 1e-9)
    assert geometry.n_views >= 1.4 * max(grid.shape)
    assert geometry.n_views % 48 == 0


def test_a_body_is_scanned_by_the_clinical_fan_and_a_specimen_by_parallel_rays():
    fan = virtual_geometry(ImageGrid((512, 512), (0.7, 0.7)))
    assert isinstance(fan, FanBeam)
    assert (fan.n_views, fan.source_to_axis) == (CLINICAL_FAN.n_views, CLINICAL_FAN.source_to_axis)
    assert in_words(fan) == f"fan beam, 720 views of {fan.n_channels} channels"
    for grid in (ImageGrid((256, 256), (0.1, 0.1)), ImageGrid((400, 400), (2.5, 2.5))):
        assert isinstance(virtual_geometry(grid), ParallelBeam)
    assert in_words(virtual_geometry(grid)).startswith("parallel beam")


def test_the_line_integrals_are_those_of_the_image():
    grid = ImageGrid((128, 128), (2.0, 2.0))
    image = disc(grid, 90.0, (10.0, 5.0)) * np.float32(WATER_MU_PER_MM)
    scan = virtual_scan(image, grid)
    exact = WATER_MU_PER_MM * chords(scan.operator.geometry, 90.0, (10.0, 5.0))
    inner = exact > 60 * WATER_MU_PER_MM
    assert np.abs(scan.sinogram - exact)[inner].max() < 2.5 * WATER_MU_PER_MM
    assert abs((scan.sinogram - exact)[inner].mean()) < 0.05 * WATER_MU_PER_MM


def test_the_weights_are_the_inverse_variances_of_a_scan():
    grid = ImageGrid((64, 64), (4.0, 4.0))
    scan = virtual_scan(disc(grid, 100.0) * np.float32(WATER_MU_PER_MM), grid)
    counts = PHOTONS * np.exp(-scan.sinogram.astype(float))
    assert scan.weights == pytest.approx(1 / (1 / counts + ELECTRONIC**2 / counts**2), rel=1e-3)
    assert scan.weights.dtype == np.float32


def test_they_hold_the_whole_image():
    """Least squares gives the image back, corners and noise included."""
    grid = ImageGrid((48, 48), (5.0, 5.0))
    image = np.random.default_rng(0).random(grid.shape, np.float32) * np.float32(WATER_MU_PER_MM)
    scan = virtual_scan(image, grid)
    again = cgls(scan.operator, scan.sinogram, n_iterations=80)
    assert np.abs(again - image).max() < 0.01 * WATER_MU_PER_MM
