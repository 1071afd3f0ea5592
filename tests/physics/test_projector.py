from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from lowdose.physics.geometry import FanBeam, ImageGrid, ParallelBeam
from lowdose.physics.projector import Projector
from tests.physics.phantoms import FAN, GEOMETRIES, GRID, PARALLEL, chords, disc

SMALL_FAN = FanBeam(
    n_views=12, n_channels=29, channel_spacing=2.3, source_to_axis=150.0, source_to_detector=270.0
)
SMALL = {
    "fan": SMALL_FAN,
    "odd fan": replace(SMALL_FAN, n_views=11),
    "offset fan": replace(SMALL_FAN, channel_shift=0.25),
    "flat fan": replace(SMALL_FAN, detector="flat"),
    "displaced fan": replace(SMALL_FAN, channel_shift=9.0, n_views=10),
    "short fan": replace(SMALL_FAN, scan_angle=4.1),
    "single view": replace(SMALL_FAN, n_views=1),
    "parallel": ParallelBeam(n_views=12, n_channels=31, channel_spacing=1.7),
    "odd parallel": ParallelBeam(n_views=9, n_channels=31, channel_spacing=1.7),
    "offset parallel": ParallelBeam(n_views=10, n_channels=30, channel_spacing=1.7, channel_shift=0.25),
}


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("centre", [(0.0, 0.0), (31.0, -22.5)])
def test_line_integrals_of_a_disc_are_its_chords(geometry, centre):
    exact = chords(geometry, 60.0, centre)
    measured = Projector(GRID, geometry)(disc(GRID, 60.0, centre))
    inner = exact > 30.0  # rays that graze the edge see the pixels, not the disc
    assert np.abs(measured - exact)[inner].max() < 1.25 * GRID.spacing[0]
    assert np.abs(measured - exact)[inner].mean() < 0.25
    assert abs((measured - exact)[inner].mean()) < 0.05
    assert not measured[chords(geometry, 63.0, centre) == 0].any()


def joseph(image, grid, geometry):
    """The definition: every ray sampled where it crosses rows or columns, linearly, zero outside."""
    padded = np.pad(image.astype(float), 1)
    sinogram = np.empty((geometry.n_views, geometry.n_channels))
    for view, channel in np.ndindex(sinogram.shape):
        angle = geometry.view_angles[view] + geometry.channel_angles[channel]
        across, along, values, spacings = np.cos(angle), np.sin(angle), padded, grid.spacing
        if abs(across) < abs(along):
            across, along, values, spacings = along, across, padded.T, grid.spacing[::-1]
        rows, middle = np.arange(values.shape[0]), (np.array(values.shape) - 1) / 2
        at = geometry.channel_offsets[channel] - (rows - middle[0]) * spacings[0] * along
        columns = at / across / spacings[1] + middle[1]
        sampled = map_coordinates(values, [rows, columns], order=1)
        sinogram[view, channel] = sampled.sum() * spacings[0] / abs(across)
    return sinogram


@pytest.mark.parametrize("geometry", SMALL.values(), ids=SMALL)
@pytest.mark.parametrize(
    "grid", [ImageGrid((40, 40), (1.1, 1.1)), ImageGrid((33, 70), (1.3, 0.9))], ids=["square", "oblong"]
)
def test_every_ray_follows_the_definition(geometry, grid):
    image = np.random.default_rng(0).random(grid.shape, np.float32)
    angles = geometry.view_angles[:, None] + geometry.channel_angles[None, :]
    tie = np.abs(np.abs(np.cos(angles)) - np.abs(np.sin(angles))) < 1e-9  # rows or columns: both are right
    expected = joseph(image, grid, geometry)
    measured = Projector(grid, geometry)(image)
    assert np.abs(measured - expected)[~tie].max() < 2e-5 * expected.max()
    assert tie.mean() < 0.2


@settings(max_examples=40, deadline=None)
@given(
    shape=st.one_of(
        st.tuples(st.integers(1, 40), st.integers(1, 40)), st.integers(1, 90).map(lambda n: (n, n))
    ),
    spacing=st.one_of(
        st.tuples(st.floats(0.3, 3.0), st.floats(0.3, 3.0)), st.floats(0.3, 3.0).map(lambda d: (d, d))
    ),
    geometry=st.sampled_from(list(SMALL.values())),
    seed=st.integers(0, 1000),
)
def test_adjoint_is_the_transpose(shape, spacing, geometry, seed):
    projector = Projector(ImageGrid(shape, spacing), geometry)
    generator = np.random.default_rng(seed)
    image = generator.standard_normal(projector.domain_shape).astype(np.float32)
    sinogram = generator.standard_normal(projector.range_shape).astype(np.float32)
    forward, backward = projector(image), projector.adjoint(sinogram)
    assert forward.shape == sinogram.shape
    assert backward.shape == image.shape
    scale = np.linalg.norm(forward) * np.linalg.norm(sinogram) + 1e-12
    difference = np.vdot(forward.astype(float), sinogram) - np.vdot(image.astype(float), backward)
    assert abs(difference) / scale < 1e-6


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_the_adjoint_of_a_positive_sinogram_is_the_transpose_to_five_digits(geometry):
    """Without cancellation: the two inner products themselves agree."""
    generator = np.random.default_rng(4)
    projector = Projector(GRID, geometry)
    image = generator.random(projector.domain_shape, np.float32)
    sinogram = generator.random(projector.range_shape, np.float32)
    forward = np.vdot(projector(image).astype(float), sinogram)
    assert forward == pytest.approx(np.vdot(image.astype(float), projector.adjoint(sinogram)), rel=1e-6)


def test_projection_conserves_mass():
    """In a parallel view the integrals over the channels sum to the mass of the image."""
    geometry = ParallelBeam(n_views=9, n_channels=600, channel_spacing=0.5)
    image = disc(GRID, 70.0, (12.0, 5.0))
    mass = image.sum() * GRID.spacing[0] * GRID.spacing[1]
    views = Projector(GRID, geometry)(image).sum(axis=1) * geometry.channel_spacing
    assert views == pytest.approx(mass, rel=2e-3)


@pytest.mark.parametrize("n_views", [24, 23])
def test_an_image_turned_by_a_view_step_is_the_next_view(n_views):
    """A quarter turn of the image moves the views by a quarter of the scan; a half turn by half of it."""
    geometry = replace(SMALL_FAN, n_views=n_views)
    image = np.random.default_rng(1).random((40, 40), np.float32)
    project = Projector(ImageGrid((40, 40), (1.1, 1.1)), geometry)
    views, turned, mirrored = project(image), project(np.rot90(image, 1)), project(image[:, ::-1])
    if n_views % 4 == 0:
        assert turned == pytest.approx(np.roll(views, -n_views // 4, axis=0), rel=1e-4)
    assert mirrored[0] == pytest.approx(views[0, ::-1], rel=1e-4)
    assert mirrored[1:] == pytest.approx(views[:0:-1, ::-1], rel=1e-4)


def test_opposite_rays_measure_the_same_line():
    """The central ray of a view and that of the opposite view; of an offset detector none is the same."""
    geometry = replace(SMALL_FAN, n_views=16)
    image = np.random.default_rng(1).random((40, 40), np.float32)
    grid = ImageGrid((40, 40), (1.1, 1.1))
    central = Projector(grid, geometry)(image)[:, 14]
    assert central[:8] == pytest.approx(central[8:], rel=1e-4)
    offset = Projector(grid, replace(geometry, channel_shift=0.25))(image)[:, 14]
    assert np.abs(offset[:8] - offset[8:]).min() > 1e-4


@pytest.mark.parametrize("views", [(0, 3, 6, 9), (1, 2, 7), (11,)])
def test_some_views_are_those_of_the_whole(views):
    grid = ImageGrid((40, 40), (1.1, 1.1))
    whole, some = Projector(grid, SMALL_FAN), Projector(grid, SMALL_FAN, views)
    image = np.random.default_rng(2).random((40, 40), np.float32)
    assert some.range_shape == (len(views), 29)
    assert some(image) == pytest.approx(whole(image)[list(views)], rel=1e-5)
    sinogram = np.random.default_rng(3).random(some.range_shape, np.float32)
    spread = np.zeros(whole.range_shape, np.float32)
    spread[list(views)] = sinogram
    assert some.adjoint(sinogram) == pytest.approx(whole.adjoint(spread), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("views", [(), (3, 2), (0, 12), (-1, 0), (4, 4)])
def test_views_that_do_not_exist_or_do_not_ascend_are_refused(views):
    with pytest.raises(ValueError, match="must ascend and lie between 0 and 11"):
        Projector(GRID, SMALL_FAN, views)


def test_results_depend_neither_on_threads_nor_on_company():
    """The same bits with one core, with all, and while other threads project."""
    project = Projector(GRID, replace(FAN, n_views=60))
    generator = np.random.default_rng(5)
    images = generator.random((6, *GRID.shape), np.float32)
    sinograms = generator.random((6, *project.range_shape), np.float32)
    n_threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        alone = [(project(x), project.adjoint(y)) for x, y in zip(images, sinograms, strict=True)]
    finally:
        numba.set_num_threads(n_threads)
    with ThreadPoolExecutor(4) as pool:
        together = zip(pool.map(project, images), pool.map(project.adjoint, sinograms), strict=True)
        for ours, theirs in zip(alone, together, strict=True):
            assert [one.tobytes() for one in ours] == [one.tobytes() for one in theirs]


def test_a_source_inside_the_image_is_refused():
    with pytest.raises(
        ValueError, match=r"turns 150 mm from the axis, inside the image, which reaches 160 mm"
    ):
        Projector(ImageGrid((40, 40), (8.0, 9.0)), SMALL_FAN)
    Projector(ImageGrid((40, 40), (6.0, 9.0)), SMALL_FAN)  # only beyond the width of what turns


def test_wrong_shapes_are_refused():
    projector = Projector(GRID, PARALLEL)
    with pytest.raises(ValueError, match="the image is"):
        projector(np.zeros((3, 3), np.float32))
    with pytest.raises(ValueError, match="the sinogram is"):
        projector.adjoint(np.zeros((3, 3), np.float32))
