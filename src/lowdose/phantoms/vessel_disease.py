"""Diseases of a large vessel, put into a phantom: what CT angiography is made for.

All solids are the same with and without contrast agent but for their HU, so that both make an aligned pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from lowdose.phantoms.phantom import Finding, Phantom
from lowdose.phantoms.primitives import ENDLESS, Floats, Place, Solid, ellipsoid, frame_along, rod

THROMBUS_HU, SOFT_PLAQUE_HU, FLAP_HU = 38.0, 42.0, 52.0
CALCIFIED_HU = (450.0, 900.0)
_FALSE_LUMEN = 0.75
"""Share of the enhancement that the false lumen of a dissection has: its flow is slow."""


def with_disease(
    phantom: Phantom,
    disease: str,
    generator: np.random.Generator,
    *,
    vessel: str = "aorta",
    contrast: float = 0.0,
    z_range: tuple[float, float] = (-ENDLESS, ENDLESS),
) -> Phantom:
    """`phantom` with one of `DISEASES` in the longest straight part of `vessel` between two heights in mm.

    `contrast` is how many HU of the vessel's are the contrast agent's. ValueError if there is no such disease
    or vessel.
    """
    if disease not in DISEASES:
        raise ValueError(f"there is no disease {disease!r}; choose one of {', '.join(DISEASES)}")
    tubes = [solid for solid in phantom.solids if solid.name == vessel and _is_tube(solid)]
    if not tubes:
        raise ValueError(f"the {phantom.title} has no {vessel!r}; choose one of {', '.join(phantom.labels)}")
    tube = max(tubes, key=lambda solid: _length_within(solid, z_range))
    if not _length_within(tube, z_range):
        raise ValueError(
            f"the {vessel} of {phantom.title} does not reach {z_range[0]:g} to {z_range[1]:g} mm"
        )
    made = DISEASES[disease](_Tube(tube, z_range), generator, contrast)
    # Right after the vessel: what lies over it, as a vertebra, lies over its disease, too.
    last = max(number for number, solid in enumerate(phantom.solids) if solid.name == vessel) + 1
    solids = (*phantom.solids[:last], *made, *phantom.solids[last:])
    found = _finding(disease, made, tube.hu) if made else ()
    facts = {**phantom.facts, "disease": disease, "vessel": vessel}
    return replace(phantom, solids=solids, findings=(*phantom.findings, *found), facts=facts)


class _Tube:
    """A straight part of a vessel: where its axis runs and how wide it is."""

    def __init__(self, solid: Solid, z_range: tuple[float, float]) -> None:
        self.hu, self.name, self.radius = solid.hu, solid.name, solid.radii[1]
        axis = np.array(solid.frame[0])
        self.axis = axis if axis[0] >= 0 else -axis
        self.aside = np.array(solid.frame[1])
        self.across = np.array(solid.frame[2])
        reach = solid.halves[0] * self.axis[0]
        low, high = max(z_range[0], solid.centre[0] - reach), min(z_range[1], solid.centre[0] + reach)
        slope = self.axis / self.axis[0]
        self.middle = np.array(solid.centre) + ((low + high) / 2 - solid.centre[0]) * slope
        self.half = (high - low) / 2 / self.axis[0]
        """mm along the axis to either side of the middle."""

    def at(self, along: float, turn: float = 0.0, off: float = 0.0) -> Floats:
        """The place `along` the axis from the middle and `off` mm from it, at `turn` radians round it."""
        return np.asarray(self.middle + along * self.axis + off * self.outward(turn), np.float64)

    def outward(self, turn: float) -> Floats:
        return np.asarray(np.cos(turn) * self.aside + np.sin(turn) * self.across, np.float64)


Made = list[Solid]
Disease = Callable[[_Tube, np.random.Generator, float], Made]


def _aneurysm(tube: _Tube, generator: np.random.Generator, _contrast: float) -> Made:
    """A bulge of 1.8 to 2.6 times the vessel's width, lined with thrombus that takes up no agent."""
    wide = tube.radius * generator.uniform(1.8, 2.6)
    long = min(wide * generator.uniform(1.3, 1.8), 0.9 * tube.half)
    turn, along = generator.uniform(0, 2 * np.pi), generator.uniform(-0.2, 0.2) * tube.half
    frame = frame_along(tube.axis)
    bulge = tube.at(along, turn, 0.4 * (wide - tube.radius))
    share = generator.uniform(0.6, 0.8)
    lumen = tube.at(along, turn, 0.4 * (wide - tube.radius) * generator.uniform(0.2, 0.6))
    return [
        ellipsoid("thrombus", THROMBUS_HU, _place(bulge), (long, wide, wide), frame),
        ellipsoid(tube.name, tube.hu, _place(lumen), (share * long, share * wide, share * wide), frame),
        rod(tube.name, tube.hu, _place(tube.at(along - long)), _place(tube.at(along + long)), tube.radius),
    ]


def _dissection(tube: _Tube, generator: np.random.Generator, contrast: float) -> Made:
    """A flap along the vessel, which is wider there; the false lumen beyond it enhances less."""
    wide, long = tube.radius * generator.uniform(1.2, 1.45), 0.8 * tube.half
    turn, thick = generator.uniform(0, 2 * np.pi), generator.uniform(1.2, 2.0)
    true = wide * generator.uniform(0.5, 0.7)
    off = wide - true
    ends = _place(tube.at(-long)), _place(tube.at(long))
    inner = _place(tube.at(-long, turn, off)), _place(tube.at(long, turn, off))
    slow = tube.hu - (1 - _FALSE_LUMEN) * contrast
    return [
        rod("false lumen", slow, *ends, wide),
        rod("flap", FLAP_HU, *inner, true),
        rod(tube.name, tube.hu, *inner, true - thick),
    ]


def _atherosclerosis(tube: _Tube, generator: np.random.Generator, _contrast: float) -> Made:
    """Calcified plaques along the wall, and a soft one that narrows the lumen."""
    made = []
    for _ in range(int(generator.integers(5, 11))):
        turn, along = generator.uniform(0, 2 * np.pi), generator.uniform(-0.9, 0.9) * tube.half
        made.append(
            _plaque("calcified plaque", float(generator.uniform(*CALCIFIED_HU)), tube, along, turn,
                    (generator.uniform(3.0, 8.0), generator.uniform(0.8, 2.0), generator.uniform(2.0, 4.5)))
        )  # fmt: skip
    turn, along = generator.uniform(0, 2 * np.pi), generator.uniform(-0.5, 0.5) * tube.half
    deep = tube.radius * generator.uniform(0.9, 1.3)
    long = min(generator.uniform(8.0, 18.0), 0.6 * tube.half)
    made.append(_plaque("soft plaque", SOFT_PLAQUE_HU, tube, along, turn, (long, deep, tube.radius)))
    return made


def _plaque(
    name: str, hu: float, tube: _Tube, along: float, turn: float, radii: tuple[float, float, float]
) -> Solid:
    """On the inner side of the wall; `radii` along the vessel, towards its axis and round it."""
    outward = tube.outward(turn)
    round_it = np.cross(tube.axis, outward)
    frame = _place(tube.axis), _place(outward), _place(round_it)
    return ellipsoid(name, hu, _place(tube.at(along, turn, tube.radius)), radii, frame)


DISEASES: Mapping[str, Disease] = {
    "healthy": lambda _tube, _generator, _contrast: [],
    "aneurysm": _aneurysm,
    "dissection": _dissection,
    "atherosclerosis": _atherosclerosis,
}
"""By the classes that CTA-GAN's readers told apart (Lyu et al. 2023, Radiology 309(2))."""


def _finding(disease: str, made: Made, hu: float) -> tuple[Finding, ...]:
    low = np.min([np.subtract(solid.centre, solid.extent) for solid in made], axis=0)
    high = np.max([np.add(solid.centre, solid.extent) for solid in made], axis=0)
    return (Finding(disease, disease, _place((low + high) / 2), _place(high - low), hu, hu),)


def _is_tube(solid: Solid) -> bool:
    return solid.radii[0] == ENDLESS and solid.halves[0] < ENDLESS and abs(solid.frame[0][0]) > 0.5


def _length_within(solid: Solid, z_range: tuple[float, float]) -> float:
    reach = solid.halves[0] * abs(solid.frame[0][0])
    low, high = max(z_range[0], solid.centre[0] - reach), min(z_range[1], solid.centre[0] + reach)
    return max(high - low, 0.0)


def _place(values: Floats) -> Place:
    z, y, x = (float(value) for value in values)
    return z, y, x
