"""Patches of scans whose lesions are known, with the boxes that lie in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowdose.lesions import Lesion
from lowdose.training.dataset import Prepared, PreparedImages, PreparedPair
from lowdose.training.orientation import Orientation
from lowdose.training.sampling import PairSampler

Floats = NDArray[np.float32]

_LEAST_SEEN = 0.5
"""Share of what a patch can hold of a box that must lie in it for the box to count there."""
_TISSUE_HU = -950.0
_TRIES = 20


@dataclass(frozen=True)
class LesionScan:
    """A prepared scan and its lesions."""

    prepared: Prepared | PreparedImages
    searched: tuple[int, ...]
    """Slices whose lesions are all known."""
    boxes: Mapping[int, Floats]
    """By slice, `(n, 5)` of y0, x0, y1, x1 in pixels, and the kind's place among the kinds."""

    def boxes_in(self, z: int) -> Floats:
        """Of one slice; none where there is none."""
        return self.boxes.get(z, np.zeros((0, 5), np.float32))


def boxes_by_slice(lesions: Sequence[Lesion], kinds: Sequence[str]) -> dict[int, Floats]:
    """The boxes of `lesions` as `LesionScan` has them; ValueError for a kind that is none of `kinds`."""
    rows: dict[int, list[tuple[float, ...]]] = {}
    for lesion in lesions:
        kind = float(list(kinds).index(lesion.kind))
        for z, boxes in lesion.boxes.items():
            rows.setdefault(z, []).extend((*box, kind) for box in boxes)
    return {z: np.array(found, np.float32) for z, found in rows.items()}


@dataclass(frozen=True)
class LesionSampler:
    """Draws patches, `with_lesion` of them around a lesion, the others anywhere in the searched slices.

    `pairs` draws the images of a place, and says how large a patch is; scans that are prepared as images
    alone are shown as they are. ValueError if there are no scans, or one is smaller than a patch.
    """

    scans: Sequence[LesionScan]
    pairs: PairSampler
    with_lesion: float = 0.7
    least_tissue: float = 0.5
    """Share of the other patches that is not air; they are drawn again a few times otherwise."""

    def __post_init__(self) -> None:
        if not self.scans:
            raise ValueError("there are no scans with lesions to draw from")
        patch = self.pairs.patch
        for scan in self.scans:
            n_y, n_x = scan.prepared.shape[1:]
            if n_y < patch.n_y or n_x < patch.n_x:
                raise ValueError(
                    f"patches of {patch.n_y} x {patch.n_x} do not fit into the {n_y} x {n_x} of a scan of "
                    f"{scan.prepared.patient}"
                )

    def __call__(self, generator: np.random.Generator) -> tuple[Floats, Floats, Floats]:
        """A pair as `PairSampler` gives it, and the lesions of its middle slice, `(n, 5)`."""
        patch = self.pairs.patch
        around_lesion = generator.random() < self.with_lesion
        scans = [scan for scan in self.scans if scan.boxes or not around_lesion] or list(self.scans)
        weights = np.array([scan.prepared.weight for scan in scans])
        scan = scans[generator.choice(len(scans), p=weights / weights.sum())]
        z, window = self._around(scan, generator) if around_lesion and scan.boxes else self._anywhere(
            scan, generator
        )  # fmt: skip
        pair = self._images(scan, z, window, generator)
        # An even number of slices has no middle one: upended, another would stand where the boxes are of.
        upended = patch.volume and patch.n_z % 2 == 1
        orientation = Orientation.drawn(generator, square=patch.n_y == patch.n_x, flip_z=upended)
        noisy, target = self.pairs.shown(pair, orientation)
        lesions = within(scan.boxes_in(z), window)
        turned = orientation.boxes(lesions[:, :4], patch.n_y, patch.n_x)
        return noisy, target, np.concatenate([turned, lesions[:, 4:]], axis=1)

    def _images(
        self, scan: LesionScan, z: int, window: tuple[slice, slice], generator: np.random.Generator
    ) -> Floats:
        patch, prepared = self.pairs.patch, scan.prepared
        first = z - patch.context - patch.n_z // 2
        slices = np.clip(np.arange(first, first + patch.n_z + 2 * patch.context), 0, prepared.shape[0] - 1)
        if isinstance(prepared, PreparedImages):
            images = np.stack([prepared.hu[k][window] for k in slices]).astype(np.float32)
            return np.stack([images, images])
        return self.pairs.taken(prepared, slices, window, generator)

    def _around(self, scan: LesionScan, generator: np.random.Generator) -> tuple[int, tuple[slice, slice]]:
        """A slice with a lesion, and a window that holds all of one if it fits."""
        z = int(generator.choice(sorted(scan.boxes)))
        boxes = scan.boxes[z]
        y0, x0, y1, x1 = boxes[generator.integers(len(boxes))][:4]
        patch, (n_y, n_x) = self.pairs.patch, scan.prepared.shape[1:]
        y = _start(y0, y1, patch.n_y, n_y, generator)
        x = _start(x0, x1, patch.n_x, n_x, generator)
        return z, (slice(y, y + patch.n_y), slice(x, x + patch.n_x))

    def _anywhere(self, scan: LesionScan, generator: np.random.Generator) -> tuple[int, tuple[slice, slice]]:
        """A searched slice and a window that is not mostly air."""
        prepared, patch = scan.prepared, self.pairs.patch
        shown = prepared.high if isinstance(prepared, PreparedPair) else prepared.hu
        n_y, n_x = prepared.shape[1:]
        for _ in range(_TRIES):
            z = int(generator.choice(scan.searched))
            y, x = (int(generator.integers(n - side + 1)) for n, side in ((n_y, patch.n_y), (n_x, patch.n_x)))
            window = (slice(y, y + patch.n_y), slice(x, x + patch.n_x))
            if (shown[z][window] > _TISSUE_HU).mean() >= self.least_tissue:
                break
        return z, window


def _start(low: float, high: float, side: int, n: int, generator: np.random.Generator) -> int:
    """Where a window of `side` of `n` pixels starts that holds `low` to `high`, or lies in it."""
    first, last = sorted((int(np.ceil(high)) - side, int(np.floor(low))))
    return int(np.clip(generator.integers(first, last + 1), 0, n - side))


def within(boxes: Floats, window: tuple[slice, slice]) -> Floats:
    """The boxes `(n, 5)` of which enough lies in a window, cut to it, in its own coordinates."""
    rows, columns = window
    corner = np.array([rows.start, columns.start] * 2, np.float32)
    limits = np.array([rows.stop - rows.start, columns.stop - columns.start] * 2, np.float32)
    moved = boxes[:, :4] - corner
    cut = np.clip(moved, 0, limits)
    seen = (cut[:, 2:] - cut[:, :2]).clip(0).prod(axis=1)
    whole = np.minimum(moved[:, 2:] - moved[:, :2], limits[:2]).prod(axis=1)
    kept = seen >= np.maximum(_LEAST_SEEN * whole, 1e-6)
    found: Floats = np.concatenate([cut, boxes[:, 4:]], axis=1)[kept].astype(np.float32)
    return found
