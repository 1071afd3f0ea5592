import numpy as np
import pytest

from lowdose.invariances.candidates import judged
from lowdose.invariances.evidence import (
    CONVICTED,
    DirectionEffect,
    Gate,
    SearchedPlace,
    finding_of,
    verdict_of,
)
from lowdose.invariances.probes import Shape
from tests.invariances.places import CONSTANT, SPACING, place_of


def finding(radius_px: float = 6.0, height: float = 150.0):
    place = place_of(CONSTANT)
    y, x = np.mgrid[:64, :64]
    disc = height * (np.hypot(y - 30, x - 40) < radius_px)
    (candidate,) = judged(place, (place.input + disc).astype(np.float32)[None], "test")
    return finding_of(place, candidate, "lung", SPACING[1:])


def places(*times: float) -> list[SearchedPlace]:
    return [SearchedPlace(1, 2, 3, "lung", {"test": one}) for one in times]


SEEN = Shape("nodule in lung", 4.0, 100.0, 3, 8.0, 7.0, 0.9)
GONE = Shape("nodule in lung", 3.0, 200.0, 3, 8.0, 1.0, 0.1)
NOISY = Shape("nodule in lung", 9.0, 200.0, 3, 300.0, 100.0, 1.0)
UNSEEN = Shape("nodule in lung", 2.0, 50.0, 3, 1.0, 0.0, 0.0)


def test_a_disc_is_told_by_its_size_contrast_and_place():
    found = finding()
    assert (found.y, found.x) == pytest.approx((48 + 30, 48 + 40), abs=2)
    assert found.diameter == pytest.approx(12 * 0.7, rel=0.1)
    assert found.contrast == pytest.approx(150, rel=0.1)
    assert found.times > CONVICTED
    assert finding(height=-150.0).contrast == pytest.approx(-150, rel=0.1)


def test_lesions_are_ignored_if_they_were_seen_and_index_and_contrast_are_gone():
    assert [one.ignored for one in (SEEN, GONE, NOISY, UNSEEN)] == [False, True, False, False]


def test_the_verdict_tells_what_is_ignored():
    found = verdict_of("m", places(1.2, 5.0), [finding()], [SEEN, GONE], [])
    assert found.convicted
    assert "in 1 of 2 places" in found.sentence
    assert "bright structure of about 8 mm in lung" in found.sentence
    assert "a nodule in lung of 3 mm and +200 HU that the input shows is 90 % gone" in found.sentence


def test_without_places_that_speak_against_it_a_method_is_acquitted_with_what_it_keeps():
    found = verdict_of("m", places(0.0, 1.3), [], [SEEN, UNSEEN], [])
    assert found.convicted is False
    assert "1.3 times" in found.sentence
    assert "down to 4 mm at +100 HU" in found.sentence


def test_a_failed_gate_forbids_a_verdict():
    gate = Gate("control", "0.3", "at least 2", False, "")
    found = verdict_of("m", places(5.0), [finding()], [], [gate])
    assert found.convicted is None
    assert found.sentence == "No verdict on m: control is 0.3, not at least 2."


@pytest.mark.parametrize(
    ("density", "structural", "response", "alters"),
    [(90, 3.0, 0.5, True), (90, 3.0, 1.5, False), (90, 1.5, 0.5, False), (50, 3.0, 0.5, False)],
)
def test_a_direction_alters_anatomy_beyond_noise_alone_and_unanswered(density, structural, response, alters):
    effect = DirectionEffect(
        1, 2, 3, "test", 0.5, "lung", density, 30.0, 0.5, 0.9, structural, response
    )  # fmt: skip
    assert effect.times_noise == pytest.approx(density / 30)
    assert effect.alters_anatomy is alters
