import numpy as np
import pytest

from lowdose.physics.calibration import calibrate
from lowdose.physics.ramp import hann
from lowdose.physics.scanner import Scanner
from lowdose.scan import Scan
from tests.physics.phantoms import FAN, GRID, disc, noisy_water

SCANNER = Scanner("test", "a fan beam", FAN, photons=1e5, electronic=0.0)


@pytest.mark.parametrize("photons", [3e4, 3e5])
def test_the_photon_count_of_a_known_scan_is_found(photons):
    found = calibrate(noisy_water(photons=photons, n_slices=6), SCANNER, np.random.default_rng(0))
    assert found.photons == pytest.approx(photons, rel=0.35)
    assert found.kernel(np.linspace(0.0, 0.3, 7)) == pytest.approx(1.0, abs=0.1)


def test_the_kernel_of_a_known_scan_is_found():
    soft = hann(0.34)
    scan = noisy_water(photons=1e5, n_slices=6, apodisation=soft)
    found = calibrate(scan, SCANNER, np.random.default_rng(0))
    frequencies = np.array([0.15, 0.2, 0.25])
    assert found.kernel(frequencies) == pytest.approx(soft(frequencies), abs=0.1)


def test_the_noise_level_is_that_of_the_flat_regions():
    scan = noisy_water(photons=1e5, n_slices=4)
    found = calibrate(scan, SCANNER, np.random.default_rng(0))
    centre, everywhere = scan.hu[:, 100:124, 100:124].std(), scan.hu[:, disc(GRID, 100.0) == 1].std()
    assert 0.95 * everywhere < found.noise < centre


@pytest.mark.parametrize("hu", [0.0, -1000.0])
def test_a_scan_without_noise_or_without_tissue_is_not_measured(hu):
    scan = Scan.from_array(np.full((3, 96, 96), hu), spacing=(1.0, 1.5, 1.5))
    found = calibrate(scan, SCANNER, np.random.default_rng(0))
    assert found.noise is None
    assert found.photons > 0


def test_structure_does_not_pass_for_noise():
    """A smooth shading of 30 HU over the phantom changes the photon count by little."""
    plain = noisy_water(photons=1e5, n_slices=4)
    y = np.linspace(-1, 1, GRID.shape[0])[:, None]
    shaded = Scan.from_array(plain.hu + 30 * y**2 * disc(GRID, 110.0), spacing=plain.spacing)
    found = [calibrate(scan, SCANNER, np.random.default_rng(0)).photons for scan in (plain, shaded)]
    assert found[1] == pytest.approx(found[0], rel=0.05)


def test_a_single_slice_with_little_flat_tissue_is_still_measured():
    """A strip of water in fat, 32 pixels high, holds no flat region of 32 pixels, but smaller ones."""
    whole = noisy_water(photons=1e5, n_slices=1, seed=3)
    hu = whole.hu - 100
    hu[:, 96:128] += 100
    found = calibrate(Scan.from_array(hu, spacing=whole.spacing), SCANNER, np.random.default_rng(0))
    assert found.noise == pytest.approx(whole.hu[:, 96:128, 64:160].std(), rel=0.15)
