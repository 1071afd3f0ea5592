"""Lesions put into a phantom at places drawn by chance, where they fit into the structure that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lowdose.phantoms.phantom import Finding, Phantom
from lowdose.phantoms.primitives import Place, Solid, ellipsoid, frame_along

_TRIES = 4000
_SHELL = np.array(
    [(z, y, x) for z in (-1, 0, 1) for y in (-1, 0, 1) for x in (-1, 0, 1) if (z, y, x) != (0, 0, 0)], float
)
_SHELL /= np.linalg.norm(_SHELL, axis=1, keepdims=True)


class NoRoomError(ValueError):
    """One sentence: which lesion found no place."""


def insert_lesions(
    phantom: Phantom,
    generator: np.random.Generator,
    *,
    within: str,
    kind: str,
    contrast: float,
    diameters: Sequence[float],
    z_range: tuple[float, float] | None = None,
) -> Phantom:
    """`phantom` with an ellipsoid of about each of `diameters` in mm in the structure called `within`.

    `contrast` is in HU against that structure. A lesion and a rim of a fifth of it touch nothing else.
    `z_range` keeps their middles between two heights. ValueError if the phantom has no such structure,
    `NoRoomError` if one finds no place.
    """
    hosts = [solid for solid in phantom.solids if solid.name == within]
    if not hosts:
        raise ValueError(f"the {phantom.title} has no {within!r}; choose one of {', '.join(phantom.labels)}")
    for number, diameter in enumerate(sorted(diameters, reverse=True), 1):
        host = hosts[int(generator.integers(len(hosts)))]
        radii = diameter / 2 * generator.uniform(0.85, 1.15, 3)
        centre = _free_place(phantom, generator, within, host, float(radii.max()) * 1.2, z_range)
        if centre is None:
            raise NoRoomError(
                f"a {kind} of {diameter:g} mm finds no place in the {within} of {phantom.title}"
            )
        z, y, x = (float(radius) for radius in radii)
        name = f"{kind} {number}"
        lesion = ellipsoid(
            kind, host.hu + contrast, centre, (z, y, x), frame_along(generator.standard_normal(3))
        )
        high, deep, wide = (2 * half for half in lesion.extent)
        finding = Finding(name, kind, centre, (high, deep, wide), host.hu + contrast, host.hu)
        phantom = replace(phantom, solids=(*phantom.solids, lesion), findings=(*phantom.findings, finding))
    return phantom


def _free_place(
    phantom: Phantom,
    generator: np.random.Generator,
    within: str,
    host: Solid,
    radius: float,
    z_range: tuple[float, float] | None,
) -> Place | None:
    low, high = np.subtract(host.centre, host.extent), np.add(host.centre, host.extent)
    if z_range is not None:
        low[0], high[0] = max(low[0], z_range[0]), min(high[0], z_range[1])
    if (low >= high).any():
        return None
    rim = np.concatenate([np.zeros((1, 3)), 0.5 * radius * _SHELL, radius * _SHELL])
    tries = generator.uniform(low, high, (_TRIES, 3))
    likely = [k for k, name in enumerate(phantom.structures_at(tries)) if name == within]
    for k in likely:
        if set(phantom.structures_at(tries[k] + rim)) == {within}:
            z, y, x = tries[k].tolist()
            return z, y, x
    return None
