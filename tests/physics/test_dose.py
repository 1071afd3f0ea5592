import numpy as np
import pytest

from lowdose.physics.calibration import DEFAULT_ELECTRONIC
from lowdose.physics.dose import relative_tube_current, simulate
from lowdose.physics.noise import missing_variance
from lowdose.quality.spectra import noise_power_spectrum, radial_average
from lowdose.scan import Acquisition, Scan
from lowdose.units import WATER_MU_PER_MM
from tests.physics.phantoms import FAN, GRID, disc, noisy_water

PHOTONS = 1.5e5


@pytest.fixture(scope="module")
def water() -> Scan:
    return noisy_water(photons=PHOTONS, n_slices=6)


CENTRE = (slice(None), slice(72, 152), slice(72, 152))


def test_the_full_dose_is_the_scan_bit_for_bit(water):
    same = simulate(water, 1.0, seed=3)
    assert same.hu.tobytes() == water.hu.tobytes()


@pytest.mark.parametrize("fraction", [0.5, 0.25, 0.1])
def test_the_noise_grows_with_the_inverse_root_of_the_dose(water, fraction):
    low = simulate(water, fraction, seed=1, geometry=FAN)
    ratio = low.hu[CENTRE].std() / water.hu[CENTRE].std()
    counts = np.float32(PHOTONS * np.exp(-WATER_MU_PER_MM * 2 * 110))
    added = missing_variance(counts, fraction, DEFAULT_ELECTRONIC) * counts
    assert ratio == pytest.approx(np.sqrt(1 + added), rel=0.06)
    assert ratio > 0.97 * fraction**-0.5


def test_the_mean_stays(water):
    low = simulate(water, 0.25, seed=1, geometry=FAN)
    difference = low.hu[:, disc(GRID, 100.0) == 1] - water.hu[:, disc(GRID, 100.0) == 1]
    assert abs(difference.mean()) < 0.3


def test_the_added_noise_has_the_scans_own_spectrum(water):
    low = simulate(water, 0.25, seed=1, geometry=FAN)
    own, added = (
        radial_average(noise_power_spectrum(noise[CENTRE], GRID.spacing), GRID.spacing, n_bins=10)
        for noise in (water.hu, low.hu - water.hu)
    )
    assert added.power / added.variance == pytest.approx(own.power / own.variance, rel=0.25)
    assert added.mean_frequency == pytest.approx(own.mean_frequency, rel=0.03)


def test_slices_are_independent_and_reproducible(water):
    low, again = (simulate(water, 0.25, seed=1, geometry=FAN) for _ in range(2))
    other = simulate(water, 0.25, seed=2, geometry=FAN)
    noise = [low.read(z).hu - water.read(z).hu for z in (0, 1)]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.03
    assert again.read(5).hu.tobytes() == low.read(5).hu.tobytes()
    assert other.read(5).hu.tobytes() != low.read(5).hu.tobytes()


def test_padding_is_not_touched(water):
    hu = water.hu
    padding = np.zeros(hu.shape, bool)
    padding[:, :20] = True
    hu[padding] = -2000
    low = simulate(Scan.from_array(hu, spacing=water.spacing, padding=padding), 0.25, seed=1, geometry=FAN)
    assert (low.hu[padding] == -2000).all()
    assert low.read(0).padding.tobytes() == padding[0].tobytes()


def test_noise_is_stronger_along_the_longer_axis():
    """Behind the long axis of an ellipse fewer photons arrive, so its noise is streaked along that axis."""
    y, x = np.mgrid[-111.5:112:1, -111.5:112:1]
    ellipse = np.where((x / 105) ** 2 + (y / 45) ** 2 < 1, 0.0, -1000.0)
    scan = Scan.from_array(np.repeat(ellipse[None], 4, axis=0), spacing=(2.0, 1.3, 1.3))
    noise = simulate(scan, 0.1, seed=0, geometry=FAN).hu - scan.hu
    power = noise_power_spectrum(noise[:, 92:132, 92:132], (1.3, 1.3)).mean(axis=0)
    along_y, along_x = power[1:8, 0].sum(), power[0, 1:8].sum()
    assert along_y > 2 * along_x


def test_tube_current_modulates_the_noise(water):
    current = Acquisition(tube_current=(50.0, 50.0, 50.0, 200.0, 200.0, 200.0))
    scan = Scan.from_array(water.hu, spacing=water.spacing, acquisition=current)
    low = simulate(scan, 0.25, seed=1, geometry=FAN)
    weak, strong = ((low.read(z).hu - scan.read(z).hu)[72:152, 72:152].var() for z in (0, 5))
    counts = PHOTONS * np.exp(-WATER_MU_PER_MM * 2 * 110) * np.array([0.4, 1.6])
    expected = missing_variance(counts, 0.25, DEFAULT_ELECTRONIC)
    assert weak / strong == pytest.approx(expected[0] / expected[1], rel=0.15)


def test_tube_current_that_is_not_known_everywhere_is_not_used(water):
    current = Acquisition(tube_current=(50.0, None, 50.0, 200.0, 200.0, 0.0))
    scan = Scan.from_array(water.hu, spacing=water.spacing, acquisition=current)
    assert relative_tube_current(scan) == (1.0,) * 6


def test_starved_rays_get_no_more_noise_than_a_logarithm_can_hold():
    """A metal rod lets nothing through: its rays must not drown the slice."""
    hu = np.where(disc(GRID, 100.0) > 0, 0.0, -1000.0)
    rod = np.where(disc(GRID, 8.0, (30.0, 20.0)) > 0, 20000.0, hu)
    plain, starved = (
        simulate(Scan.from_array(image[None], spacing=(2.0, 1.3, 1.3)), 0.25, seed=0, geometry=FAN).hu - image
        for image in (hu, rod)
    )
    far = disc(GRID, 15.0, (-60.0, -40.0)) == 1
    assert plain[0][far].std() < starved[0][far].std() < 40 * plain[0][far].std()
    assert np.abs(starved).max() < 20000


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.5, float("nan")])
def test_a_dose_outside_zero_to_one_is_refused(water, fraction):
    with pytest.raises(ValueError, match="dose fraction"):
        simulate(water, fraction, seed=0)
