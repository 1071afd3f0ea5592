"""An adult chest: lungs with branching vessels and airways, heart and great vessels, ribs, spine, nodules."""

from __future__ import annotations

import numpy as np

from lowdose.phantoms.anatomy import CORTICAL_HU, MARROW_HU, branches, ribs, spine, vessels, within
from lowdose.phantoms.lesions import insert_lesions
from lowdose.phantoms.phantom import Phantom
from lowdose.phantoms.primitives import Place, Solid, box, chain, ellipsoid, turned, upright_cylinder

_FAT_HU, _MUSCLE_HU, _LUNG_HU, _BLOOD_HU = -100.0, 55.0, -860.0, 45.0
_LONG_MM = 200.0


def thorax(seed: int = 1, contrast: float = 0.0, n_lesions: int = 5) -> Phantom:
    """The chest of `seed`, heads up +z, back at +y, z = 0 at the heart.

    `contrast` in HU is what a contrast agent adds to the blood; `n_lesions` solid nodules of 4 to 14 mm are
    put into the lungs.
    """
    generator = np.random.default_rng([11, seed])
    size = generator.uniform(0.93, 1.06)
    blood = _BLOOD_HU + contrast
    solids = _wall(generator, size)
    solids += _lungs(generator, size, blood)
    solids += _middle(size, blood)
    facts = {"seed": seed, "size": round(size, 3), "contrast_hu": contrast}
    phantom = Phantom("thorax", f"thorax {seed}", tuple(solids), (), facts)
    diameters = generator.uniform(4.0, 14.0, n_lesions).tolist()
    return insert_lesions(
        phantom, generator, within="lungs", kind="nodule", contrast=890.0, diameters=diameters,
        z_range=(-70.0, 70.0),
    )  # fmt: skip


def _wall(generator: np.random.Generator, size: float) -> list[Solid]:
    fat = generator.uniform(9.0, 22.0)
    deep, wide = 112.0 * size, 162.0 * size
    solids = [
        upright_cylinder("fat", _FAT_HU, (0.0, 0.0, 0.0), (deep + fat, wide + fat), _LONG_MM),
        upright_cylinder("muscle", _MUSCLE_HU, (0.0, 0.0, 0.0), (deep, wide), _LONG_MM),
        upright_cylinder("fat", _FAT_HU, (0.0, -6.0, 0.0), (deep - 20.0, wide - 17.0), _LONG_MM),
    ]
    levels = (110.0 - 26.0 * np.arange(11)).tolist()
    solids += ribs(levels, (deep - 13.0, wide - 9.0), thickness=9.0, drop=70.0)
    for side in (-1.0, 1.0):
        blade = 95.0, 0.72 * deep, side * 0.62 * wide
        solids.append(box("shoulder blade", CORTICAL_HU, blade, (60.0, 3.0, 32.0), turned(-side * 32.0)))
        solids.append(box("shoulder blade", MARROW_HU, blade, (58.0, 1.4, 30.0), turned(-side * 32.0)))
    front = -deep + 9.0
    solids.append(box("breastbone", CORTICAL_HU, (20.0, front, 0.0), (80.0, 6.0, 19.0)))
    solids.append(box("breastbone", MARROW_HU, (20.0, front, 0.0), (78.0, 4.2, 17.0)))
    return solids


def _lungs(generator: np.random.Generator, size: float, blood: float) -> list[Solid]:
    solids: list[Solid] = []
    for side in (-1.0, 1.0):
        centre = 10.0, -2.0, side * 76.0 * size
        radii = 135.0 * size, 86.0 * size, 64.0 * size
        solids.append(ellipsoid("lungs", _LUNG_HU, centre, radii))
        root: Place = 15.0, 8.0, side * 34.0 * size
        for name, hu, radius, wall in (("lung vessels", blood, 6.5, 0.0), ("airways", 0.0, 5.0, 1.2)):
            for heading in ((-0.8, 0.3, side), (0.9, -0.2, side), (0.1, -0.9, side), (-0.2, 0.9, side)):
                tubes = branches(
                    generator, root, heading, radius=radius, length=34.0 * size,
                    levels=6 if name == "lung vessels" else 4, inside=within(centre, radii),
                )  # fmt: skip
                solids += vessels(name, hu, tubes)
                if wall:
                    bores = [(places, [max(r - wall, 0.55 * r) for r in rs]) for places, rs in tubes]
                    solids += vessels("air in airways", -1000.0, bores)
    return solids


def _middle(size: float, blood: float) -> list[Solid]:
    """Mediastinum, heart, great vessels, windpipe, gullet, liver's dome and the spine."""
    solids = [
        ellipsoid("mediastinum", _FAT_HU, (30.0, 4.0, 0.0), (150.0, 70.0 * size, 34.0 * size)),
        ellipsoid("liver", 60.0, (-125.0, -5.0, -60.0), (70.0, 82.0 * size, 85.0 * size)),
        ellipsoid("spleen", 55.0, (-120.0, 25.0, 80.0), (50.0, 45.0, 45.0)),
        ellipsoid("heart", 45.0, (-22.0, -32.0, 26.0), (58.0, 46.0 * size, 56.0 * size), turned(35.0)),
        ellipsoid("heart chambers", blood, (-26.0, -26.0, 46.0), (38.0, 19.0, 25.0), turned(35.0)),
        ellipsoid("heart chambers", blood, (-18.0, -50.0, 8.0), (38.0, 16.0, 26.0), turned(25.0)),
        ellipsoid("heart chambers", blood, (14.0, -8.0, 18.0), (22.0, 16.0, 26.0)),
    ]
    arch: list[Place] = [
        (5.0, -30.0, -4.0), (45.0, -34.0, -14.0), (72.0, -18.0, -8.0), (82.0, 8.0, 4.0),
        (70.0, 34.0, 16.0), (40.0, 44.0, 20.0), (-200.0, 46.0, 18.0),
    ]  # fmt: skip
    solids += chain("aorta", blood, arch, [15.0, 15.0, 14.0, 13.0, 12.5, 12.0, 11.0])
    trunk: list[Place] = [(10.0, -46.0, 10.0), (32.0, -26.0, 16.0), (34.0, -2.0, 14.0)]
    solids += chain("lung arteries", blood, trunk, [13.0, 13.0, 11.0])
    for side in (-1.0, 1.0):
        arms: list[Place] = [(34.0, -2.0, 14.0), (26.0, 6.0, side * 34.0)]
        solids += chain("lung arteries", blood, arms, [10.0, 8.0])
        limb: list[Place] = [(38.0, 20.0, 0.0), (15.0, 12.0, side * 34.0)]
        solids += chain("airways", 0.0, limb, [8.0, 7.0])
        solids += chain("air in airways", -1000.0, limb, [6.5, 5.6])
    wind: list[Place] = [(200.0, 12.0, 0.0), (38.0, 20.0, 0.0)]
    solids += chain("airways", 20.0, wind, [11.0, 10.5]) + chain("air in airways", -1000.0, wind, [9.0, 8.5])
    solids += chain("vena cava", blood, [(200.0, -12.0, -26.0), (5.0, -22.0, -30.0)], [9.5, 10.0])
    solids += chain("gullet", 35.0, [(200.0, 32.0, 4.0), (-200.0, 34.0, 6.0)], [8.0, 8.0])
    solids += spine(-_LONG_MM, _LONG_MM, (66.0 * size, 0.0), size=34.0, pitch=25.0)
    return solids
