"""Noise is found where there is nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lowdose.physics.noise_patches import REASONS, coarse_share, find_noise, flat_corners, judged
from lowdose.quality.spectra import detrended
from lowdose.scan import Scan, Slice

SIDE = 32


def coloured(rng, shape, deviation=20.0):
    """Noise with little power at low frequencies, as filtered back projection leaves."""
    white = rng.standard_normal(shape)
    noise = gaussian_filter(white, (0, 0.7, 0.7)) - gaussian_filter(white, (0, 3, 3))
    return deviation * noise / noise.std()


def scan_with(hu):
    return Scan.from_array(hu.astype(np.float32), spacing=(3.0, 0.7, 0.7), name="scan")


@pytest.fixture(scope="module")
def phantom():
    """Water with a cupping of 20 HU in air, and noise of 20 HU."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[-128:128, -128:128]
    body = np.hypot(y, x) < 110
    surface = 40.0 + 20.0 * np.hypot(y, x) ** 2 / 110**2
    noise = coloured(rng, (4, 256, 256))
    return np.where(body, surface + noise, -1000.0), noise


def test_the_noise_of_a_flat_object_is_found_with_its_level_and_place(phantom):
    hu, noise = phantom
    found = find_noise(scan_with(hu))
    assert found.n_candidates == len(found) + sum(found.left_out.values())
    assert len(found) > 0.95 * found.n_candidates
    assert found.levels.mean() == pytest.approx(20.0, rel=0.02)
    for patch, (z, y, x), mean in zip(found.noise[::40], found.places[::40], found.means[::40], strict=False):
        there = noise[z, y : y + SIDE, x : x + SIDE]
        assert np.allclose(
            patch, detrended(there[None])[0], atol=1.0
        )  # the cupping is no quadratic to the HU
        middle = np.hypot(y + SIDE / 2 - 128, x + SIDE / 2 - 128)
        assert mean == pytest.approx(40 + 20 * middle**2 / 110**2, abs=3.0)


@pytest.mark.parametrize(
    ("reason", "planted"),
    [
        ("anatomy at low frequencies", lambda y, x: 25.0 * np.sin(2 * np.pi * x / 16)),
        ("something stands out", lambda y, x: np.where((y == 16) & (x == 16), 250.0, 0.0)),
        ("uneven", lambda y, x: np.where(x < 16, 30.0, 0.0) * (-1.0) ** (x + y)),
        ("skewed or peaked", lambda y, x: 70.0 * (abs(y - 15.5) < 3) * (abs(x - 15.5) < 3) * (-1.0) ** x),
        ("no noise", None),
    ],
)  # fmt: skip
def test_what_is_no_noise_is_left_out_and_said(reason, planted):
    rng = np.random.default_rng(2)
    noise = coloured(rng, (60, SIDE, SIDE))
    y, x = np.mgrid[:SIDE, :SIDE]
    if planted is None:
        noise[:5] = 0.0
    else:
        noise[:5] += planted(y, x)
    found = judged(detrended(noise))
    assert [REASONS[one] for one in found[:5]] == [reason] * 5
    assert (found[5:] == -1).mean() > 0.93


def test_edges_and_air_are_no_candidates():
    hu = np.full((96, 96), -1000.0, np.float32)
    hu[:, 32:] = 50.0  # an edge along x = 32
    hu[:, 64:] = 900.0
    corners = flat_corners(Slice(hu, np.zeros(hu.shape, bool)), 16)
    assert set(corners[:, 1]) <= {40, 72, 80}
    padded = Slice(hu, np.ones(hu.shape, bool))
    assert not len(flat_corners(padded, 16))
    assert not len(flat_corners(Slice(hu[:10], np.zeros((10, 96), bool)), 16))


def test_a_scan_with_nothing_flat_gives_an_empty_record():
    found = find_noise(scan_with(np.full((2, 64, 64), -1000.0)))
    assert (len(found), found.n_candidates, found.left_out) == (0, 0, {})
    assert found.noise.shape == (0, SIDE, SIDE)
    assert found.levels.shape == (0,)


def test_the_coarse_share_of_white_noise_is_its_share_of_frequencies():
    white = np.random.default_rng(3).standard_normal((400, SIDE, SIDE))
    n = np.fft.fftfreq(SIDE, 1 / SIDE)
    expected = (np.hypot(n[:, None], n[None]) <= 2.5).mean()
    assert coarse_share(white).mean() == pytest.approx(expected, rel=0.02)
