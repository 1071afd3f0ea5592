"""How well a detector finds lesions in the images of one arm, and how arms differ: patients are the unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowdose.quality.lesion_detection import (
    ImageFindings,
    average_precision,
    false_positives,
    froc_score,
    match,
    over_patients,
    threshold_for,
)
from lowdose.quality.statistics import Interval

Floats = NDArray[np.float64]

ALLOWED = 0.25
"""False positives an image, by which the threshold is chosen where sensitivities are compared."""


@dataclass(frozen=True)
class DetectionResult:
    """What a detector found in the images of one arm."""

    arm: str
    patients: int
    images: int
    lesions: int
    """Boxes"""
    ap_50: float
    ap_75: float
    """Average precision at an overlap of 0.5 and 0.75, 0 to 1; NaN without lesions."""
    froc: float
    """Mean sensitivity at an eighth to 8 false positives an image."""
    sensitivity: float
    """At the threshold."""
    false_positives: float
    """At the threshold, per image without a lesion; NaN without such images."""
    ap_50_interval: Interval | None
    """Over patients; None for fewer than three."""
    ap_50_change: float | None = None
    """Against the reference arm, on the same images; None for that arm itself."""
    ap_50_change_interval: Interval | None = None


def summarise_detection(
    arms: Mapping[str, Sequence[ImageFindings]], reference: str, generator: np.random.Generator
) -> tuple[float, list[DetectionResult]]:
    """The threshold and a result for each arm, the images of all in the same order.

    The threshold leaves `ALLOWED` false positives an image of the arm `reference`, and holds for all: one
    that each arm chose for itself would hide what changes. ValueError if an arm has other images.
    """
    first = arms[reference]
    for arm, images in arms.items():
        if [(one.patient, one.lesions.tolist()) for one in images] != [
            (one.patient, one.lesions.tolist()) for one in first
        ]:
            raise ValueError(f"{arm} and {reference} are not of the same images")
    threshold = threshold_for(match(first), ALLOWED)
    return threshold, [
        _result(arm, images, None if arm == reference else first, threshold, generator)
        for arm, images in arms.items()
    ]


def _result(
    arm: str,
    images: Sequence[ImageFindings],
    reference: Sequence[ImageFindings] | None,
    threshold: float,
    generator: np.random.Generator,
) -> DetectionResult:
    matching = match(images)
    n_lesions = int(matching.n_lesions.sum())
    empty = [one for one in images if not len(one.lesions)]
    found = int(np.count_nonzero(matching.hits & (matching.scores >= threshold)))
    change, change_interval = None, None
    n_patients = len(matching.patients)
    if reference is not None and n_lesions:
        base = match(reference)

        def difference(weights: Floats) -> float:
            return average_precision(matching, weights) - average_precision(base, weights)

        change = difference(np.ones(n_patients))
        change_interval = over_patients(difference, n_patients, generator)
    interval = None
    if n_lesions:
        interval = over_patients(lambda weights: average_precision(matching, weights), n_patients, generator)
    return DetectionResult(
        arm,
        n_patients,
        len(images),
        n_lesions,
        average_precision(matching),
        average_precision(match(images, 0.75)),
        froc_score(matching) if n_lesions else float("nan"),
        found / n_lesions if n_lesions else float("nan"),
        false_positives(match(empty), threshold) if empty else float("nan"),
        interval,
        change,
        change_interval,
    )
