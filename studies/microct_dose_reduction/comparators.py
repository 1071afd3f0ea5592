"""What the networks are compared with: filters along two and three axes, and iterative total variation.

Every one of them has a single parameter, which is set so that it leaves the noise that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from scans import Bench
from scipy.ndimage import gaussian_filter, median_filter, uniform_filter
from scipy.optimize import brentq, minimize_scalar

from lowdose import filters
from lowdose.phantoms.acquisition import PhantomScanner
from lowdose.physics.cone import ConeProjector
from lowdose.physics.fdk import fdk
from lowdose.physics.geometry import VolumeGrid
from lowdose.physics.noise import expected_counts, line_integral_variance, measured
from lowdose.physics.noise_matching import NoiseMatchError, match_noise
from lowdose.physics.ramp import Apodisation
from lowdose.physics.total_variation import fista_tv
from lowdose.units import AIR_HU

Volume = NDArray[np.float32]

WIENER_SIZES = (3, 5, 7, 9, 11, 15)
"""Voxels along the window of the Wiener filter: the smallest that can leave the noise asked for is taken."""
SIGMAS = tuple(0.4 * 1.3**k for k in range(10))
"""Voxels: of the Gaussian, tried one after the other until the noise is low enough."""
SMOOTHINGS = (0.8, 1.0, 1.2, 1.5, 2.0, 4.0)
"""Of the Wiener filter."""
MEDIAN_SIZES = {2: (1, 3, 5, 7, 9, 11, 13, 15), 3: (1, 3, 5, 7, 9)}
"""Voxels, by the number of axes."""
REACHED = 0.04
"""Of the noise asked for: nearer than this it counts as left."""


def gaussian(volume: Volume, sigma: float, axes: int) -> Volume:
    """Gaussian of `sigma` voxels within slices, or along all three axes."""
    widths = (sigma if axes == 3 else 0.0, sigma, sigma)
    return np.asarray(gaussian_filter(volume.astype(np.float64), widths, mode="nearest"), np.float32)


def median(volume: Volume, size: float, axes: int) -> Volume:
    """Median of a window of `size` voxels; between odd sizes the two next ones are mixed.

    A median has steps, and one of them leaves the noise asked for by chance alone.
    """
    return _between_odd_sizes(size, lambda odd: _odd_median(volume, odd, axes))


def _between_odd_sizes(size: float, median_of: Callable[[int], Volume]) -> Volume:
    below = int(2 * np.floor((size - 1) / 2) + 1)
    share = np.float32((size - below) / 2)
    first = median_of(below)
    return first if share == 0 else first + share * (median_of(below + 2) - first)


def _odd_median(volume: Volume, size: int, axes: int) -> Volume:
    if size == 1:
        return volume
    if axes == 2:
        return np.stack([filters.median(slice_, noise=1.0, size_px=size) for slice_ in volume])
    return np.asarray(median_filter(volume, size, mode="nearest"), np.float32)


def wiener(volume: Volume, smoothing: float, axes: int, *, size: int, noise: float) -> Volume:
    """`filters.wiener` of every slice, or the same with a cube for its window."""
    if axes == 2:
        return np.stack(
            [filters.wiener(slice_, noise=noise, size_px=size, smoothing=smoothing) for slice_ in volume]
        )
    values, power = volume.astype(np.float64), (smoothing * noise) ** 2
    mean = uniform_filter(values, size, mode="nearest")
    variance = uniform_filter(values**2, size, mode="nearest") - mean**2
    share = 1.0 - power / np.maximum(variance, power)
    return np.asarray(mean + share * (values - mean), np.float32)


Measure = Callable[[Sequence[Volume]], float]
"""The noise of some volumes of one object."""
Settings = dict[str, float]
NOISE_WHEN_SET = "noise_when_set"
"""Where settings say which noise they left when they were found."""


def filter_of(name: str, settings: Settings) -> Callable[[Volume], Volume]:
    """The filter called `name` with the settings that `matched_filters` found."""
    kind, axes = name.split()[0], int(name[-3])
    if kind == "Gaussian":
        return lambda volume: gaussian(volume, settings["sigma_voxels"], axes)
    if kind == "median":
        return lambda volume: median(volume, settings["size_voxels"], axes)
    return lambda volume: wiener(
        volume, settings["smoothing"], axes, size=int(settings["size_voxels"]), noise=settings["noise_hu"]
    )


FILTERS = tuple(f"{kind} {axes}-D" for axes in (2, 3) for kind in ("Gaussian", "median", "Wiener"))


def matched_filters(volumes: Sequence[Volume], measure: Measure, target: float) -> dict[str, Settings]:
    """The settings of every filter with which `measure` of what it makes of `volumes` comes closest to
    `target`; `noise_when_set` among them is that noise, which no setting brings down to every target.
    """
    return {name: _matched(name, volumes, measure, target) for name in FILTERS}


def _matched(name: str, volumes: Sequence[Volume], measure: Measure, target: float) -> Settings:
    kind, axes = name.split()[0], int(name[-3])
    tried: list[Settings] = []

    def left(settings: Settings, smoothed: Iterable[Volume]) -> float:
        noise = measure(list(smoothed))
        tried.append(settings | {NOISE_WHEN_SET: noise})
        return noise

    def by_settings(settings: Settings) -> float:
        return left(settings, map(filter_of(name, settings), volumes))

    with suppress(NoiseMatchError):
        if kind == "Gaussian":
            crossing(lambda sigma: by_settings({"sigma_voxels": sigma}), SIGMAS, target)
        elif kind == "median":
            odd = [cache(partial(_odd_median, volume, axes=axes)) for volume in volumes]
            crossing(
                lambda size: left({"size_voxels": size}, (_between_odd_sizes(size, one) for one in odd)),
                MEDIAN_SIZES[axes], target,
            )  # fmt: skip
        else:
            given = {"noise_hu": measure(volumes)}
            for size in WIENER_SIZES:
                with suppress(NoiseMatchError):
                    fixed = given | {"size_voxels": size}
                    crossing(lambda s, fixed=fixed: by_settings(fixed | {"smoothing": s}), SMOOTHINGS, target)
                    break
    return closest(tried, target)


def closest(tried: Sequence[Settings], target: float) -> Settings:
    """Those that left the noise nearest to `target`, by ratio."""
    return min(tried, key=lambda one: abs(np.log(one[NOISE_WHEN_SET] / target)))


def crossing(left: Callable[[float], float], parameters: Sequence[float], target: float) -> float:
    """The first of ascending parameters, interpolated, at which the noise `left` has fallen to `target`.

    Beyond it the noise may rise again: what wide filters do to edges reads as noise. NoiseMatchError if it
    falls so low nowhere.
    """
    lowest, before = float("inf"), parameters[0]
    for parameter in parameters:
        noise = left(parameter)
        if noise <= target:
            if parameter == parameters[0]:
                return parameter
            return float(brentq(lambda p: left(p) - target, before, parameter, xtol=0.01 * parameter))
        lowest, before = min(lowest, noise), parameter
    raise NoiseMatchError(f"it leaves {lowest / target:.2f} times the noise asked for at least")


@dataclass(frozen=True)
class IterativeTv:
    """Weighted total variation from the projections themselves, some of the panel's rows or all.

    The weights are those of the counts, smoothed: weights that follow the noise of the counts they weigh
    would make every tissue darker by some HU.
    """

    bench: Bench
    n_slices: int
    """Kept; `Bench.margin` more on either side are reconstructed, so that no ray leaves the volume within the
    object."""
    n_subsets: int = 12
    n_rounds: int = 4

    _SMOOTHING = 2.0
    """Rows and channels."""

    @property
    def n_rows(self) -> int:
        """Rows of the panel that see the slices kept, as many as of the whole volume."""
        beyond = self.bench.panel[0] - _rows_of(self.bench, self.bench.shape[0])
        return min(self.bench.panel[0], _rows_of(self.bench, self.n_slices) + beyond)

    def projector(self) -> ConeProjector:
        geometry = replace(self.bench.scanner.geometry, n_rows=self.n_rows)
        _, n_y, n_x = self.bench.shape
        n_z = self.n_slices + 2 * self.bench.margin
        return ConeProjector(VolumeGrid((n_z, n_y, n_x), (self.bench.voxel,) * 3), geometry)

    def __call__(self, sinogram: Volume, air: Volume, strength: float, apodisation: Apodisation) -> Volume:
        """HU of the middle `n_slices` from `sinogram` `[view, row, channel]` of the whole panel."""
        operator, scanner, margin = self.projector(), self.bench.scanner, self.bench.margin
        first = (sinogram.shape[1] - self.n_rows) // 2
        rows = np.ascontiguousarray(sinogram[:, first : first + self.n_rows])
        smooth = gaussian_filter(rows, (0.0, self._SMOOTHING, self._SMOOTHING), mode="nearest")
        counts = expected_counts(smooth, air)
        start = np.maximum(fdk(operator.geometry, operator.grid, rows, apodisation), 0)
        mu = fista_tv(
            operator, rows, strength=strength, weights=1 / line_integral_variance(counts, scanner.electronic),
            n_iterations=self.bench.tv_iterations, n_subsets=self.n_subsets, n_rounds=self.n_rounds,
            start=start,
        )  # fmt: skip
        return np.asarray((1 - mu[margin:-margin] / scanner.water_mu) * AIR_HU, np.float32)


def _rows_of(bench: Bench, n_slices: int) -> int:
    """Rows that the slices cover on the axis; an even number."""
    height = n_slices * bench.voxel * bench.scanner.geometry.magnification
    return 2 * int(np.ceil(height / bench.pixel / 2))


def projections(scanner: PhantomScanner, dose: float, repeat: int) -> tuple[Volume, Volume]:
    """The line integrals from which `scanner.scan(dose, repeat)` is reconstructed, and the air counts."""
    exact, machine = scanner.cone_integrals(), scanner.protocol.scanner
    air = machine.beam(dose).air_counts(machine.geometry, exact)
    generator = np.random.default_rng([scanner.seed, round(dose * 1e6), repeat, 0])
    return measured(exact, air, machine.electronic, generator, machine.crosstalk), air


def matched_strength(
    reconstruct: Callable[[float], list[Volume]], measure: Measure, target: float, start: float
) -> Settings:
    """The strength of total variation that leaves the noise `target`, and the noise it leaves.

    Where none does, because what is measured as noise holds more than noise, the strength that comes closest.
    """
    tried: list[Settings] = []

    def left(strength: float) -> float:
        noise = measure(reconstruct(strength))
        tried.append({"strength": strength, NOISE_WHEN_SET: noise})
        return noise

    try:
        match_noise(lambda strength: strength, left, target, start=start, tolerance=REACHED, n_trials=8)
    except NoiseMatchError:
        _look_between(left, tried, target)
    return closest(tried, target)


def _look_between(left: Callable[[float], float], tried: Sequence[Settings], target: float) -> None:
    """Try more strengths between the neighbours of the closest one."""
    ordered = sorted(one["strength"] for one in tried)
    at = ordered.index(closest(tried, target)["strength"])
    bounds = np.log([ordered[max(at - 1, 0)], ordered[min(at + 1, len(ordered) - 1)]])
    minimize_scalar(
        lambda logarithm: abs(np.log(left(float(np.exp(logarithm))) / target)),
        bounds=bounds, method="bounded", options={"maxiter": 6},
    )  # fmt: skip
