"""Average precision against hand-worked cases and against pycocotools; FROC against its definition."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lowdose.quality.lesion_detection import (
    FROC_RATES,
    ImageFindings,
    average_precision,
    false_positives,
    froc,
    froc_score,
    intersection_over_union,
    match,
    over_patients,
    precision_recall,
    threshold_for,
)

NONE = np.zeros((0, 4))
UNIT = np.array([0.0, 0.0, 10.0, 10.0])
"""A lesion of 10 x 10 pixels; `shifted` ones lie beside it."""


def shifted(*columns: float) -> np.ndarray:
    return np.array([UNIT + np.array([0.0, column, 0.0, column]) for column in columns]).reshape(-1, 4)


def image(patient: object, lesions: np.ndarray, found: np.ndarray, *scores: float) -> ImageFindings:
    return ImageFindings(patient, lesions, found, np.array(scores))


def random_images(generator: np.random.Generator, n_images: int, *, ties: bool) -> list[ImageFindings]:
    """Lesions with findings near them and elsewhere; with `ties` boxes and scores often coincide."""
    images = []
    for number in range(n_images):
        n_lesions, n_found = generator.integers(0, 4), generator.integers(0, 7)
        corners = generator.integers(0, 12, (n_lesions, 2)).astype(float)
        lesions = np.hstack([corners, corners + generator.integers(2, 9, (n_lesions, 2))])
        near = lesions[generator.integers(0, n_lesions, n_found)] if n_lesions else np.zeros((n_found, 4))
        near = near + ([0, 0, 4, 4] if not n_lesions else [0, 0, 0, 0])
        step = generator.integers(-2, 3, (n_found, 2)) if ties else generator.normal(0, 1.5, (n_found, 2))
        found = near + np.hstack([step, step])
        scores = generator.integers(1, 5, n_found) / 5 if ties else generator.random(n_found)
        images.append(ImageFindings(number % 3, lesions, found, scores))
    return images


def coco_average_precision(images: list[ImageFindings], overlap: float) -> float:
    def boxes(values: np.ndarray) -> list[list[float]]:
        return [[x0, y0, x1 - x0, y1 - y0] for y0, x0, y1, x1 in values.tolist()]

    truth = COCO()
    annotations = [
        {"id": 0, "image_id": index, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for index, one in enumerate(images)
        for box in boxes(one.lesions)
    ]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    truth.dataset = {
        "images": [{"id": index} for index in range(len(images))],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "lesion"}],
    }
    found = [
        {"image_id": index, "category_id": 1, "bbox": box, "score": score}
        for index, one in enumerate(images)
        for box, score in zip(boxes(one.found), one.scores.tolist(), strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.params.iouThrs = np.array([overlap])
        evaluation.evaluate()
        evaluation.accumulate()
    return float(evaluation.eval["precision"][0, :, 0, 0, 2].mean())


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("overlap", [0.5, 0.75, 0.3])
def test_average_precision_is_that_of_pycocotools(ties, overlap):
    for seed in range(40):
        images = random_images(np.random.default_rng(seed), 12, ties=ties)
        if any(len(one.lesions) for one in images) and any(len(one.found) for one in images):
            ours = average_precision(match(images, overlap))
            assert ours == coco_average_precision(images, overlap)


def test_the_overlap_of_boxes_by_hand():
    overlaps = intersection_over_union(shifted(0), shifted(0, 5, 10, 20))
    np.testing.assert_allclose(overlaps, [[1.0, 50 / 150, 0.0, 0.0]])
    within = intersection_over_union(shifted(0), np.array([[2.0, 2.0, 7.0, 6.0]]))
    np.testing.assert_allclose(within, [[20 / 100]])


def test_average_precision_by_hand():
    """Two lesions; the surest finding is right, the next wrong, the third right: precisions 1, 1/2, 2/3."""
    images = [
        image("a", shifted(0), shifted(0, 40), 0.9, 0.8),
        image("b", shifted(0), shifted(1), 0.7),
    ]
    expected = (51 * 1.0 + 50 * 2 / 3) / 101
    assert average_precision(match(images)) == pytest.approx(expected, abs=1e-12)
    recalls, precisions = precision_recall(match(images))
    np.testing.assert_allclose(precisions[recalls <= 0.5], 1.0)
    np.testing.assert_allclose(precisions[recalls > 0.5], 2 / 3)


def test_a_lesion_is_found_once_and_its_second_finding_is_false():
    images = [image("a", shifted(0), shifted(0, 0), 0.9, 0.8)]
    assert match(images).hits.tolist() == [True, False]
    assert average_precision(match(images)) == pytest.approx(1.0)
    assert false_positives(match(images), 0.0) == 1.0


def test_the_overlap_counts_from_its_threshold_on():
    half = image("a", np.array([[0.0, 0, 10, 20]]), shifted(0), 0.9)
    assert match([half], 0.5).hits.tolist() == [True]
    assert match([half], 0.51).hits.tolist() == [False]


def test_without_lesions_there_is_no_precision_and_without_findings_none_at_all():
    assert np.isnan(average_precision(match([image("a", NONE, shifted(0), 0.9)])))
    assert average_precision(match([image("a", shifted(0), NONE)])) == 0.0
    rates, sensitivities = froc(match([image("a", shifted(0), NONE)]))
    assert (rates.tolist(), sensitivities.tolist()) == ([0.0], [0.0])
    assert np.isnan(precision_recall(match([image("a", NONE, NONE)]))[1]).all()


def test_froc_by_hand():
    """Four images, two lesions. Scores .9 hit, .8 false, .7 false and hit together."""
    images = [
        image("a", shifted(0), shifted(0, 40), 0.9, 0.8),
        image("b", shifted(0), shifted(0, 40), 0.7, 0.7),
        image("b", NONE, NONE),
        image("c", NONE, NONE),
    ]
    rates, sensitivities = froc(match(images))
    assert rates.tolist() == [0.0, 0.0, 0.25, 0.5]
    assert sensitivities.tolist() == [0.0, 0.5, 0.5, 1.0]
    at = [0.5 if rate < 0.5 else 1.0 for rate in FROC_RATES]
    assert froc_score(match(images)) == pytest.approx(np.mean(at))


def test_the_threshold_leaves_no_more_false_positives_than_allowed():
    images = [
        image("a", NONE, shifted(0, 20), 0.9, 0.8),
        image("b", shifted(0), shifted(0, 30), 0.6, 0.5),
    ]
    matching = match(images)
    assert threshold_for(matching, 0.0) == float("inf")
    assert threshold_for(matching, 0.5) == 0.9
    assert threshold_for(matching, 1.0) == 0.6
    assert threshold_for(matching, 9.0) == 0.5
    assert false_positives(matching, 0.8) == 1.0
    assert false_positives(matching, 0.85) == 0.5


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_a_patient_that_counts_twice_is_two_patients(seed):
    images = random_images(np.random.default_rng(seed), 9, ties=True)
    matching = match(images)
    weights = np.array([2.0, 1.0, 0.0])
    doubled = [one for one in images for _ in range(int(weights[matching.patients.index(one.patient)]))]
    again = match(doubled)
    if again.n_lesions.sum():
        # Where scores tie, the order within the tie is part of COCO's definition: the curve may differ there.
        ends = np.append(matching.scores[1:] != matching.scores[:-1], True)[: len(matching.scores)]
        ends_again = np.append(again.scores[1:] != again.scores[:-1], True)[: len(again.scores)]
        curve = {
            s: (h, m)
            for s, h, m in zip(
                matching.scores[ends], *(c[ends] for c in matching.curve(weights)), strict=True
            )
        }
        for s, h, m in zip(again.scores[ends_again], *(c[ends_again] for c in again.curve()), strict=True):
            assert curve[s] == (h, m)
        assert froc_score(matching, weights) == pytest.approx(froc_score(again))
        assert false_positives(matching, 0.4, weights) == pytest.approx(false_positives(again, 0.4))


def test_weights_count_patients_to_the_bit_where_scores_differ():
    images = random_images(np.random.default_rng(5), 30, ties=False)
    weights = np.array([1.0, 0.0, 1.0])
    kept = [one for one in images if one.patient != 1]
    assert average_precision(match(images), weights) == average_precision(match(kept))


def test_the_interval_over_patients_covers_and_narrows():
    """A finding is right with probability 0.7 in each of many patients: sensitivity has a binomial spread."""
    generator = np.random.default_rng(3)

    def interval(n: int):
        images = []
        for patient in range(n):
            right = generator.random() < 0.7
            images.append(image(patient, shifted(0), shifted(0 if right else 40), 0.9))
        matching = match(images)
        return over_patients(lambda w: float(froc(matching, w)[1][-1]), n, generator)

    few, many = interval(20), interval(320)
    assert few.low < 0.7 < few.high
    assert many.low < 0.7 < many.high
    assert many.high - many.low == pytest.approx(2 * 1.96 * np.sqrt(0.21 / 320), rel=0.2)
    assert over_patients(lambda w: 1.0, 2, generator) is None


def test_resamples_without_lesions_are_drawn_anew():
    images = [image("a", shifted(0), shifted(0), 0.9), *(image(p, NONE, NONE) for p in "bcd")]
    matching = match(images)
    found = over_patients(lambda w: average_precision(matching, w), 4, np.random.default_rng(1), 50)
    assert (found.low, found.high) == pytest.approx((1.0, 1.0))
    nothing = match([image(p, NONE, NONE) for p in "abc"])
    with pytest.raises(ValueError, match="are there lesions at all"):
        over_patients(lambda w: average_precision(nothing, w), 3, np.random.default_rng(1), 2)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (lambda: image("a", np.array([[0.0, 0, 0, 5]]), NONE), "a box has no area"),
        (lambda: image("a", np.array([[0.0, 0, np.nan, 5]]), NONE), "a box has no area"),
        (lambda: image("a", NONE, shifted(0)), "1 findings with 0 scores"),
        (lambda: match([]), "there are no images"),
        (lambda: match([image("a", NONE, NONE)], 0.0), "the overlap is 0"),
    ],
)
def test_what_cannot_be_is_refused(bad, sentence):
    with pytest.raises(ValueError, match=sentence):
        bad()
