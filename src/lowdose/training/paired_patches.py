"""Patches of pairs of scans on one grid: a slice of one with its neighbours, and the slice of the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowdose.training.dataset import PreparedPair

Images = NDArray[np.float32]

_IN_BODY_HU = -500
_LEAST_BODY = 0.2
"""Of a patch; most of the air around a body teaches nothing."""
_TRIES = 8


@dataclass(frozen=True, eq=False)
class PairedPatches:
    """Draws a patch of `side` pixels from one of `pairs`, each as likely as its weight says.

    Beyond its ends a scan goes on as it ends, so that the neighbours of the first slice are there.
    """

    pairs: Sequence[PreparedPair]
    side: int
    context: int = 0

    def __post_init__(self) -> None:
        for pair in self.pairs:
            if min(pair.shape[1:]) < self.side:
                size = f"{pair.shape[1]} x {pair.shape[2]}"
                raise ValueError(
                    f"{pair.patient}: slices of {size} pixels are smaller than the patches of {self.side}"
                )

    def __call__(self, generator: np.random.Generator) -> tuple[Images, Images]:
        weights = np.array([pair.weight for pair in self.pairs])
        pair = self.pairs[int(generator.choice(len(self.pairs), p=weights / weights.sum()))]
        for _ in range(_TRIES):
            z, y, x = (int(generator.integers(n)) for n in self._places(pair))
            shown = pair.low[z, y : y + self.side, x : x + self.side]
            if (shown > _IN_BODY_HU).mean() >= _LEAST_BODY:
                break
        return self.patch(pair, z, y, x)

    def patch(self, pair: PreparedPair, z: int, y: int = 0, x: int = 0) -> tuple[Images, Images]:
        """`(1 + 2 context, side, side)` of the one, `(1, side, side)` of the other, from a corner on."""
        around = np.clip(np.arange(z - self.context, z + self.context + 1), 0, pair.shape[0] - 1)
        rows, columns = slice(y, y + self.side), slice(x, x + self.side)
        shown = np.stack([pair.low[k, rows, columns] for k in around]).astype(np.float32)
        return shown, pair.high[z : z + 1, rows, columns].astype(np.float32)

    def _places(self, pair: PreparedPair) -> tuple[int, int, int]:
        n_z, n_y, n_x = pair.shape
        return n_z, n_y - self.side + 1, n_x - self.side + 1
