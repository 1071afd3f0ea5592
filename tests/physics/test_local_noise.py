import numpy as np
import pytest

from lowdose.physics.local_noise import (
    N_SECTORS,
    directional_variance,
    sector_angles,
    sector_power,
    typical_rings,
)
from lowdose.physics.reconstruction import fbp
from lowdose.quality.spectra import noise_power_spectrum, radial_bins
from tests.physics.phantoms import FAN, GEOMETRIES, GRID

PLACES = np.array([[0.0, 0.0], [40.0, -60.0]])


@pytest.mark.parametrize("name", ["parallel", "fan", "fan, offset", "flat fan"])
def test_each_direction_has_the_variance_of_its_rays(name):
    """A variance that depends on the ray's angle alone comes back by sector, at any place."""
    geometry = GEOMETRIES[name]
    angle = geometry.view_angles[:, None] + geometry.channel_angles[None, :]
    variance = (2 + np.cos(2 * angle)).astype(np.float32)
    found = directional_variance(geometry, variance, PLACES, 5.0)
    assert found == pytest.approx(np.tile(2 + np.cos(2 * sector_angles()), (2, 1)), abs=0.03)


def test_the_theory_is_what_back_projection_does():
    """Noise from rays near one direction alone appears in that sector of the image's spectrum."""
    generator = np.random.default_rng(0)
    angle = (FAN.view_angles[:, None] + FAN.channel_angles[None, :]) % np.pi
    variance = np.where(np.abs(angle - np.pi / 4) < np.pi / 8, 1.0, 0.02).astype(np.float32)
    power = []
    for _ in range(6):
        noise = generator.standard_normal(variance.shape, dtype=np.float32) * np.sqrt(variance)
        image = fbp(FAN, GRID, noise)[96:128, 96:128]
        power.append(noise_power_spectrum(image[None], GRID.spacing)[0])
    expected = directional_variance(FAN, variance, np.zeros((1, 2)), 28.0)[0]
    sectors = np.mean(sector_power(np.stack(power), GRID.spacing, (0.1, 0.25))[0], axis=0)
    strong = expected > 0.9
    assert strong.sum() == pytest.approx(N_SECTORS / 4, abs=1)
    assert sectors[strong].mean() > 6 * sectors[expected < 0.03].mean()
    assert np.corrcoef(sectors, expected)[0, 1] > 0.9


def test_white_noise_has_no_direction():
    noise = np.random.default_rng(1).standard_normal((400, 32, 32))
    sectors, counts = sector_power(noise_power_spectrum(noise, (0.7, 0.7)), (0.7, 0.7), (0.2, 0.5))
    assert sectors.shape == (400, N_SECTORS)
    assert counts.sum() > 200
    assert sectors.mean(axis=0) / sectors.mean() == pytest.approx(1.0, abs=0.08)


def test_a_few_regions_with_anatomy_do_not_matter_for_the_typical_rings():
    noise = np.random.default_rng(2).standard_normal((200, 32, 32))
    power = noise_power_spectrum(noise, (1.0, 1.0))
    spoiled = power.copy()
    spoiled[:10] *= 1000
    members = radial_bins((32, 32), (1.0, 1.0))[1]
    assert typical_rings(spoiled, members) == pytest.approx(typical_rings(power, members), rel=0.06)
