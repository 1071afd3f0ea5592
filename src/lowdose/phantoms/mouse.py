"""A mouse from neck to hip for micro-CT: body, skeleton, lungs, soft organs and tumours, all by a seed.

Sizes follow adult mice of 20 to 30 g; HU are those of a 50 kV beam. No atlas is drawn from.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lowdose.phantoms.anatomy import branches, ribs, spine, vessels, within
from lowdose.phantoms.lesions import NoRoomError, insert_lesions
from lowdose.phantoms.phantom import Finding, Phantom
from lowdose.phantoms.primitives import Place, Solid, ball, chain, ellipsoid, rod, turned

N_MICE = 38
"""As many as the published study scanned; seeds 1 to 38 name them."""

_FAT_HU, _MUSCLE_HU, _LUNG_HU, _BLOOD_HU = -110.0, 60.0, -550.0, 75.0
_BONE_HU, _MARROW_HU = 1100.0, 350.0


def mouse(seed: int = 1) -> Phantom:
    """The mouse of `seed`: heads up +z, back at +y; its torso is about 26 mm wide."""
    generator = np.random.default_rng([38, seed])
    size = generator.uniform(0.9, 1.08)
    plump = generator.uniform(0.92, 1.1)
    width, depth = 12.0 * size * plump, 10.6 * size * plump
    solids = _body(generator, width, depth)
    solids += _lungs(generator, size)
    solids += _soft_organs(generator, size)
    solids += _skeleton(generator, size, depth)
    facts = {"seed": seed, "size": round(size, 3), "plumpness": round(plump, 3)}
    phantom = Phantom("mouse", f"mouse {seed}", tuple(solids), (), facts)
    phantom = _flank_tumour(phantom, generator, width)
    return _leaning(_with_lesions(phantom, generator), float(generator.normal(0.0, 4.0)))


def _body(generator: np.random.Generator, width: float, depth: float) -> list[Solid]:
    """Fat below the skin, and muscle in it: two ellipsoids each, for chest and belly."""
    belly = generator.uniform(0.97, 1.07)
    fat = generator.uniform(0.5, 1.3)
    solids = []
    for name, hu, less in (("fat", _FAT_HU, 0.0), ("muscle", _MUSCLE_HU, fat)):
        for z, share in ((12.0, 0.93), (-10.0, belly)):
            radii = 34.0 - less, depth * share - less, width * share - less
            solids.append(ellipsoid(name, hu, (z, 0.0, 0.0), radii))
    return solids


def _lungs(generator: np.random.Generator, size: float) -> list[Solid]:
    solids = []
    for side in (-1.0, 1.0):
        centre = 10.0 * size, -0.6 * size, side * 4.4 * size
        radii = 7.0 * size, 5.6 * size, 3.9 * size * (1.0 if side > 0 else 0.92)
        solids.append(ellipsoid("lungs", _LUNG_HU + 30.0 * generator.standard_normal(), centre, radii))
        root: Place = 11.0 * size, 0.4 * size, side * 1.6 * size
        tree = branches(
            generator, root, (-0.4, 0.1, side), radius=0.55 * size, length=2.4 * size, levels=5,
            inside=within(centre, radii),
        )  # fmt: skip
        solids += vessels("lung vessels", _BLOOD_HU, tree)
    trachea: list[Place] = [(26.0, 1.0, 0.0), (17.0 * size, 1.2, 0.0), (13.0 * size, 1.4 * size, 0.0)]
    solids += chain("airways", 20.0, trachea, [1.15 * size] * 3)
    solids += chain("airways", -1000.0, trachea, [0.8 * size] * 3)
    return solids


def _soft_organs(generator: np.random.Generator, size: float) -> list[Solid]:
    def near(*place: float) -> Place:
        z, y, x = (size * value + 0.35 * generator.standard_normal() for value in place)
        return z, y, x

    def radii(*values: float) -> Place:
        z, y, x = (size * value * generator.uniform(0.92, 1.08) for value in values)
        return z, y, x

    heart = near(9.5, -2.6, 0.6)
    solids = [
        ellipsoid("heart", 70.0, heart, radii(3.6, 3.0, 2.9), turned(30.0)),
        ball("blood", _BLOOD_HU + 15.0, (heart[0] + 0.3, heart[1] + 0.2, heart[2] + 0.7), 1.2 * size),
        ellipsoid("liver", 85.0, near(1.5, -2.4, 0.0), radii(3.6, 5.6, 8.0)),
        ellipsoid("liver", 85.0, near(-1.5, -1.2, -4.0), radii(3.2, 4.6, 4.2)),
        ellipsoid("stomach", 55.0, near(-2.0, -1.5, 5.2), radii(2.4, 3.2, 3.6)),
        ball("stomach", -800.0, near(-2.0, -3.0, 5.3), 0.9 * size),
        ellipsoid("spleen", 78.0, near(-5.0, 2.0, 8.2), radii(3.6, 1.6, 0.9), turned(25.0)),
        ellipsoid("kidneys", 62.0, near(-6.0, 4.6, -4.6), radii(4.0, 2.5, 2.2)),
        ellipsoid("kidneys", 62.0, near(-7.5, 4.6, 4.6), radii(4.0, 2.5, 2.2)),
        ellipsoid("bladder", 12.0, near(-22.0, -3.0, 0.0), radii(2.6, 2.2, 2.4)),
    ]
    solids += chain(
        "blood", _BLOOD_HU, [(20.0, 3.4 * size, 0.3), (-28.0, 4.0 * size, 0.3)], [0.55 * size] * 2
    )
    place, heading = np.array([-9.0, -3.0, 2.0]) * size, generator.standard_normal(3)
    loops: list[Place] = []
    for _ in range(16):
        heading += 1.3 * generator.standard_normal(3)
        heading /= np.linalg.norm(heading)
        place = place + 2.6 * size * heading
        centre, reach = np.array([-13.0, -2.6, 0.0]) * size, np.array([6.0, 4.6, 7.4]) * size
        away = (place - centre) / reach
        place = centre + away / max(1.0, float(np.linalg.norm(away))) * reach
        loops.append((float(place[0]), float(place[1]), float(place[2])))
    solids += chain("bowel", 45.0, loops, [1.25 * size] * len(loops))
    solids += [ball("bowel", -700.0, loops[k], 0.6 * size) for k in (4, 11)]
    return solids


def _skeleton(generator: np.random.Generator, size: float, depth: float) -> list[Solid]:
    back = 0.48 * depth
    pitch = 3.1 * size
    bones = spine(
        -44.0, 44.0, (back, 0.0), size=2.7 * size, pitch=pitch, cortical=_BONE_HU, marrow=_MARROW_HU
    )
    levels = (16.0 * size - 1.35 * size * np.arange(12)).tolist()
    bones += ribs(
        levels, (6.9 * size, 8.6 * size), centre=(-0.8 * size, 0.0), thickness=0.75 * size, drop=4.5 * size
    )
    front = -7.4 * size
    bones.append(
        rod("breastbone", _BONE_HU, (15.0 * size, front, 0.0), (2.0 * size, front, 0.0), 0.45 * size)
    )
    for side in (-1.0, 1.0):
        splay = generator.uniform(0.9, 1.1)
        shoulder: Place = 17.0 * size, -1.0 * size, side * 8.0 * size
        elbow: Place = 11.5 * size, -5.6 * size, side * 9.4 * size * splay
        hip: Place = -20.0 * size, 3.2 * size, side * 5.2 * size
        knee: Place = -14.0 * size, -1.6 * size, side * 8.6 * size * splay
        for start, end, radius in ((shoulder, elbow, 0.85), (hip, knee, 0.95)):
            bones += chain("limbs", _BONE_HU, [start, end], [radius * size] * 2)
            bones.append(rod("limbs", _MARROW_HU, start, end, 0.5 * radius * size))
        bones.append(
            ellipsoid("limbs", _BONE_HU, (-21.0 * size, 4.0 * size, side * 3.4 * size), (5.0, 0.9, 0.5))
        )
    return bones


def _flank_tumour(phantom: Phantom, generator: np.random.Generator, width: float) -> Phantom:
    """A tumour below the skin of the flank, as of implanted cells; it lifts the skin."""
    side = float(generator.choice([-1.0, 1.0]))
    radius = generator.uniform(1.6, 3.2)
    centre = float(generator.uniform(-12.0, -4.0)), float(generator.uniform(-1.5, 2.5)), side * (width - 0.6)
    skin = ellipsoid("fat", _FAT_HU, centre, (radius + 0.7, radius + 0.7, 0.75 * radius + 0.7))
    lump = ellipsoid("tumour", 42.0, centre, (radius, radius, 0.75 * radius))
    finding = Finding(
        "flank tumour", "tumour", centre, (2 * radius, 2 * radius, 1.5 * radius), 42.0, _MUSCLE_HU
    )
    return replace(phantom, solids=(skin, *phantom.solids, lump), findings=(*phantom.findings, finding))


def _with_lesions(phantom: Phantom, generator: np.random.Generator) -> Phantom:
    """Up to four nodules in the lungs and up to three metastases in the liver."""
    lungs, liver = generator.integers(0, 5), generator.integers(0, 4)
    wanted = [("lungs", "nodule", 580.0, d) for d in generator.uniform(0.7, 2.2, lungs)]
    wanted += [("liver", "metastasis", -30.0, d) for d in generator.uniform(1.2, 2.8, liver)]
    for host, kind, contrast, diameter in wanted:
        try:
            phantom = insert_lesions(
                phantom, generator, within=host, kind=kind, contrast=contrast, diameters=[float(diameter)],
                z_range=(-17.0, 17.0),
            )  # fmt: skip
        except NoRoomError:
            continue
    return phantom


def _leaning(phantom: Phantom, degrees: float) -> Phantom:
    """The mouse rolled by a few degrees on its bed."""
    turn = np.array(turned(degrees)).T

    def rolled(place: Place) -> Place:
        z, y, x = (turn @ place).tolist()
        return z, y, x

    solids = tuple(
        replace(
            solid,
            centre=rolled(solid.centre),
            frame=(rolled(solid.frame[0]), rolled(solid.frame[1]), rolled(solid.frame[2])),
        )
        for solid in phantom.solids
    )
    findings = tuple(replace(finding, centre=rolled(finding.centre)) for finding in phantom.findings)
    return replace(
        phantom, solids=solids, findings=findings, facts={**phantom.facts, "roll": round(degrees, 2)}
    )
