import numpy as np
import pytest

pytest.importorskip("FrEIA")

from lowdose.invariances.models import load_learned
from lowdose.invariances.sampling import directions, sampled
from tests.invariances.places import BLUR, place_of
from tests.invariances.places import CONSTANT as FORGETS
from tests.invariances.places import IDENTITY as KEEPS


def test_samples_of_what_passes_everything_on_are_the_input_itself(flow):
    learned, _, _ = load_learned(flow)
    place = place_of(KEEPS)
    for candidate in sampled(place, learned, 4):
        assert candidate.input == pytest.approx(place.input, abs=1e-2)
        assert candidate.change.structural < 0.1


def test_samples_of_what_forgets_everything_are_all_consistent_and_differ(flow):
    learned, _, _ = load_learned(flow)
    found = sampled(place_of(FORGETS), learned, 4)
    assert all(one.change.consistent for one in found)
    assert not np.array_equal(found[0].input, found[1].input)


def test_directions_are_ordered_by_their_share_and_go_both_ways(flow):
    learned, _, _ = load_learned(flow)
    found = directions(place_of(BLUR), learned, 8, n_directions=3)
    shares = [one.share for one in found]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1
    assert all(len(one.towards) == 4 for one in found)


def test_the_same_seed_gives_the_same_samples(flow):
    learned, _, _ = load_learned(flow)
    place = place_of(BLUR)
    one, same, other = (sampled(place, learned, 2, seed) for seed in (1, 1, 2))
    assert np.array_equal(one[0].input, same[0].input)
    assert not np.array_equal(one[0].input, other[0].input)
