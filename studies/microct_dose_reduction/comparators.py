"""What the networks are compared with: filters along two and three axes, and iterative total variation.

Every one of them has a single parameter, which is set so that it leaves the noise that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

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
MEDIAN_SIZES = {2: (3, 5, 7, 9, 11, 13, 15), 3: (3, 5, 7, 9)}
"""Voxels, by the number of axes."""
TOLERANCE = 0.02
"""Of the noise asked for."""
REACHED = 2 * TOLERANCE
"""The same of total variation, of which a trial is a reconstruction."""


def gaussian(volume: Volume, sigma: float, axes: int) -> Volume:
    """Gaussian of `sigma` voxels within slices, or along all three axes."""
    widths = (sigma if axes == 3 else 0.0, sigma, sigma)
    return np.asarray(gaussian_filter(volume.astype(np.float64), widths, mode="nearest"), np.float32)


def median(volume: Volume, size: float, axes: int) -> Volume:
    """Median of a window of `size` voxels; between odd sizes the two next ones are mixed.

    A median has steps, and one of them leaves the noise asked for by chance alone.
    """
    below = int(2 * np.floor((size - 1) / 2) + 1)
    share = np.float32((size - below) / 2)
    first = _odd_median(volume, below, axes)
    if share == 0:
        return first
    return first + share * (_odd_median(volume, below + 2, axes) - first)


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


def matched_filters(volumes: Sequence[Volume], measure: Measure, target: float) -> dict[str, Settings | str]:
    """The settings of every filter with which `measure` of what it makes of `volumes` is `target`, or in a
    sentence why there are none.
    """
    found: dict[str, Settings | str] = {}
    for name in FILTERS:
        kind, axes = name.split()[0], int(name[-3])
        try:
            if kind == "Gaussian":
                found[name] = _matched(name, {}, "sigma_voxels", SIGMAS, volumes, measure, target)
            elif kind == "median":
                found[name] = _matched_median(axes, volumes, measure, target)
            else:
                found[name] = _matched_wiener(name, volumes, measure, target)
        except NoiseMatchError as error:
            found[name] = str(error)
    return found


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


def _matched(
    name: str,
    settings: Settings,
    parameter: str,
    parameters: Sequence[float],
    volumes: Sequence[Volume],
    measure: Measure,
    target: float,
) -> Settings:
    def left(value: float) -> float:
        smooth = filter_of(name, settings | {parameter: value})
        return measure([smooth(volume) for volume in volumes])

    return settings | {parameter: crossing(left, parameters, target)}


def _matched_wiener(name: str, volumes: Sequence[Volume], measure: Measure, target: float) -> Settings:
    """With the smallest window that can."""
    noise = measure(volumes)
    for size in WIENER_SIZES:
        settings = {"noise_hu": noise, "size_voxels": size}
        with suppress(NoiseMatchError):
            return _matched(name, settings, "smoothing", SMOOTHINGS, volumes, measure, target)
    raise NoiseMatchError(f"no window of up to {WIENER_SIZES[-1]} voxels leaves as little noise")


def _matched_median(axes: int, volumes: Sequence[Volume], measure: Measure, target: float) -> Settings:
    """The first odd size that leaves less than the target, mixed with the one before it."""
    before = list(volumes)
    for size in MEDIAN_SIZES[axes]:
        after = [_odd_median(volume, size, axes) for volume in volumes]
        if measure(after) < target:

            def excess(share: float, before: list[Volume] = before, after: list[Volume] = after) -> float:
                mixed = [a + np.float32(share) * (b - a) for a, b in zip(before, after, strict=True)]
                return measure(mixed) - target

            share = brentq(excess, 0.0, 1.0, xtol=0.01) if excess(0.0) > 0 else 0.0
            return {"size_voxels": size - 2 + 2 * float(share)}
        before = after
    raise NoiseMatchError(f"no window of up to {MEDIAN_SIZES[axes][-1]} voxels leaves as little noise")


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
    tried: dict[float, float] = {}

    def left(strength: float) -> float:
        tried[strength] = measure(reconstruct(strength))
        return tried[strength]

    try:
        match_noise(lambda strength: strength, left, target, start=start, tolerance=REACHED, n_trials=8)
    except NoiseMatchError:
        _look_between(left, tried, target)
    strength = min(tried, key=lambda one: abs(np.log(tried[one] / target)))
    return {"strength": strength, "noise_when_set": tried[strength]}


def _look_between(left: Callable[[float], float], tried: dict[float, float], target: float) -> None:
    """Try more strengths between the neighbours of the closest one."""
    ordered = sorted(tried)
    at = ordered.index(min(tried, key=lambda one: abs(np.log(tried[one] / target))))
    bounds = np.log([ordered[max(at - 1, 0)], ordered[min(at + 1, len(ordered) - 1)]])
    minimize_scalar(
        lambda logarithm: abs(np.log(left(float(np.exp(logarithm))) / target)),
        bounds=bounds, method="bounded", options={"maxiter": 6},
    )  # fmt: skip
