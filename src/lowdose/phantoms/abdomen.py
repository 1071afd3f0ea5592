"""An adult upper abdomen: liver with its vessels and metastases, kidneys, spleen, bowel, great vessels."""

from __future__ import annotations

import numpy as np

from lowdose.phantoms.anatomy import branches, ribs, spine, vessels, within
from lowdose.phantoms.lesions import insert_lesions
from lowdose.phantoms.phantom import Phantom
from lowdose.phantoms.primitives import Place, Solid, ball, chain, ellipsoid, turned, upright_cylinder

_FAT_HU, _MUSCLE_HU, _LIVER_HU, _BLOOD_HU = -105.0, 55.0, 58.0, 45.0
_LONG_MM = 200.0


def abdomen(seed: int = 1, contrast: float = 120.0, n_lesions: int = 5) -> Phantom:
    """The abdomen of `seed`, heads up +z, back at +y, z = 0 at the kidneys' upper poles.

    `contrast` in HU is what a contrast agent adds to the blood; organs take up their share of it.
    `n_lesions` metastases of 6 to 18 mm, 30 HU below it, are put into the liver.
    """
    generator = np.random.default_rng([12, seed])
    size = generator.uniform(0.92, 1.08)
    blood = _BLOOD_HU + contrast
    liver = _LIVER_HU + 0.45 * contrast
    solids = _wall(generator, size)
    solids += _liver(generator, size, liver, blood)
    solids += _organs(generator, size, contrast, blood)
    facts = {"seed": seed, "size": round(size, 3), "contrast_hu": contrast}
    phantom = Phantom("abdomen", f"abdomen {seed}", tuple(solids), (), facts)
    diameters = generator.uniform(6.0, 18.0, n_lesions).tolist()
    return insert_lesions(
        phantom, generator, within="liver", kind="metastasis", contrast=-30.0, diameters=diameters,
        z_range=(-45.0, 60.0),
    )  # fmt: skip


def _wall(generator: np.random.Generator, size: float) -> list[Solid]:
    fat = generator.uniform(12.0, 28.0)
    deep, wide = 108.0 * size, 152.0 * size
    solids = [
        upright_cylinder("fat", _FAT_HU, (0.0, 0.0, 0.0), (deep + fat, wide + fat), _LONG_MM),
        upright_cylinder("muscle", _MUSCLE_HU, (0.0, 0.0, 0.0), (deep, wide), _LONG_MM),
        upright_cylinder("fat", _FAT_HU, (0.0, -5.0, 0.0), (deep - 16.0, wide - 14.0), _LONG_MM),
    ]
    solids += ribs((150.0, 124.0, 98.0, 72.0), (deep - 8.0, wide - 6.0), thickness=9.0, drop=75.0)
    for side in (-1.0, 1.0):
        psoas: list[Place] = [(60.0, 52.0, side * 28.0), (-200.0, 40.0, side * 52.0)]
        solids += chain("muscle", _MUSCLE_HU, psoas, [12.0, 30.0])
        solids.append(
            upright_cylinder("muscle", _MUSCLE_HU, (0.0, 82.0 * size, side * 36.0), (19.0, 30.0), _LONG_MM)
        )
    return solids


def _liver(generator: np.random.Generator, size: float, liver: float, blood: float) -> list[Solid]:
    right = (35.0, -8.0, -78.0 * size), (88.0 * size, 78.0 * size, 62.0 * size)
    left = (55.0, -50.0, -12.0), (40.0 * size, 38.0 * size, 78.0 * size)
    solids = [ellipsoid("liver", liver, *left), ellipsoid("liver", liver, *right)]
    root: Place = 20.0, -12.0, -38.0 * size
    for heading in ((0.7, 0.1, -1.0), (-0.9, 0.2, -0.8), (0.2, 0.6, -1.0), (0.3, -0.6, -1.0)):
        tubes = branches(
            generator, root, heading, radius=6.0, length=32.0 * size, levels=5, inside=within(*right)
        )
        solids += vessels("liver vessels", blood - 15.0, tubes)
    solids += chain(
        "portal vein", blood - 15.0, [(-30.0, 8.0, -4.0), (20.0, -12.0, -38.0 * size)], [6.5, 6.5]
    )
    solids.append(ellipsoid("gall bladder", 8.0, (-18.0, -52.0, -58.0 * size), (22.0, 13.0, 13.0)))
    return solids


def _organs(generator: np.random.Generator, size: float, contrast: float, blood: float) -> list[Solid]:
    solids = [
        ellipsoid(
            "spleen", 50.0 + 0.6 * contrast, (50.0, 34.0, 98.0 * size), (48.0, 44.0, 24.0), turned(-25.0)
        ),
        ellipsoid("stomach", 25.0, (48.0, -44.0, 66.0 * size), (44.0, 40.0, 46.0)),
        ellipsoid("stomach", -900.0, (50.0, -66.0, 66.0 * size), (26.0, 14.0, 30.0)),
        ellipsoid("pancreas", 40.0 + 0.4 * contrast, (-6.0, -12.0, 30.0), (13.0, 13.0, 58.0), turned(-18.0)),
    ]
    for side in (-1.0, 1.0):
        centre = -48.0, 44.0, side * 62.0 * size
        solids.append(ellipsoid("kidneys", 35.0 + 1.1 * contrast, centre, (54.0, 27.0, 29.0)))
        solids.append(ellipsoid("kidneys", 35.0 + 0.5 * contrast, centre, (40.0, 15.0, 16.0)))
        hilum = centre[0], centre[1] - 8.0, centre[2] - side * 18.0
        solids.append(ellipsoid("kidneys", 8.0, hilum, (18.0, 7.0, 9.0)))
        solids += chain("arteries", blood, [(-40.0, 34.0, 4.0), hilum], [3.2, 2.8])
    solids += chain("aorta", blood, [(200.0, 40.0, 12.0), (-120.0, 36.0, 8.0)], [11.5, 9.5])
    for side in (-1.0, 1.0):
        solids += chain("arteries", blood, [(-120.0, 36.0, 8.0), (-200.0, 20.0, side * 45.0)], [6.5, 6.0])
    front: list[Place] = [(-10.0, 34.0, 10.0), (-30.0, 8.0, 8.0), (-110.0, -12.0, 0.0)]
    solids += chain("arteries", blood, front, [4.0, 4.0, 2.5])
    solids += chain("vena cava", blood - 25.0, [(200.0, 20.0, -28.0), (-200.0, 36.0, -22.0)], [12.0, 11.0])
    solids += _bowel(generator, size)
    solids += spine(-_LONG_MM, _LONG_MM, (66.0 * size, 0.0), size=40.0, pitch=33.0)
    return solids


def _bowel(generator: np.random.Generator, size: float) -> list[Solid]:
    """Loops of small bowel below the stomach, and the colon on either side with gas in it."""
    solids: list[Solid] = []
    for _ in range(3):
        place = generator.uniform((-150.0, -70.0, -60.0), (-60.0, -20.0, 70.0)) * (1.0, size, size)
        loops: list[Place] = []
        heading = generator.standard_normal(3)
        for _ in range(9):
            heading = heading + generator.standard_normal(3)
            heading /= np.linalg.norm(heading)
            place = np.clip(place + 26.0 * heading, (-170.0, -78.0, -85.0), (-35.0, -5.0, 90.0))
            loops.append((float(place[0]), float(place[1]), float(place[2])))
        solids += chain("bowel", 40.0, loops, [11.0] * len(loops))
        solids += chain("bowel", 15.0, loops, [8.0] * len(loops))
        solids += [ball("bowel", -850.0, loops[k], 6.0) for k in (2, 6)]
    for side in (-1.0, 1.0):
        colon: list[Place] = [(-180.0, 0.0, side * 108.0 * size), (-20.0, 0.0, side * 106.0 * size)]
        solids += chain("bowel", 45.0, colon, [20.0, 18.0]) + chain("bowel", -400.0, colon, [16.0, 14.0])
    return solids
