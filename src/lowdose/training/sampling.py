"""Pairs of patches: a scan at a stated dose, and the same at a fraction of that dose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lowdose.training.dataset import NOISE_STEP, REALISATIONS, Prepared, PreparedPair, PreparedScan
from lowdose.training.orientation import Orientation

Images = NDArray[np.float32]

_TISSUE_HU = -900.0
_LEAST_TISSUE = 0.25
_THIN_MM = 3.5
"""Slices farther apart than this are not averaged with their neighbours."""
_LEVEL_PX = 8.0
"""Over which the level of a scan's own noise is smoothed."""
_LEVEL_JITTER = 1.25
"""Of induced noise: up to this many times the level that was drawn, or one over it."""


class NoiseSource(Protocol):
    """Noise to be put on clean scans."""

    def level(self, generator: np.random.Generator) -> float:
        """A standard deviation in HU that low-dose scans typically show."""
        ...

    def __call__(self, levels: Images, hu: Images, generator: np.random.Generator, /) -> Images:
        """Noise `[z, y, x]` in HU for the anatomy `hu`, of the standard deviation `levels` at every pixel."""
        ...


@dataclass(frozen=True)
class PatchShape:
    """What a network is shown of a scan at once."""

    n_y: int
    n_x: int
    n_z: int = 1
    context: int = 0
    """Neighbouring slices on either side of the `n_z` that are asked for."""
    volume: bool = False
    """Whether slices are an axis of their own, as 3-D networks take them, and not channels."""


@dataclass(frozen=True)
class PairSampler:
    """Draws pairs of patches: targets, and the same at 1/`gain` of their dose or as the low dose was taken.

    ValueError if a scan is smaller than the patches, or the gain is not above 1.
    """

    scans: Sequence[Prepared]
    gain: float
    """Of scans that are their own target; pairs have the gain that they were taken with."""
    patch: PatchShape
    lowest_target_dose: float = 0.3
    """Targets are drawn at this to all of the scan's own dose, evenly in its logarithm."""
    averaged: float = 0.3
    """Share of pairs whose slices are the mean of two neighbours, a thicker slice with less noise."""
    kernels: float = 0.5
    """Share of pairs seen through another kernel: both images smoothed or sharpened alike."""
    noise: NoiseSource | None = None
    """What is put on scans that are their own target, in place of noise like their own."""

    def __post_init__(self) -> None:
        if not self.gain > 1:
            raise ValueError(f"the dose gain is {self.gain:g}; it must be above 1")
        patch = self.patch
        for scan in self.scans:
            n_z, n_y, n_x = scan.shape
            if n_y < patch.n_y or n_x < patch.n_x or n_z < patch.n_z:
                wanted = " x ".join(str(n) for n in (patch.n_z, patch.n_y, patch.n_x))
                raise ValueError(
                    f"patches of {wanted} (z, y, x) do not fit into the {n_z} x {n_y} x {n_x} of a scan of "
                    f"{scan.patient}"
                )

    def __call__(self, generator: np.random.Generator) -> tuple[Images, Images]:
        """A pair in HU: float32 `(1 + 2 context, y, x)` and `(1, y, x)`, or both `(1, z, y, x)`."""
        weights = np.array([scan.weight for scan in self.scans])
        scan = self.scans[generator.choice(len(self.scans), p=weights / weights.sum())]
        slices, window, paired = self._place(scan, generator)
        pair = self.taken(scan, slices, window, generator, averaged=paired)
        square = self.patch.n_y == self.patch.n_x
        return self.shown(pair, Orientation.drawn(generator, square=square, flip_z=self.patch.volume))

    def taken(
        self,
        scan: Prepared,
        slices: NDArray[np.int64],
        window: tuple[slice, slice],
        generator: np.random.Generator,
        *,
        averaged: bool = False,
    ) -> Images:
        """The noisy slices and the target `[2, z, y, x]` in HU of one place, as drawn by chance.

        `averaged` makes one slice fewer, each the mean of two neighbours.
        """
        kernels = self.kernels
        if isinstance(scan, PreparedScan) and self.noise is not None:
            images = np.stack(self._induced(scan, slices, window, self.noise, generator, averaged=averaged))
            kernels = 0.0  # the noise is that of one kernel
        else:
            pair = (
                self._own(scan, slices, window, generator)
                if isinstance(scan, PreparedScan)
                else _taken(scan, slices, window)
            )
            images = np.stack([_mean_of_neighbours(one) for one in pair] if averaged else pair)
        if generator.random() < kernels:
            images = _through_another_kernel(images, generator)
        return images

    def shown(self, pair: Images, orientation: Orientation) -> tuple[Images, Images]:
        """A pair `[2, z, y, x]` as the network takes it."""
        noisy, target = orientation.images(pair)
        if self.patch.volume:
            return noisy[None], target[None]
        middle = self.patch.context
        return noisy, target[middle : middle + 1]

    def _own(
        self,
        scan: PreparedScan,
        slices: NDArray[np.int64],
        window: tuple[slice, slice],
        generator: np.random.Generator,
    ) -> tuple[Images, Images]:
        """The scan at a drawn dose, and at 1/gain of that, from two independent noise images."""
        target_dose = np.exp(generator.uniform(np.log(self.lowest_target_dose), 0.0))
        first, second = _orthogonal_mixtures(generator)
        to_target = np.sqrt((1.0 - target_dose) / target_dose) * first
        to_input = np.sqrt((self.gain - 1.0) / target_dose) * second
        anatomy = np.stack([scan.hu[z][window] for z in slices]).astype(np.float32)
        noise = np.stack([scan.noise[z][:, *window] for z in slices], axis=1) * NOISE_STEP
        target = anatomy + np.tensordot(to_target.astype(np.float32), noise, axes=1)
        return target + np.tensordot(to_input.astype(np.float32), noise, axes=1), target

    def _induced(
        self,
        scan: PreparedScan,
        slices: NDArray[np.int64],
        window: tuple[slice, slice],
        source: NoiseSource,
        generator: np.random.Generator,
        *,
        averaged: bool,
    ) -> tuple[Images, Images]:
        """The scan as low-dose scans would show it, and as they would at `gain` times their dose.

        The noise falls and rises over the image as the scan's own does. Where the scan itself is noisier than
        its target should be it is the target, and the input is noisier in turn: the ratio stays.
        """
        hu = np.stack([scan.hu[z][window] for z in slices]).astype(np.float32)
        noise = np.stack([scan.noise[z][:, *window] for z in slices], axis=1) * NOISE_STEP
        own = gaussian_filter((noise**2).mean(axis=0), (0, _LEVEL_PX, _LEVEL_PX))
        wanted = source.level(generator) * _LEVEL_JITTER ** generator.uniform(-1.0, 1.0)
        low = own * np.float32((wanted / scan.own_level) ** 2)
        if averaged:
            hu, own, low = _mean_of_neighbours(hu), 0.5 * _mean_of_neighbours(own), _mean_of_neighbours(low)
        of_target = np.maximum(own, low / np.float32(self.gain))
        target = hu + source(np.sqrt(of_target - own), hu, generator)
        added = source(np.sqrt(np.float32(self.gain - 1.0) * of_target), hu, generator)
        return target + added, target

    def _place(
        self, scan: Prepared, generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], tuple[slice, slice], bool]:
        """Slices and window of a patch, and whether neighbours are to be averaged.

        Places that hold mostly air are drawn again a few times. Slices beyond the ends are the last ones.
        """
        patch = self.patch
        shown = scan.hu if isinstance(scan, PreparedScan) else scan.high
        n_z, n_y, n_x = scan.shape
        fits = n_z > patch.n_z and scan.spacing[0] <= _THIN_MM
        paired = fits and generator.random() < self.averaged
        for _ in range(8):
            z = int(generator.integers(n_z - patch.n_z + 1 - paired))
            y = int(generator.integers(n_y - patch.n_y + 1))
            x = int(generator.integers(n_x - patch.n_x + 1))
            window = (slice(y, y + patch.n_y), slice(x, x + patch.n_x))
            if (shown[z + patch.n_z // 2][window] > _TISSUE_HU).mean() >= _LEAST_TISSUE:
                break
        slices = np.arange(z - patch.context, z + patch.n_z + patch.context + paired)
        return np.clip(slices, 0, n_z - 1), window, paired


def _mean_of_neighbours(images: Images) -> Images:
    """Slices `[z, y, x]` averaged two by two, one fewer."""
    return np.float32(0.5) * (images[1:] + images[:-1])


def _taken(
    pair: PreparedPair, slices: NDArray[np.int64], window: tuple[slice, slice]
) -> tuple[Images, Images]:
    low, high = (
        np.stack([scan[z][window] for z in slices]).astype(np.float32) for scan in (pair.low, pair.high)
    )
    return low, high


def _orthogonal_mixtures(generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two random unit vectors at a right angle: independent noise images from the same few realisations."""
    first, second = generator.standard_normal((2, REALISATIONS))
    first /= np.linalg.norm(first)
    second -= (second @ first) * first
    return first, second / np.linalg.norm(second)


def _through_another_kernel(images: Images, generator: np.random.Generator) -> Images:
    """The images `[image, z, y, x]` smoothed by up to 1.1 px or sharpened; linear, so their dose ratio
    stays.
    """
    if generator.random() < 0.5:
        smoothed: Images = gaussian_filter(images, (0, 0, *[generator.uniform(0.3, 1.1)] * 2), mode="reflect")
        return smoothed
    smooth: Images = gaussian_filter(images, (0, 0, 0.8, 0.8), mode="reflect")
    return images + np.float32(generator.uniform(0.2, 1.2)) * (images - smooth)
