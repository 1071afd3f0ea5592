"""How close an image is to its reference, in HU, inside a stated window.

Every metric takes `(reference, comparison, window, mask)`: two images `[y, x]` or stacks `[z, y, x]` in HU,
the window `(low, high)` in HU, and the pixels that count (all, if None). Where no pixel counts it gives NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lowdose.quality.noise_level import SMOOTHING_PX, flat_soft_tissue
from lowdose.units import AIR_HU

Image = NDArray[np.floating[Any]] | NDArray[np.integer[Any]]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Window = tuple[float, float]
MaskRule = Literal["measured", "body"]

BODY_HU = -500.0
"""The body is where the smoothed reference is above this, holes filled."""

TISSUES: Mapping[str, Window] = {
    "air": (-1100.0, -950.0),
    "lung": (-950.0, -600.0),
    "fat": (-130.0, -60.0),
    "soft tissue": (-20.0, 150.0),
    "contrast, soft bone": (150.0, 300.0),
    "dense bone": (300.0, 1500.0),
}
"""Ranges of the smoothed reference, in HU, in which the bias is told apart; edges are not left out."""

_MASK_RULES: Mapping[MaskRule, str] = {
    "measured": "all pixels but padding",
    "body": f"the body (smoothed reference above {BODY_HU:g} HU, holes filled)",
}
_SSIM_SIGMA = 1.5
_SSIM_RADIUS = 5


def checked_window(window: Window) -> Window:
    """`window` itself, or ValueError if its upper edge is not above its lower one."""
    low, high = window
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"the window is {low:g} to {high:g} HU; its upper edge must be above its lower one")
    return window


@dataclass(frozen=True)
class Protocol:
    """What a number was measured on; `str(protocol)` is the line that is printed beside it."""

    window: Window = (-160.0, 240.0)
    """HU"""
    mask: MaskRule = "measured"
    unit: str = "case"
    """What one value stands for: pixels are pooled and slices averaged within it."""

    def __post_init__(self) -> None:
        checked_window(self.window)
        if self.mask not in _MASK_RULES:
            raise ValueError(f"the mask rule is {self.mask!r}; it must be one of: {', '.join(_MASK_RULES)}")

    @property
    def data_range(self) -> float:
        """Width of the window in HU: the R of PSNR and SSIM."""
        return self.window[1] - self.window[0]

    def __str__(self) -> str:
        low, high = self.window
        line = f"window {low:g} to {high:g} HU (data range {self.data_range:g} HU), {_MASK_RULES[self.mask]}"
        return f"{line}, one value per {self.unit}".replace("-", "−")

    def counted(self, reference: Image, measured: Mask) -> Mask:
        """The pixels of one slice `[y, x]` that count, out of those that were `measured` in every image."""
        if self.mask == "measured":
            return measured
        return body(reference, measured) & measured


DEFAULT_PROTOCOL = Protocol()


@dataclass(frozen=True)
class Metric:
    """A named number: how it is computed, its unit, and its value for two equal images."""

    function: Callable[[Image, Image, Window, Mask | None], float]
    unit: str
    ideal: float

    def __call__(
        self, reference: Image, comparison: Image, window: Window, mask: Mask | None = None
    ) -> float:
        return self.function(reference, comparison, window, mask)


def rmse(reference: Image, comparison: Image, window: Window, mask: Mask | None = None) -> float:
    """Root mean square difference in HU of the two images, both clipped to `window`."""
    first, second, counted = _checked(reference, comparison, window, mask)
    difference = np.clip(second[counted], *window) - np.clip(first[counted], *window)
    return math.sqrt(float(np.mean(difference**2))) if difference.size else math.nan


def psnr(reference: Image, comparison: Image, window: Window, mask: Mask | None = None) -> float:
    """Peak signal-to-noise ratio in dB, 20 log10(R / RMSE), R the width of `window`; inf for equal images."""
    return psnr_of_rmse(rmse(reference, comparison, window, mask), window)


def psnr_of_rmse(error: float, window: Window) -> float:
    """The PSNR in dB that belongs to an RMSE in HU."""
    return math.inf if error == 0.0 else 20.0 * math.log10((window[1] - window[0]) / error)


def ssim(reference: Image, comparison: Image, window: Window, mask: Mask | None = None) -> float:
    """Structural similarity, slice by slice (Wang et al., IEEE Trans Image Process 2004;13:600, eq. 13).

    Both images are clipped to `window` and counted from its lower edge, so that values run from 0 to R, the
    width of the window, as the paper's do; C1 = (0.01 R)^2, C2 = (0.03 R)^2. Weights: Gaussian, 11 x 11,
    standard deviation 1.5 pixels. The mean is over counted pixels whose neighbourhood lies inside the image;
    those that do not count are set to the lower edge in both images. NaN for images under 11 x 11 pixels.
    """
    first, second, counted = _checked(reference, comparison, window, mask)
    low, high = window
    x = np.where(counted, np.clip(first, low, high) - low, 0.0)
    y = np.where(counted, np.clip(second, low, high) - low, 0.0)
    c1, c2 = (0.01 * (high - low)) ** 2, (0.03 * (high - low)) ** 2
    mean_x, mean_y = _weighted(x), _weighted(y)
    squares = mean_x**2 + mean_y**2
    product = mean_x * mean_y
    similarity = (2 * product + c1) * (2 * (_weighted(x * y) - product) + c2)
    similarity /= (squares + c1) * (_weighted(x * x + y * y) - squares + c2)
    inside = (..., slice(_SSIM_RADIUS, -_SSIM_RADIUS), slice(_SSIM_RADIUS, -_SSIM_RADIUS))
    values = similarity[inside][counted[inside]]
    return float(np.mean(values)) if values.size else math.nan


def bias(reference: Image, comparison: Image, window: Window, mask: Mask | None = None) -> float:
    """Mean of comparison − reference in HU where the *smoothed* reference lies in `window`."""
    first, second, counted = _checked(reference, comparison, window, mask)
    smooth = smoothed(first, counted)
    return mean_difference(first, second, counted & (smooth >= window[0]) & (smooth <= window[1]))


def soft_tissue_bias(reference: Image, comparison: Image, window: Window, mask: Mask | None = None) -> float:
    """Mean of comparison − reference in HU over flat soft tissue whose smoothed value lies in `window`.

    The pixels are chosen on the smoothed reference (`noise_level.flat_soft_tissue`): a threshold on noisy
    pixels chooses by the noise, and shows a bias of several HU that is not there.
    """
    first, second, counted = _checked(reference, comparison, window, mask)
    smooth = smoothed(first, counted)
    chosen = soft_tissue(first, counted) & (smooth >= window[0]) & (smooth <= window[1])
    return mean_difference(first, second, chosen)


METRICS: Mapping[str, Metric] = {
    "rmse": Metric(rmse, "HU", 0.0),
    "psnr": Metric(psnr, "dB", math.inf),
    "ssim": Metric(ssim, "", 1.0),
    "bias": Metric(bias, "HU", 0.0),
    "soft_tissue_bias": Metric(soft_tissue_bias, "HU", 0.0),
}


def mean_difference(reference: Image, comparison: Image, where: Mask) -> float:
    """Mean of comparison − reference in HU over the pixels `where`; NaN if there are none."""
    difference = comparison[where].astype(np.float64) - reference[where].astype(np.float64)
    return float(np.mean(difference)) if difference.size else math.nan


def smoothed(reference: Image, measured: Mask) -> Floats:
    """`reference` in HU after a Gaussian of 4 px in every slice; what was not measured is taken as air."""
    values = np.where(measured, reference, AIR_HU).astype(np.float64)
    sigma = (0.0,) * (values.ndim - 2) + (SMOOTHING_PX, SMOOTHING_PX)
    smooth: Floats = ndimage.gaussian_filter(values, sigma, mode="nearest")
    return smooth


def soft_tissue(reference: Image, measured: Mask) -> Mask:
    """Pixels of flat soft tissue, chosen on the smoothed reference, in every slice."""
    if reference.ndim == 2:
        return flat_soft_tissue(reference.astype(np.float64), ~measured)
    return np.stack([soft_tissue(image, valid) for image, valid in zip(reference, measured, strict=True)])


def body(reference: Image, measured: Mask) -> Mask:
    """The patient or phantom in one slice `[y, x]`: dense on the smoothed reference, holes filled."""
    filled: Mask = ndimage.binary_fill_holes(smoothed(reference, measured) > BODY_HU)
    return filled


def _weighted(image: Floats) -> Floats:
    """The local mean of every slice with SSIM's Gaussian weights."""
    for axis in (-2, -1):
        image = ndimage.gaussian_filter1d(image, _SSIM_SIGMA, axis=axis, radius=_SSIM_RADIUS)
    return image


def _checked(
    reference: Image, comparison: Image, window: Window, mask: Mask | None
) -> tuple[Floats, Floats, Mask]:
    """Both images in double precision and the counted pixels, or ValueError."""
    checked_window(window)
    if reference.ndim not in (2, 3):
        raise ValueError(f"an image has axes [y, x] or [z, y, x]; the reference has {reference.ndim}")
    if reference.shape != comparison.shape:
        raise ValueError(f"the reference has the shape {reference.shape}, the comparison {comparison.shape}")
    counted = np.ones(reference.shape, bool) if mask is None else np.asarray(mask, bool)
    if counted.shape != reference.shape:
        raise ValueError(f"the images have the shape {reference.shape}, the mask {counted.shape}")
    first, second = reference.astype(np.float64), comparison.astype(np.float64)
    if not (np.isfinite(first[counted]).all() and np.isfinite(second[counted]).all()):
        raise ValueError("a counted pixel is not a number")
    return first, second, counted
