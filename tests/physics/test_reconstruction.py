import numpy as np
import pytest

from lowdose.physics.geometry import ImageGrid, ParallelBeam
from lowdose.physics.reconstruction import fbp, hann
from tests.physics.phantoms import GEOMETRIES, GRID, PARALLEL, chords, disc


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("centre", [(0.0, 0.0), (25.0, -30.0)])
def test_exact_chords_of_a_disc_give_the_disc(geometry, centre):
    image = fbp(geometry, GRID, chords(geometry, 60.0, centre).astype(np.float32))
    inside, outside = disc(GRID, 52.0, centre) == 1, disc(GRID, 68.0, centre) == 0
    ring = (disc(GRID, 52.0, centre) == 1) & (disc(GRID, 45.0, centre) == 0)
    assert image[inside].mean() == pytest.approx(1.0, abs=0.002)
    assert image[ring].mean() == pytest.approx(image[disc(GRID, 10.0, centre) == 1].mean(), abs=0.003)
    assert abs(image[outside].mean()) < 0.004


def test_noise_of_the_pure_ramp_has_the_variance_of_theory():
    """Parallel beam, linear interpolation: pi^2 s^2 / (12 M t^2) times 2/3 - 2/pi^2 at the centre."""
    geometry = ParallelBeam(n_views=300, n_channels=301, channel_spacing=0.9)
    grid = ImageGrid((96, 96), (0.61, 0.61))
    generator = np.random.default_rng(1)
    images = np.stack(
        [fbp(geometry, grid, generator.standard_normal((300, 301)).astype(np.float32)) for _ in range(6)]
    )
    expected = np.pi**2 / (12 * 300 * 0.9**2) * (2 / 3 - 2 / np.pi**2)
    assert images.var() == pytest.approx(expected, rel=0.03)


def test_reconstruction_is_linear_and_the_window_lowers_noise():
    generator = np.random.default_rng(2)
    first, second = generator.standard_normal((2, PARALLEL.n_views, PARALLEL.n_channels)).astype(np.float32)
    sum_of_images = fbp(PARALLEL, GRID, first) + 3 * fbp(PARALLEL, GRID, second)
    image_of_sum = fbp(PARALLEL, GRID, first + 3 * second)
    assert np.abs(image_of_sum - sum_of_images).max() < 1e-5 * np.abs(image_of_sum).max() * 10
    assert fbp(PARALLEL, GRID, first, hann(0.35)).std() < 0.5 * fbp(PARALLEL, GRID, first).std()


def test_a_wrong_sinogram_is_refused():
    with pytest.raises(ValueError, match="this geometry measures"):
        fbp(PARALLEL, GRID, np.zeros((4, 4), np.float32))


def test_a_grid_that_reaches_behind_the_source_is_built_from_the_rays_that_exist():
    geometry = GEOMETRIES["fan"]
    grid = ImageGrid((64, 64), (40.0, 40.0))
    sinogram = np.ones((geometry.n_views, geometry.n_channels), np.float32)
    image = fbp(geometry, grid, sinogram)
    assert np.isfinite(image).all()
    assert np.abs(image).max() < 1e3 * np.abs(image[28:36, 28:36]).max()
