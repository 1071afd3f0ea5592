import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ks_2samp, poisson

from lowdose.physics.calibration import relative_tube_current
from lowdose.physics.dose import _KEPT_SLICES, dose_simulator, simulate, simulate_ladder
from lowdose.physics.geometry import ImageGrid
from lowdose.physics.noise import missing_variance
from lowdose.physics.reconstruction import fbp
from lowdose.physics.scanner import Scanner, ScannerError
from lowdose.quality.spectra import detrended, noise_power_spectrum, radial_average
from lowdose.scan import Acquisition, Scan
from lowdose.units import WATER_MU_PER_MM, mu_difference_to_hu
from tests.physics.phantoms import FAN, GRID, disc, noisy_water

PHOTONS = 1.5e5
ELECTRONIC = 8.0
SCANNER = Scanner("test", "a fan beam", FAN, photons=1e5, electronic=ELECTRONIC)


@pytest.fixture(scope="module")
def water() -> Scan:
    return noisy_water(photons=PHOTONS, n_slices=6)


CENTRE = (slice(None), slice(72, 152), slice(72, 152))


def test_the_full_dose_is_the_scan_bit_for_bit(water):
    same = simulate(water, 1.0, seed=3)
    assert same.hu.tobytes() == water.hu.tobytes()


@pytest.mark.parametrize("fraction", [0.5, 0.25, 0.1])
def test_the_noise_grows_with_the_inverse_root_of_the_dose(water, fraction):
    low = simulate(water, fraction, seed=1, scanner=SCANNER)
    ratio = low.hu[CENTRE].std() / water.hu[CENTRE].std()
    counts = np.float32(PHOTONS * np.exp(-WATER_MU_PER_MM * 2 * 110))
    added = missing_variance(counts, fraction, ELECTRONIC) * counts
    assert ratio == pytest.approx(np.sqrt(1 + added), rel=0.06)
    assert ratio > 0.97 * fraction**-0.5


def test_the_mean_stays(water):
    low = simulate(water, 0.25, seed=1, scanner=SCANNER)
    difference = low.hu[:, disc(GRID, 100.0) == 1] - water.hu[:, disc(GRID, 100.0) == 1]
    assert abs(difference.mean()) < 0.3


def test_the_added_noise_has_the_scans_own_spectrum(water):
    low = simulate(water, 0.25, seed=1, scanner=SCANNER)
    own, added = (
        radial_average(noise_power_spectrum(noise[CENTRE], GRID.spacing), GRID.spacing, n_bins=10)
        for noise in (water.hu, low.hu - water.hu)
    )
    assert added.power / added.variance == pytest.approx(own.power / own.variance, rel=0.25)
    assert added.mean_frequency == pytest.approx(own.mean_frequency, rel=0.03)


def test_slices_are_independent_and_reproducible(water):
    low, again = (simulate(water, 0.25, seed=1, scanner=SCANNER) for _ in range(2))
    other = simulate(water, 0.25, seed=2, scanner=SCANNER)
    noise = [low.read(z).hu - water.read(z).hu for z in (0, 1)]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.03
    assert again.read(5).hu.tobytes() == low.read(5).hu.tobytes()
    assert other.read(5).hu.tobytes() != low.read(5).hu.tobytes()


def test_padding_is_not_touched(water):
    hu = water.hu
    padding = np.zeros(hu.shape, bool)
    padding[:, :20] = True
    hu[padding] = -2000
    low = simulate(Scan.from_array(hu, spacing=water.spacing, padding=padding), 0.25, seed=1, scanner=SCANNER)
    assert (low.hu[padding] == -2000).all()
    assert low.read(0).padding.tobytes() == padding[0].tobytes()


def test_noise_is_stronger_along_the_longer_axis():
    """Behind the long axis of an ellipse fewer photons arrive, so its noise is streaked along that axis."""
    y, x = np.mgrid[-111.5:112:1, -111.5:112:1]
    ellipse = np.where((x / 105) ** 2 + (y / 45) ** 2 < 1, 0.0, -1000.0)
    scan = Scan.from_array(np.repeat(ellipse[None], 4, axis=0), spacing=(2.0, 1.3, 1.3))
    noise = simulate(scan, 0.1, seed=0, scanner=SCANNER).hu - scan.hu
    power = noise_power_spectrum(noise[:, 92:132, 92:132], (1.3, 1.3)).mean(axis=0)
    along_y, along_x = power[1:8, 0].sum(), power[0, 1:8].sum()
    assert along_y > 2 * along_x


@pytest.mark.parametrize("header", [(50.0, 50.0, 50.0, 200.0, 200.0, 200.0), None])
def test_noise_follows_the_tube_current_whether_the_header_tells_or_not(header):
    shares = np.array([0.4, 1.6])
    parts = [noisy_water(photons=PHOTONS * share, n_slices=3).hu for share in shares]
    scan = Scan.from_array(
        np.concatenate(parts), spacing=(2.0, *GRID.spacing), acquisition=Acquisition(tube_current=header)
    )
    low = simulate(scan, 0.25, seed=1, scanner=SCANNER)
    weak, strong = (
        np.mean([(low.read(z).hu - scan.read(z).hu)[CENTRE[1:]].var() for z in part])
        for part in ((0, 1, 2), (3, 4, 5))
    )
    counts = PHOTONS * np.exp(-WATER_MU_PER_MM * 2 * 110) * shares
    expected = missing_variance(counts, 0.25, ELECTRONIC)
    assert weak / strong == pytest.approx(expected[0] / expected[1], rel=0.2)


def test_a_header_that_contradicts_the_noise_is_overruled_by_it(water):
    current = Acquisition(tube_current=(50.0, 50.0, 50.0, 200.0, 200.0, 200.0))
    scan = Scan.from_array(water.hu, spacing=water.spacing, acquisition=current)
    low = simulate(scan, 0.25, seed=1, scanner=SCANNER)
    weak, strong = ((low.read(z).hu - scan.read(z).hu)[CENTRE[1:]].var() for z in (0, 5))
    assert weak / strong == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize(
    ("current", "exposure", "expected"),
    [
        ((50.0, None, 50.0, 0.0), None, (1.0, 1.0, 1.0, 1.0)),
        ((50.0, 50.0, 150.0, 150.0), (1.0, 2.0, 3.0, 4.0), (0.5, 0.5, 1.5, 1.5)),
        ((50.0, None, 50.0, 50.0), (1.0, 3.0, 1.0, 3.0), (0.5, 1.5, 0.5, 1.5)),
        (None, None, (1.0, 1.0, 1.0, 1.0)),
    ],
)
def test_tube_current_is_used_where_it_is_known_everywhere(current, exposure, expected):
    acquisition = Acquisition(tube_current=current, exposure=exposure)
    assert relative_tube_current(acquisition, 4) == expected


def test_starved_rays_get_no_more_noise_than_a_logarithm_can_hold():
    """A metal rod lets nothing through: its rays must not drown the slice."""
    hu = np.where(disc(GRID, 100.0) > 0, 0.0, -1000.0)
    rod = np.where(disc(GRID, 8.0, (30.0, 20.0)) > 0, 20000.0, hu)
    plain, starved = (
        simulate(Scan.from_array(image[None], spacing=(2.0, 1.3, 1.3)), 0.25, seed=0, scanner=SCANNER).hu
        - image
        for image in (hu, rod)
    )
    far = disc(GRID, 15.0, (-60.0, -40.0)) == 1
    assert plain[0][far].std() < starved[0][far].std() < 40 * plain[0][far].std()
    assert np.abs(starved).max() < 20000


def test_a_ladder_of_doses_is_what_each_dose_is_by_itself(water):
    """One calibration and one projection serve all doses, and change none of them."""
    ladder = simulate_ladder(water, [0.5, 0.25], seed=1, scanner=SCANNER)
    for fraction, low in zip((0.5, 0.25), ladder, strict=True):
        alone = simulate(water, fraction, seed=1, scanner=SCANNER)
        assert low.read(2).hu.tobytes() == alone.read(2).hu.tobytes()
        assert low.history == alone.history


def test_noise_against_dose_has_a_slope_of_minus_one_half(water):
    """log SD of the added noise plus the scan's own, over log dose, without electronic noise."""
    quiet = Scanner("quiet", "a fan beam", FAN, photons=1e5, electronic=0.0)
    doses = np.array([1.0, 0.5, 0.25, 0.125])
    own = np.array([water.hu[CENTRE].std()])
    scans = simulate_ladder(water, doses[1:], seed=1, scanner=quiet)
    deviations = np.concatenate([own, [scan.hu[CENTRE].std() for scan in scans]])
    slope = np.polyfit(np.log(doses), np.log(deviations), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.02)


def test_half_of_a_half_is_a_quarter(water):
    """Noise of two steps down has the distribution of one step."""
    quiet = Scanner("quiet", "a fan beam", FAN, photons=1e5, electronic=0.0)
    once = simulate(water, 0.25, seed=1, scanner=quiet)
    twice = simulate(simulate(water, 0.5, seed=2, scanner=quiet), 0.5, seed=3, scanner=quiet)
    first, second = (scan.hu[CENTRE] - water.hu[CENTRE] for scan in (once, twice))
    assert second.std() == pytest.approx(first.std(), rel=0.04)
    spread = [noise[:, ::6, ::6].ravel() / noise.std() for noise in (first, second)]
    assert ks_2samp(*spread).pvalue > 0.01
    spectra = [
        radial_average(noise_power_spectrum(noise, GRID.spacing), GRID.spacing, n_bins=8)
        for noise in (first, second)
    ]
    assert spectra[1].mean_frequency == pytest.approx(spectra[0].mean_frequency, rel=0.03)


def test_what_limits_a_simulation_is_said():
    whole = np.where(disc(GRID, 100.0) > 0, 0.0, -1000.0)
    metal = np.where(disc(GRID, 8.0, (30.0, 20.0)) > 0, 8000.0, whole)
    wide = np.zeros_like(whole)
    said = [
        " ".join(
            dose_simulator(
                Scan.from_array(image[None], spacing=(2.0, 1.3, 1.3)), seed=0, scanner=SCANNER
            ).notes
        )
        for image in (whole, metal, wide)
    ]
    assert "too little flat soft tissue" in said[0]
    assert "Metal (above 3000 HU) in 1 of 1" in said[1]
    assert "Metal" not in said[0]
    assert "beyond the image in 1 of 1" in said[2]
    assert "beyond the image" not in said[1]


@pytest.mark.parametrize("fraction", [0.0, -1.0, 1.5, float("nan")])
def test_a_dose_outside_zero_to_one_is_refused(water, fraction):
    with pytest.raises(ValueError, match="dose fraction"):
        simulate(water, fraction, seed=0)


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (0.0, 0.03, "which are no HU of a body"),
        (24.0, 1100.0, "an offset of 1024 is common"),
        (-1000.0, 60.0, None),
    ],
)
def test_values_that_are_no_hu_are_asked_about(low, high, told):
    image = np.where(disc(GRID, 100.0) > 0, high, low)
    scan = Scan.from_array(image[None], spacing=(2.0, 1.3, 1.3))
    notes = " ".join(dose_simulator(scan, seed=0, scanner=SCANNER).notes)
    assert (told in notes) if told else "HU here" not in notes and "no HU" not in notes


def test_an_image_that_reaches_the_source_is_refused():
    small = replace(
        SCANNER, geometry=replace(SCANNER.geometry, source_to_axis=50.0, source_to_detector=100.0)
    )
    scan = Scan.from_array(np.zeros((1, *GRID.shape)), spacing=(2.0, 1.3, 1.3), name="large")
    with pytest.raises(
        ScannerError, match=r"large: the image reaches \d+ mm .* turns at 50 mm; name a scanner"
    ):
        dose_simulator(scan, seed=0, scanner=small)


def test_crosstalk_smooths_noise_of_an_assumed_kernel_only():
    """Neighbouring channels share noise, so less of it is left; a measured kernel has that in it already."""
    body = np.where(disc(GRID, 100.0) > 0, 0.0, -1000.0)
    scan = Scan.from_array(body[None], spacing=(2.0, 1.3, 1.3))
    mixing = replace(SCANNER, crosstalk=0.2)
    plain, mixed = (
        (simulate(scan, 0.25, seed=3, scanner=one).read(0).hu - body)[disc(GRID, 60.0) > 0].std()
        for one in (SCANNER, mixing)
    )
    assert mixed < 0.8 * plain


def test_the_attenuation_of_water_is_the_scanners_own():
    body = np.where(disc(GRID, 100.0) > 0, 0.0, -1000.0)
    scan = Scan.from_array(body[None], spacing=(2.0, 1.3, 1.3))
    soft = replace(SCANNER, water_mu=0.03)
    counts = [dose_simulator(scan, seed=0, scanner=one).counts(0)[1].min() for one in (SCANNER, soft)]
    assert np.log(counts[0] / counts[1]) == pytest.approx(200.0 * (0.03 - WATER_MU_PER_MM), rel=0.03)


DOSES = (0.5, 0.25, 0.1, 0.05)


@pytest.fixture(scope="module")
def ladder():
    """Sixteen slices of water, their simulator, and the images at each of the doses."""
    scan = noisy_water(photons=PHOTONS, n_slices=16, seed=7)
    simulator = dose_simulator(scan, seed=1, scanner=SCANNER)
    return scan.hu, simulator, {dose: simulator.at(dose).hu for dose in DOSES}


def test_the_normalised_spectrum_is_the_same_at_every_dose(ladder):
    own, _, low = ladder
    spectra = [
        radial_average(noise_power_spectrum(hu[CENTRE], GRID.spacing), GRID.spacing, n_bins=8)
        for hu in (own, *low.values())
    ]
    shape, *shapes = (spectrum.power / spectrum.variance for spectrum in spectra)
    for other in shapes:
        assert np.sqrt(np.mean((other - shape) ** 2) / np.mean(shape**2)) < 0.05
    # It is the shape that stays: the power itself grows with the inverse of the dose, and a little more.
    assert spectra[2].variance > 4 * spectra[0].variance * 0.97


def test_the_electronic_noise_is_found_again_in_the_noise_of_the_images(ladder):
    """sigma^2 = A / D + B / D^2, where the rays through the middle of a cylinder have N photons at the full
    dose: the electronic noise is the square root of N B / A."""
    own, simulator, low = ladder
    middle = disc(GRID, 25.0) == 1
    doses = np.array([1.0, *low])
    variances = np.array([hu[:, middle].var() for hu in (own, *low.values())])
    terms = np.stack([1 / doses, 1 / doses**2], axis=1) / variances[:, None]
    quantum, square = np.linalg.lstsq(terms, np.ones(len(doses)), rcond=None)[0]
    counts = simulator.counts(0)[1].min()
    assert terms @ [quantum, square] == pytest.approx(1.0, abs=0.02)
    assert np.sqrt(counts * square / quantum) == pytest.approx(ELECTRONIC, rel=0.1)


@pytest.mark.parametrize("fraction", [0.5, 0.25, 0.1])
def test_no_tissue_shifts_where_all_rays_keep_a_hundred_photons(ladder, fraction):
    """Neither the cylinder as a whole nor its middle and the rings around it."""
    own, simulator, low = ladder
    assert simulator.counts(0)[1].min() * fraction > 100
    shift = (low[fraction] - own).mean(axis=0)
    rings = [disc(GRID, radius) == 1 for radius in (25.0, 50.0, 75.0, 100.0)]
    assert abs(shift[rings[-1]].mean()) < 0.1
    for inner, ring in zip([np.zeros_like(rings[0]), *rings[:-1]], rings, strict=True):
        assert abs(shift[ring & ~inner].mean()) < 0.5


def test_where_fewer_are_left_the_image_drifts_by_the_bias_of_the_logarithm(ladder):
    """By the reconstruction of what is expected of those rays, summed over the Poisson distribution, and by
    no more. Rays that keep a hundred photons add nothing, though a scanner's would add up to half a per cent.
    """
    own, simulator, _ = ladder
    calibration = simulator.calibration
    quiet = replace(calibration, beam=replace(calibration.beam, electronic=0.0))
    simulator = replace(simulator, calibration=quiet)
    fraction = 0.025
    counts = simulator.counts(0)[1]
    assert counts.min() * fraction < 70
    few = counts * fraction < 100
    assert 0.05 < few.mean() < 0.5
    means, n = np.linspace(counts.min() * fraction, 100.0, 40), np.arange(300)
    biases = [(poisson.pmf(n, mean) * np.log(mean / np.maximum(n, 0.5))).sum() for mean in means]
    bias = np.where(few, np.interp(counts * fraction, means, biases) - 0.5 / counts, 0.0).astype(np.float32)
    expected = mu_difference_to_hu(fbp(SCANNER.plane, GRID, bias, quiet.kernel), SCANNER.water_mu)
    drift = (simulator.at(fraction).hu - own).mean(axis=0)
    inner, outer = disc(GRID, 40.0) == 1, (disc(GRID, 100.0) == 1) & (disc(GRID, 80.0) == 0)
    assert expected[inner].mean() > 3
    assert drift[inner].mean() == pytest.approx(expected[inner].mean(), abs=0.7)
    assert drift[outer].mean() == pytest.approx(expected[outer].mean(), abs=0.5)


def test_noise_of_different_seeds_has_nothing_in_common():
    """Nor has that of a slice with its neighbour's of the next seed."""
    body = np.where(disc(GRID, 100.0) > 0, 0.0, -1000.0)
    scan = Scan.from_array(np.repeat(body[None], 3, axis=0), spacing=(2.0, *GRID.spacing))
    first, second = (simulate(scan, 0.25, seed=seed, scanner=SCANNER).hu - body for seed in (1, 2))
    for own in first:
        for other in second:
            # Of 224^2 pixels; the noise of far fewer independent ones would correlate by 0.03.
            assert abs(np.corrcoef(own.ravel(), other.ravel())[0, 1]) < 0.03
    assert first.std() == pytest.approx(second.std(), rel=0.02)


def test_forty_slices_take_no_more_memory_than_ten():
    """The projections of the slices read last are kept for the other doses, and no others."""
    side, n_slices = 64, 40
    grid = ImageGrid((side, side), (4.0, 4.0))
    body = np.where(disc(grid, 100.0) > 0, 0.0, -1000.0).astype(np.float32)
    scan = Scan.from_array(np.repeat(body[None], n_slices, axis=0), spacing=(2.0, *grid.spacing))
    simulator = dose_simulator(scan, seed=0, scanner=SCANNER)
    low = simulator.at(0.25)
    first = low.read(0).hu
    peaks = []
    for n_read in (10, n_slices):
        simulator._kept.clear()
        tracemalloc.start()
        for z in range(n_read):
            low.read(z)
            assert z in simulator._kept
            assert len(simulator._kept) <= _KEPT_SLICES
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    sinogram = simulator.counts(n_slices - 1)[1].nbytes
    assert peaks[0] > _KEPT_SLICES * sinogram  # what is kept is seen by the measurement
    assert peaks[1] < 1.3 * peaks[0]
    assert low.read(0).hu.tobytes() == first.tobytes()


def test_seeds_have_no_noise_in_common_and_leave_the_mean(water):
    """The correlation of independent fields of spectra P and Q has the variance sum(PQ) / (sum(P) sum(Q)).

    At a tenth of the dose 220 photons are left behind the middle of the water.
    """
    fractions = (0.5, 0.25, 0.1)
    ladders = [simulate_ladder(water, fractions, seed=seed, scanner=SCANNER) for seed in (1, 2)]
    inside, own = disc(GRID, 100.0) == 1, water.hu
    for pair in zip(*ladders, strict=True):
        added = [low.hu - own for low in pair]
        for noise in added:
            assert abs(noise[CENTRE].mean()) < 0.5
            assert abs(noise[:, inside].mean()) < 0.5
        regions = [detrended(noise[CENTRE]) for noise in added]
        first, second = (noise_power_spectrum(noise, GRID.spacing).mean(axis=0) for noise in regions)
        n_independent = len(own) * first.sum() * second.sum() / (first * second).sum()
        assert 0.1 < n_independent / regions[0].size < 1.0
        assert abs(np.corrcoef(*(noise.ravel() for noise in regions))[0, 1]) < 4 / np.sqrt(n_independent)
