import math

import numpy as np
import pytest

from lowdose.quality.detection_summary import ALLOWED, summarise_detection
from lowdose.quality.lesion_detection import ImageFindings

BOX, FAR = [10.0, 10.0, 20.0, 20.0], [40.0, 40.0, 50.0, 50.0]


def image(patient: str, *found: tuple[list[float], float], lesion: bool = True) -> ImageFindings:
    boxes = np.array([box for box, _ in found]).reshape(-1, 4)
    return ImageFindings(patient, np.array([BOX] if lesion else []), boxes, np.array([s for _, s in found]))


def arms():
    """Four patients, a lesion and an empty image each: the reference finds all, the other half of them."""
    reference, other = [], []
    for number, patient in enumerate("ABCD"):
        reference += [image(patient, (BOX, 0.9)), image(patient, (FAR, 0.2 + number / 100), lesion=False)]
        hit = (BOX, 0.9) if number % 2 else (FAR, 0.95)
        other += [image(patient, hit), image(patient, (FAR, 0.8), lesion=False)]
    return {"own": reference, "other": other}


def test_the_numbers_are_those_worked_by_hand():
    threshold, (own, other) = summarise_detection(arms(), "own", np.random.default_rng(1))
    assert threshold == 0.22  # two of four false positives in eight images: a quarter an image
    assert ALLOWED == 0.25
    assert (own.patients, own.images, own.lesions) == (4, 8, 4)
    assert own.ap_50 == pytest.approx(1.0)
    assert own.sensitivity == 1.0
    assert own.false_positives == 0.5  # 2 of the 4 images without a lesion
    assert own.ap_50_change is None
    # Two misses at 0.95, two hits at 0.9, four misses: precision 1/3 and 2/4 at recalls 1/4 and 1/2.
    assert other.ap_50 == pytest.approx(51 / 101 * 0.5, abs=1e-6)
    assert other.ap_50_change == pytest.approx(other.ap_50 - 1.0)
    assert other.sensitivity == 0.5
    assert other.false_positives == 1.0


def test_intervals_are_over_patients_and_paired():
    _, (own, other) = summarise_detection(arms(), "own", np.random.default_rng(1))
    assert own.ap_50_interval.low == own.ap_50_interval.high == pytest.approx(1.0)
    assert other.ap_50_change_interval.low < other.ap_50_change < other.ap_50_change_interval.high <= 0.0
    same = {"own": arms()["own"], "same": arms()["own"]}
    _, (_, twin) = summarise_detection(same, "own", np.random.default_rng(1))
    assert twin.ap_50_change == 0.0
    assert (twin.ap_50_change_interval.low, twin.ap_50_change_interval.high) == (0.0, 0.0)


def test_too_few_patients_have_no_interval_and_no_lesions_no_precision():
    few = {"own": arms()["own"][:4]}
    assert summarise_detection(few, "own", np.random.default_rng(1))[1][0].ap_50_interval is None
    none = {"own": [image("A", (FAR, 0.5), lesion=False)]}
    (result,) = summarise_detection(none, "own", np.random.default_rng(1))[1]
    assert math.isnan(result.ap_50)
    assert math.isnan(result.sensitivity)
    full = {"own": [image("A", (BOX, 0.5))]}
    assert math.isnan(summarise_detection(full, "own", np.random.default_rng(1))[1][0].false_positives)


def test_arms_of_other_images_are_not_compared():
    told = arms()
    told["other"] = told["other"][::-1]
    with pytest.raises(ValueError, match="other and own are not of the same images"):
        summarise_detection(told, "own", np.random.default_rng(1))
