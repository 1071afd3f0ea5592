"""Scans against a reference: read in step, slice by slice, one result per case and arm.

The unit is the case. Curves over slices are there to be looked at, never to be counted as observations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowdose.quality.fidelity import (
    DEFAULT_PROTOCOL,
    TISSUES,
    Floats,
    Mask,
    Protocol,
    mean_difference,
    psnr_of_rmse,
    rmse,
    smoothed,
    soft_tissue,
    ssim,
)
from lowdose.quality.noise_level import global_noise_level
from lowdose.scan import Scan, Slice

POSITION_TOLERANCE_MM = 0.1
"""Two scans are registered if no corner of their grids is further apart than this."""

DIFFERENCE_EDGES: Floats = np.arange(-200.0, 201.0, 2.0) - 1.0
"""Edges in HU of the bins of the difference histogram."""

_NOISE_SLICES = 48
_ENOUGH_SOFT_PIXELS = 1000


@dataclass(frozen=True, eq=False)
class SliceCurves:
    """One value per slice of a case, for plots. NaN where a slice has nothing to measure."""

    z: Floats
    """mm along the stack's normal"""
    rmse: Floats
    """HU"""
    ssim: Floats
    soft_tissue_bias: Floats
    """HU"""
    noise: Floats
    """HU, of the arm, on soft tissue chosen on the reference"""
    reference_noise: Floats
    """HU, of the reference, on the same pixels"""


@dataclass(frozen=True, eq=False)
class CaseResult:
    """What one arm of one case measures against its reference, under `protocol`."""

    case: str
    arm: str
    protocol: Protocol
    n_slices: int
    n_pixels: int
    rmse: float
    """HU, pooled over the pixels of the case"""
    psnr: float
    """dB, from the pooled RMSE"""
    ssim: float
    """mean over slices"""
    bias: float
    """HU, mean of arm − reference where the smoothed reference lies in the window"""
    soft_tissue_bias: float
    """HU, the same over flat soft tissue"""
    noise: float
    """HU, noise level of the arm in soft tissue, median over slices"""
    reference_noise: float
    """HU, the same of the reference, on the same pixels"""
    tissue_bias: Mapping[str, float]
    """HU per tissue class; NaN where the case shows none of it"""
    slices: SliceCurves = field(repr=False)
    difference: NDArray[np.int64] = field(repr=False)
    """Counts of arm − reference in `DIFFERENCE_EDGES`, where the smoothed reference lies in the window"""
    error_left: float | None = None
    """RMSE as a share of the input arm's, where one of the arms is the input"""


class _Target(NamedTuple):
    """One slice of the reference and the pixels in it that each number is taken over."""

    hu: NDArray[np.float32]
    counted: Mask
    in_window: Mask
    soft: Mask
    tissues: Mapping[str, Mask]
    spacing: tuple[float, float]
    noise: float | None
    """HU; None in slices where noise is not measured"""


def compare(
    reference: Scan,
    comparison: Scan,
    protocol: Protocol = DEFAULT_PROTOCOL,
    *,
    on_slice: Callable[[int], None] | None = None,
) -> CaseResult:
    """One scan against its reference; see `evaluate`."""
    return evaluate(reference, {comparison.name: comparison}, protocol, on_slice=on_slice)[0]


def evaluate(
    reference: Scan,
    arms: Mapping[str, Scan],
    protocol: Protocol = DEFAULT_PROTOCOL,
    *,
    case: str | None = None,
    input_arm: str | None = None,
    on_slice: Callable[[int], None] | None = None,
) -> list[CaseResult]:
    """Every arm against `reference`, all read in step, so that memory holds one slice of each.

    Slices are paired by their position in the patient; an arm stored in another direction is turned. A pixel
    counts where it was measured in the reference and in every arm, so all arms are judged on the same pixels.
    `input_arm` names the arm whose error is the whole of `error_left`. Noise is measured in at most 48
    slices, evenly spaced. `on_slice` is called with the number of slices done.

    Raises ValueError if an arm's grid is not the reference's, a value is not a number, or no pixel counts.
    """
    if not arms:
        raise ValueError("there is nothing to compare with the reference; give at least one arm")
    if input_arm is not None and input_arm not in arms:
        raise ValueError(f"the input arm {input_arm!r} is not among the arms: {', '.join(arms)}")
    aligned = {name: align(reference, scan, name) for name, scan in arms.items()}
    tallies = {name: _Tally() for name in aligned}
    for z in range(len(reference)):
        truth = reference.read(z)
        images = {name: scan.read(z) for name, scan in aligned.items()}
        target = _target(reference, z, truth, images, protocol)
        for name, image in images.items():
            tallies[name].add(target, image.hu, protocol)
        if on_slice is not None:
            on_slice(z + 1)
    name_of_case = reference.name if case is None else case
    positions = slice_positions(reference)
    results = [tally.result(name_of_case, arm, protocol, positions) for arm, tally in tallies.items()]
    return with_error_left(results, input_arm)


def with_error_left(results: Sequence[CaseResult], input_arm: str | None) -> list[CaseResult]:
    """`results` of one case with `error_left` filled in; None where there is no input or it has no error."""
    whole = next((result.rmse for result in results if result.arm == input_arm), 0.0)
    if not whole > 0.0:
        return list(results)
    return [replace(result, error_left=result.rmse / whole) for result in results]


def slice_positions(scan: Scan) -> Floats:
    """Position of every slice in mm along the direction in which slices are counted."""
    step = scan.affine[:3, 0]
    length = float(np.linalg.norm(step))
    start = float(scan.affine[:3, 3] @ step) / length if length > 0 else 0.0
    return start + length * np.arange(len(scan), dtype=np.float64)


def align(reference: Scan, comparison: Scan, name: str) -> Scan:
    """`comparison` on the reference's grid: axes that run the other way are turned, nothing is resampled.

    Raises ValueError, naming `name`, if the two grids are not the same points of the patient.
    """
    if comparison.shape != reference.shape:
        raise ValueError(
            f"{name}: the comparison has {_counts(comparison)}, the reference {_counts(reference)}; "
            "compare scans of the same slices and matrix"
        )
    turned = []
    for axis, n in enumerate(reference.shape):
        ahead = float(reference.affine[:3, axis] @ comparison.affine[:3, axis])
        turned.append(n > 1 and ahead < 0.0)
    affine = comparison.affine.copy()
    for axis, (turn, n) in enumerate(zip(turned, reference.shape, strict=True)):
        if turn:
            affine[:3, 3] += affine[:3, axis] * (n - 1)
            affine[:3, axis] *= -1.0
    apart = _largest_distance(reference.affine, affine, reference.shape)
    if not apart <= POSITION_TOLERANCE_MM:
        raise ValueError(
            f"{name}: its pixels lie up to {apart:.1f} mm from those of the reference; "
            "compare scans of the same geometry, or resample one of them first"
        )
    if not any(turned):
        return comparison
    flip_z, flip_y, flip_x = turned
    in_plane = (slice(None, None, -1 if flip_y else 1), slice(None, None, -1 if flip_x else 1))

    def read(z: int) -> Slice:
        image = comparison.read(len(reference) - 1 - z if flip_z else z)
        return Slice(image.hu[in_plane], image.padding[in_plane])

    return replace(comparison, affine=affine, read=read)


def _target(
    reference: Scan, z: int, truth: Slice, images: Mapping[str, Slice], protocol: Protocol
) -> _Target:
    """What slice z of the reference says about which pixels count for which number."""
    measured = ~truth.padding
    for image in images.values():
        measured = measured & ~image.padding
    for name, image in {"the reference": truth, **images}.items():
        if not np.isfinite(image.hu[measured]).all():
            raise ValueError(f"{name}: slice {z + 1} of {len(reference)} holds values that are not numbers")
    counted = protocol.counted(truth.hu, measured)
    smooth = smoothed(truth.hu, measured)
    low, high = protocol.window
    in_window = counted & (smooth >= low) & (smooth <= high)
    soft = soft_tissue(truth.hu, measured) & in_window
    tissues = {
        name: counted & (smooth >= lowest) & (smooth < highest) for name, (lowest, highest) in TISSUES.items()
    }
    spacing = reference.spacing[1], reference.spacing[2]
    noise = _noise(truth.hu, soft, spacing) if z % math.ceil(len(reference) / _NOISE_SLICES) == 0 else None
    return _Target(truth.hu, counted, in_window, soft, tissues, spacing, noise)


def _noise(hu: NDArray[np.float32], soft: Mask, spacing: tuple[float, float]) -> float:
    """Noise level of one slice in HU on soft tissue; NaN where there is too little of it."""
    rows, columns = np.flatnonzero(soft.any(axis=1)), np.flatnonzero(soft.any(axis=0))
    if np.count_nonzero(soft) < _ENOUGH_SOFT_PIXELS:
        return math.nan
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return global_noise_level([np.where(soft[box], hu[box], np.float32(np.nan))], spacing)


@dataclass
class _Mean:
    """A running mean of differences over pixels."""

    total: float = 0.0
    n: int = 0

    def add(self, mean: float, pixels: Mask) -> None:
        """Take in the mean over `pixels`."""
        n = int(np.count_nonzero(pixels))
        if n:
            self.total += mean * n
            self.n += n

    @property
    def value(self) -> float:
        return self.total / self.n if self.n else math.nan


class _Tally:
    """The running sums of one arm of one case."""

    def __init__(self) -> None:
        self.square = _Mean()
        self.bias = _Mean()
        self.soft = _Mean()
        self.tissues = {name: _Mean() for name in TISSUES}
        self.difference = np.zeros(DIFFERENCE_EDGES.size - 1, np.int64)
        self.rows: list[tuple[float, float, float, float, float]] = []

    def add(self, target: _Target, hu: NDArray[np.float32], protocol: Protocol) -> None:
        """Take in one slice."""
        error = rmse(target.hu, hu, protocol.window, target.counted)
        similarity = ssim(target.hu, hu, protocol.window, target.counted)
        soft = mean_difference(target.hu, hu, target.soft)
        self.square.add(error**2, target.counted)
        self.soft.add(soft, target.soft)
        self.bias.add(mean_difference(target.hu, hu, target.in_window), target.in_window)
        for name, where in target.tissues.items():
            self.tissues[name].add(mean_difference(target.hu, hu, where), where)
        difference = hu[target.in_window] - target.hu[target.in_window]
        self.difference += np.histogram(difference, DIFFERENCE_EDGES)[0]
        noise = (math.nan, math.nan)
        if target.noise is not None:
            noise = (_noise(hu, target.soft, target.spacing), target.noise)
        self.rows.append((error, similarity, soft, *noise))

    def result(self, case: str, arm: str, protocol: Protocol, positions: Floats) -> CaseResult:
        """The case's numbers, or ValueError if no pixel counted."""
        if self.square.n == 0:
            raise ValueError(f"{arm}: no pixel was measured both in it and in the reference")
        error = math.sqrt(self.square.value)
        errors, similarities, soft, noise, reference_noise = np.array(self.rows).T
        return CaseResult(
            case=case,
            arm=arm,
            protocol=protocol,
            n_slices=len(self.rows),
            n_pixels=self.square.n,
            rmse=error,
            psnr=psnr_of_rmse(error, protocol.window),
            ssim=_finite(np.mean, similarities),
            bias=self.bias.value,
            soft_tissue_bias=self.soft.value,
            noise=_finite(np.median, noise),
            reference_noise=_finite(np.median, reference_noise),
            tissue_bias={name: mean.value for name, mean in self.tissues.items()},
            slices=SliceCurves(positions, errors, similarities, soft, noise, reference_noise),
            difference=self.difference,
        )


def _finite(statistic: Callable[[Floats], np.floating], values: Floats) -> float:
    """`statistic` of the values that are numbers; NaN if none is."""
    finite = values[np.isfinite(values)]
    return float(statistic(finite)) if finite.size else math.nan


def _largest_distance(first: Floats, second: Floats, shape: tuple[int, int, int]) -> float:
    """The largest distance in mm between the same corner of two grids."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], [1], indexing="ij")).reshape(4, -1)
    return float(np.linalg.norm(((first - second) @ corners)[:3], axis=0).max())


def _counts(scan: Scan) -> str:
    n_z, n_y, n_x = scan.shape
    return f"{n_z} slices of {n_y} x {n_x}"
