"""What a detector finds in a scan: slice by slice, neighbours put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from lowdose.lesions import Box, Lesion, linked
from lowdose.networks.lesion_detector import Found, LesionDetector
from lowdose.quality.lesion_detection import ImageFindings
from lowdose.scan import Scan


def find_lesions(
    detector: LesionDetector,
    kinds: Sequence[str],
    scan: Scan,
    threshold: float,
    on_slice: Callable[[], None] = lambda: None,
) -> tuple[Lesion, ...]:
    """Lesions of `scan` with a score of at least `threshold`, surest first; the best slice gives the score.

    Boxes of one kind that meet in neighbouring slices are one lesion. Reads every slice once, in order, and
    holds no more than the detector looks at together.
    """
    scores: dict[tuple[str, int, Box], float] = {}
    boxes: dict[str, dict[int, list[Box]]] = {kind: {} for kind in kinds}
    for z, found in _by_slice(detector, scan, range(len(scan)), on_slice):
        for edges, place, score in zip(
            found.boxes.tolist(), found.kinds.tolist(), found.scores.tolist(), strict=True
        ):
            if score >= threshold:
                kind, box = kinds[place], Box(*(round(edge, 2) for edge in edges))
                boxes[kind].setdefault(z, []).append(box)
                scores[kind, z, box] = score
    lesions = [
        replace(lesion, score=_score(lesion, scores))
        for kind in kinds
        for lesion in linked(boxes[kind], kind)
    ]
    return tuple(sorted(lesions, key=lambda lesion: -(lesion.score or 0.0)))


def _by_slice(
    detector: LesionDetector, scan: Scan, places: Iterable[int], on_slice: Callable[[], None]
) -> Iterator[tuple[int, Found]]:
    """What is found in each of the slices `places`, in order; each slice that is looked at is read once.

    Beyond the ends of the scan the last slices are shown again.
    """
    kept: dict[int, NDArray[np.float32]] = {}
    for z in places:
        around = [
            min(max(k, 0), len(scan) - 1) for k in range(z - detector.context, z + detector.context + 1)
        ]
        kept = {k: kept[k] if k in kept else scan.read(k).without_padding() for k in dict.fromkeys(around)}
        (found,) = detector.find(torch.from_numpy(np.stack([kept[k] for k in around])[None]))
        yield z, found
        on_slice()


def _score(lesion: Lesion, scores: dict[tuple[str, int, Box], float]) -> float:
    return round(max(scores[lesion.kind, z, box] for z, boxes in lesion.boxes.items() for box in boxes), 4)


def slice_findings(
    detector: LesionDetector,
    scan: Scan,
    searched: Sequence[int],
    boxes: Mapping[int, Sequence[Box]],
    patient: str,
    kind: int = 0,
    on_slice: Callable[[], None] = lambda: None,
) -> list[ImageFindings]:
    """What `detector` finds of one kind in every searched slice, at any score, beside what is there."""
    images = []
    for z, found in _by_slice(detector, scan, searched, on_slice):
        of_kind = (found.kinds == kind).numpy()
        known = np.array(boxes.get(z, ()), np.float64).reshape(-1, 4)
        images.append(
            ImageFindings(patient, known, found.boxes.numpy()[of_kind], found.scores.numpy()[of_kind])
        )
    return images
