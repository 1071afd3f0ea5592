"""Iterative reconstruction as a denoiser of images, by virtual projections of each slice.

What denoisers are compared with. How much a method may take away is chosen by the noise it leaves, in flat
regions of the scan itself: at equal noise, resolution and texture can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import ceil, inf, isfinite
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lowdose.physics.flat_regions import flat_regions
from lowdose.physics.geometry import ImageGrid
from lowdose.physics.iterative import cgls_iterates, os_sart_iterates, sirt_iterates
from lowdose.physics.noise_matching import match_noise
from lowdose.physics.scan_projection import image_grid, sampled_slices
from lowdose.physics.total_variation import asd_pocs, fista_tv, primal_dual_tv
from lowdose.physics.virtual_scan import VirtualScan, in_words, virtual_geometry, virtual_scan
from lowdose.provenance import Step
from lowdose.scan import Scan
from lowdose.units import AIR_HU, hu_to_mu, mu_difference_to_hu

Image = NDArray[np.float32]

DEFAULT_REDUCTION = 0.5
"""Share of the noise that is taken away unless a user says otherwise."""

_SLICES = 3
_SIDE = 16
"""Pixels along a square in which noise is measured."""
_FEWEST_SQUARES = 4
_FLATTEST = 0.5
"""Share of the squares of soft tissue that is taken"""
_FLATTEST_OF_ALL = 0.1
"""and of all squares where there is too little of it."""
_SMOOTHING_PX = 3.0
_DENSER_THAN_HU = -900.0
_NOISELESS_HU = 1e-3
_LARGEST_SHIFT_HU = 10.0
_SEED = 0


def _fista(scan: VirtualScan, image: Image, strength: float) -> Image:
    return fista_tv(
        scan.operator, scan.sinogram, weights=scan.weights, strength=strength, start=image, n_iterations=20
    )


def _primal_dual(scan: VirtualScan, image: Image, strength: float) -> Image:
    return primal_dual_tv(scan.operator, scan.sinogram, weights=scan.weights, strength=strength, start=image)


def _asd_pocs(scan: VirtualScan, image: Image, tolerance: float) -> Image:
    return asd_pocs(
        scan.operator, scan.sinogram, weights=scan.weights, tolerance=tolerance, start=image, n_iterations=25
    )


@dataclass(frozen=True)
class Regularised:
    """A reconstruction that starts from the image, and smooths it the more the larger its parameter."""

    solve: Callable[[VirtualScan, Image, float], Image]
    parameter: str
    start: float
    """Where to look for the parameter first."""

    def reconstruct(self, hu: Image, grid: ImageGrid, parameter: float) -> Image:
        """`hu` `[y, x]` reconstructed from its virtual projections, in HU."""
        image = hu_to_mu(hu)
        return _hu(self.solve(virtual_scan(image, grid), image, parameter))

    def matched(self, sample: Sample, grid: ImageGrid, target: float) -> float:
        """The parameter that leaves the noise `target` in HU."""
        images = [hu_to_mu(hu) for hu in sample.slices]
        scans = [virtual_scan(image, grid) for image in images]

        def solved(parameter: float) -> list[Image]:
            return [_hu(self.solve(*pair, parameter)) for pair in zip(scans, images, strict=True)]

        return match_noise(solved, sample.noise, target, start=self.start).parameter


@dataclass(frozen=True)
class Stopped:
    """A reconstruction that starts from nothing, and is sharper and noisier after every iteration."""

    iterates: Callable[[VirtualScan], Iterator[Image]]
    most: int
    """Iterations after which the image no longer changes to speak of."""
    parameter: str = "iterations"

    def reconstruct(self, hu: Image, grid: ImageGrid, parameter: float) -> Image:
        """The same after so many iterations, the last one to a part."""
        before = image = np.zeros_like(hu, dtype=np.float32)
        for following in islice(self.iterates(virtual_scan(hu_to_mu(hu), grid)), ceil(parameter)):
            before, image = image, following
        return _hu(_between(before, image, parameter - ceil(parameter) + 1))

    def matched(self, sample: Sample, grid: ImageGrid, target: float) -> float:
        """The iterations until the noise has risen to `target` in HU.

        The first images are blurred, and what remains of edges reads as noise: it must have been lower
        before.
        """
        scans = [virtual_scan(hu_to_mu(hu), grid) for hu in sample.slices]
        before, lower = [np.zeros_like(hu) for hu in sample.slices], inf
        for n_done, after in enumerate(islice(zip(*map(self.iterates, scans), strict=True), self.most)):
            noise = sample.noise([_hu(image) for image in after])
            if lower < target <= noise:
                share = (target - lower) / (noise - lower)
                matched = _matched_share(sample, before, after, target, share)
                _check_mean(
                    sample, [_hu(_between(*pair, matched)) for pair in zip(before, after, strict=True)]
                )
                return n_done + matched
            before, lower = list(after), noise
        raise ValueError(
            f"after {self.most} iterations the noise is {lower:.3g} HU, not {target:.3g}; ask for other noise"
        )


def _check_mean(sample: Sample, images: Sequence[Image]) -> None:
    """ValueError where so few iterations leave the noise asked for that the image is not there yet."""
    shift = sample.mean(images) - sample.mean(sample.slices)
    if abs(shift) > _LARGEST_SHIFT_HU:
        raise ValueError(
            f"where it leaves the noise asked for, flat regions still read {shift:+.0f} HU off: the image "
            "is not there "
            "yet; take less noise away (--set reduction=0.2) or use iterative-tv"
        )


def _matched_share(
    sample: Sample, before: Sequence[Image], after: Sequence[Image], target: float, start: float
) -> float:
    """How much of an iteration leaves the noise `target`."""

    def partly(share: float) -> list[Image]:
        return [_hu(_between(*pair, share)) for pair in zip(before, after, strict=True)]

    return match_noise(partly, sample.noise, target, start=start).parameter


def _between(before: Image, after: Image, share: float) -> Image:
    """An iteration done to a `share` of it."""
    return before + np.float32(share) * (after - before)


def _hu(mu: Image) -> Image:
    return mu_difference_to_hu(mu) + np.float32(AIR_HU)


TOTAL_VARIATION = "iterative-tv"

ALGORITHMS: Mapping[str, Regularised] = {
    "fista": Regularised(_fista, "regularisation", 40.0),
    "primal-dual": Regularised(_primal_dual, "regularisation", 40.0),
    "asd-pocs": Regularised(_asd_pocs, "tolerance", 0.1),
}
"""What solves `iterative-tv`."""

STOPPED: dict[str, Stopped] = {
    "sirt": Stopped(lambda scan: sirt_iterates(scan.operator, scan.sinogram), 500),
    "os-sart": Stopped(lambda scan: os_sart_iterates(scan.operator, scan.sinogram), 60),
    "cgls": Stopped(lambda scan: cgls_iterates(scan.operator, scan.sinogram), 100),
}

COMPARATORS = (TOTAL_VARIATION, *STOPPED)


@dataclass(frozen=True)
class Comparator:
    """A reconstruction from virtual projections, called as every denoiser is."""

    name: str
    method: Regularised | Stopped
    grid: ImageGrid
    parameter: float | None
    """None leaves the scan as it is, because it has no more noise than it should."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the history should say besides."""
    context: int = field(default=0, init=False)
    """No reconstruction looks at neighbouring slices."""

    def __call__(self, hu: Image) -> Image:
        """Reconstruct every slice of `hu` `(b, 1, y, x)` in HU by itself; the same shape comes back.

        The virtual scan covers the image to its corners. Nothing attenuates less than air.
        """
        if hu.ndim != 4 or hu.shape[1] != 1 or hu.shape[2:] != self.grid.shape:
            raise ValueError(
                f"{self.name} is ready for slices (b, 1, y, x) of {self.grid.shape}, not {hu.shape}"
            )
        if self.parameter is None:
            return hu.copy()
        images = [self.method.reconstruct(slice_, self.grid, self.parameter) for slice_ in hu[:, 0]]
        return np.stack(images)[:, None]

    def describe(self) -> Step:
        """Name and parameters, and that the projections were virtual."""
        geometry = in_words(virtual_geometry(self.grid))
        parameter = None if self.parameter is None else float(f"{self.parameter:.4g}")
        return Step(
            self.name,
            {**self.facts, self.method.parameter: parameter, "virtual_projections": geometry},
        )


def setting_names(name: str) -> tuple[str, ...]:
    """The settings that the comparator `name` takes; at most one of the last ones at a time."""
    if name == TOTAL_VARIATION:
        return "algorithm", "reduction", "target_noise", "regularisation", "tolerance"
    return "reduction", "target_noise", "iterations"


def check_settings(name: str, settings: Mapping[str, Any]) -> None:
    """ValueError if `name` has no such settings, or they have no such values or not together."""
    known = setting_names(name)
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise ValueError(f"{name} has no setting {unknown[0]}; it has {', '.join(sorted(known))}")
    parameter = _method(name, settings).parameter
    amounts = [key for key in settings if key != "algorithm"]
    if len(amounts) > 1:
        raise ValueError(f"{' and '.join(amounts)} both say how much {name} takes away; give one of them")
    for key in amounts:
        value = settings[key]
        if not isinstance(value, int | float) or not isfinite(value) or value <= 0:
            raise ValueError(f"{key} is {value!r}; it must be a number above 0")
        if key == "reduction" and value >= 1:
            raise ValueError(f"reduction is {value:g}; it is the share of the noise to take away, below 1")
        if key in ("regularisation", "tolerance") and key != parameter:
            raise ValueError(f"this algorithm of {name} has a {parameter}, no {key}")


def _method(name: str, settings: Mapping[str, Any]) -> Regularised | Stopped:
    if name in STOPPED:
        return STOPPED[name]
    algorithm = settings.get("algorithm", "fista")
    if algorithm not in ALGORITHMS:
        raise ValueError(f"there is no algorithm {algorithm!r}; there are {', '.join(ALGORITHMS)}")
    return ALGORITHMS[algorithm]


def make_comparator(name: str, scan: Scan, **settings: Any) -> Comparator:
    """The comparator `name` for `scan`, its parameter matched to a noise unless `settings` give it.

    The noise to leave is `target_noise` in HU, or what `reduction` (one half unless given) of the scan's own
    leaves. It is the standard deviation about a plane in flat squares of 16 pixels in three slices, which are
    reconstructed some times for it: a minute for 512 by 512 pixels. ValueError for settings that there are
    not, and where there is no flat region to measure or the noise cannot be reached.
    """
    check_settings(name, settings)
    method, grid = _method(name, settings), image_grid(scan)
    facts = {"algorithm": settings.get("algorithm", "fista")} if name == TOTAL_VARIATION else {}
    if method.parameter in settings:
        return Comparator(name, method, grid, float(settings[method.parameter]), facts)
    sample = _sample(scan)
    noise = sample.noise(sample.slices)
    target = settings.get("target_noise", (1.0 - settings.get("reduction", DEFAULT_REDUCTION)) * noise)
    if noise < _NOISELESS_HU or target >= noise:
        return Comparator(name, method, grid, None, facts | {"noise_of_the_scan_hu": round(noise, 3)})
    parameter = method.matched(sample, grid, target)
    facts |= {"noise_of_the_scan_hu": round(noise, 3), "target_noise_hu": round(target, 3)}
    return Comparator(name, method, grid, parameter, facts)


class Sample(NamedTuple):
    """Some slices, and where they are flat."""

    slices: list[Image]
    corners: list[NDArray[np.intp]]
    """Of each slice, `[square, (y, x)]`"""

    def mean(self, images: Sequence[Image]) -> float:
        """Mean of the squares of the same slices in other images, in HU."""
        pairs = zip(images, self.corners, strict=True)
        return float(np.concatenate([_squares(*pair) for pair in pairs]).mean())

    def noise(self, images: Sequence[Image]) -> float:
        """Noise of the same slices in other images, in HU."""
        pairs = zip(images, self.corners, strict=True)
        return float(np.sqrt(_variances(np.concatenate([_squares(*pair) for pair in pairs])).mean()))


def _sample(scan: Scan) -> Sample:
    """Squares of flat soft tissue where there are some; else of anything denser than air.

    Anatomy shows in what is left of a square when it is smoothed: those with the least of it are taken. What
    varies fast, most of the noise, has no say in this choice.
    """
    chosen = [slice_ for _, slice_ in sampled_slices(scan, _SLICES)]
    generator = np.random.default_rng(_SEED)
    slices = [slice_.without_padding() for slice_ in chosen]
    corners, share = [flat_regions(slice_, _SIDE, generator) for slice_ in chosen], _FLATTEST
    if sum(map(len, corners)) * share < _FEWEST_SQUARES:
        corners, share = [_dense_corners(hu) for hu in slices], _FLATTEST_OF_ALL
    smooth = [gaussian_filter(hu.astype(np.float64), _SMOOTHING_PX) for hu in slices]
    coarse = [_variances(_squares(*pair)) for pair in zip(smooth, corners, strict=True)]
    if sum(map(len, corners)) * share < _FEWEST_SQUARES:
        raise ValueError("there is no flat region in which to match the noise; give the parameter itself")
    limit = np.quantile(np.concatenate(coarse), share)
    return Sample(slices, [one[power <= limit] for one, power in zip(corners, coarse, strict=True)])


def _dense_corners(hu: Image) -> NDArray[np.intp]:
    y, x = (np.arange(0, n - _SIDE + 1, _SIDE // 2) for n in hu.shape)
    corners: NDArray[np.intp] = np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1).reshape(-1, 2)
    dense: NDArray[np.bool_] = _squares(hu, corners).mean(axis=(1, 2)) > _DENSER_THAN_HU
    return corners[dense]


def _squares(hu: NDArray[np.floating], corners: NDArray[np.intp]) -> NDArray[np.floating]:
    """`[square, y, x]`"""
    found = [hu[y : y + _SIDE, x : x + _SIDE] for y, x in corners]
    return np.stack(found) if found else np.empty((0, _SIDE, _SIDE), np.float32)


def _variances(squares: NDArray[np.floating]) -> NDArray[np.float64]:
    """Variance of each square about the plane that fits it best."""
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j].reshape(2, -1)
    planes, _ = np.linalg.qr(np.stack([np.ones_like(x), x, y], axis=1))
    values = squares.reshape(-1, _SIDE**2).astype(np.float64)
    rest = values - values @ planes @ planes.T
    return np.asarray((rest**2).sum(axis=1) / (_SIDE**2 - 3), dtype=np.float64)
