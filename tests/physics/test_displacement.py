"""Displacements are as long as asked for, smooth, and in millimetres along z, y, x."""

from __future__ import annotations

import numpy as np
import pytest

from lowdose.physics.displacement import displaced, smooth_displacement

SHAPE, SPACING = (12, 60, 70), (5.0, 1.5, 1.5)


def test_the_mean_length_is_that_asked_for():
    field = smooth_displacement(SHAPE, SPACING, 4.0, np.random.default_rng(1))
    assert np.linalg.norm(field, axis=0).mean() == pytest.approx(4.0, rel=1e-4)
    assert not smooth_displacement(SHAPE, SPACING, 0.0, np.random.default_rng(1)).any()


@pytest.mark.parametrize("mean_mm", [3.0, 5.0, 10.0])
def test_nothing_folds_over(mean_mm):
    """The determinant of the Jacobian of `place + displacement` stays positive."""
    field = smooth_displacement(SHAPE, SPACING, mean_mm, np.random.default_rng(2))
    slopes = np.stack([np.stack(np.gradient(one, *SPACING), axis=-1) for one in field], axis=-2)
    assert np.linalg.det(np.eye(3) + slopes).min() > 0.2


def test_how_far_neighbours_move_alike_is_in_millimetres_whatever_the_voxels():
    found = []
    for spacing in ((5.0, 1.5, 1.5), (5.0, 3.0, 3.0)):
        shape = (12, round(180 / spacing[1]), round(180 / spacing[2]))
        n = round(24 / spacing[1])
        alike = [
            np.corrcoef(field[:, n:].ravel(), field[:, :-n].ravel())[0, 1]
            for seed in range(6)
            for field in smooth_displacement(shape, spacing, 4.0, np.random.default_rng(seed))
        ]
        found.append(np.mean(alike))
    assert found[0] == pytest.approx(found[1], abs=0.15)
    assert 0.4 < found[0] < 0.95


def test_no_displacement_gives_the_image_to_the_bit():
    hu = np.random.default_rng(3).normal(0, 300, SHAPE).astype(np.float32)
    assert np.array_equal(displaced(hu, np.zeros((3, *SHAPE), np.float32), SPACING), hu)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_ramp_is_shifted_by_the_displacement_in_millimetres(axis):
    places = np.indices(SHAPE, np.float32)[axis] * SPACING[axis]
    field = np.zeros((3, *SHAPE), np.float32)
    field[axis] = 2.5
    inner = (slice(1, -1), slice(2, -2), slice(2, -2))
    assert (displaced(places, field, SPACING) - places)[inner] == pytest.approx(2.5, abs=1e-3)


def test_from_beyond_the_edge_air_comes_in():
    field = np.zeros((3, *SHAPE), np.float32)
    field[1] = 1000.0
    assert (displaced(np.full(SHAPE, 40.0, np.float32), field, SPACING) == -1000.0).all()


def test_lengths_below_zero_are_refused():
    with pytest.raises(ValueError, match="cannot move by -1 mm"):
        smooth_displacement(SHAPE, SPACING, -1.0, np.random.default_rng(1))
