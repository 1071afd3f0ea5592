import numpy as np
import pytest

from lowdose.invariances.candidates import corrected, judged, most_ignored
from tests.invariances.places import BLUR, CONSTANT, IDENTITY, place_of


def others(n: int = 3) -> np.ndarray:
    return np.random.default_rng(1).normal(-300, 200, (n, 64, 64)).astype(np.float32)


def test_correction_by_the_identity_gives_the_input_itself():
    place = place_of(IDENTITY)
    assert corrected(place, others()) == pytest.approx(np.repeat(place.input[None], 3, 0), abs=1e-2)


def test_correction_by_a_method_that_ignores_everything_changes_nothing():
    assert np.array_equal(corrected(place_of(CONSTANT), others()), others())


def test_correction_brings_the_output_of_a_blur_back_and_keeps_what_the_blur_ignores():
    place = place_of(BLUR)
    board = 200.0 * (-1.0) ** np.add(*np.mgrid[:64, :64])  # nothing of it passes the blur
    y, x = np.mgrid[:64, :64]
    broad = 80 * np.exp(-((y - 32) ** 2 + (x - 32) ** 2) / 100)
    start = (place.input + board + broad).astype(np.float32)[None]
    before, after = (judged(place, one, "test")[0] for one in (start, corrected(place, start, 6)))
    assert before.change.response > 1
    assert after.change.response < 0.2 * before.change.response
    kept = (after.input - place.input)[16:48, 16:48]
    assert kept.std() == pytest.approx(200, rel=0.1)


def test_those_that_the_output_betrays_are_left_out_and_the_largest_comes_first():
    place = place_of(CONSTANT)
    small, large = place.input + 50, place.input + 500
    found = most_ignored(judged(place, np.stack([small, large]), "test"))
    assert [one.change.structural for one in found] == sorted(
        (one.change.structural for one in found), reverse=True
    )
    assert most_ignored(judged(place_of(IDENTITY), np.stack([large]), "test")) == []


def test_no_inputs_are_no_candidates():
    assert judged(place_of(IDENTITY), np.empty((0, 64, 64), np.float32), "test") == []
