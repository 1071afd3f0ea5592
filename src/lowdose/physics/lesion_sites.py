"""Where lesions can be put into a real scan, and lesions drawn by chance for such places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes, binary_opening, gaussian_filter

from lowdose.lesions import LesionError
from lowdose.physics.lesion_model import Bump, LesionModel, Place
from lowdose.scan import Scan

Range = tuple[float, float]

_BODY_HU = -400.0
_SMOOTHED_MM = 1.5
_RIM_MM = 1.5
"""Of a lesion's surroundings that must be of the tissue, too."""
_FEW_MM = 4.0
"""Between two lesions."""
_TRIES = 60
"""Places looked at in a slice."""
_SLICES_TRIED = 40
_LEAST_SHARE = 0.97
"""Of the pixels of a place that must be of the tissue: a small vessel may pass."""


class NoSiteError(LesionError):
    """One sentence: which lesion found no place in which scan."""


@dataclass(frozen=True)
class LesionRecipe:
    """What lesions of one kind are like; every range is drawn from evenly."""

    kind: str
    tissue: Range
    """HU, smoothed, of the tissue that holds them."""
    diameter: Range
    """mm"""
    contrast: Range
    """HU"""
    margin: Range
    """mm"""
    n_bumps: tuple[int, int]
    bump_height: Range
    bump_sharpness: Range
    texture: Range
    """HU"""

    def drawn(self, generator: np.random.Generator, centre: Place, diameter: float) -> LesionModel:
        """A lesion of about `diameter` mm at `centre`."""
        z, y, x = (diameter / 2 * generator.uniform(0.8, 1.2, 3)).tolist()
        bumps = []
        for _ in range(int(generator.integers(self.n_bumps[0], self.n_bumps[1] + 1))):
            direction = generator.standard_normal(3)
            direction /= np.linalg.norm(direction)
            bumps.append(
                Bump(
                    (float(direction[0]), float(direction[1]), float(direction[2])),
                    generator.uniform(*self.bump_height),
                    generator.uniform(*self.bump_sharpness),
                )
            )
        return LesionModel(
            self.kind,
            centre,
            (z, y, x),
            contrast=generator.uniform(*self.contrast),
            margin=generator.uniform(*self.margin),
            bumps=tuple(bumps),
            texture=generator.uniform(*self.texture),
            seed=int(generator.integers(2**31)),
        )


RECIPES = {
    "nodule": LesionRecipe(
        "nodule", tissue=(-960.0, -680.0), diameter=(5.0, 16.0), contrast=(250.0, 800.0), margin=(0.3, 1.2),
        n_bumps=(2, 8), bump_height=(-0.15, 0.3), bump_sharpness=(3.0, 30.0), texture=(0.0, 60.0),
    ),
    "soft-tissue-lesion": LesionRecipe(
        "soft-tissue-lesion", tissue=(-20.0, 170.0), diameter=(6.0, 24.0), contrast=(-60.0, -20.0),
        margin=(0.5, 1.5), n_bumps=(1, 5), bump_height=(-0.15, 0.2), bump_sharpness=(2.0, 8.0),
        texture=(0.0, 8.0),
    ),
}  # fmt: skip
"""Lesions by their kind. Nodules are part-solid to solid and 5 to 16 mm, what screening looks for; lesions of
soft tissue are darker than it, as most in a contrasted liver are."""


def draw_lesions(
    scan: Scan, recipe: LesionRecipe, n_wanted: int, generator: np.random.Generator
) -> tuple[LesionModel, ...]:
    """`n_wanted` lesions at places of `scan` where little but the recipe's tissue is.

    Reads the few slices around each place. NoSiteError if one finds none.
    """
    found: list[LesionModel] = []
    for number in range(n_wanted):
        diameter = generator.uniform(*recipe.diameter)
        centre = _site(scan, recipe, diameter, found, generator)
        if centre is None:
            low, high = recipe.tissue
            raise NoSiteError(
                f"{scan.name}: {recipe.kind} {number + 1} of {n_wanted}, {diameter:.0f} mm wide, finds no "
                f"place of {low:g} to {high:g} HU; ask for fewer or smaller ones"
            )
        found.append(recipe.drawn(generator, centre, diameter))
    return tuple(found)


def _site(
    scan: Scan,
    recipe: LesionRecipe,
    diameter: float,
    taken: Sequence[LesionModel],
    generator: np.random.Generator,
) -> Place | None:
    dz, dy, dx = scan.spacing
    radius = 0.6 * diameter + _RIM_MM
    for _ in range(_SLICES_TRIED):
        z = int(generator.integers(len(scan)))
        tissue = _tissue(scan, z, recipe.tissue)
        places = np.argwhere(tissue)
        if not len(places):
            continue
        others: dict[int, NDArray[np.bool_]] = {z: tissue}
        for y, x in places[generator.integers(len(places), size=_TRIES)].tolist():
            centre = (z * dz, y * dy, x * dx)
            if any(_too_close(centre, radius, other) for other in taken):
                continue
            if _is_all_tissue(scan, recipe, (z, y, x), radius, others):
                return centre
    return None


def _too_close(centre: Place, radius: float, other: LesionModel) -> bool:
    return float(np.linalg.norm(np.subtract(centre, other.centre))) < radius + other.reach + _FEW_MM


def _is_all_tissue(
    scan: Scan,
    recipe: LesionRecipe,
    voxel: tuple[int, int, int],
    radius: float,
    known: dict[int, NDArray[np.bool_]],
) -> bool:
    """Whether a ball around `voxel` is of the tissue. `known` holds the tissue of slices; ends may be cut."""
    dz, dy, dx = scan.spacing
    z, y, x = voxel
    high, wide = int(radius / dy) + 1, int(radius / dx) + 1
    n_y, n_x = scan.shape[1:]
    if not (high <= y < n_y - high and wide <= x < n_x - wide):
        return False
    squared = (np.arange(-high, high + 1)[:, None] * dy) ** 2 + (np.arange(-wide, wide + 1) * dx) ** 2
    deep = int(radius / dz)
    for step in sorted(range(-deep, deep + 1), key=abs):
        if not 0 <= z + step < len(scan):
            continue
        if z + step not in known:
            known[z + step] = _tissue(scan, z + step, recipe.tissue)
        inside = squared <= radius**2 - (step * dz) ** 2
        seen = known[z + step][y - high : y + high + 1, x - wide : x + wide + 1]
        if inside.any() and seen[inside].mean() < _LEAST_SHARE:
            return False
    return True


def _tissue(scan: Scan, z: int, limits: Range) -> NDArray[np.bool_]:
    """Where a slice, smoothed, has HU within `limits`, inside the body."""
    hu = scan.read(z).without_padding()
    smooth = gaussian_filter(hu, [_SMOOTHED_MM / step for step in scan.spacing[1:]])
    body = binary_opening(smooth > _BODY_HU, iterations=2)
    inside = binary_fill_holes(body)
    return np.asarray(inside & (smooth > limits[0]) & (smooth < limits[1]))
