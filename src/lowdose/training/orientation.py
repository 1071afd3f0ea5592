"""Patches turned by quarters and mirrored at random, and boxes with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Orientation:
    """One of the ways to look at a patch."""

    turns: int
    """Quarters, counter-clockwise, before anything is mirrored."""
    mirrored: bool
    """Left and right"""
    upended: bool = False
    """First and last slice"""

    @classmethod
    def drawn(cls, generator: np.random.Generator, *, square: bool, flip_z: bool) -> Orientation:
        """Any of them; by halves of a turn where y and x differ."""
        turns = int(generator.integers(4))
        if not square:
            turns = 2 * (turns // 2)
        mirrored = bool(generator.integers(2))
        return cls(turns, mirrored, flip_z and bool(generator.integers(2)))

    def images(self, images: Images) -> Images:
        """`[image, z, y, x]` as they are seen."""
        images = np.rot90(images, self.turns, axes=(2, 3))
        if self.mirrored:
            images = images[..., ::-1]
        if self.upended and images.shape[1] > 1:  # an axis of one would keep a negative stride
            images = images[:, ::-1]
        return np.ascontiguousarray(images)

    def boxes(self, boxes: NDArray[np.float32], n_y: int, n_x: int) -> NDArray[np.float32]:
        """Where `[n, 4]` of y0, x0, y1, x1 in a patch of `n_y` x `n_x` pixels lie as it is seen."""
        y0, x0, y1, x1 = boxes.T
        for _ in range(self.turns):
            y0, x0, y1, x1 = n_x - x1, y0, n_x - x0, y1
            n_y, n_x = n_x, n_y
        if self.mirrored:
            x0, x1 = n_x - x1, n_x - x0
        return np.stack([y0, x0, y1, x1], axis=1)
