"""Examples to learn from: low-dose slices with planted lesions, and what methods make of them.

The scan is taken to a lower dose several times with independent noise, after lesions were put into it through
its projections. All of it is kept as whole HU on disk, so that a method is asked once, whatever it is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lowdose.denoising import Denoiser, Identity, SlabDenoiser, denoise
from lowdose.lesions import LesionError
from lowdose.physics.dose import dose_simulator
from lowdose.physics.lesion_insertion import with_lesions
from lowdose.physics.lesion_model import LesionModel
from lowdose.physics.lesion_sites import RECIPES, LesionRecipe, draw_lesions
from lowdose.physics.scan_projection import sampled_places
from lowdose.provenance import write_json
from lowdose.quality.structural_change import scale_px, smoothed
from lowdose.scan import Scan, remembering

Images = NDArray[np.float32]
MakeMethod = Callable[[Scan], Denoiser | SlabDenoiser]

DOSE = 0.25
"""Fraction of the scan's own dose that a method is shown."""
N_REALISATIONS = 2
INPUT = ".input"
"""Stands for what methods were shown; no method's name begins with a dot."""
_FACTS, _DEVIATION = "facts.json", ".deviation"
_REMEMBERED = 40
"""Slices, since several methods want them."""
_LEVEL_PX = 8.0
_LEAST_DEVIATION_HU = 2.0

LESIONS: Mapping[str, LesionRecipe] = {
    "nodule": replace(RECIPES["nodule"], diameter=(3.0, 13.0), contrast=(80.0, 700.0)),
    "bright-lesion": replace(
        RECIPES["soft-tissue-lesion"], kind="bright-lesion", diameter=(3.0, 15.0), contrast=(20.0, 150.0)
    ),
    "dark-lesion": replace(
        RECIPES["soft-tissue-lesion"], kind="dark-lesion", diameter=(3.0, 15.0), contrast=(-150.0, -20.0)
    ),
}
"""What is planted; smaller and fainter ones than detectors learn from, since these may vanish."""


@dataclass(frozen=True)
class Planted:
    """Where a lesion was put: slice, row and column in pixels, and what it is."""

    kind: str
    z: int
    """Of the slices that are kept."""
    y: float
    x: float
    diameter: float
    """mm"""
    contrast: float
    """HU"""


@dataclass(frozen=True, eq=False)
class Examples:
    """Slices of one scan with lesions in them, at a lower dose, and what methods make of them."""

    folder: Path
    name: str
    spacing: tuple[float, float]
    """mm along y and x"""
    planted: tuple[Planted, ...]
    input: NDArray[np.int16]
    """`[z, realisation, y, x]` in HU, on disk."""

    def output(self, method: str) -> NDArray[np.int16]:
        """What `method` made of the input, the same shape."""
        found: NDArray[np.int16] = np.load(_file(self.folder, method), mmap_mode="r")
        return found

    @property
    def sigma_px(self) -> float:
        """Of the smoothing that leaves structure."""
        return scale_px(self.spacing)

    @cached_property
    def deviation(self) -> NDArray[np.float16]:
        """Standard deviation of the noise of the smoothed input, `[z, y, x]` in HU, on disk."""
        found: NDArray[np.float16] = np.load(_file(self.folder, _DEVIATION), mmap_mode="r")
        return found


def make_examples(
    scan: Scan,
    methods: Mapping[str, MakeMethod],
    folder: Path,
    *,
    n_slices: int,
    n_lesions: int,
    seed: int,
    dose: float = DOSE,
    on_slice: Callable[[], None] = lambda: None,
) -> Examples:
    """Examples of `scan` in `folder`; what is there is not made again, but methods may be added.

    `n_lesions` of each kind are planted where there is tissue for them; fewer where they find no place.
    """
    facts = {
        "scan": scan.name, "shape": list(scan.shape), "n_slices": n_slices, "n_lesions": n_lesions,
        "seed": seed, "dose": dose,
    }  # fmt: skip
    if not _holds(folder, facts):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    wanted = [name for name in (INPUT, *methods) if not _file(folder, name).exists()]
    if wanted:
        lesions = planted_models(scan, n_lesions, np.random.default_rng([seed, 1]))
        simulator, _ = with_lesions(dose_simulator(scan, seed=seed), lesions)
        chosen = sampled_places(len(scan), n_slices)
        low = [
            remembering(replace(simulator, seed=seed * 1000 + number).at(dose), _REMEMBERED)
            for number in range(N_REALISATIONS)
        ]
        makers: Mapping[str, MakeMethod] = {INPUT: lambda _scan: Identity(), **methods}
        _write(low, {name: makers[name] for name in wanted}, chosen, folder, on_slice)
        if INPUT in wanted:
            _write_deviation(folder, scale_px(scan.spacing[1:]))
        told = {
            "wanted": facts,
            "spacing": list(scan.spacing[1:]),
            "planted": _planted(scan, lesions, chosen),
        }
        write_json(folder / _FACTS, told)
    return load_examples(folder)


def load_examples(folder: Path) -> Examples:
    """The examples in `folder`."""
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    dy, dx = facts["spacing"]
    return Examples(
        folder,
        facts["wanted"]["scan"],
        (dy, dx),
        tuple(Planted(**one) for one in facts["planted"]),
        np.load(_file(folder, INPUT), mmap_mode="r"),
    )


def planted_models(scan: Scan, n: int, generator: np.random.Generator) -> tuple[LesionModel, ...]:
    """`n` lesions of each kind, as far as they find places apart from each other."""
    found: list[LesionModel] = []
    for recipe in LESIONS.values():
        for _ in range(n):
            try:
                found += draw_lesions(scan, recipe, 1, generator)
            except LesionError:
                break
    return tuple(found)


def _planted(
    scan: Scan, lesions: Sequence[LesionModel], chosen: Sequence[int]
) -> list[dict[str, float | int | str]]:
    """Those of the chosen slices, each where it is cut nearest to its middle."""
    dz, dy, dx = scan.spacing
    found: list[dict[str, float | int | str]] = []
    for lesion in lesions:
        z, y, x = lesion.centre
        place = int(np.argmin([abs(at * dz - z) for at in chosen]))
        if abs(chosen[place] * dz - z) < 0.5 * lesion.radii[0]:
            found.append(
                {
                    "kind": lesion.kind, "z": place, "y": y / dy, "x": x / dx,
                    "diameter": lesion.radii[1] + lesion.radii[2], "contrast": lesion.contrast,
                }
            )  # fmt: skip
    return found


def _write(
    low: Sequence[Scan], methods: Mapping[str, MakeMethod], chosen: Sequence[int], folder: Path,
    on_slice: Callable[[], None],
) -> None:  # fmt: skip
    """What each of `methods` makes of the slices `chosen` of all scans in `low`, a file each."""
    shape = (len(chosen), len(low), *low[0].shape[1:])
    denoised = {name: [denoise(scan, make(scan)) for scan in low] for name, make in methods.items()}
    parts = {name: folder / f"{name}.part" for name in methods}
    stored = {name: np.lib.format.open_memmap(part, "w+", np.int16, shape) for name, part in parts.items()}
    for place, z in enumerate(chosen):
        for name, scans in denoised.items():
            for number, scan in enumerate(scans):
                stored[name][place, number] = _whole(scan.read(z).without_padding())
        on_slice()
    for name, part in parts.items():
        stored[name].flush()
        part.rename(_file(folder, name))


def _file(folder: Path, name: str) -> Path:
    """What the method `name` made, or the input."""
    return folder / f"{name}.npy"


def _write_deviation(folder: Path, sigma_px: float) -> None:
    """What the realisations tell of the noise of each slice, once it is smoothed."""
    inputs: NDArray[np.int16] = np.load(_file(folder, INPUT), mmap_mode="r")
    shape = (len(inputs), *inputs.shape[2:])
    stored = np.lib.format.open_memmap(_file(folder, _DEVIATION), "w+", np.float16, shape)
    for z, slices in enumerate(inputs):
        smooth = smoothed(slices.astype(np.float32), sigma_px)
        variance = gaussian_filter(smooth.var(axis=0, ddof=1), _LEVEL_PX, mode="nearest")
        stored[z] = np.maximum(np.sqrt(variance), _LEAST_DEVIATION_HU)
    stored.flush()


def _holds(folder: Path, facts: Mapping[str, Any]) -> bool:
    path = folder / _FACTS
    return path.exists() and json.loads(path.read_text(encoding="utf-8"))["wanted"] == facts


def _whole(hu: Images) -> NDArray[np.int16]:
    return np.clip(np.rint(hu), -32768, 32767).astype(np.int16)
