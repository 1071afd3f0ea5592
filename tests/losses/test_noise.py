import numpy as np
import pytest
import torch

from lowdose.losses.noise import (
    expected_periodogram,
    periodogram,
    spectrum_distance,
    whittle_loss,
    without_surface,
)
from lowdose.quality.spectra import detrended


def white(n, n_y=32, n_x=24, seed=1):
    return torch.randn(n, 1, n_y, n_x, generator=torch.Generator().manual_seed(seed))


def test_white_noise_has_power_one_at_every_frequency():
    power = periodogram(white(4000)).mean(dim=0)
    assert power.shape == (32, 13)
    assert torch.allclose(power, torch.ones_like(power), atol=0.1)
    assert float(power.mean()) == pytest.approx(1.0, abs=0.005)


def test_power_grows_with_the_square_of_the_noise():
    noise = white(3)
    assert torch.allclose(periodogram(5 * noise), 25 * periodogram(noise))


def test_the_likeliest_spectrum_is_that_of_the_noise():
    """Of white noise of variance v it is least at v, and there it is (1 + log v) / 2."""
    noise = 2.0 * white(4000)
    levels = [3.0, 3.6, 4.0, 4.4, 5.0]
    losses = [float(whittle_loss(noise, torch.full((32, 13), level))) for level in levels]
    assert np.argmin(losses) == 2
    assert losses[2] == pytest.approx(0.5 * (1 + np.log(4.0)), abs=0.01)


def test_it_is_the_likelihood_that_numpy_computes():
    noise, spectrum = white(2), 0.5 + torch.rand(32, 13, generator=torch.Generator().manual_seed(2))
    window = np.outer(*(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n) for n in (32, 24)))
    waves = np.fft.fft2(noise[:, 0].numpy() * window)
    power = np.abs(waves) ** 2 / (window**2).sum()
    cycles = np.hypot(np.fft.fftfreq(32, 1 / 32)[:, None], np.fft.fftfreq(24, 1 / 24))
    full = np.zeros((32, 24))
    full[:, :13] = spectrum
    full[:, 13:] = np.roll(spectrum.numpy()[::-1], 1, axis=0)[:, 11:0:-1]
    taken = cycles >= 1.5
    nats = 0.5 * (power / full + np.log(full))[:, taken]
    assert float(whittle_loss(noise, spectrum)) == pytest.approx(nats.mean(), rel=1e-5)


def test_the_distance_of_spectra_tells_texture_and_level():
    real, more = white(2000), white(2000, seed=2)
    blurred = torch.nn.functional.avg_pool2d(more, 3, stride=1, padding=1)
    assert float(spectrum_distance(more, real)) < 0.01
    assert float(spectrum_distance(1.1 * more, real)) == pytest.approx(np.log(1.21) ** 2, abs=0.02)
    assert float(spectrum_distance(blurred, real)) > 1.0


def test_the_expected_periodogram_is_the_mean_of_many():
    textures = torch.randn(2, 7, 7, generator=torch.Generator().manual_seed(5))
    expected = expected_periodogram(textures, 24, 32)
    for texture, wanted in zip(textures, expected, strict=True):
        noise = torch.nn.functional.conv2d(white(6000, 30, 38), texture[None, None])
        measured = periodogram(noise).mean(dim=0)
        assert float((measured - wanted).abs().mean() / wanted.mean()) < 0.02


def test_the_expected_periodogram_of_white_noise_is_one():
    texture = torch.zeros(1, 5, 5)
    texture[0, 2, 2] = 1.0
    assert torch.allclose(expected_periodogram(texture, 16, 16), torch.ones(1, 16, 9), atol=1e-5)


def test_the_surface_that_is_taken_off_is_that_of_spectra():
    noise = np.random.default_rng(0).standard_normal((3, 24, 20))
    y, x = np.mgrid[:24, :20]
    noise += 3 + 0.1 * y - 0.02 * x * y + 0.01 * x**2
    ours = without_surface(torch.from_numpy(noise)[:, None].float())[:, 0].numpy()
    assert np.allclose(ours, detrended(noise), atol=1e-4)
