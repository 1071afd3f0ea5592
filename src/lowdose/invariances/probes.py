"""Planted lesions: what is left of them in the output, by size and contrast, as detectability.

A lesion of known size and contrast is put into a low-dose slice through its projections, and the output with
it is compared with the output without it, the noise being the same. How well the difference could be seen is
told by a matched filter: its answer over what noise makes it answer, in the input and in the output. A
denoiser that keeps what is visible keeps that ratio; one that ignores lesions loses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from lowdose.invariances.response import LocalMethod
from lowdose.physics.dose import DoseSimulator
from lowdose.physics.lesion_insertion import as_reconstructed, slice_thickness
from lowdose.physics.lesion_model import LesionModel
from lowdose.quality.structural_change import Window, smoothed
from lowdose.quality.structures import LUNG, SOFT, VESSEL, structures

Images = NDArray[np.float32]

VISIBLE = 3.0
"""Detectability index from which a lesion can be seen in the input."""
KEPT = 0.5
"""Share of its detectability and of its contrast below which a lesion counts as ignored."""
_RIM_MM = 2.0
_APART_MM = 6.0
_MARGIN_MM = 0.5
"""Standard deviation of the blur of a lesion's outline."""
_SMOOTHING_MM = 1.5


@dataclass(frozen=True)
class Kind:
    """Lesions of one kind: in which tissue, and which contrasts are tried."""

    name: str
    tissue: str
    contrasts: tuple[float, ...]
    """HU"""


KINDS = (
    Kind("nodule in lung", LUNG, (50.0, 100.0, 200.0, 400.0, 800.0)),
    Kind("bright lesion in soft tissue", SOFT, (15.0, 30.0, 60.0, 120.0, 240.0)),
    Kind("dark lesion in soft tissue", SOFT, (-15.0, -30.0, -60.0, -120.0, -240.0)),
)
DIAMETERS = (2.0, 3.0, 4.0, 6.0, 9.0)
"""mm"""


@dataclass(frozen=True)
class Probe:
    """One lesion at one site."""

    kind: str
    diameter: float
    """mm"""
    contrast: float
    """HU"""
    visible: float
    """Its detectability index in the input, without sign."""
    left: float
    """In the output, by its noise where there is no lesion."""
    spread: float
    """Variance of the answer to the lesion from noise to noise, over that of the noise: 0 if linear."""
    contrast_left: float
    """Share of its contrast that the output shows."""
    z: int
    y: int
    x: int


@dataclass(frozen=True)
class Shape:
    """All probes of one kind, size and contrast together."""

    kind: str
    diameter: float
    contrast: float
    n: int
    visible: float
    """Means over the probes"""
    left: float
    """By the mean of the variances of the answer with and without the lesion"""
    contrast_left: float

    @property
    def kept(self) -> float:
        """Share of its detectability that is left."""
        return self.left / self.visible if self.visible > 0 else float("nan")

    @property
    def ignored(self) -> bool:
        """Whether it could be seen in the input and is mostly gone from the output.

        Contrast and detectability must both be gone: a median filter passes a large nodule on whole, but
        makes coarse noise of fine, and a gain of noise is no loss of anatomy.
        """
        return self.visible >= VISIBLE and self.kept < KEPT and self.contrast_left < KEPT


def sites(
    anatomy: Images, tissue: str, spacing: tuple[float, float], n: int, generator: np.random.Generator,
    largest: float = max(DIAMETERS),
) -> list[tuple[int, int]]:  # fmt: skip
    """Up to `n` places `(y, x)` of a slice in HU with nothing but `tissue` around, apart from each other."""
    pixel = float(np.sqrt(spacing[0] * spacing[1]))
    masks = structures(smoothed(anatomy, _SMOOTHING_MM / pixel))
    mask = masks[tissue] | (masks[VESSEL] & _small(masks[VESSEL])) if tissue == LUNG else masks[tissue]
    clear = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] * pixel >= largest / 2 + _RIM_MM
    found: list[tuple[int, int]] = []
    places = np.argwhere(clear)
    for y, x in places[generator.permutation(len(places))].tolist():
        if all(np.hypot(y - a, x - b) * pixel >= largest + _APART_MM for a, b in found):
            found.append((y, x))
        if len(found) == n:
            break
    return found


def probed(
    simulator: DoseSimulator,
    z: int,
    methods: Sequence[LocalMethod],
    places: dict[str, list[tuple[int, int]]],
    *,
    diameters: Sequence[float] = DIAMETERS,
    kinds: Sequence[Kind] = KINDS,
    n_noises: int = 2,
    on_step: Callable[[], None] = lambda: None,
) -> list[Probe]:
    """Probes at `places` by tissue, in slice `z` of the scan of `simulator`.

    `methods` are the method on the whole slice for several realisations of its noise; all tell of the noise,
    `n_noises` are given lesions. It is asked of the surroundings of each place alone.
    """
    found = []
    for tissue in dict.fromkeys(kind.tissue for kind in kinds):
        shades = [
            (kind.name, contrast) for kind in kinds if kind.tissue == tissue for contrast in kind.contrasts
        ]
        around = [_Surroundings.of(methods, at, max(diameters), simulator) for at in places[tissue]]
        for diameter in diameters if around else ():
            lesions = _stack(simulator, z, diameter, places[tissue], len(methods[0].surroundings))
            for one in around:
                lesion = lesions[(slice(None), *one.window)]
                changes = one.changes(np.stack([contrast * lesion for _, contrast in shades]), n_noises)
                found += [
                    one.probe(kind, diameter, contrast, lesion[len(lesion) // 2], change, z)
                    for (kind, contrast), change in zip(shades, changes, strict=True)
                ]
                on_step()
    return found


def n_steps(places: dict[str, list[tuple[int, int]]], n_diameters: int = len(DIAMETERS)) -> int:
    """How often `probed` says that it is a step further."""
    return n_diameters * sum(len(some) for some in places.values())


def by_shape(probes: Sequence[Probe]) -> list[Shape]:
    """Means over the sites of every kind, size and contrast."""
    groups: dict[tuple[str, float, float], list[Probe]] = {}
    for probe in probes:
        groups.setdefault((probe.kind, probe.diameter, probe.contrast), []).append(probe)
    return [
        Shape(
            *key,
            len(some),
            float(np.mean([one.visible for one in some])),
            _left(some),
            float(np.mean([one.contrast_left for one in some])),
        )
        for key, some in groups.items()
    ]


def _left(probes: Sequence[Probe]) -> float:
    """Mean detectability in the output; with the lesion, its spread adds to the variance."""
    spread = np.mean([one.spread for one in probes])
    return float(np.mean([one.left for one in probes]) / np.sqrt(1 + spread / 2))


@dataclass(frozen=True, eq=False)
class _Surroundings:
    """One place, and the method around it for several realisations of the noise."""

    place: tuple[int, int]
    window: Window
    """Of the slice"""
    methods: list[LocalMethod]
    inputs: Images
    outputs: Images
    """`[realisation, y, x]` of the window"""

    @classmethod
    def of(
        cls, methods: Sequence[LocalMethod], place: tuple[int, int], diameter: float, simulator: DoseSimulator
    ) -> _Surroundings:
        """For lesions up to `diameter` mm."""
        window = _window(place, diameter, simulator, methods[0].input.shape)
        local = [one.within(window) for one in methods]
        inputs = np.stack([one.input for one in local])
        return cls(place, window, local, inputs, np.stack([one(one.input[None])[0] for one in local]))

    def changes(self, added: Images, n_noises: int) -> Images:
        """What `added` `[b, z, y, x]` changes in the output, `[b, noise, y, x]`."""
        pairs = zip(self.methods[:n_noises], self.outputs, strict=False)
        return np.stack([one.of_stacks(added) - output for one, output in pairs], axis=1)

    def probe(
        self, kind: str, diameter: float, contrast: float, lesion: Images, changes: Images, z: int
    ) -> Probe:
        """What a matched filter for `lesion` `[y, x]` of 1 HU says of `changes` `[noise, y, x]`."""
        template = lesion.astype(np.float64)
        power = float((template**2).sum())
        answers = (np.tensordot(images, template, axes=2) for images in (self.inputs, self.outputs))
        noise_in, noise_out = (max(float(one.std(ddof=1)), 1e-3 * power) for one in answers)
        answers_to_it = np.tensordot(changes, template, axes=2)
        left, signal = float(answers_to_it.mean()), contrast * power
        spread = float(answers_to_it.var(ddof=1)) if len(answers_to_it) > 1 else 0.0
        return Probe(
            kind, diameter, contrast, abs(signal) / noise_in, max(left * np.sign(contrast), 0.0) / noise_out,
            spread / noise_out**2, left / signal, z, *self.place,
        )  # fmt: skip


def _stack(
    simulator: DoseSimulator, z: int, diameter: float, places: Sequence[tuple[int, int]], n_slices: int
) -> Images:
    """Lesions of 1 HU at all places, `[z, y, x]`, as the scanner shows them in a slice and its neighbours."""
    scan = simulator.scan
    dz, dy, dx = scan.spacing
    radius = diameter / 2
    stack = np.zeros((n_slices, *scan.shape[1:]), np.float32)
    for number in range(n_slices):
        at = z + number - n_slices // 2
        for y, x in places:
            model = LesionModel(
                "lesion", (z * dz, y * dy, x * dx), (max(radius, dz / 2), radius, radius), 1.0, _MARGIN_MM
            )
            if abs(at - z) * dz <= model.reach:
                rows, columns = model.pixels((dy, dx), scan.shape[1:])
                stack[number, rows, columns] += model.slab(
                    at * dz, slice_thickness(scan), (dy, dx), rows, columns
                )
        if stack[number].any():
            stack[number] = as_reconstructed(simulator, stack[number])
    return stack


def _window(
    place: tuple[int, int], diameter: float, simulator: DoseSimulator, shape: tuple[int, ...]
) -> Window:
    _, dy, dx = simulator.scan.spacing
    reach = [round((diameter / 2 + _RIM_MM) / step) for step in (dy, dx)]
    rows, columns = (
        slice(max(0, at - far), min(n, at + far + 1)) for at, far, n in zip(place, reach, shape, strict=True)
    )
    return rows, columns


def _small(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The parts of a mask that are thin, as the vessels at the rim of a lung are."""
    return np.asarray(distance_transform_edt(mask) <= 1.5)
