"""How well boxes find lesions: average precision, free-response ROC, false positives; patients are the unit.

Images carry lesions and a detector's findings of one class; several classes are evaluated one by one.
Matching and average precision are those of COCO (Lin et al., ECCV 2014): within an image the findings, surest
first, each take the free lesion that they overlap most, if they overlap it enough.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowdose.quality.statistics import FEWEST_CASES, Interval, bootstrap_interval

Floats = NDArray[np.float64]

RECALLS = np.linspace(0.0, 1.0, 101)
"""Where precision is read, and averaged."""
MOST_FINDINGS = 100
"""Of one image, the surest ones; COCO's limit."""
FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per image, where the sensitivity is averaged (van Ginneken, Med Image Anal 2010;14:707)."""


@dataclass(frozen=True, eq=False)
class ImageFindings:
    """What lies in one image and what was found in it.

    Boxes are `[n, 4]` of y0, x0, y1, x1 in pixels: lines between pixels, so that one pixel is 1 x 1.
    """

    patient: Hashable
    lesions: Floats
    found: Floats
    scores: Floats

    def __post_init__(self) -> None:
        for name in ("lesions", "found"):
            boxes = np.asarray(getattr(self, name), np.float64).reshape(-1, 4)
            if not np.isfinite(boxes).all() or (boxes[:, 2:] <= boxes[:, :2]).any():
                raise ValueError(f"{self.patient}: a box has no area; y0 < y1 and x0 < x1 are needed")
            object.__setattr__(self, name, boxes)
        scores = np.asarray(self.scores, np.float64).reshape(-1)
        if len(scores) != len(self.found):
            raise ValueError(f"{self.patient}: {len(self.found)} findings with {len(scores)} scores")
        object.__setattr__(self, "scores", scores)


@dataclass(frozen=True, eq=False)
class Matching:
    """All findings of a set of images, surest first, and which of them are lesions."""

    scores: Floats
    hits: NDArray[np.bool_]
    owners: NDArray[np.intp]
    """Whose image it is: place in `patients`."""
    patients: tuple[Hashable, ...]
    n_lesions: NDArray[np.intp]
    """By patient."""
    n_images: NDArray[np.intp]
    """By patient."""
    overlap: float

    def curve(self, weights: Floats | None = None) -> tuple[Floats, Floats]:
        """Hits and false positives among the surest 1, 2, ... findings; patients count `weights` times."""
        weight = np.ones(len(self.owners)) if weights is None else weights[self.owners]
        return np.cumsum(weight * self.hits), np.cumsum(weight * ~self.hits)


def intersection_over_union(boxes: Floats, others: Floats) -> Floats:
    """`[n, m]`, for boxes `[n, 4]` and `[m, 4]` of y0, x0, y1, x1."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    common = np.prod(np.clip(high - low, 0.0, None), axis=-1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=-1)
    other_areas = np.prod(others[:, 2:] - others[:, :2], axis=-1)
    return np.asarray(common / (areas[:, None] + other_areas[None, :] - common))


def match(images: Sequence[ImageFindings], overlap: float = 0.5) -> Matching:
    """Which findings are lesions: intersection over union of at least `overlap`, every lesion found once.

    Raises ValueError for no images or an overlap outside (0, 1].
    """
    if not images:
        raise ValueError("there are no images to evaluate")
    if not 0.0 < overlap <= 1.0:
        raise ValueError(f"the overlap is {overlap:g}; it must be above 0 and at most 1")
    patients = tuple(dict.fromkeys(image.patient for image in images))
    place = {patient: index for index, patient in enumerate(patients)}
    n_lesions, n_images = np.zeros(len(patients), np.intp), np.zeros(len(patients), np.intp)
    scores, hits, owners = [], [], []
    for image in images:
        owner = place[image.patient]
        n_lesions[owner] += len(image.lesions)
        n_images[owner] += 1
        surest = np.argsort(-image.scores, kind="stable")[:MOST_FINDINGS]
        scores.append(image.scores[surest])
        hits.append(_hits(image.found[surest], image.lesions, overlap))
        owners.append(np.full(len(surest), owner))
    score = np.concatenate(scores)
    order = np.argsort(-score, kind="stable")
    return Matching(
        score[order], np.concatenate(hits)[order], np.concatenate(owners)[order], patients, n_lesions,
        n_images, overlap,
    )  # fmt: skip


def _hits(found: Floats, lesions: Floats, overlap: float) -> NDArray[np.bool_]:
    overlaps = intersection_over_union(found, lesions)
    free = np.ones(len(lesions), bool)
    hits = np.zeros(len(found), bool)
    for index, row in enumerate(overlaps):
        candidates = np.flatnonzero(free & (row >= min(overlap, 1.0 - 1e-10)))
        if len(candidates):
            best = candidates[np.flatnonzero(row[candidates] == row[candidates].max())[-1]]
            free[best], hits[index] = False, True
    return hits


def average_precision(matching: Matching, weights: Floats | None = None) -> float:
    """Area under the interpolated precision-recall curve, read at 101 recalls; NaN if there are no lesions.

    `weights`, one per patient, count patients more than once or not at all.
    """
    n_lesions = float(matching.n_lesions.sum() if weights is None else weights @ matching.n_lesions)
    if n_lesions == 0:
        return float("nan")
    return float(np.mean(_precisions(matching, weights, n_lesions)))


def _precisions(matching: Matching, weights: Floats | None, n_lesions: float) -> Floats:
    hits, misses = matching.curve(weights)
    precision = hits / (hits + misses + np.spacing(1.0))
    interpolated = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(hits / n_lesions, RECALLS, side="left")
    return np.asarray(np.append(interpolated, 0.0)[np.minimum(place, len(interpolated))])


def precision_recall(matching: Matching) -> tuple[Floats, Floats]:
    """Recalls and the interpolated precision there, as `average_precision` averages it."""
    n_lesions = float(matching.n_lesions.sum())
    if n_lesions == 0:
        return RECALLS, np.full_like(RECALLS, np.nan)
    return RECALLS, _precisions(matching, None, n_lesions)


def froc(matching: Matching, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """False positives per image and sensitivity at every score that occurs, from none to all findings.

    (Bunch et al., SPIE 1977;127:124.) Sensitivity is NaN if there are no lesions.
    """
    n_lesions = float(matching.n_lesions.sum() if weights is None else weights @ matching.n_lesions)
    n_images = float(matching.n_images.sum() if weights is None else weights @ matching.n_images)
    hits, misses = matching.curve(weights)
    last_of_its_score = np.append(matching.scores[1:] != matching.scores[:-1], True)[: len(hits)]
    rates = np.concatenate([[0.0], misses[last_of_its_score] / n_images])
    found = np.concatenate([[0.0], hits[last_of_its_score]])
    return rates, found / n_lesions if n_lesions else np.full_like(found, np.nan)


def froc_score(matching: Matching, weights: Floats | None = None) -> float:
    """Mean sensitivity at `FROC_RATES`; between two thresholds the lower sensitivity counts."""
    rates, sensitivities = froc(matching, weights)
    place = np.searchsorted(rates, np.asarray(FROC_RATES) + 1e-12, side="right") - 1
    return float(np.mean(sensitivities[place]))


def threshold_for(matching: Matching, rate: float) -> float:
    """The lowest score that still leaves at most `rate` false positives per image; infinite if none does."""
    _, misses = matching.curve()
    n_images = float(matching.n_images.sum())
    last_of_its_score = np.append(matching.scores[1:] != matching.scores[:-1], True)[: len(misses)]
    allowed = matching.scores[last_of_its_score & (misses <= rate * n_images + 1e-12)]
    return float(allowed[-1]) if len(allowed) else float("inf")


def false_positives(matching: Matching, threshold: float, weights: Floats | None = None) -> float:
    """Findings per image that are no lesions, among those with at least the score `threshold`."""
    weight = np.ones(len(matching.patients)) if weights is None else weights
    wrong = (matching.scores >= threshold) & ~matching.hits
    return float(weight[matching.owners[wrong]].sum() / (weight @ matching.n_images))


def over_patients(
    statistic: Callable[[Floats], float],
    n_patients: int,
    generator: np.random.Generator,
    n_resamples: int = 1000,
) -> Interval | None:
    """Bootstrap interval of `statistic(weights)` over patients; None for fewer than 3 of them.

    Give `statistic` two arms to compare, and the interval is that of their difference on the same patients.
    Resamples in which it is NaN, as where no patient has a lesion, are drawn anew.
    """
    if n_patients < FEWEST_CASES:
        return None

    def of_resamples(drawn: Floats) -> Floats:
        return np.array([_of(statistic, row, n_patients, generator) for row in drawn.astype(np.intp)])

    return bootstrap_interval(
        np.arange(n_patients, dtype=float), generator, statistic=of_resamples, n_resamples=n_resamples
    )


def _of(
    statistic: Callable[[Floats], float], drawn: NDArray[np.intp], n: int, generator: np.random.Generator
) -> float:
    for _ in range(1000):
        value = statistic(np.bincount(drawn, minlength=n).astype(float))
        if np.isfinite(value):
            return value
        drawn = generator.integers(0, n, n)
    raise ValueError("no draw of patients gives the measure a value: are there lesions at all?")
