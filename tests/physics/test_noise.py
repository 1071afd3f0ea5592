import numpy as np
import pytest
from scipy.stats import ks_2samp, kstwobign, norm, poisson

from lowdose.physics.geometry import FanBeam, ImageGrid
from lowdose.physics.noise import (
    FEW_PHOTONS,
    FEWEST_PHOTONS,
    expected_counts,
    line_integral_variance,
    measured,
    missing_noise,
    missing_variance,
    mixed,
    thinned,
)
from lowdose.physics.reconstruction import fbp
from lowdose.quality.spectra import noise_power_spectrum, radial_average
from lowdose.units import WATER_MU_PER_MM, mu_difference_to_hu
from tests.physics.phantoms import chords

DRAWS = 200_000
LINE_INTEGRAL = 2.0


@pytest.mark.parametrize(("mean", "electronic"), [(1000.0, 0.0), (200.0, 0.0), (300.0, 12.0)])
def test_variance_matches_counted_photons(mean, electronic):
    generator = np.random.default_rng(0)
    counted = generator.poisson(mean, 400_000) + electronic * generator.standard_normal(400_000)
    measured = np.var(-np.log(np.maximum(counted, 1.0)))
    assert line_integral_variance(np.float32(mean), electronic) == pytest.approx(measured, rel=0.04)


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.7])
def test_missing_variance_is_the_difference_of_the_two_doses(fraction):
    counts = np.array([40.0, 900.0, 1e5], np.float32)
    difference = line_integral_variance(counts * fraction, 9.0) - line_integral_variance(counts, 9.0)
    assert missing_variance(counts, fraction, 9.0) == pytest.approx(difference, rel=1e-5)


def test_two_steps_down_add_what_one_adds():
    counts = np.array([50.0, 1e4], np.float32)
    twice = missing_variance(counts, 0.5, 7.0) + missing_variance(counts / 2, 0.5, 7.0)
    assert twice == pytest.approx(missing_variance(counts, 0.25, 7.0), rel=1e-6)


def test_the_same_dose_misses_nothing():
    assert missing_variance(np.array([10.0], np.float32), 1.0, 5.0) == 0.0


def test_counts_follow_beer_and_never_vanish():
    counts = expected_counts(np.array([0.0, np.log(4.0), 50.0], np.float32), 1000.0)
    assert counts == pytest.approx([1000.0, 250.0, 1.0])


def of_a_logarithm(mean, electronic=0.0):
    """Mean and variance of ``-log(N / mean)``, summed over all numbers of photons that can arrive, and
    integrated over the electronic noise."""
    photons = np.arange(int(mean + 12 * np.sqrt(mean) + 30))
    weights = poisson.pmf(photons, mean)
    if electronic:
        z = np.linspace(-8.0, 8.0, 4001)
        readings = photons[:, None] + electronic * z
        weights = weights[:, None] * norm.pdf(z) * (z[1] - z[0])
    else:
        readings = photons
    values = np.log(mean / np.maximum(readings, FEWEST_PHOTONS))
    first = np.sum(weights * values)
    return first, np.sum(weights * values**2) - first**2


def of_thinned_photons(mean, fraction):
    """Every value that the thinned photons of a ray can give and how likely it is: of k that are left and m
    that are not, both of Poisson numbers, ``log((k + m) / (k / fraction))``."""
    left, lost = fraction * mean, (1 - fraction) * mean
    k, m = (np.arange(int(one + 12 * np.sqrt(one) + 30)) for one in (left, lost))
    full, kept = np.maximum(k[:, None] + m, FEWEST_PHOTONS), np.maximum(k[:, None], FEWEST_PHOTONS)
    return np.log(full / kept * fraction), poisson.pmf(k, left)[:, None] * poisson.pmf(m, lost)


def drawn(draw, mean, *arguments, n=DRAWS, seed=0, **named):
    generator = np.random.default_rng(seed)
    return draw(np.full(n, mean, np.float32), *arguments, generator, **named).astype(np.float64)


def measured_behind_water(counts, electronic, generator, **named):
    """Readings behind the same object where `counts` photons are expected."""
    through = np.full(counts.shape, LINE_INTEGRAL, np.float32)
    return measured(through, counts * np.float32(np.exp(LINE_INTEGRAL)), electronic, generator, **named)


@pytest.mark.parametrize("fraction", [0.25, 0.5])
@pytest.mark.parametrize("counts", [5.0, 20.0, 80.0])
def test_thinned_photons_have_the_distribution_of_counting_at_both_doses(counts, fraction):
    found = drawn(thinned, counts, fraction, 0.0)
    values, weights = of_thinned_photons(counts, fraction)
    mean = np.sum(weights * values)
    variance = np.sum(weights * (values - mean) ** 2)
    kurtosis = np.sum(weights * (values - mean) ** 4) / variance**2
    assert weights.sum() == pytest.approx(1.0, abs=1e-9)
    assert found.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / DRAWS))
    assert found.var() == pytest.approx(variance, rel=4 * np.sqrt((kurtosis - 1) / DRAWS))
    order = values.ravel().argsort()
    likely = np.cumsum(weights.ravel()[order])
    # Between two values that can occur, so that rounding to float32 moves nothing over.
    sorted_values = values.ravel()[order]
    gaps = np.flatnonzero(np.diff(sorted_values) > 1e-4)
    between = (sorted_values[gaps] + sorted_values[gaps + 1]) / 2
    shares = np.searchsorted(np.sort(found), between) / DRAWS
    assert len(gaps) > 50
    assert np.abs(shares - likely[gaps]).max() < kstwobign.isf(0.01) / np.sqrt(DRAWS)


@pytest.mark.parametrize("electronic", [0.0, 4.0])
@pytest.mark.parametrize("left", [5.0, 20.0, 80.0])
def test_the_mean_of_thinned_photons_is_the_bias_of_the_logarithm(left, electronic):
    """At the lower dose less that at the full one: each with all of the electronic noise."""
    for fraction in (0.5, 0.25):
        found = drawn(thinned, left / fraction, fraction, electronic)
        bias = of_a_logarithm(left, electronic)[0] - of_a_logarithm(left / fraction, electronic)[0]
        error = found.std() / np.sqrt(DRAWS)
        assert found.mean() == pytest.approx(bias, abs=4 * error)
        assert bias > 10 * error  # enough draws to tell it from none


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_where_many_photons_are_left_thinning_adds_the_missing_variance(fraction):
    """Most of it electronic: at the lower dose its share is topped up to the whole."""
    counts = 4000.0 / fraction
    electronic = np.sqrt(3 * fraction * counts)
    found = drawn(thinned, counts, fraction, electronic)
    assert found.var() == pytest.approx(missing_variance(counts, fraction, electronic), rel=0.015)
    quantum_alone = missing_variance(counts, fraction, 0.0)
    assert found.var() > 3 * quantum_alone


@pytest.mark.parametrize(("electronic", "first_order"), [(0.0, 0.03), (8.0, 0.07)])
def test_photons_are_counted_where_few_are_left_and_only_there(electronic, first_order):
    """Below a hundred the bias of the logarithm is added, above it none is; what is left out of the variance
    there is a per cent or two of quantum noise, and more of electronic noise."""
    fraction = 0.25
    for left, counted in ((FEW_PHOTONS - 1, True), (FEW_PHOTONS, False)):
        found = drawn(missing_noise, left / fraction, fraction, electronic)
        low, full = (of_a_logarithm(counts, electronic) for counts in (left, left / fraction))
        error = found.std() / np.sqrt(DRAWS)
        bias = low[0] - full[0]
        assert bias > 10 * error
        assert found.mean() == pytest.approx(bias if counted else 0.0, abs=4 * error)
        assert found.var() == pytest.approx(low[1] - full[1], rel=first_order)


@pytest.mark.parametrize(("mean", "spread"), [(1000.0, 1.0), (100.0, 1.015), (20.0, 1.08)])
def test_the_logarithm_of_few_photons_is_biased_and_spread(mean, spread):
    """The variance over its first order, from a table; the bias in closed form where it is good."""
    found = drawn(measured_behind_water, mean, 0.0) - LINE_INTEGRAL
    bias, variance = of_a_logarithm(mean)
    error = np.sqrt(variance / DRAWS)
    assert found.mean() == pytest.approx(bias, abs=3 * error)
    if mean >= 100.0:
        assert found.mean() == pytest.approx(1 / (2 * mean), abs=3 * error)
    assert found.var() * mean == pytest.approx(spread, abs=0.012)
    assert variance * mean == pytest.approx(spread, abs=0.006)


def test_a_reading_of_nothing_becomes_half_a_photon():
    """At five photons one reading in 150 is empty; the closed form of the bias is wrong by a fifth."""
    found = drawn(measured_behind_water, 5.0, 0.0) - LINE_INTEGRAL
    bias, variance = of_a_logarithm(5.0)
    assert found.mean() == pytest.approx(bias, abs=4 * np.sqrt(variance / DRAWS))
    assert found.var() == pytest.approx(variance, rel=0.03)
    assert found.max() == pytest.approx(np.log(5.0 / FEWEST_PHOTONS), rel=1e-5)
    assert np.mean(found > np.log(5.0 / 0.75)) == pytest.approx(np.exp(-5.0), rel=0.1)


@pytest.mark.parametrize("share", [0.05, 0.15, 0.25])
def test_crosstalk_moves_signal_and_loses_none(share):
    signal = np.random.default_rng(0).uniform(0, 1000, (3, 5, 40)).astype(np.float32)
    assert mixed(signal, share).sum(axis=-1) == pytest.approx(signal.sum(axis=-1), rel=1e-6)
    even = np.full((2, 9), 7.0, np.float32)
    assert mixed(even, share) == pytest.approx(even, rel=1e-6)
    one = np.zeros(9, np.float32)
    one[4] = 1.0
    expected = np.zeros(9)
    expected[3:6] = share, 1 - 2 * share, share
    assert mixed(one, share) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("share", [-0.01, 0.26, float("nan")])
def test_crosstalk_that_is_no_share_is_refused(share):
    with pytest.raises(ValueError, match=r"between 0 and 0\.25"):
        mixed(np.ones(4, np.float32), share)


@pytest.mark.parametrize("share", [0.05, 0.15, 0.25])
def test_neighbours_have_noise_in_common_as_crosstalk_makes_it(share):
    """Of the weights a, 1 - 2 a and a: products of neighbours over the sum of squares."""
    photons, rows, channels = 1e5, 2000, 202
    counts = np.full((rows, channels), photons, np.float32)
    noise = measured_behind_water(counts, 0.0, np.random.default_rng(1), crosstalk=share)[:, 1:-1]
    noise = noise.astype(np.float64) - noise.mean()
    straight = 1 - 2 * share
    power = straight**2 + 2 * share**2
    assert noise.var() * photons == pytest.approx(power, rel=0.02)
    closed_form = (2 * share * straight / power, share**2 / power, 0.0)
    for lag, expected in enumerate(closed_form, start=1):
        found = np.mean(noise[:, lag:] * noise[:, :-lag]) / noise.var()
        assert found == pytest.approx(expected, abs=0.008)


@pytest.mark.parametrize("electronic", [0.0, 8.0])
@pytest.mark.parametrize(("left", "fraction"), [(1000.0, 0.5), (1000.0, 0.1), (4000.0, 0.25)])
def test_noise_that_is_added_makes_what_the_lower_dose_measures(left, fraction, electronic):
    """Not told apart from readings at that dose in ten thousand, whose mean a hundredth would show."""
    direct, added = directly_and_added(left, fraction, electronic)
    assert added.std() == pytest.approx(direct.std(), rel=0.02)
    assert ks_2samp(direct[:10_000], added[:10_000]).pvalue > 0.01


@pytest.mark.parametrize("fraction", [0.5, 0.25, 0.1])
@pytest.mark.parametrize("left", [20.0, 50.0, 95.0, 200.0])
def test_where_few_photons_are_left_mean_and_spread_are_still_the_lower_doses(left, fraction):
    """The distribution is smoother there than that of whole numbers of photons."""
    direct, added = directly_and_added(left, fraction, 0.0)
    assert added.std() == pytest.approx(direct.std(), rel=0.02)
    assert added.mean() == pytest.approx(direct.mean(), abs=0.05 * direct.std())


def directly_and_added(left, fraction, electronic):
    """Line integrals with `left` photons, and with more to which the noise of the lower dose is added."""
    direct = drawn(measured_behind_water, left, electronic, seed=2)
    full = drawn(measured_behind_water, left / fraction, electronic, seed=3)
    return direct, full + drawn(missing_noise, left / fraction, fraction, electronic, seed=4)


@pytest.mark.parametrize("electronic", [5.0, 12.0])
@pytest.mark.parametrize("way", ["measured", "added"])
def test_the_electronic_noise_is_found_again_in_the_variance_against_the_dose(way, electronic):
    """sigma^2 = A / D + B / D^2 with A = 1 / counts and B = electronic^2 / counts^2."""
    counts, doses = 2000.0, np.array([1.0, 0.5, 0.3, 0.2, 0.1])
    variances = [drawn(measured_behind_water, counts, electronic, seed=5).var()]
    for k, dose in enumerate(doses[1:]):
        if way == "measured":
            variances.append(drawn(measured_behind_water, counts * dose, electronic, seed=6 + k).var())
        else:
            variances.append(variances[0] + drawn(missing_noise, counts, dose, electronic, seed=6 + k).var())
    quantum, square = fitted_to_dose(doses, variances)
    assert 1 / quantum == pytest.approx(counts, rel=0.05)
    assert np.sqrt(square) / quantum == pytest.approx(electronic, rel=0.1)


def fitted_to_dose(doses, variances):
    """A and B of ``A / dose + B / dose^2``, every variance as good as the next in per cent."""
    terms = np.stack([1 / doses, 1 / doses**2], axis=1) / np.asarray(variances)[:, None]
    return np.linalg.lstsq(terms, np.ones(len(doses)), rcond=None)[0]


# Inserted noise against a scan at the lower dose


LITTLE = FanBeam(
    n_views=180, n_channels=160, channel_spacing=2.0, source_to_axis=300.0, source_to_detector=550.0
)
LITTLE_GRID = ImageGrid((64, 64), (1.3, 1.3))


@pytest.mark.parametrize(
    ("photons", "electronic", "fewest"), [(4e4, 8.0, 1466), (1500.0, 3.0, 55)], ids=["many", "few"]
)
def test_inserted_noise_is_that_of_a_scan_at_the_lower_dose(photons, electronic, fewest):
    """A cylinder of water, by counting alone and with what is missing added, in projections and images.

    Behind its middle `fewest` photons are left at a quarter of the dose: above and below the hundred under
    which they are counted.
    """
    fraction, n_repeats, radius = 0.25, 320, 50.0
    generator = np.random.default_rng(6)
    exact = (chords(LITTLE, radius) * WATER_MU_PER_MM).astype(np.float32)
    counts = expected_counts(exact, photons)
    assert counts.min() * fraction == pytest.approx(fewest, rel=0.01)
    central = exact[:, 78:82]
    rays, images = {"inserted": [], "direct": []}, {"inserted": [], "direct": []}
    for _ in range(n_repeats):
        full = measured(exact, photons, electronic, generator)
        readings = {
            "inserted": full + missing_noise(counts, fraction, electronic, generator),
            "direct": measured(exact, photons * fraction, electronic, generator),
        }
        for name, reading in readings.items():
            rays[name].append(reading[:, 78:82] - central)
            noise = mu_difference_to_hu(fbp(LITTLE, LITTLE_GRID, reading - exact))
            images[name].append(noise[10:54, 10:54])
    inserted, direct = (np.array(rays[name]) for name in ("inserted", "direct"))
    assert inserted.std() == pytest.approx(direct.std(), rel=0.02)
    assert ks_2samp(inserted[::8, ::3].ravel(), direct[::8, ::3].ravel()).pvalue > 0.01
    assert abs((inserted - direct).mean(dtype=float)) < 0.02 * direct.std()
    inserted, direct = (np.array(images[name]) for name in ("inserted", "direct"))
    assert inserted.std() == pytest.approx(direct.std(), rel=0.02)
    assert ks_2samp(inserted[:, ::6, ::6].ravel(), direct[:, ::6, ::6].ravel()).pvalue > 0.01
    spectra = [
        radial_average(noise_power_spectrum(image, LITTLE_GRID.spacing), LITTLE_GRID.spacing, n_bins=5)
        for image in (inserted, direct)
    ]
    assert spectra[0].power == pytest.approx(spectra[1].power, rel=0.05)
