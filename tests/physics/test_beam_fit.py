from dataclasses import replace

import numpy as np
import pytest

from lowdose.physics.beam import Beam
from lowdose.physics.beam_fit import BeamSearch, Seen
from lowdose.physics.flat_regions import find_flat_places
from lowdose.physics.ramp import hann
from lowdose.physics.reconstruction import fbp
from lowdose.physics.scan_projection import line_integrals
from lowdose.physics.scanner import Scanner
from lowdose.quality.spectra import noise_power_spectrum
from lowdose.scan import Scan
from lowdose.units import mu_difference_to_hu
from tests.physics.phantoms import FAN, GRID

SCANNER = Scanner("test", "a fan beam", FAN, photons=1e5, electronic=0.0)
ELLIPSE = np.where(
    (np.mgrid[-111.5:112:1, -111.5:112:1][1] / 105) ** 2 + (np.mgrid[-111.5:112:1, -111.5:112:1][0] / 65) ** 2
    < 1,
    0.0,
    -1000.0,
).astype(np.float32)


def seen_with(beam: Beam, shares: list[float]) -> Seen:
    """An elliptic body whose noise `beam` has made, slices with `shares` of the dose."""
    generator = np.random.default_rng(3)
    scan = Scan.from_array(ELLIPSE[None].repeat(len(shares), axis=0), spacing=(2.0, *GRID.spacing))
    passed = line_integrals(scan.read(0), GRID, FAN)
    slices = []
    for share in shares:
        noise = generator.standard_normal(passed.shape, dtype=np.float32)
        noise *= np.sqrt(beam.variance(FAN, passed, share))
        slices.append(ELLIPSE + mu_difference_to_hu(fbp(FAN, GRID, noise, hann(0.6))))
    noisy = Scan.from_array(np.stack(slices), spacing=scan.spacing)
    side, places = find_flat_places(((z, noisy.read(z)) for z in range(len(noisy))), generator)
    own = [
        noise_power_spectrum(
            np.stack([place.slice_.hu[y : y + side, x : x + side] for y, x in place.corners]), GRID.spacing
        )
        for place in places
    ]
    return Seen(GRID, side, places, own, [1.0] * len(places))


@pytest.mark.parametrize("modulation", [0.0, 0.5, 1.0])
def test_how_the_current_followed_the_body_is_found(modulation):
    seen = seen_with(replace(SCANNER.beam(), modulation=modulation), [1.0] * 6)
    beam, levels = BeamSearch(seen, SCANNER).likeliest(0.9)
    assert beam.modulation == pytest.approx(modulation, abs=0.25)
    assert beam.hardening <= 0.1
    assert [level.used for level in levels] == pytest.approx([1.0] * 6, abs=0.1)


def test_hardening_is_found_where_it_is_strong():
    seen = seen_with(replace(SCANNER.beam(), hardening=0.4), [1.0] * 6)
    assert BeamSearch(seen, SCANNER).likeliest(0.9)[0].hardening >= 0.2


def test_slices_of_more_dose_have_lower_levels():
    seen = seen_with(SCANNER.beam(), [0.5, 0.5, 0.5, 2.0, 2.0, 2.0])
    levels = BeamSearch(seen, SCANNER).likeliest()[1]
    ratio = np.mean([level.used for level in levels[:3]]) / np.mean([level.used for level in levels[3:]])
    assert ratio == pytest.approx(4.0, rel=0.25)


def test_the_contrast_of_simulated_directions_is_near_one():
    seen = seen_with(SCANNER.beam(), [1.0] * 6)
    beam, _ = BeamSearch(seen, SCANNER).likeliest()
    plain = replace(SCANNER.beam(), modulation=0.0, hardening=0.0)
    assert BeamSearch(seen, SCANNER).contrast(plain, [seen.own]) == pytest.approx(0.95, abs=0.2)
    assert beam.photons == SCANNER.photons


def test_regions_that_overlap_count_once():
    seen = seen_with(SCANNER.beam(), [1.0])
    assert 0.1 < seen.independent_share < 0.9
