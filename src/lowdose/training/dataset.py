"""Training pairs from real scans: the same anatomy at a dose and at a stated fraction of that dose.

Real scans are noisy, so a target is noisy too. A pair is therefore built around a *dose gain* r: the input is
the target at 1/r of its dose, with the scan's own noise spectrum, and the network learns that gain
(docs/decisions/0004). Everything costly is prepared once: every slice with a few independent noise images of
unit dose step, as small integers on disk, mapped into memory and never read whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lowdose.physics.dose import dose_simulator
from lowdose.provenance import written_whole
from lowdose.scan import Scan

REALISATIONS = 3
"""Independent noise images kept of every slice; a pair uses random mixtures of them."""

_HALF_DOSE = 0.5
"""At half the dose the added variance equals the scan's own: the unit in which noise is kept."""

_NOISE_STEP = np.float32(0.125)
"""HU a count of the stored noise."""

_TISSUE_HU = -900.0
_LEAST_TISSUE = 0.25


@dataclass(frozen=True)
class PreparedScan:
    """One scan ready for training: `hu` int16 `[z, y, x]`, `noise` int16 `[z, realisation, y, x]`, both on
    disk.
    """

    patient: str
    weight: float
    spacing: tuple[float, float, float]
    hu: NDArray[np.int16]
    noise: NDArray[np.int16]


def prepare(
    scan: Scan,
    folder: Path,
    *,
    patient: str,
    weight: float,
    seed: int,
    on_slice: Callable[[], None] = lambda: None,
) -> PreparedScan:
    """`scan` with its own noise simulated, from `folder` if it was prepared there before.

    Padding becomes air. ValueError if the scan shows too little flat soft tissue to know its own noise.
    """
    facts = folder / "facts.json"
    wanted = {
        "shape": list(scan.shape),
        "spacing": list(scan.spacing),
        "seed": seed,
        "realisations": REALISATIONS,
    }
    if not (facts.exists() and json.loads(facts.read_text()) == wanted):
        folder.mkdir(parents=True, exist_ok=True)
        facts.unlink(missing_ok=True)  # they speak of the arrays that are overwritten now
        _write_noise(scan, folder, seed, on_slice)
        with written_whole(facts) as temporary:
            temporary.write_text(json.dumps(wanted))
    return PreparedScan(
        patient,
        weight,
        scan.spacing,
        np.load(folder / "hu.npy", mmap_mode="r"),
        np.load(folder / "noise.npy", mmap_mode="r"),
    )


def cache_folder(cache: Path, source: str, scan: Scan) -> Path:
    """Where the prepared form of `scan` from `source` is kept."""
    digest = hashlib.sha256(f"{source}\n{scan.name}\n{scan.shape}".encode()).hexdigest()[:16]
    return cache / digest


def _write_noise(scan: Scan, folder: Path, seed: int, on_slice: Callable[[], None]) -> None:
    simulator = dose_simulator(scan, seed=seed)
    if simulator.calibration.noise is None:
        raise ValueError(
            f"{scan.name}: too little flat soft tissue to measure its own noise; leave it out of the plan"
        )
    n_z, n_y, n_x = scan.shape
    hu = np.lib.format.open_memmap(folder / "hu.npy", "w+", np.int16, (n_z, n_y, n_x))
    noise = np.lib.format.open_memmap(folder / "noise.npy", "w+", np.int16, (n_z, REALISATIONS, n_y, n_x))
    for z in range(n_z):
        slice_, counts = simulator.counts(z)
        hu[z] = np.clip(np.rint(np.where(slice_.padding, -1024, slice_.hu)), -1024, 32767)
        for k in range(REALISATIONS):
            generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(z, k)))
            unit = simulator.missing_noise(counts, _HALF_DOSE, generator)
            noise[z, k] = np.clip(np.rint(unit / _NOISE_STEP), -32767, 32767)
        on_slice()
    hu.flush()
    noise.flush()


@dataclass(frozen=True)
class PairSampler:
    """Draws batches of patches: targets and the same at 1/`gain` of their dose."""

    scans: Sequence[PreparedScan]
    gain: float
    patch: int
    """pixels"""
    lowest_target_dose: float = 0.3
    """Targets are drawn at this to all of the scan's own dose, evenly in its logarithm."""
    averaged: float = 0.3
    """Share of pairs whose slices are the mean of two neighbours, a thicker slice with less noise."""
    kernels: float = 0.5
    """Share of pairs seen through another kernel: both images smoothed or sharpened alike."""

    def __post_init__(self) -> None:
        if not self.gain > 1:
            raise ValueError(f"the dose gain is {self.gain:g}; it must be above 1")
        for scan in self.scans:
            if min(scan.hu.shape[1:]) < self.patch:
                raise ValueError(f"patches of {self.patch} px do not fit into slices of {scan.hu.shape[1:]}")

    def batch(
        self, size: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """`(input, target)`, each float32 `(size, 1, patch, patch)` in HU."""
        weights = np.array([scan.weight for scan in self.scans])
        chosen = generator.choice(len(self.scans), size=size, p=weights / weights.sum())
        pairs = [self._pair(self.scans[index], generator) for index in chosen]
        inputs, targets = (np.stack(images)[:, None] for images in zip(*pairs, strict=True))
        return inputs, targets

    def _pair(
        self, scan: PreparedScan, generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        slices, window = self._place(scan, generator)
        anatomy = np.mean([scan.hu[z][window] for z in slices], axis=0, dtype=np.float32)
        target_dose = np.exp(generator.uniform(np.log(self.lowest_target_dose), 0.0))
        first, second = _orthogonal_mixtures(generator)
        to_target = np.sqrt((1.0 - target_dose) / target_dose) * first
        to_input = np.sqrt((self.gain - 1.0) / target_dose) * second
        noise = np.mean([scan.noise[z][:, *window] for z in slices], axis=0, dtype=np.float32) * _NOISE_STEP
        target = anatomy + np.tensordot(to_target.astype(np.float32), noise, axes=1)
        noisy = target + np.tensordot(to_input.astype(np.float32), noise, axes=1)
        if generator.random() < self.kernels:
            noisy, target = _through_another_kernel(np.stack([noisy, target]), generator)
        turns, mirrored = int(generator.integers(4)), bool(generator.integers(2))
        return _turned(noisy, turns, mirrored), _turned(target, turns, mirrored)

    def _place(
        self, scan: PreparedScan, generator: np.random.Generator
    ) -> tuple[tuple[int, ...], tuple[slice, slice]]:
        """Slices and window of a patch; places that hold mostly air are drawn again a few times."""
        n_z, n_y, n_x = scan.hu.shape
        pair = n_z > 1 and scan.spacing[0] <= 3.5 and generator.random() < self.averaged
        for _ in range(8):
            z = int(generator.integers(n_z - pair))
            y = int(generator.integers(n_y - self.patch + 1))
            x = int(generator.integers(n_x - self.patch + 1))
            window = (slice(y, y + self.patch), slice(x, x + self.patch))
            if (scan.hu[z][window] > _TISSUE_HU).mean() >= _LEAST_TISSUE:
                break
        return ((z, z + 1) if pair else (z,)), window


def _orthogonal_mixtures(generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two random unit vectors at a right angle: independent noise images from the same few realisations."""
    first, second = generator.standard_normal((2, REALISATIONS))
    first /= np.linalg.norm(first)
    second -= (second @ first) * first
    return first, second / np.linalg.norm(second)


def _through_another_kernel(
    images: NDArray[np.float32], generator: np.random.Generator
) -> NDArray[np.float32]:
    """The images `[image, y, x]` smoothed by up to 1.1 px or sharpened; linear, so their dose ratio stays."""
    if generator.random() < 0.5:
        smoothed: NDArray[np.float32] = gaussian_filter(
            images, (0, *[generator.uniform(0.3, 1.1)] * 2), mode="reflect"
        )
        return smoothed
    smooth: NDArray[np.float32] = gaussian_filter(images, (0, 0.8, 0.8), mode="reflect")
    return images + np.float32(generator.uniform(0.2, 1.2)) * (images - smooth)


def _turned(image: NDArray[np.float32], turns: int, mirrored: bool) -> NDArray[np.float32]:
    turned = np.rot90(image, turns)
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)
