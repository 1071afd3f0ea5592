import numba
import numpy as np
import pytest

from lowdose.physics.lanes import LANES, add_between, share_between


@numba.njit
def _interpolated(sums, values, lefts, weights, gains):
    for k in range(len(lefts)):
        add_between(sums, np.uintp(k), values, np.uintp(lefts[k]), weights[k], gains[k])


@numba.njit
def _shared(sums, lefts, weights, values):
    for k in range(len(lefts)):
        share_between(sums, np.uintp(lefts[k]), weights[k], values, np.uintp(k))


LEFTS = np.array([0, 3, 3, 5, 1])
WEIGHTS = np.array([0.0, 0.25, 0.5, 1.0, 0.75], np.float32)
GAINS = np.array([1.0, 2.0, -3.0, 0.5, 0.0], np.float32)
GENERATOR = np.random.default_rng(0)


def test_four_values_are_interpolated_at_once():
    values = GENERATOR.random((7, LANES), np.float32)
    before = GENERATOR.random((5, LANES), np.float32)
    sums = before.copy()
    _interpolated(sums, values, LEFTS, WEIGHTS, GAINS)
    share = WEIGHTS[:, None]
    between = (1 - share) * values[LEFTS] + share * values[LEFTS + 1]
    assert sums == pytest.approx(before + GAINS[:, None] * between, rel=1e-6)


def test_four_values_are_shared_between_neighbours():
    values = GENERATOR.random((5, LANES), np.float32)
    sums = np.ones((7, LANES), np.float32)
    _shared(sums, LEFTS, WEIGHTS, values)
    expected = np.ones((7, LANES))
    np.add.at(expected, LEFTS, (1 - WEIGHTS[:, None]) * values)
    np.add.at(expected, LEFTS + 1, WEIGHTS[:, None] * values)
    assert sums == pytest.approx(expected, rel=1e-6)


def test_an_index_counts_quadruples_whatever_the_other_axes():
    values = np.arange(2 * 3 * LANES, dtype=np.float32).reshape(2, 3, LANES)
    sums = np.zeros((1, LANES), np.float32)
    _interpolated(sums, values, np.array([4]), np.zeros(1, np.float32), np.ones(1, np.float32))
    assert sums[0].tolist() == values[1, 1].tolist()


def test_other_numbers_are_refused():
    with pytest.raises(Exception, match="lanes are C-contiguous float32"):
        _interpolated(np.zeros((5, LANES)), np.zeros((7, LANES)), LEFTS, WEIGHTS, GAINS)
