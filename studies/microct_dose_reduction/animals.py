"""The digital mice of the study: those of the catalogue with vessels full of contrast agent and pads of fat.

Without them a network would learn that the belly of a mouse is flat, and smooth all that is in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import numpy as np

from lowdose.phantoms.anatomy import branches
from lowdose.phantoms.mouse import mouse
from lowdose.phantoms.phantom import Phantom
from lowdose.phantoms.primitives import Floats, Place, Solid, chain, ellipsoid, frame_along

REACH_MM = 8.0
"""Along z from the middle of the scan, within which a mouse is filled."""
_N_TREES = {"liver": 6, "muscle": 8}
_N_PADS = 80
_PAD_MM = 0.5, 3.0
_FAT_HU = -110.0
_AGENT_HU = 140.0, 320.0
"""Of the vessels, drawn for every mouse: how much contrast agent it was given."""
_TRIES = 20_000
_SHELL = np.array([(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1)], float)
_SHELL /= np.maximum(np.linalg.norm(_SHELL, axis=1, keepdims=True), 1.0)


def animal(seed: int, middle: float) -> Phantom:
    """The mouse of `seed` with all that is put into it within `REACH_MM` of z = `middle`."""
    generator = np.random.default_rng([38, seed, 2])
    phantom = mouse(seed)
    low, high = np.log(_PAD_MM)
    sizes = np.sort(np.exp(generator.uniform(low, high, _N_PADS)))[::-1]
    pads = _pads(_places_in(phantom, "muscle", middle, generator), phantom, sizes, generator)
    phantom = replace(phantom, solids=(*phantom.solids, *pads))
    agent = float(generator.uniform(*_AGENT_HU))
    trees: list[Solid] = []
    for organ, n_trees in _N_TREES.items():
        for root in _places_in(phantom, organ, middle, generator)[:n_trees]:
            tubes = branches(
                generator, _place(root), generator.standard_normal(3).tolist(),
                radius=generator.uniform(0.25, 0.5), length=2.2, levels=4, inside=_inside(phantom, organ),
            )  # fmt: skip
            for places, radii in tubes:
                # Of the balls at the bends only the last: the others hardly show, and take their time.
                trees += chain("vessels", agent, places, radii)[len(places) - 1 :]
    facts = {**phantom.facts, "agent_hu": round(agent)}
    return replace(phantom, solids=(*phantom.solids, *trees), facts=facts)


def _pads(places: Floats, phantom: Phantom, sizes: Floats, generator: np.random.Generator) -> list[Solid]:
    """An ellipsoid of fat of each of `sizes` in mm, the largest first, that touches muscle alone."""
    pads: list[Solid] = []
    taken: list[tuple[Floats, float]] = []
    waiting = iter(places)
    for size in sizes:
        radii = size / 2 * generator.uniform(0.7, 1.3, 3)
        reach = 1.1 * float(radii.max())
        for place in islice(waiting, len(places) // len(sizes)):
            if any(np.linalg.norm(place - other) < reach + far for other, far in taken):
                continue
            if set(phantom.structures_at(place + reach * _SHELL)) == {"muscle"}:
                frame = frame_along(generator.standard_normal(3))
                pads.append(ellipsoid("fat pad", _FAT_HU, _place(place), _place(radii), frame))
                taken.append((place, reach))
                break
    return pads


def _places_in(phantom: Phantom, organ: str, middle: float, generator: np.random.Generator) -> Floats:
    """Random places in `organ`, `[place, (z, y, x)]`."""
    reach = phantom.radius
    low, high = (middle - REACH_MM, -reach, -reach), (middle + REACH_MM, reach, reach)
    tries = generator.uniform(low, high, (_TRIES, 3))
    return tries[[name == organ for name in phantom.structures_at(tries)]]


def _place(values: Floats) -> Place:
    z, y, x = values.tolist()
    return z, y, x


def _inside(phantom: Phantom, organ: str) -> Callable[[Floats], bool]:
    return lambda place: phantom.structures_at(place[None]) == [organ]
