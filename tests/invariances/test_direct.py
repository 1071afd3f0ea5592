import numpy as np
import pytest

from lowdose.invariances.candidates import most_ignored
from lowdose.invariances.direct import Search, directly_found, spots
from tests.invariances.places import BLUR, CONSTANT, ERASER, IDENTITY, Slicewise, largest_unanswered, place_of


def most(place, **search) -> float:
    return largest_unanswered(directly_found(place, Search(**search)))


def test_the_identity_ignores_nothing_at_all():
    assert most(place_of(IDENTITY)) == 1.0


def test_a_blur_ignores_less_than_a_verdict_takes():
    assert 1.2 < most(place_of(BLUR)) < 1.6


def test_a_method_that_forgets_everything_ignores_the_most_that_is_tried():
    place = place_of(CONSTANT)
    search = Search()
    assert most(place) == pytest.approx(search.first * max(search.growth), rel=1e-3)


def test_an_eraser_of_small_spots_is_convicted_of_spots_below_its_size_alone():
    small = most(place_of(ERASER), radii_px=(2.0,))
    large = most(place_of(ERASER), radii_px=(14.0,), step=16)
    assert small > 4
    assert large < 1.5


def test_a_mixture_that_a_linear_method_cannot_see_is_found_though_no_spot_is():
    """The method takes one pattern out, a mixture of two neighbouring spots; either of them it half shows."""
    search = Search(radii_px=(3.0,), step=8)
    one, other = spots(64, search)[[5, 6]]
    pattern = one - other
    pattern /= np.linalg.norm(pattern)

    def without_pattern(hu):
        out = hu.copy()
        window = out[32:96, 32:96]  # where the window lies in what the method is shown
        window -= pattern * (window * pattern).sum()
        return out

    whole = np.zeros((160, 160))
    whole[48:112, 48:112] = pattern
    method = Slicewise(
        "without a pattern",
        lambda hu: without_pattern(hu) if hu.shape == (128, 128) else hu - whole * (hu * whole).sum(),
    )
    place = place_of(method)
    best = most_ignored(directly_found(place, search))[0]
    found = best.input - place.input
    alike = abs((found * pattern).sum()) / np.linalg.norm(found)
    assert best.change.structural > 3
    assert alike > 0.99


def test_spots_lie_in_the_middle_and_have_height_one():
    found = spots(64, Search(radii_px=(2.0, 4.0), reach=32, step=8))
    assert len(found) == 2 * 16
    assert found.max(axis=(1, 2)) == pytest.approx(1.0)
    rows = [np.unravel_index(one.argmax(), one.shape) for one in found]
    assert min(min(place) for place in rows) >= 16
    assert max(max(place) for place in rows) < 48
