"""A lesion as a value: what it adds to the HU of the tissue that holds it, at any place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from lowdose.lesions import Box

Floats = NDArray[np.float64]
Place = tuple[float, float, float]

_WAVES = 64
"""Of the texture: a sum of so many waves is all but a Gaussian field."""
_DETAIL = 4
"""Points a pixel along an axis, where a box's edges are looked for."""


@dataclass(frozen=True)
class Bump:
    """A part of the outline that bulges: broad ones make a lesion lobulated, narrow ones spiculated."""

    direction: Place
    """Along z, y, x; of length one."""
    height: float
    """Share of the radius."""
    sharpness: float
    """One over the square of its angular width in radians, about."""


@dataclass(frozen=True)
class LesionModel:
    """An ellipsoid with bumps, a blurred margin and a texture; places in mm from the first voxel's centre."""

    kind: str
    centre: Place
    """z, y, x in mm"""
    radii: Place
    """Along z, y, x in mm, without bumps."""
    contrast: float
    """HU against what surrounds it."""
    margin: float
    """Standard deviation in mm of the blur of its outline."""
    bumps: tuple[Bump, ...] = ()
    texture: float = 0.0
    """Standard deviation in HU."""
    grain: float = 2.0
    """Correlation length of the texture in mm."""
    seed: int = 0
    """Of the texture."""

    def __post_init__(self) -> None:
        if min(self.radii) <= 0 or self.margin <= 0 or self.texture < 0 or self.grain <= 0:
            raise ValueError(
                f"a {self.kind} needs radii, a margin and a grain above zero and no negative texture"
            )

    @property
    def reach(self) -> float:
        """mm from the centre beyond which it adds less than a thousandth of its contrast."""
        return max(self.radii) * (1 + sum(max(bump.height, 0.0) for bump in self.bumps)) + 3.1 * self.margin

    def contrast_at(self, z: Floats, y: Floats, x: Floats) -> Floats:
        """HU that it adds at places in mm, which broadcast."""
        places = np.stack(np.broadcast_arrays(z, y, x))
        offsets = places - np.reshape(self.centre, (3, *[1] * (places.ndim - 1)))
        share = 0.5 * erfc(self._beyond_outline(offsets) / (np.sqrt(2) * self.margin))
        if not self.texture:
            return np.asarray(self.contrast * share)
        return np.asarray((self.contrast + self.texture * self._waves(offsets)) * share)

    def _beyond_outline(self, offsets: Floats) -> Floats:
        """mm beyond the outline along the line from the centre; negative inside. `offsets` is `[3, ...]`."""
        distance = np.linalg.norm(offsets, axis=0)
        radii = np.reshape(self.radii, (3, *[1] * (offsets.ndim - 1)))
        directions = offsets / np.maximum(distance, 1e-9)
        outline = 1 / np.maximum(np.linalg.norm(directions / radii, axis=0), 1e-9)
        outline = np.where(distance < 1e-9, min(self.radii), outline)
        bulge = np.ones_like(distance)
        for bump in self.bumps:
            along = np.tensordot(np.asarray(bump.direction), directions, axes=1)
            bulge += bump.height * np.exp(bump.sharpness * (along - 1))
        return np.asarray(distance - outline * bulge)

    def _waves(self, offsets: Floats) -> Floats:
        generator = np.random.default_rng(self.seed)
        vectors = generator.standard_normal((_WAVES, 3)) / self.grain
        phases = generator.uniform(0, 2 * np.pi, _WAVES)
        total = np.zeros(offsets.shape[1:])
        for vector, phase in zip(vectors, phases, strict=True):
            total += np.cos(np.tensordot(vector, offsets, axes=1) + phase)
        return np.asarray(total * np.sqrt(2 / _WAVES))

    def slab(
        self,
        z: float,
        thickness: float,
        spacing: tuple[float, float],
        rows: slice,
        columns: slice,
        fine: int = 2,
    ) -> NDArray[np.float32]:
        """What it adds to pixels of a slice, their own means: float32 `[y, x]`.

        `z` is the slice's middle and `thickness` its depth in mm, `rows` and `columns` are pixels and `fine`
        the points along each of their axes.
        """
        n_y, n_x = rows.stop - rows.start, columns.stop - columns.start
        within = (np.arange(fine) + 0.5) / fine - 0.5
        y = (np.arange(rows.start, rows.stop)[:, None] + within).reshape(-1) * spacing[0]
        x = (np.arange(columns.start, columns.stop)[:, None] + within).reshape(-1) * spacing[1]
        n_deep = max(1, round(2 * thickness))
        depths = z + ((np.arange(n_deep) + 0.5) / n_deep - 0.5) * thickness
        mean = np.zeros((len(y), len(x)))
        for depth in depths:
            mean += self.contrast_at(np.asarray(depth), y[:, None], x) / n_deep
        return np.asarray(mean.reshape(n_y, fine, n_x, fine).mean(axis=(1, 3)), np.float32)

    def pixels(self, spacing: tuple[float, float], shape: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of an image that it can reach."""
        spans = []
        for centre, step, n in zip(self.centre[1:], spacing, shape, strict=True):
            first, last = (centre - self.reach) / step, (centre + self.reach) / step
            spans.append(slice(max(0, int(np.floor(first))), min(n, int(np.ceil(last)) + 1)))
        return spans[0], spans[1]

    def box(
        self, z: float, thickness: float, spacing: tuple[float, float], shape: tuple[int, int]
    ) -> Box | None:
        """Around where it adds at least half its contrast to a slice, without texture; None if nowhere."""
        rows, columns = self.pixels(spacing, shape)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        close_y, close_x = (step / _DETAIL for step in spacing)
        # The middle of the first of the close places lies before that of the pixel that holds it.
        deep, down, right = self.centre
        centre = (deep, down + (spacing[0] - close_y) / 2, right + (spacing[1] - close_x) / 2)
        shape_alone = replace(self, centre=centre, contrast=1.0, texture=0.0)
        close_rows, close_columns = (
            slice(one.start * _DETAIL, one.stop * _DETAIL) for one in (rows, columns)
        )
        seen = shape_alone.slab(z, thickness, (close_y, close_x), close_rows, close_columns, fine=1) >= 0.5
        if not seen.any():
            return None
        ys, xs = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        return Box(
            rows.start + float(ys[0]) / _DETAIL,
            columns.start + float(xs[0]) / _DETAIL,
            rows.start + float(ys[-1] + 1) / _DETAIL,
            columns.start + float(xs[-1] + 1) / _DETAIL,
        )
