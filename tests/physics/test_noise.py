import numpy as np
import pytest

from lowdose.physics.noise import expected_counts, line_integral_variance, missing_variance


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
