from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from lowdose.quality.spectra import (
    RadialSpectrum,
    RepeatedRegions,
    detrended,
    noise_power_spectrum,
    radial_average,
    radial_bins,
    squares_around,
)

SIGMA = 20.0
SQUARE = (0.7, 0.7)
OBLONG = (0.5, 0.8)


def white(n_regions: int, shape: tuple[int, int] = (32, 32), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, SIGMA, (n_regions, *shape))


def blurred(noise: np.ndarray, sigma_mm: float, spacing: tuple[float, float]) -> np.ndarray:
    """Periodic noise with the transfer exp(-2 pi^2 s^2 f^2), exactly."""
    f_y, f_x = (np.fft.fftfreq(n, d) for n, d in zip(noise.shape[1:], spacing, strict=True))
    transfer = np.exp(-2 * np.pi**2 * sigma_mm**2 * (f_y[:, None] ** 2 + f_x[None, :] ** 2))
    return np.fft.ifft2(np.fft.fft2(noise) * transfer).real


def trends(shape: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]] / 10.0
    return np.stack([500 + 0 * x, 30 * x - 12 * y, 7 * x * y, 40 * x**2 - 3 * y**2 + 2 * x - 80])


def mean_power(spacing: tuple[float, float], sigma_mm: float = 0.0) -> np.ndarray:
    """Of ten thousand regions: a ring of fifty frequencies, half of them independent, is known to 0.2 %."""
    batches = (white(2500, seed=seed) for seed in range(4))
    return np.mean(
        [noise_power_spectrum(blurred(one, sigma_mm, spacing), spacing).mean(axis=0) for one in batches],
        axis=0,
    )


@pytest.mark.parametrize("spacing", [SQUARE, OBLONG])
def test_white_noise_is_flat_at_its_variance_times_the_pixel_area(spacing):
    """Within 1 % in every ring; next to the origin by twos, less what goes with the quadratic trend."""
    power = mean_power(spacing)
    spectrum = radial_average(power, spacing)
    expected = SIGMA**2 * spacing[0] * spacing[1]
    assert spectrum.power[6:] == pytest.approx(expected, rel=0.01)
    y, x = np.mgrid[:32, :32] - 15.5
    trend = np.linalg.qr(np.stack([one.ravel() for one in (x**0, x, y, x * x, x * y, y * y)], axis=1))[0]
    taken = (np.abs(np.fft.fft2(trend.T.reshape(6, 32, 32))) ** 2).sum(axis=0) / 32**2
    members = radial_bins((32, 32), spacing)[1]
    for k in (0, 2, 4):
        pair = tuple(np.concatenate(part) for part in zip(*members[k : k + 2], strict=True))
        assert power[pair].mean() == pytest.approx(expected * (1 - taken[pair]).mean(), rel=0.01)
    area = 32 * spacing[0] * 32 * spacing[1]
    assert power.sum() / area == pytest.approx(SIGMA**2 * (1 - 6 / 32**2), rel=0.002)


def test_of_white_noise_the_circle_below_the_last_frequency_holds_its_share():
    spectrum = radial_average(noise_power_spectrum(white(300, (64, 64)), SQUARE), SQUARE)
    share = np.pi * (spectrum.frequencies[-1] * SQUARE[0]) ** 2
    assert spectrum.variance == pytest.approx(share * SIGMA**2, rel=0.01)
    assert share == pytest.approx(np.pi / 4, rel=0.1)


@pytest.mark.parametrize("spacing", [SQUARE, OBLONG])
def test_blurred_noise_has_the_closed_form(spacing):
    """Within 1 % in every ring that the trend, which is taken off, does not reach."""
    sigma_mm = 0.3
    spectrum = radial_average(mean_power(spacing, sigma_mm), spacing)
    gain = np.exp(-4 * np.pi**2 * sigma_mm**2 * spectrum.frequencies**2)
    expected = SIGMA**2 * spacing[0] * spacing[1] * gain
    assert spectrum.power[6:] == pytest.approx(expected[6:], rel=0.01)
    assert gain[-1] < 0.3  # the blur reaches far enough to be seen


@pytest.mark.parametrize("shape", [(32, 32), (24, 40), (31, 17)])
def test_the_power_adds_up_to_the_variance(shape):
    noise = white(5, shape)
    power = noise_power_spectrum(noise, OBLONG)
    area = shape[0] * OBLONG[0] * shape[1] * OBLONG[1]
    variances = (detrended(noise) ** 2).mean(axis=(1, 2))
    assert power.shape == (5, *shape)
    assert power.sum(axis=(1, 2)) / area == pytest.approx(variances, rel=1e-9)


def test_slopes_and_bowls_are_no_noise():
    noise = white(4, (24, 40))
    plain, tilted = (noise_power_spectrum(image, OBLONG) for image in (noise, noise + trends((24, 40))))
    assert tilted == pytest.approx(plain, rel=1e-6, abs=1e-6)
    assert np.abs(detrended(trends((24, 40)))).max() < 1e-9
    cubic = (np.mgrid[:24, :40][1] / 10.0) ** 3
    assert detrended(cubic[None]).std() > 0.1


def test_detrending_takes_six_degrees_of_freedom_from_white_noise():
    shape = (12, 10)
    left = (detrended(white(4000, shape)) ** 2).sum(axis=(1, 2)).mean() / SIGMA**2
    assert left == pytest.approx(12 * 10 - 6, rel=0.01)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_wave_lies_at_its_frequency_in_each_direction(axis):
    n, cycles = 40, 9
    wave = 10 * np.cos(2 * np.pi * cycles * np.arange(n) / n)
    image = np.broadcast_to(wave[:, None] if axis == 0 else wave[None, :], (n, n))
    frequency = cycles / (n * OBLONG[axis])
    spectrum = radial_average(noise_power_spectrum(image[None], OBLONG), OBLONG)
    peak = spectrum.frequencies[spectrum.power.argmax()]
    assert peak == pytest.approx(frequency, abs=0.5 * np.diff(spectrum.frequencies).max())


@pytest.mark.parametrize(("shape", "spacing"), [((32, 32), SQUARE), ((24, 41), OBLONG)])
def test_rings_hold_every_frequency_below_nyquist_once_and_not_the_origin(shape, spacing):
    frequencies, members = radial_bins(shape, spacing)
    count = np.zeros(shape, int)
    for member in members:
        np.add.at(count, member, 1)
    f_y, f_x = (np.fft.fftfreq(n, d) for n, d in zip(shape, spacing, strict=True))
    radius = np.hypot(f_y[:, None], f_x[None, :])
    below = (radius < min(0.5 / spacing[0], 0.5 / spacing[1]) * (1 - 1e-9)) & (radius > 0)
    assert np.array_equal(count[below], np.ones(below.sum()))
    assert count[0, 0] == 0
    assert count.max() == 1
    assert (np.diff(frequencies) > 0).all()


def test_numbers_of_a_curve_by_hand():
    spectrum = RadialSpectrum(np.array([1.0, 2.0, 3.0]), np.array([1.0, 1.0, 2.0]))
    assert spectrum.mean_frequency == pytest.approx((1 + 2 + 6) / 4)
    # Rings from 0 to 1.5, to 2.5 and to 3: areas pi times 2.25, 4 and 2.75.
    assert spectrum.variance == pytest.approx(np.pi * (2.25 + 4 + 2 * 2.75))


def test_the_mean_frequency_of_white_noise_is_half_of_nyquist_and_blur_lowers_it():
    noise = white(40, (64, 64))
    plain, soft = (
        radial_average(noise_power_spectrum(image, SQUARE), SQUARE).mean_frequency
        for image in (noise, blurred(noise, 0.5, SQUARE))
    )
    assert plain == pytest.approx(0.25 / 0.7, rel=0.05)
    assert soft < 0.7 * plain


def test_the_peak_of_a_curve_lies_between_its_rings():
    frequencies = np.linspace(0.02, 1.0, 50)
    for centre in (0.311, 0.5, 0.683):
        peaked = RadialSpectrum(frequencies, 100 - 200 * (frequencies - centre) ** 2)
        assert peaked.peak_frequency == pytest.approx(centre, abs=0.002)
    falling = RadialSpectrum(frequencies, 1 / frequencies)
    assert falling.peak_frequency == frequencies[0]


def test_what_repeats_have_in_common_is_no_noise():
    """Structure far above the noise, another one in each slice, leaves the closed form of white noise."""
    generator = np.random.default_rng(3)
    corners = np.array([[0, 0], [10, 20], [32, 32]])
    structures = 500 * generator.standard_normal((4, 64, 64))
    found = RepeatedRegions(32, SQUARE)
    for z in range(4):
        for _ in range(12):
            found.add(z, structures[z] + generator.normal(0, SIGMA, (64, 64)), corners)
    expected = SIGMA**2 * SQUARE[0] * SQUARE[1]
    assert found.radial.power[3:].mean() == pytest.approx(expected, rel=0.03)
    assert found.n_regions == 12 * 4 * 3


def test_places_seen_once_give_the_plain_spectrum():
    noise = white(1, (64, 64))[0]
    corners = np.array([[3, 5], [30, 20]])
    found = RepeatedRegions(32, OBLONG)
    found.add("slice", noise, corners)
    cut = np.stack([noise[y : y + 32, x : x + 32] for y, x in corners])
    assert found.power == pytest.approx(noise_power_spectrum(cut, OBLONG).mean(axis=0))


def test_squares_lie_in_their_disc_or_on_their_ring():
    spacing = (0.5, 0.5)
    inner = squares_around((50.0, 60.0), 0.0, 32, spacing, reach=30.0)
    far = np.hypot(*((inner[:, None] + [[0, 0], [0, 31], [31, 0], [31, 31]]) * 0.5 - [50.0, 60.0]).T)
    assert len(inner) > 4
    assert far.max() <= 30.5
    ring = squares_around((50.0, 60.0), 25.0, 32, spacing)
    middles = (ring + 15.5) * 0.5 - [50.0, 60.0]
    assert np.hypot(*middles.T) == pytest.approx(25.0, abs=0.5)
    assert len(ring) == int(np.ceil(2 * np.pi * 25 / 8))
    assert len(squares_around((50.0, 60.0), 0.0, 32, spacing)) == 1


def pooled(power, spacing):
    """Means over eight wide rings, without the innermost, from which detrending takes."""
    return radial_average(power, spacing, n_bins=8).power[1:]


def closed_form(shape, spacing, sigma_mm=0.0):
    """Power `[fy, fx]` of white noise blurred by a Gaussian: sigma^2 a^2 exp(-4 pi^2 s^2 f^2)."""
    f_y, f_x = (np.fft.fftfreq(n, d) for n, d in zip(shape, spacing, strict=True))
    square = f_y[:, None] ** 2 + f_x[None, :] ** 2
    return SIGMA**2 * spacing[0] * spacing[1] * np.exp(-4 * np.pi**2 * sigma_mm**2 * square)


@pytest.mark.parametrize("spacing", [SQUARE, OBLONG])
@pytest.mark.parametrize("sigma_mm", [0.0, 0.25, 0.4])
def test_wide_rings_of_white_and_of_blurred_noise_are_within_a_per_cent(spacing, sigma_mm):
    shape = (64, 64)
    noise = blurred(white(600, shape, seed=11), sigma_mm, spacing)
    found = pooled(noise_power_spectrum(noise, spacing), spacing)
    expected = pooled(closed_form(shape, spacing, sigma_mm), spacing)
    assert found == pytest.approx(expected, rel=0.01)
    if sigma_mm:
        assert expected[-1] < 0.5 * expected[0]  # of a spectrum that falls


@pytest.mark.parametrize("sigma_mm", [0.0, 0.6, 0.9])
def test_the_integral_of_the_power_is_the_variance_of_the_noise(sigma_mm):
    """Of blurred noise sigma^2 a^2 / (4 pi s^2), all of it below the Nyquist frequency."""
    side = 128
    noise = blurred(white(250, (side, side), seed=12), sigma_mm, SQUARE)
    power = noise_power_spectrum(noise, SQUARE)
    whole = power.mean(axis=0).sum() / (side * SQUARE[0]) ** 2
    if sigma_mm:
        variance = SIGMA**2 * SQUARE[0] * SQUARE[1] / (4 * np.pi * sigma_mm**2)
        assert radial_average(power, SQUARE).variance == pytest.approx(variance, rel=0.01)
    else:
        variance = SIGMA**2
    assert whole == pytest.approx(variance, rel=0.01)


def test_memory_does_not_grow_with_the_number_of_places():
    generator, corners = np.random.default_rng(0), np.array([[0, 0], [10, 20]])
    found, peaks = RepeatedRegions(32, SQUARE), []
    tracemalloc.start()
    for z in range(200):
        found.add(z, generator.normal(0, SIGMA, (64, 64)), corners)
        if z in (9, 199):
            peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
