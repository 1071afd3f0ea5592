"""How low-dose scans fare under the model that was there and the adapted one.

Measured on the scans themselves by the noise that physics simulates, and no noise model: near their own dose
by an estimate that needs no truth, and at a fraction of their dose, where they are the truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lowdose.denoising import Denoiser, SlabDenoiser, denoise
from lowdose.physics.dose import DoseSimulator, dose_simulator
from lowdose.physics.noise_patches import NoisePatches
from lowdose.physics.scan_projection import sampled_places
from lowdose.quality.comparison import CaseResult, evaluate
from lowdose.quality.fidelity import DEFAULT_PROTOCOL, smoothed
from lowdose.quality.spectra import detrended, noise_power_spectrum, radial_average
from lowdose.quality.unbiased_risk import error_variance, recorrupted
from lowdose.scan import Scan, Slice

SCAN, INPUT, BEFORE, AFTER = "the scan", "a fraction of its dose", "before", "after"
"""The arms of `measured`."""
_SLICES = 12


@dataclass(frozen=True, eq=False)
class Evidence:
    """How one low-dose scan fares under the model that was there and the adapted one."""

    name: str
    at_own_dose: dict[str, float] | None
    """RMSE in HU against the unknown truth: SCAN, its noise, BEFORE and AFTER; None where noise like its own
    cannot be simulated."""
    at_fraction: dict[str, CaseResult] | None
    """By arm, against the scan itself: INPUT, BEFORE and AFTER; None as before."""
    itself: dict[str, CaseResult]
    """The scan denoised, against the scan as it is: BEFORE and AFTER."""
    mean_frequency: dict[str, float]
    """Of the noise that is left where noise was found, over the scan's: BEFORE and AFTER; NaN without any."""
    shown: dict[str, NDArray[np.float32]]
    """Slices `[k, y, x]` of the scan and of what both make of it, for pictures: SCAN, BEFORE and AFTER."""
    places: tuple[int, ...]
    """Which slices those are."""

    def error_left(self, arm: str) -> float:
        """Share of the error that `arm` leaves at a fraction of the dose; NaN where that is not known."""
        left = None if self.at_fraction is None else self.at_fraction[arm].error_left
        return math.nan if left is None else left

    @property
    def improvement(self) -> float:
        """Error after over error before at the scan's own dose; below 1 is better, NaN where not known."""
        if self.at_own_dose is None or not self.at_own_dose[BEFORE]:
            return math.nan
        return self.at_own_dose[AFTER] / self.at_own_dose[BEFORE]


def measured(
    scan: Scan,
    noise: NoisePatches,
    before: Denoiser | SlabDenoiser,
    after: Denoiser | SlabDenoiser,
    *,
    gain: float,
    seed: int,
    n_slices: int = _SLICES,
) -> Evidence:
    """What both make of a few slices of a scan, near its own dose and at 1/`gain` of it."""
    places = sampled_places(len(scan), n_slices)
    both = {BEFORE: before, AFTER: after}
    try:
        simulator = dose_simulator(scan, seed=seed)
        known = simulator.calibration.noise is not None
    except ValueError:
        known = False
    own, at_fraction = None, None
    if known:
        own = _at_own_dose(scan, simulator, both, places)
        lower = held(simulator.at(1.0 / gain), getattr(before, "context", 0), places)
        arms = {INPUT: lower, **{name: denoise(lower, one) for name, one in both.items()}}
        few = {name: _few(arm, places) for name, arm in arms.items()}
        results = evaluate(_few(scan, places), few, case=scan.name, input_arm=INPUT)
        at_fraction = {result.arm: result for result in results}
    whole = {SCAN: scan, **{name: denoise(scan, one) for name, one in both.items()}}
    kept = {name: _in_memory(_few(arm, places)) for name, arm in whole.items()}
    results = evaluate(kept[SCAN], {name: kept[name] for name in both}, case=scan.name)
    spectra = {name: _mean_frequency(arm, noise, places) for name, arm in kept.items()}
    return Evidence(
        name=scan.name,
        at_own_dose=own,
        at_fraction=at_fraction,
        itself={result.arm: result for result in results},
        mean_frequency={name: spectra[name] / spectra[SCAN] for name in both},
        shown={name: arm.hu for name, arm in kept.items()},
        places=tuple(places),
    )


def _at_own_dose(
    scan: Scan,
    simulator: DoseSimulator,
    denoisers: Mapping[str, Denoiser | SlabDenoiser],
    places: Sequence[int],
) -> dict[str, float]:
    """RMSE in HU against the unknown truth, of the scan and of what `denoisers` make of it.

    At half its dose the noise that was added is as much as its own.
    """
    context = max(getattr(one, "context", 0) for one in denoisers.values())
    half, still = (held(one, context, places) for one in (simulator.at(0.5), scan))

    def given(z: int) -> Slice:
        image = still.read(z)
        return image._replace(hu=recorrupted(image.hu, half.read(z).hu - image.hu))

    arms = {name: denoise(replace(still, read=given), one) for name, one in denoisers.items()}
    low, high = DEFAULT_PROTOCOL.window
    total, n_pixels = dict.fromkeys((SCAN, *arms), 0.0), 0
    for z in places:
        image, noise = still.read(z), half.read(z).hu - still.read(z).hu
        smooth = smoothed(image.hu, ~image.padding)
        where = ~image.padding & (smooth >= low) & (smooth <= high)
        n_here = int(np.count_nonzero(where))
        if not n_here:
            continue
        n_pixels += n_here
        total[SCAN] += n_here * float(np.square(noise[where], dtype=np.float64).mean())
        for name, arm in arms.items():
            total[name] += n_here * error_variance(arm.read(z).hu, image.hu, noise, where)
    return {name: math.sqrt(max(0.0, one / max(1, n_pixels))) for name, one in total.items()}


def held(scan: Scan, context: int, places: Sequence[int]) -> Scan:
    """`scan` with the slices that denoising `places` takes in memory, so that each is simulated once."""
    wanted = {min(max(z + k, 0), len(scan) - 1) for z in places for k in range(-context, context + 1)}
    slices = {z: scan.read(z) for z in sorted(wanted)}
    return replace(scan, read=lambda z: slices[z] if z in slices else scan.read(z))


def _few(scan: Scan, places: Sequence[int]) -> Scan:
    """Only the slices `places`, as if they lay side by side."""
    return replace(scan, shape=(len(places), *scan.shape[1:]), read=lambda k: scan.read(places[k]))


def _in_memory(scan: Scan) -> Scan:
    slices = list(scan)
    return replace(scan, read=lambda z: slices[z])


def _mean_frequency(few: Scan, noise: NoisePatches, places: Sequence[int]) -> float:
    """Of the noise power of slices `places` where `noise` was found, in 1/mm; NaN if it was in none."""
    side, regions = noise.noise.shape[1], []
    for slice_, z in zip(few, places, strict=True):
        regions += [slice_.hu[y : y + side, x : x + side] for y, x in noise.corners(z)]
    if not regions:
        return math.nan
    power = noise_power_spectrum(detrended(np.stack(regions)), noise.spacing)
    return radial_average(power, noise.spacing).mean_frequency
