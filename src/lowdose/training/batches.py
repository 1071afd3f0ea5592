"""Batches: drawn sample by sample, so that they depend on nothing but the seed and the step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]


class Batch(NamedTuple):
    """What a network is shown and what it should make of it, in HU.

    `noisy` `(b, 1 + 2 context, y, x)` and `target` `(b, 1, y, x)`, or both `(b, 1, z, y, x)`.
    """

    noisy: Images
    target: Images
    lesions: tuple[Images, ...] = ()
    """Where they are drawn, those of each sample: `(n, 5)` of y0, x0, y1, x1 in pixels, and its kind."""


Draw = Callable[[np.random.Generator], tuple[Images, Images] | tuple[Images, Images, Images]]
"""Draws one pair, and its lesions, without the axis of the batch, with the randomness it is given."""


def batch_of_step(draw: Draw, seed: int, step: int, samples: range) -> Batch:
    """The part `samples` of the batch of `step`: every sample has a generator of its own, so a batch is the
    same however many processes share it.
    """
    generators = [np.random.default_rng([seed, step, sample]) for sample in samples]
    noisy, target, *lesions = zip(*map(draw, generators), strict=True)
    return Batch(np.stack(noisy), np.stack(target), *lesions)


def drawn_ahead(batch: Callable[[int], Batch], steps: range, depth: int = 3) -> Iterator[Batch]:
    """The batches of `steps` in order; up to `depth` are drawn by another thread while one is being used."""
    pending: list[Future[Batch]] = []
    upcoming = iter(steps)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as reader:
        try:
            for _ in steps:
                pending += [reader.submit(batch, step) for step in islice(upcoming, depth - len(pending))]
                yield pending.pop(0).result()
        finally:
            for future in pending:
                future.cancel()
