"""Samples of one noise are alike; what differs is told, each by its own measure."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.ndimage import gaussian_filter

from lowdose.quality.noise_likeness import (
    compare_noise,
    correlation_length,
    feature_distance,
    features,
    standardised_moment,
    told_apart,
)

SPACING = (0.7, 0.7)


def noise(n=300, blur=(0.8, 0.8), seed=1, side=32):
    white = np.random.default_rng(seed).standard_normal((n, side, side))
    blurred = gaussian_filter(white, (0, *blur), mode="wrap")
    return 20.0 * blurred / blurred.std()


def test_two_samples_of_one_noise_are_alike():
    found = compare_noise(noise(), noise(seed=2), SPACING)
    assert found.level_ratio == pytest.approx(1.0, abs=0.01)
    assert found.spectrum_mismatch < 0.03
    assert found.skewness == pytest.approx((0.0, 0.0), abs=0.02)
    assert found.kurtosis == pytest.approx((3.0, 3.0), abs=0.1)
    assert found.correlation_length_ratio == pytest.approx(1.0, abs=0.03)
    assert 0.4 < found.told_apart < 0.58


@pytest.mark.parametrize(
    "other",
    [1.2 * noise(seed=2), noise(blur=(1.0, 1.0), seed=2), noise(blur=(0.6, 1.05), seed=2)],
    ids=["louder", "coarser", "with a direction"],
)
def test_what_differs_is_told_apart(other):
    assert told_apart(noise(), other) > 0.7


def test_a_level_is_a_level_and_a_blur_is_a_blur():
    louder = compare_noise(noise(), 1.2 * noise(seed=2), SPACING)
    assert louder.level_ratio == pytest.approx(1.2, abs=0.01)
    assert louder.spectrum_mismatch < 0.03
    coarser = compare_noise(noise(), noise(blur=(1.2, 1.2), seed=2), SPACING)
    assert coarser.level_ratio == pytest.approx(1.0, abs=0.04)  # a trend of it is gone
    assert coarser.spectrum_mismatch > 0.3
    assert coarser.correlation_length_ratio == pytest.approx(1.5, abs=0.1)


def test_moments_are_those_of_scipy():
    skewed = np.random.default_rng(3).gamma(4.0, size=(5, 40, 40))
    by_patch = skewed.reshape(5, -1)
    assert standardised_moment(skewed, 3) == pytest.approx(stats.skew(by_patch, axis=1).mean())
    assert standardised_moment(skewed, 4) == pytest.approx(
        stats.kurtosis(by_patch, axis=1, fisher=False).mean()
    )


def test_the_correlation_length_of_a_gaussian_blur_is_known():
    """Blurred with s, noise has the correlation exp(-d^2 / 4 s^2), a half at 2 s sqrt(log 2)."""
    found = correlation_length(noise(blur=(2.0, 2.0), n=400, side=64), (0.5, 0.5))
    assert found == pytest.approx(2 * 2.0 * np.sqrt(np.log(2)) * 0.5, rel=0.03)


def test_the_distance_of_features_is_in_spreads_of_the_real_ones():
    real = np.random.default_rng(1).standard_normal((4000, 3)) * (1.0, 5.0, 0.0) + 2.0
    assert feature_distance(real, real) == 0.0
    shifted = real + np.array([0.6, 0.0, 0.0]) * real.std(axis=0)
    assert feature_distance(real, shifted) == pytest.approx(0.6 / np.sqrt(2), rel=1e-6)
    wider = (real - real.mean(axis=0)) * 1.5 + real.mean(axis=0)
    assert feature_distance(real, wider) == pytest.approx(0.5, rel=1e-6)


def test_noise_of_another_texture_is_farther():
    real, same, coarser = (features(noise(seed=k, blur=(b, b))) for k, b in ((1, 0.8), (2, 0.8), (3, 0.9)))
    assert feature_distance(real, same) < 0.12
    assert feature_distance(real, coarser) > 0.5


def test_too_few_patches_cannot_be_compared():
    with pytest.raises(ValueError, match="3 and 9 patches of noise"):
        compare_noise(noise(3), noise(9), SPACING)
