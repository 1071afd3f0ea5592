"""What is measured: on the phantom, per tissue of a mouse, and against a ladder of doses.

Pixels are chosen by the object, never by what an image shows there. Arrays are `[z, y, x]` in HU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.optimize import nnls

from lowdose.phantoms.layout import Insert, Module
from lowdose.phantoms.microct_phantom import MICRO_CT
from lowdose.physics.geometry import VolumeGrid
from lowdose.quality.bars import bar_transfer
from lowdose.quality.resolution import NoRodError, task_transfer
from lowdose.quality.spectra import RepeatedRegions, squares_around
from lowdose.quality.truth_transfer import TruthTransfer

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

JOINT_MM = 0.8
"""Slices nearer to the next section of the phantom, or to the end of the volume, are left out."""
FLAT_MM = 11.0
"""Radius of what is flat in the uniform section."""
ROD_CORE, ROD_REACH = 0.6, 2.0
"""Of a rod's radius: where its mean is taken, and how far its edge is looked at."""
SPECTRUM_SIDE_MM = 9.0
SOFT = ("muscle", "liver", "heart", "kidneys", "spleen", "stomach", "tumour")
NOISE_MARGIN, TISSUE_MARGIN = 4, 1
"""Voxels to the next tissue: where noise is measured, and where means are."""
FEWEST_VOXELS = 200


# --- the phantom ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sections:
    """Where a grid shows the micro-CT phantom."""

    grid: VolumeGrid

    def slices(self, role: str) -> slice:
        """Those well within the section of `role`."""
        module = _module(role)
        z = self.grid.positions
        inside = np.abs(z - module.z) <= module.depth / 2 - JOINT_MM
        inside &= np.abs(z) <= np.abs(z).max() - JOINT_MM
        chosen = np.flatnonzero(inside)
        if not chosen.size:
            raise ValueError(f"the volume shows nothing of the section {module.name}")
        return slice(int(chosen[0]), int(chosen[-1]) + 1)

    @property
    def pixels(self) -> tuple[float, float]:
        return self.grid.spacing[1], self.grid.spacing[2]

    @property
    def middle(self) -> tuple[float, float]:
        """(y, x) of the axis in mm from the first pixel's middle."""
        y, x = ((n - 1) / 2 * d for n, d in zip(self.grid.shape[1:], self.pixels, strict=True))
        return y, x

    def place(self, yx: tuple[float, float]) -> tuple[float, float]:
        return self.middle[0] + yx[0], self.middle[1] + yx[1]

    def circle(self, yx: tuple[float, float], radius: float) -> Mask:
        y, x = (np.arange(n) * d - at for n, d, at in zip(
            self.grid.shape[1:], self.pixels, self.place(yx), strict=True
        ))  # fmt: skip
        return np.asarray(np.hypot(y[:, None], x) <= radius)

    @cached_property
    def flat(self) -> Mask:
        """Pixels `[y, x]` of the uniform section."""
        return self.circle((0.0, 0.0), FLAT_MM)

    @cached_property
    def background(self) -> Mask:
        """Pixels `[y, x]` between the rods."""
        return self.circle((0.0, 0.0), _module("sensitometry").backgrounds[0].diameter / 2)

    def core(self, rod: Insert) -> Mask:
        return self.circle(rod.place, ROD_CORE * rod.diameter / 2)


def rods() -> tuple[Insert, ...]:
    return _module("sensitometry").inserts


def contrast_of(rod: Insert) -> float:
    """HU over the phantom's body."""
    return rod.hu - _module("sensitometry").hu


def _module(role: str) -> Module:
    module = MICRO_CT.of_role(role)  # type: ignore[arg-type]
    assert module is not None
    return module


def noise_between(volumes: Sequence[Volume], where: Mask) -> float:
    """Standard deviation between repeats, pooled over the pixels `[y, x]` or `[z, y, x]`: shading is none."""
    stack = np.stack([volume[..., where] if where.ndim == 2 else volume[where] for volume in volumes])
    return float(np.sqrt(stack.var(axis=0, ddof=1, dtype=np.float64).mean()))


def phantom_measures(volumes: Sequence[Volume], noise_free: Volume, sections: Sections) -> dict[str, Any]:
    """Noise, texture, bias, contrasts, resolution and bars of repeated scans by one method."""
    rods_at, flat_at = sections.slices("sensitometry"), sections.slices("uniformity")
    mean = np.mean(volumes, axis=0, dtype=np.float64)
    uniform = [volume[flat_at] for volume in volumes]
    return {
        "repeats": len(volumes),
        "noise": noise_between(uniform, sections.flat),
        "noise_per_repeat_pair": _pairwise_noise(uniform, sections.flat),
        "bias": float((mean - noise_free)[flat_at][:, sections.flat].mean()),
        "spectrum": spectrum(uniform, sections),
        "rods": {
            rod.name: _rod([volume[rods_at] for volume in volumes], noise_free[rods_at], rod, sections)
            for rod in rods()
        },
        "bars": _bars(mean[sections.slices("resolution")].mean(axis=0), sections),
    }


def _pairwise_noise(volumes: Sequence[Volume], where: Mask) -> list[float]:
    """Of every two successive scans, for the spread."""
    return [noise_between(volumes[k : k + 2], where) for k in range(0, len(volumes) - 1, 2)]


def spectrum(volumes: Sequence[Volume], sections: Sections) -> dict[str, Any]:
    """The noise power between repeats in squares of the uniform section."""
    side = int(SPECTRUM_SIDE_MM / sections.pixels[0])
    regions = RepeatedRegions(side, sections.pixels)
    corners = squares_around(sections.middle, 0.0, side, sections.pixels, reach=FLAT_MM)
    for z in range(len(volumes[0])):
        for volume in volumes:
            regions.add(z, volume[z], corners)
    radial = regions.radial
    return {
        "mean_frequency": finite(radial.mean_frequency),
        "peak_frequency": finite(radial.peak_frequency),
        "frequencies": [round(float(f), 4) for f in radial.frequencies],
        "power": [float(f"{p:.5g}") for p in radial.power],
    }


def rod_contrast(
    volumes: Sequence[Volume], noise_free: Volume, rod: Insert, sections: Sections
) -> dict[str, float]:
    """Contrast, bias and CNR of a rod in the slices of `volumes` that show it.

    The CNR is |rod - surroundings| / sqrt((s1^2 + s2^2) / 2), the noise being that between repeats.
    """
    core, background = sections.core(rod), sections.background
    mean = np.mean([volume.mean(axis=0, dtype=np.float64) for volume in volumes], axis=0)
    contrast = float(mean[core].mean() - mean[background].mean())
    true = float(
        noise_free[:, core].mean(dtype=np.float64) - noise_free[:, background].mean(dtype=np.float64)
    )
    noise = float(np.sqrt((noise_between(volumes, core) ** 2 + noise_between(volumes, background) ** 2) / 2))
    return {
        "contrast": contrast,
        "contrast_kept": contrast / true,
        "bias": float((mean - noise_free.mean(axis=0, dtype=np.float64))[core].mean()),
        "cnr": abs(contrast) / noise,
    }


def _rod(
    volumes: Sequence[Volume], noise_free: Volume, rod: Insert, sections: Sections
) -> dict[str, float | str | None]:
    """Of one rod; f50 is that of the mean of all scans and slices, and its spread that between repeats."""
    found: dict[str, float | str | None] = {
        "nominal_contrast": contrast_of(rod), **rod_contrast(volumes, noise_free, rod, sections)
    }  # fmt: skip
    mean = np.mean([volume.mean(axis=0, dtype=np.float64) for volume in volumes], axis=0)
    try:
        whole = _transfer(mean, rod, sections)
    except NoRodError as error:
        return found | {"f50": None, "note": str(error)}
    singles = []
    for volume in volumes:
        try:
            singles.append(_transfer(volume.mean(axis=0, dtype=np.float64), rod, sections).f50)
        except NoRodError:
            continue
    spread = np.std(singles, ddof=1) / np.sqrt(len(singles)) if len(singles) > 2 else float("nan")
    return found | {
        "f50": finite(whole.f50),
        "f50_standard_error": finite(float(spread)),
        "f10": finite(whole.f10),
        "cnr_of_the_mean": finite(whole.cnr),
    }


def _transfer(image: Floats, rod: Insert, sections: Sections) -> Any:
    return task_transfer(
        image, sections.pixels, sections.place(rod.place), rod.diameter / 2,
        reach=ROD_REACH * rod.diameter / 2,
    )  # fmt: skip


def _bars(mean: Floats, sections: Sections) -> dict[str, float]:
    """Modulation transfer of every group of bars, by line pairs per mm."""
    found = {}
    for group in _module("resolution").bars:
        result = bar_transfer(
            mean, sections.pixels, sections.place(group.place), group.angle, width=group.width,
            n_bars=group.n_bars, length=group.length, empty=sections.middle,
        )  # fmt: skip
        found[f"{result.frequency:g}"] = float(result.transfer)
    return found


# --- a mouse ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of a mouse."""

    noise_free: Volume
    exact: Volume
    """The mean HU of every voxel."""
    labels: NDArray[np.uint8]
    names: tuple[str, ...]
    spacing: tuple[float, float, float]

    def tissue(self, name: str, margin: int) -> Mask:
        """Voxels of a tissue at least `margin` from the next, and from the ends of the volume."""
        if name not in self.names:
            return np.zeros(self.labels.shape, bool)
        mask = self.labels == self.names.index(name) + 1
        return binary_erosion(mask, iterations=margin) if margin and mask.any() else mask

    @cached_property
    def flat(self) -> tuple[Mask, ...]:
        """Where noise is measured: soft tissues, each by itself."""
        masks = (self.tissue(name, NOISE_MARGIN) for name in SOFT)
        return tuple(mask for mask in masks if mask.sum() >= FEWEST_VOXELS)

    @cached_property
    def tissues(self) -> dict[str, Mask]:
        masks = {name: self.tissue(name, TISSUE_MARGIN) for name in self.names}
        return {name: mask for name, mask in masks.items() if mask.sum() >= FEWEST_VOXELS}

    @cached_property
    def body(self) -> Mask:
        return np.asarray(self.labels > 0)

    def slab(self, n_slices: int) -> Truth:
        """Its middle slices."""
        first = (len(self.labels) - n_slices) // 2
        part = slice(first, first + n_slices)
        return Truth(self.noise_free[part], self.exact[part], self.labels[part], self.names, self.spacing)


def error_noise(image: Volume, truth: Truth) -> float:
    """Standard deviation of the error in flat soft tissue, about the mean error of each tissue.

    One scan is enough for it; it holds what a method invents or loses there as well as its noise.
    """
    error = image - truth.noise_free
    variances = [(error[mask].var(dtype=np.float64), np.count_nonzero(mask)) for mask in truth.flat]
    values, counts = np.array(variances).T
    return float(np.sqrt((values * counts).sum() / counts.sum()))


def mouse_measures(image: Volume, truth: Truth) -> dict[str, Any]:
    """Noise, bias of every tissue, CNR of fat in muscle, contrast of vessels, sharpness and error."""
    error = image.astype(np.float64) - truth.noise_free
    transfer = TruthTransfer(image.shape[1:], truth.spacing[1:])
    for seen, true in zip(image, truth.exact, strict=True):
        transfer.add(seen, true)
    return {
        "noise": error_noise(image, truth),
        "bias": {name: float(error[mask].mean()) for name, mask in truth.tissues.items()},
        "cnr_fat": cnr_of_fat(image, truth),
        "vessel_contrast_kept": _vessel_contrast(image, truth),
        "rmse_body": float(np.sqrt((error[truth.body] ** 2).mean())),
        "f50": finite(transfer.falls_to(0.5)),
    }


def cnr_of_fat(image: Volume, truth: Truth) -> float:
    """Of fat pads in muscle, the noise that of the error in both: |difference| / sqrt((s1^2 + s2^2) / 2)."""
    pads, muscle = truth.tissue("fat pad", 2), truth.tissue("muscle", 2)
    if not pads.any() or not muscle.any():
        return float("nan")
    error = image - truth.noise_free
    power = (error[pads].var(dtype=np.float64) + error[muscle].var(dtype=np.float64)) / 2
    return float(abs(image[pads].mean(dtype=np.float64) - image[muscle].mean(dtype=np.float64)) / power**0.5)


def _vessel_contrast(image: Volume, truth: Truth) -> float | None:
    """Contrast of all vessel voxels over flat liver and muscle, as a share of that without noise."""
    vessels = truth.tissue("vessels", 0)
    around = truth.tissue("liver", 2) | truth.tissue("muscle", 2)
    if vessels.sum() < FEWEST_VOXELS or not around.any():
        return None
    seen, true = (
        float(volume[vessels].mean(dtype=np.float64) - volume[around].mean(dtype=np.float64))
        for volume in (image, truth.noise_free)
    )
    return seen / true


# --- the ladder of doses ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ladder:
    """Noise variance against dose, ``a + b / D + c / D^2``: quanta, and electronics where photons are few."""

    a: float
    b: float
    c: float
    worst: float
    """The largest deviation of a rung from the curve, as a share of its standard deviation."""
    lowest: float
    highest: float
    """The doses of the first and last rung."""

    def variance(self, dose: float | Floats) -> float | Floats:
        return self.a + self.b / dose + self.c / dose**2

    def dose_of(self, variance: float) -> float:
        """The dose at which the noise has this variance; infinite where no dose is high enough."""
        excess = variance - self.a
        if excess <= 0 or self.b + self.c <= 0:
            return float("inf")
        return (self.b + float(np.sqrt(self.b**2 + 4 * self.c * excess))) / (2 * excess)


def fitted_ladder(doses: Sequence[float], variances: Sequence[float]) -> Ladder:
    """The curve with no negative term that fits the rungs best, every rung's relative error alike.

    ValueError for fewer than three rungs or variances that are not positive.
    """
    d, v = np.asarray(doses, np.float64), np.asarray(variances, np.float64)
    if d.size < 3 or d.shape != v.shape or not (np.isfinite(v).all() and (v > 0).all() and (d > 0).all()):
        raise ValueError("a ladder needs three or more doses, each with a positive variance")
    terms = np.stack([np.ones_like(d), 1 / d, 1 / d**2], axis=1) / v[:, None]
    scale = terms.max(axis=0)
    a, b, c = nnls(terms / scale, np.ones_like(d))[0] / scale
    worst = np.abs(np.sqrt((a + b / d + c / d**2) / v) - 1).max()
    return Ladder(float(a), float(b), float(c), float(worst), float(d.min()), float(d.max()))


def dose_factor(ladder: Ladder, variance: float) -> dict[str, float | bool | None]:
    """The dose without denoising, over the low dose, at which the variance is the same."""
    factor = ladder.dose_of(variance)
    return {"factor": finite(factor), "beyond_the_ladder": not ladder.lowest <= factor <= ladder.highest}


def equivalent_doses(
    ladders: Mapping[str, Ladder], noise: float, cnrs: Mapping[str, float]
) -> dict[str, dict[str, float | bool | None]]:
    """Dose reduction factors by noise and by the CNR of every rod; of the latter the rungs are 1 / CNR^2."""
    found = {"noise": dose_factor(ladders["noise"], noise**2)}
    for name, cnr in cnrs.items():
        found[f"cnr {name}"] = dose_factor(ladders[f"cnr {name}"], cnr**-2)
    return found


def finite(value: float) -> float | None:
    """JSON has no NaN."""
    return float(value) if np.isfinite(value) else None
