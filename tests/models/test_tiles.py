from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter, uniform_filter

from lowdose.models.tiles import SLAB_BYTES_PER_VOXEL, Demand, Tiling, best_tiling, narrowest_halo, tiled


@settings(deadline=None)
@given(
    length=st.integers(1, 200),
    core=st.integers(1, 12),
    halo=st.integers(0, 9),
    multiple=st.sampled_from([1, 2, 8]),
)
def test_spans_keep_every_voxel_once_and_show_its_halo(length, core, halo, multiple):
    demand = Demand((halo, 0, 0), multiple, 1)
    extent = core * multiple + 2 * demand.padded(halo)
    spans = demand.spans(length, extent, 0)
    kept = [voxel for span in spans for voxel in range(span.first, span.last)]
    assert kept == list(range(demand.padded(length)))
    assert len({span.stop - span.start for span in spans}) == 1
    for span in spans:
        assert span.start % multiple == span.stop % multiple == 0
        assert span.start == 0 or span.first - span.start >= halo
        assert span.stop == demand.padded(length) or span.stop - span.last >= halo


def test_spans_as_counted_by_hand():
    """10 voxels, 6 at a time, 1 of them for the neighbours: 0-6 keeps 0-5, 4-10 keeps 5-10."""
    assert Demand((1, 0, 0), 1, 1).spans(10, 6, 0) == ((0, 6, 0, 5), (4, 10, 5, 10))


@pytest.mark.parametrize("multiple", [1, 2, 4])
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 19, 23), (16, 5, 40)])
def test_a_filter_in_tiles_is_the_filter(multiple, shape):
    """A maximum over 5 x 3 x 7 voxels, of which the border sees fewer, needs a halo of 2, 1, 3."""
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    demand = Demand((2, 1, 3), multiple, 1)
    shown = []

    def compute(tile):
        shown.append(tile.shape)
        return maximum_filter(tile, (5, 3, 7), mode="constant", cval=-np.inf)

    whole = maximum_filter(volume, (5, 3, 7), mode="constant", cval=-np.inf)
    for budget in (0, 20_000, 60_000, 10**9):
        tiling = best_tiling(shape, demand, budget)
        shown.clear()
        assert np.array_equal(tiled(volume, tiling, demand, compute), whole)
        assert set(shown) == {tiling.extents}
        assert all(extent % multiple == 0 for extent in tiling.extents)


def test_too_narrow_a_halo_shows():
    volume = np.random.default_rng(0).normal(size=(4, 4, 40)).astype(np.float32)
    demand = Demand((0, 0, 2), 1, 1)

    def compute(tile):
        return maximum_filter(tile, (1, 1, 7), mode="constant", cval=-np.inf)

    assert not np.array_equal(tiled(volume, Tiling((4, 4, 10), 0), demand, compute), compute(volume))


@pytest.mark.parametrize("megabytes", [200, 500, 1500, 6000, 10**6])
def test_the_budget_holds_and_more_of_it_means_less_work(megabytes):
    shape, demand = (1000, 700, 650), Demand((20, 20, 20), 8, 800)
    tiling = best_tiling(shape, demand, megabytes * 10**6)
    z, y, x = tiling.extents
    assert tiling.n_bytes == z * (y * x * 800 + SLAB_BYTES_PER_VOXEL * 700 * 650)
    assert tiling.n_bytes <= max(megabytes * 10**6, best_tiling(shape, demand, 0).n_bytes)
    assert all(extent >= 56 or extent >= length for extent, length in zip(tiling.extents, shape, strict=True))
    if megabytes == 10**6:
        assert tiling.extents == (1000, 704, 656)

    def work(tiling):
        return np.prod(
            [
                float(sum(span.stop - span.start for span in demand.spans(length, extent, axis)))
                for axis, (length, extent) in enumerate(zip(shape, tiling.extents, strict=True))
            ]
        )

    assert work(tiling) >= work(best_tiling(shape, demand, 2 * megabytes * 10**6))


def test_slices_that_are_given_together_stay_together():
    demand = Demand((20, 20, 20), 8, 800)
    whole = best_tiling((1000, 700, 650), demand, 1500 * 10**6)
    again = best_tiling((whole.extents[0], 700, 650), demand, 1500 * 10**6, whole_z=True)
    assert again == whole


def test_the_narrowest_halo_is_what_the_filter_sees():
    """A mean over 5 x 3 x 7 voxels, and what it adds from 12 voxels away is below the tolerance."""
    volume = np.random.default_rng(0).normal(0, 50, (40, 41, 60)).astype(np.float32)

    def compute(tile):
        far = uniform_filter(tile, (1, 1, 25), mode="constant")
        return uniform_filter(tile, (5, 3, 7), mode="constant") + np.float32(1e-4) * far

    assert narrowest_halo(compute, volume, 1, 0.1) == (2, 1, 3)
    assert narrowest_halo(compute, volume, 4, 0.1) == (4, 4, 4)
    assert narrowest_halo(compute, volume, 1, 1e-5) == (2, 1, 12)


def test_a_volume_too_short_to_see_a_halo_is_refused():
    volume = np.random.default_rng(0).normal(0, 50, (4, 4, 20)).astype(np.float32)
    with pytest.raises(ValueError, match="too short"):
        narrowest_halo(lambda tile: tile + tile.mean(), volume, 1)
