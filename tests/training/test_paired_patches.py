"""Patches lie in both scans at one place, with the neighbours in order."""

from __future__ import annotations

import numpy as np
import pytest

from lowdose.training.dataset import PreparedPair
from lowdose.training.paired_patches import PairedPatches


def pair_of(offset: int = 0, weight: float = 1.0) -> PreparedPair:
    """Voxels whose values say where they are: 1000 z + 20 y + x - 400, and 7 more in the other scan."""
    z, y, x = np.indices((5, 20, 20))
    low = (1000 * z + 20 * y + x - 400 + offset).astype(np.int16)
    return PreparedPair(f"patient {offset}", weight, (3.0, 1.0, 1.0), low, low + 7)


def test_both_patches_are_of_one_place_and_neighbours_are_in_order():
    patches = PairedPatches([pair_of()], 8, context=1)
    for seed in range(20):
        shown, target = patches(np.random.default_rng(seed))
        assert shown.shape == (3, 8, 8)
        assert target.shape == (1, 8, 8)
        assert np.array_equal(target[0], shown[1] + 7)
        assert set(np.unique(np.diff(shown, axis=0))) <= {0.0, 1000.0}


def test_beyond_its_ends_a_scan_goes_on_as_it_ends():
    pair = pair_of()
    shown, _ = PairedPatches([pair], 20, context=2).patch(pair, 0)
    assert shown[:, 0, 0].tolist() == [-400, -400, -400, 600, 1600]


def test_pairs_are_drawn_by_their_weight():
    patches = PairedPatches([pair_of(0, 3.0), pair_of(1, 1.0)], 20)
    first = [patches(np.random.default_rng(seed))[0][0, 0, 0] % 2 for seed in range(400)]
    assert np.mean(first) == pytest.approx(0.25, abs=0.07)


def test_slices_smaller_than_a_patch_are_refused():
    with pytest.raises(ValueError, match="patient 0: slices of 20 x 20 pixels are smaller"):
        PairedPatches([pair_of()], 24)
