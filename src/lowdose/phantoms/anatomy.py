"""Parts that bodies share: spines, ribs, and vessels that branch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lowdose.phantoms.primitives import Floats, Place, Solid, box, chain, rod, upright_cylinder

CORTICAL_HU, MARROW_HU, CARTILAGE_HU, CORD_HU = 900.0, 200.0, 90.0, 35.0


def spine(
    first: float,
    last: float,
    place: tuple[float, float],
    *,
    size: float,
    pitch: float,
    cortical: float = CORTICAL_HU,
    marrow: float = MARROW_HU,
) -> list[Solid]:
    """Vertebrae from z `first` to `last`, bodies at `place` (y, x) and `size` mm wide, `pitch` mm apart."""
    y, x = place
    solids: list[Solid] = []
    canal = y + 0.72 * size
    disc = upright_cylinder(
        "spine", CARTILAGE_HU, ((first + last) / 2, y, x), (0.36 * size, 0.46 * size), (last - first) / 2
    )
    solids.append(disc)
    for z in np.arange(first + pitch / 2, last, pitch).tolist():
        half = 0.4 * pitch
        solids += [
            box("spine", cortical, (z, canal + 0.45 * size, x), (0.3 * pitch, 0.35 * size, 0.07 * size)),
            rod("spine", cortical, (z, canal, x), (z, canal - 0.1 * size, x - 0.85 * size), 0.13 * size),
            rod("spine", cortical, (z, canal, x), (z, canal - 0.1 * size, x + 0.85 * size), 0.13 * size),
            upright_cylinder("spine", cortical, (z, canal, x), (0.33 * size, 0.36 * size), 0.3 * pitch),
            upright_cylinder("spine", cortical, (z, y, x), (0.4 * size, 0.5 * size), half),
            upright_cylinder("spine", marrow, (z, y, x), (0.35 * size, 0.45 * size), half - 0.05 * size),
        ]
    middle = (first + last) / 2, canal, x
    solids.append(
        upright_cylinder("spinal canal", CORD_HU, middle, (0.22 * size, 0.26 * size), (last - first) / 2)
    )
    return solids


def ribs(
    levels: Sequence[float],
    radii: tuple[float, float],
    *,
    centre: tuple[float, float] = (0.0, 0.0),
    thickness: float,
    drop: float,
    n_parts: int = 10,
) -> list[Solid]:
    """Pairs of ribs that leave the spine at `levels` in z and run round an ellipse of `radii` (y, x),
    `drop` mm down on their way to the front.
    """
    solids: list[Solid] = []
    turns = np.linspace(80.0, -50.0, n_parts)
    falls = np.linspace(0.0, 1.0, n_parts) ** 1.3 * drop
    for level in levels:
        for side in (-1.0, 1.0):
            places = [
                (
                    level - fall,
                    centre[0] + radii[0] * float(np.sin(np.deg2rad(turn))),
                    centre[1] + side * radii[1] * float(np.cos(np.deg2rad(turn))),
                )
                for turn, fall in zip(turns.tolist(), falls.tolist(), strict=True)
            ]
            solids += chain("ribs", CORTICAL_HU, places, [thickness / 2] * n_parts)
            solids += chain("ribs", MARROW_HU, places, [0.3 * thickness] * n_parts)
    return solids


def branches(
    generator: np.random.Generator,
    start: Place,
    direction: Sequence[float],
    *,
    radius: float,
    length: float,
    levels: int,
    inside: Callable[[Floats], bool] = lambda _place: True,
) -> list[tuple[list[Place], list[float]]]:
    """Places and radii in mm of the tubes of a vessel tree that starts at `start` along `direction`.

    At each of `levels` forks a tube gives two, whose radii follow Murray's law with a random share. Tubes end
    where `inside` no longer holds.
    """
    heading = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    places, radii = [start], [radius]
    n_steps = 3
    for _ in range(n_steps):
        heading = heading + 0.18 * generator.standard_normal(3)
        heading /= np.linalg.norm(heading)
        z, y, x = np.asarray(places[-1]) + heading * length / n_steps
        if not inside(np.array([z, y, x])):
            break
        places.append((float(z), float(y), float(x)))
        radii.append(radii[-1] * 0.96)
    tubes = [(places, radii)] if len(places) > 1 else []
    if levels > 1 and len(places) == n_steps + 1:
        share = generator.uniform(0.35, 0.65)
        turn = np.cross(heading, generator.standard_normal(3))
        turn /= np.linalg.norm(turn)
        for part, sign in ((share, 1.0), (1.0 - share, -1.0)):
            tubes += branches(
                generator,
                places[-1],
                (heading + sign * (1.1 - part) * turn).tolist(),
                radius=radii[-1] * part ** (1 / 3),
                length=length * generator.uniform(0.7, 0.9),
                levels=levels - 1,
                inside=inside,
            )
    return tubes


def within(centre: Place, radii: Place) -> Callable[[Floats], bool]:
    """Whether a place is in an upright ellipsoid."""
    return lambda place: bool((((place - np.array(centre)) / np.array(radii)) ** 2).sum() <= 1)


def vessels(name: str, hu: float, tubes: Sequence[tuple[list[Place], list[float]]]) -> list[Solid]:
    """The solids of `branches`."""
    return [solid for places, radii in tubes for solid in chain(name, hu, places, radii)]
