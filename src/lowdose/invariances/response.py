"""What a method makes of changed inputs, in a window of one slice and what lies around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lowdose.denoising import Denoiser, SlabDenoiser
from lowdose.quality.structural_change import Window
from lowdose.scan import Scan

Images = NDArray[np.float32]

SIDE = 64
"""Pixels of a window along y and x."""
MARGIN = 32
"""Pixels around a window that a method sees with it: what it makes of the window depends on little beyond."""
_DEPTH = 8
"""Slices on either side that are shown to what looks along z and says nothing of how far."""
_AT_ONCE = 8
"""Images that a method is given together."""


class ResponseError(ValueError):
    """One sentence: which method cannot be explained, and why."""


@dataclass(frozen=True, eq=False)
class LocalMethod:
    """A method on one window: everything around it stays as it is in the scan."""

    method: Denoiser | SlabDenoiser
    surroundings: Images
    """`[z, y, x]` in HU: the slice in the middle, its neighbours, and a margin in the plane."""
    inner: Window
    """The window within the surroundings."""

    @property
    def input(self) -> Images:
        """The window as it is, `[y, x]` in HU."""
        window: Images = self.surroundings[len(self.surroundings) // 2][self.inner]
        return window

    def __call__(self, inputs: Images) -> Images:
        """Outputs `[b, y, x]` in HU for inputs `[b, y, x]` in HU, in the place of the window.

        ResponseError where the method gives images of another size.
        """
        pieces = [
            self._of_some(inputs[first : first + _AT_ONCE]) for first in range(0, len(inputs), _AT_ONCE)
        ]
        return np.concatenate(pieces)

    def of_stacks(self, added: Images) -> Images:
        """The same for `added` `[b, z, y, x]` in HU, put on the window of the slice and its neighbours."""
        pieces = [
            self._answered(self._with(added[first : first + _AT_ONCE]))
            for first in range(0, len(added), _AT_ONCE)
        ]
        return np.concatenate(pieces)

    def within(self, window: Window, margin: int = MARGIN) -> LocalMethod:
        """The method on `window` of the window, with so many pixels around it."""
        rows, columns = (
            slice(ours.start + theirs.start, ours.start + theirs.stop)
            for ours, theirs in zip(self.inner, window, strict=True)
        )
        top, left = max(0, rows.start - margin), max(0, columns.start - margin)
        inner = (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        around = self.surroundings[:, top : rows.stop + margin, left : columns.stop + margin]
        return LocalMethod(self.method, around, inner)

    def _with(self, added: Images) -> Images:
        shown = np.repeat(self.surroundings[None], len(added), axis=0)
        shown[(slice(None), slice(None), *self.inner)] += added
        return shown

    def _of_some(self, inputs: Images) -> Images:
        shown = np.repeat(self.surroundings[None], len(inputs), axis=0)
        shown[:, len(self.surroundings) // 2][(slice(None), *self.inner)] = inputs
        return self._answered(shown)

    def _answered(self, shown: Images) -> Images:
        """The windows `[b, y, x]` of what becomes of `shown` `[b, z, y, x]`."""
        middle = len(self.surroundings) // 2
        if isinstance(self.method, SlabDenoiser) and self.method.slabs(self._shape) is not None:
            found = np.stack([self.method.of_slab(one, slice(middle, middle + 1)) for one in shown])
        else:
            found = cast(Denoiser, self.method)(shown)
        if found.shape[0] != len(shown) or found.shape[2:] != shown.shape[2:]:
            raise ResponseError(
                f"{self.method.describe().name} gives images of {_said(found.shape[2:])} for images of "
                f"{_said(shown.shape[2:])}; only methods that keep the size can be explained"
            )
        outputs: Images = found[:, -1][(slice(None), *self.inner)]
        return outputs

    @property
    def _shape(self) -> tuple[int, int, int]:
        n_z, n_y, n_x = self.surroundings.shape
        return n_z, n_y, n_x


def local_method(
    method: Denoiser | SlabDenoiser, scan: Scan, z: int, window: Window, margin: int = MARGIN
) -> LocalMethod:
    """`method` on `window` of slice `z` of `scan`. ValueError if the window is not within the slice."""
    n_z, n_y, n_x = scan.shape
    rows, columns = window
    if not (0 <= rows.start < rows.stop <= n_y and 0 <= columns.start < columns.stop <= n_x):
        raise ValueError(f"a window of rows {rows} and columns {columns} is not within {n_y} x {n_x} pixels")
    depth = context_of(method, scan.shape)
    seen = [min(max(at, 0), n_z - 1) for at in range(z - depth, z + depth + 1)]
    read = {at: scan.read(at).without_padding() for at in set(seen)}
    slices = np.stack([read[at] for at in seen]).astype(np.float32)
    return LocalMethod(method, slices, (slice(0, n_y), slice(0, n_x))).within(window, margin)


def context_of(method: Denoiser | SlabDenoiser, shape: tuple[int, int, int]) -> int:
    """Slices that `method` sees on either side of one."""
    if isinstance(method, SlabDenoiser) and method.slabs(shape) is not None:
        return _DEPTH
    return cast(Denoiser, method).context


def _said(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "no pixels"
