"""An adult neck: carotid arteries and their forks, jugular veins, airway, thyroid, spine, jaw."""

from __future__ import annotations

import numpy as np

from lowdose.phantoms.anatomy import CORTICAL_HU, MARROW_HU, spine
from lowdose.phantoms.phantom import Phantom
from lowdose.phantoms.primitives import Place, Solid, box, chain, ellipsoid, upright_cylinder

_FAT_HU, _MUSCLE_HU, _BLOOD_HU, _THYROID_HU, _CARTILAGE_HU = -95.0, 58.0, 45.0, 105.0, 160.0
_LONG_MM = 130.0
_VEINS = 0.3
"""Share of the arteries' enhancement that the jugular veins have while the arteries are at their best."""


def neck(seed: int = 1, contrast: float = 0.0) -> Phantom:
    """The neck of `seed`, heads up +z, back at +y, z = 0 just below the forks of the carotid arteries.

    `contrast` in HU is what a contrast agent adds to the arterial blood.
    """
    generator = np.random.default_rng([13, seed])
    size = generator.uniform(0.92, 1.08)
    solids = _wall(generator, size)
    solids += _middle(generator, size, contrast)
    solids += spine(-_LONG_MM, _LONG_MM, (20.0 * size, 0.0), size=22.0, pitch=19.0)
    solids += _vessels(generator, size, contrast)
    facts = {"seed": seed, "size": round(size, 3), "contrast_hu": contrast}
    return Phantom("neck", f"neck {seed}", tuple(solids), (), facts)


def _wall(generator: np.random.Generator, size: float) -> list[Solid]:
    fat = generator.uniform(4.0, 11.0)
    deep, wide = 60.0 * size, 57.0 * size
    solids = [
        upright_cylinder("fat", _FAT_HU, (0.0, 6.0, 0.0), (deep + fat, wide + fat), _LONG_MM),
        upright_cylinder("muscle", _MUSCLE_HU, (0.0, 38.0 * size, 0.0), (26.0 * size, 48.0 * size), _LONG_MM),
    ]
    for side in (-1.0, 1.0):
        strap: list[Place] = [
            (-130.0, -34.0, side * 20.0),
            (0.0, -10.0, side * 42.0),
            (130.0, 24.0, side * 48.0),
        ]
        solids += chain("muscle", _MUSCLE_HU, strap, [10.0, 11.0, 10.0])
        scalene: list[Place] = [(-130.0, 16.0, side * 34.0), (60.0, 14.0, side * 18.0)]
        solids += chain("muscle", _MUSCLE_HU, scalene, [12.0, 9.0])
    return solids


def _middle(generator: np.random.Generator, size: float, contrast: float) -> list[Solid]:
    """Airway, gullet, thyroid and jaw."""
    solids = chain("gullet", 45.0, [(-130.0, 2.0, 4.0), (-20.0, 2.0, 0.0)], [7.0, 7.0])
    wind: list[Place] = [(-130.0, -14.0, 0.0), (-30.0, -22.0, 0.0), (0.0, -22.0, 0.0)]
    solids += chain("airways", _CARTILAGE_HU, wind, [10.0, 10.5, 13.0])
    solids += chain("air in airways", -1000.0, wind, [8.2, 8.4, 7.0])
    solids += [
        ellipsoid("muscle", _MUSCLE_HU, (60.0, -10.0, 0.0), (62.0, 13.0, 27.0 * size)),
        ellipsoid("muscle", _MUSCLE_HU, (75.0, -36.0, 0.0), (40.0, 20.0, 24.0 * size)),
        ellipsoid("air in airways", -1000.0, (60.0, -12.0, 0.0), (56.0, 5.0, 13.0 * size)),
    ]
    thyroid = _THYROID_HU + 0.3 * contrast
    for side in (-1.0, 1.0):
        lobe = -50.0, -17.0, side * 17.0
        radii = 24.0 * size, 9.0, generator.uniform(7.0, 10.0)
        solids.append(ellipsoid("thyroid", thyroid, lobe, radii))
        solids.append(box("jaw", CORTICAL_HU, (80.0, -34.0, side * 30.0 * size), (14.0, 30.0, 5.0)))
        solids.append(box("jaw", MARROW_HU, (80.0, -34.0, side * 30.0 * size), (12.0, 28.0, 2.5)))
    return solids


def _vessels(generator: np.random.Generator, size: float, contrast: float) -> list[Solid]:
    """Arteries and veins, those of either side a little different."""
    arterial, venous = _BLOOD_HU + contrast, _BLOOD_HU + _VEINS * contrast
    solids: list[Solid] = []
    for side in (-1.0, 1.0):
        fork = generator.uniform(2.0, 18.0)
        sway = generator.uniform(-3.0, 3.0)
        radius = generator.uniform(3.0, 3.8)
        common: list[Place] = [
            (-130.0, -4.0, side * 22.0 * size), (-50.0, -6.0 + sway, side * 26.0 * size),
            (fork, -4.0, side * 27.0 * size),
        ]  # fmt: skip
        jugular: list[Place] = [
            (-130.0, -8.0, side * 34.0 * size), (0.0, 0.0, side * 37.0 * size),
            (130.0, 4.0, side * 31.0 * size),
        ]  # fmt: skip
        solids += chain("jugular veins", venous, jugular, [6.5, 6.0, 4.5])
        solids += chain("carotid arteries", arterial, common, [radius, radius, 1.2 * radius])
        inner: list[Place] = [
            common[-1],
            (fork + 25.0, 3.0, side * 28.0 * size),
            (130.0, 6.0, side * 24.0 * size),
        ]
        outer: list[Place] = [
            common[-1],
            (fork + 25.0, -12.0, side * 30.0 * size),
            (130.0, -16.0, side * 38.0),
        ]
        solids += chain("carotid arteries", arterial, inner, [1.1 * radius, 0.75 * radius, 0.7 * radius])
        solids += chain("carotid arteries", arterial, outer, [0.9 * radius, 0.6 * radius, 0.45 * radius])
        straight: list[Place] = [(-130.0, 14.0, side * 16.0), (130.0, 20.0, side * 16.0)]
        solids += chain("vertebral arteries", arterial, straight, [1.9, 1.7])
    return solids
