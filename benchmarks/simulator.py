"""Simulated low dose against real: the noise that `simulate` adds, beside the noise that a lower dose has.

    python benchmarks/simulator.py FULL LOW [--dose 0.25] [--seeds 3]

FULL and LOW are two series of the same slices, LOW at `--dose` of the dose. The noise is what a slice differs
by from the same slice of FULL: LOW's is real, that of `simulate(FULL, dose)` simulated.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pairs import data_set, open_pair
from record import Finding, write

from lowdose.physics.dose import simulate
from lowdose.physics.flat_regions import flat_regions
from lowdose.quality.noise_level import flat_soft_tissue
from lowdose.quality.spectra import RadialSpectrum, detrended, noise_power_spectrum, radial_average
from lowdose.scan import Scan, Slice

REGION = 32
PROTOCOL = (
    "noise: low - full, or simulated - full, pixel by pixel",
    "SD: standard deviation of the noise in flat soft tissue, chosen on the smoothed full dose, per slice",
    "spectrum: mean radial noise power of 32 x 32 regions in flat soft tissue of all slices, quadratic trend "
    "removed",
    "mean frequency: of the radial curve (TG-233); misplaced power: half the sum of absolute differences of "
    "the two radial distributions of power, 0 for equal shapes and 1 for disjoint ones",
    "images: SD and spectrum of the low-dose images themselves, in the same regions; each spectrum is "
    "divided by its variance, and the RMS of their difference by the RMS of the real one",
    "simulated: mean over seeds",
)


def deviation(noise: NDArray[np.float32], soft: NDArray[np.bool_]) -> float:
    return float(np.std(noise[soft], dtype=np.float64))


def cut(noise: NDArray[np.float32], corners: NDArray[np.intp]) -> list[NDArray[np.float32]]:
    """The regions of one slice."""
    return [noise[y : y + REGION, x : x + REGION] for y, x in corners]


def spectrum(regions: list[NDArray[np.float32]], spacing: tuple[float, float]) -> RadialSpectrum:
    return radial_average(noise_power_spectrum(np.stack(regions), spacing), spacing)


def noise_in(regions: list[NDArray[np.float32]]) -> float:
    """Mean variance of regions about their quadratic trends."""
    return float((detrended(np.stack(regions)) ** 2).mean())


def distribution(found: RadialSpectrum) -> NDArray[np.float64]:
    """The share of the noise power in each ring of the plane."""
    shares = found.power * found.frequencies
    return np.asarray(shares / shares.sum())


def measured(full: Scan, low: Scan, dose: float, seeds: range) -> dict[str, Any]:
    """SD of every slice, and the spectra."""
    spacing = full.spacing[1:]
    simulated = [simulate(full, dose, seed=seed) for seed in seeds]
    generator = np.random.default_rng(0)
    slices, real_regions, simulated_regions = [], [], []
    real_images: list[NDArray[np.float32]] = []
    simulated_images: list[NDArray[np.float32]] = []
    for z in range(len(full)):
        truth = full.read(z)
        real = low.read(z)
        arms = [scan.read(z) for scan in simulated]
        known = Slice(truth.hu, truth.padding | real.padding)
        soft = flat_soft_tissue(known.hu, known.padding)
        corners = flat_regions(known, REGION, generator, soft)
        deviations = [deviation(arm.hu - truth.hu, soft) for arm in arms]
        slices.append(
            {
                "real_sd_hu": deviation(real.hu - truth.hu, soft),
                "simulated_sd_hu": float(np.mean(deviations)),
                "soft_tissue_pixels": int(np.count_nonzero(soft)),
                "regions": len(corners),
            }
        )
        real_images += cut(real.hu, corners)
        simulated_images += [region for arm in arms for region in cut(arm.hu, corners)]
        real_regions += cut(real.hu - truth.hu, corners)
        simulated_regions += [region for arm in arms for region in cut(arm.hu - truth.hu, corners)]
    if not real_regions:
        sys.exit("no slice shows enough flat soft tissue for a region of 32 x 32 pixels")
    first, second = spectrum(real_regions, spacing), spectrum(simulated_regions, spacing)
    real_image, simulated_image = spectrum(real_images, spacing), spectrum(simulated_images, spacing)
    shapes = [one.power / one.variance for one in (real_image, simulated_image)]
    return {
        "slices": slices,
        "image_sd_ratio": float(np.sqrt(noise_in(simulated_images) / noise_in(real_images))),
        "image_spectrum_rms": float(np.sqrt(np.mean((shapes[1] - shapes[0]) ** 2) / np.mean(shapes[0] ** 2))),
        "frequencies_per_mm": first.frequencies.tolist(),
        "real_power_hu2_mm2": first.power.tolist(),
        "simulated_power_hu2_mm2": second.power.tolist(),
        "real_mean_frequency": first.mean_frequency,
        "simulated_mean_frequency": second.mean_frequency,
        "misplaced_power": float(np.abs(distribution(first) - distribution(second)).sum() / 2),
    }


def findings(numbers: dict[str, Any]) -> list[Finding]:
    ratios = [row["simulated_sd_hu"] / row["real_sd_hu"] for row in numbers["slices"]]
    sd_error = abs(numbers["image_sd_ratio"] - 1)
    return [
        Finding("SD of the images, simulated over real, distance from 1", sd_error, "", 0.05),
        Finding("shape of the images' spectrum, RMS difference", numbers["image_spectrum_rms"], "", 0.10),
        Finding("SD, simulated over real, mean of slices", float(np.mean(ratios)), ""),
        Finding("SD, simulated over real, lowest slice", min(ratios), ""),
        Finding("SD, simulated over real, highest slice", max(ratios), ""),
        Finding("mean frequency, real", numbers["real_mean_frequency"], "1/mm"),
        Finding("mean frequency, simulated", numbers["simulated_mean_frequency"], "1/mm"),
        Finding("misplaced noise power", numbers["misplaced_power"], ""),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("full", type=Path, help="the full-dose series, a folder")
    parser.add_argument("low", type=Path, help="the same slices at the lower dose, a folder")
    parser.add_argument("--dose", type=float, default=0.25, help="LOW's share of FULL's dose (default 0.25)")
    parser.add_argument("--seeds", type=int, default=3, help="simulations to average (default 3)")
    parser.add_argument("--out", type=Path, help="where the numbers go")
    arguments = parser.parse_args()
    with open_pair(arguments.full, arguments.low) as (full, low):
        numbers = measured(full, low, arguments.dose, range(1, arguments.seeds + 1))
    print(f"{'slice':>5} {'real SD, HU':>12} {'simulated':>10} {'ratio':>6}")
    for z, row in enumerate(numbers["slices"], start=1):
        real, simulated = row["real_sd_hu"], row["simulated_sd_hu"]
        print(f"{z:>5} {real:12.2f} {simulated:10.2f} {simulated / real:6.3f}")
    print(f"{'1/mm':>5} {'real power':>12} {'simulated':>10} {'ratio':>6}  HU^2 mm^2")
    for f, real, simulated in zip(
        numbers["frequencies_per_mm"],
        numbers["real_power_hu2_mm2"],
        numbers["simulated_power_hu2_mm2"],
        strict=True,
    ):
        print(f"{f:5.2f} {real:12.1f} {simulated:10.1f} {simulated / real:6.2f}")
    numbers |= {"dose": arguments.dose, "seeds": arguments.seeds}
    described = f"pairs: {data_set(arguments.full)}, dose fraction {arguments.dose:g}"
    write("simulator", [described, *PROTOCOL], numbers, findings(numbers), arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
