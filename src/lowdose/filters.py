"""Denoisers without weights: functions of one slice in HU and its noise level in HU.

Every filter takes `hu` float32 `[y, x]` and `noise`, the standard deviation in flat soft tissue in HU, and
gives float32 `[y, x]`. With `noise` 0 it returns the values of its input bit for bit. Adding a constant to
the input adds it to the output, and a constant image stays what it is.

The defaults are meant for noise of 10 to 60 HU with the spectrum of CT, whose neighbouring pixels are
correlated. They were chosen on abdomen and chest scans of two makers with added noise of three spectra, and
on a real quarter-dose scan of a third, whose noise gave one of the spectra, then rounded; they are not the
best for any one scan. `benchmarks/tuned_filters.py` compares them with settings tuned to a scan.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite, sqrt

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, median_filter, uniform_filter
from skimage.restoration import denoise_tv_chambolle

from lowdose.provenance import Step
from lowdose.quality.noise_level import scan_noise_level
from lowdose.scan import Scan

Image = NDArray[np.float32]

_TV_ITERATIONS = 50
"""After this many, the error that is left changes by less than 1 % at the default smoothing."""


def gaussian(hu: Image, *, noise: float, sigma_px: float | None = None) -> Image:
    """Convolution with a Gaussian of standard deviation `sigma_px` in pixels.

    Unless given, `sigma_px` follows the noise: see `typical_sigma_px`.
    """
    _check_noise(noise)
    sigma = typical_sigma_px(noise) if sigma_px is None else _not_negative("sigma_px", sigma_px)
    if noise == 0 or sigma == 0:
        return hu.copy()
    return np.asarray(gaussian_filter(hu.astype(np.float64), sigma, mode="nearest"), dtype=np.float32)


def typical_sigma_px(noise: float) -> float:
    """The Gaussian width in pixels that suits `noise` in HU: 0.1 times its square root, 0.45 px at 20 HU."""
    return 0.1 * sqrt(noise)


def median(hu: Image, *, noise: float, size_px: int = 3) -> Image:
    """Median of the square of `size_px` by `size_px` pixels around each pixel; `size_px` is odd.

    The noise level does not change the square: it only says whether there is any noise.
    """
    _check_noise(noise)
    size = _odd("size_px", size_px)
    if noise == 0:
        return hu.copy()
    return np.asarray(median_filter(hu, size, mode="nearest"), dtype=np.float32)


def wiener(hu: Image, *, noise: float, size_px: int = 5, smoothing: float = 1.1) -> Image:
    """Local mean plus the share of the deviation from it that is not noise.

    J. S. Lee, IEEE Trans Pattern Anal Mach Intell 1980;2:165. The share is 1 - (`smoothing` x `noise`)^2 /
    v, at least 0, with the mean and the variance v over a square of `size_px` by `size_px` pixels,
    `size_px` odd. scipy.signal.wiener gives the same inside the image, but has zeros for neighbours at its
    border: in CT that is water, not air. Correlated noise varies less within a square than over the image,
    so at `smoothing` 1 it is smoothed a little more than white noise of the same level.
    """
    _check_noise(noise)
    size = _odd("size_px", size_px)
    sigma = _not_negative("smoothing", smoothing) * noise
    if sigma == 0:
        return hu.copy()
    centre = float(hu.flat[0]) if hu.size else 0.0
    values = hu.astype(np.float64) - centre
    mean = uniform_filter(values, size, mode="nearest")
    variance = uniform_filter(values**2, size, mode="nearest") - mean**2
    share = 1.0 - sigma**2 / np.maximum(variance, sigma**2)
    return np.asarray(mean + share * (values - mean) + centre, dtype=np.float32)


def total_variation(hu: Image, *, noise: float, smoothing: float = 0.75) -> Image:
    """The image u that minimises sum |grad u| + sum (u - hu)^2 / (2 w), with w = `smoothing` x `noise` in HU.

    A. Chambolle, J Math Imaging Vis 2004;20:89, with a fixed number of iterations: a stopping rule on the
    energy of the whole slice would smooth tissue less beside metal. The mean of the slice is kept.
    """
    _check_noise(noise)
    weight = _not_negative("smoothing", smoothing) * noise
    if weight == 0 or hu.size == 0:
        return hu.copy()
    n = _TV_ITERATIONS
    smoothed = denoise_tv_chambolle(hu, weight, eps=0.0, max_num_iter=n)  # type: ignore[no-untyped-call]
    return np.asarray(smoothed, dtype=np.float32)


def non_local_means(
    hu: Image, *, noise: float, smoothing: float = 1.2, patch_px: int = 5, search_px: int = 5
) -> Image:
    """Mean of the pixels up to `search_px` away along each axis, weighted by how alike the surroundings are.

    A. Buades et al., Image Processing On Line 2011;1:208: the weight is exp(-d2 / h^2), with d2 the mean
    square difference of two patches of `patch_px` by `patch_px` pixels (odd) and h = `smoothing` x `noise`.
    The paper first takes twice the noise variance off d2. That holds for white noise; in CT the noise of
    near pixels is correlated, patches that overlap are more alike than that, and taking it off gains
    nothing.

    scikit-image's fast mode leaves a row and a column out of every patch, so that it looks half a pixel aside
    and its result depends on the orientation of the slice; in single precision its sums over the whole slice
    lose the noise to the edge of the body. Hence this one, whose sums are local.
    """
    _check_noise(noise)
    patch = _odd("patch_px", patch_px)
    search = _whole("search_px", search_px)
    h = _not_negative("smoothing", smoothing) * noise
    if h == 0 or hu.size == 0:
        return hu.copy()
    padded = np.pad(np.ascontiguousarray(hu, dtype=np.float32), patch // 2, mode="symmetric")
    filtered = np.empty(hu.shape, np.float32)
    _average_alike(padded, filtered, patch, search, np.float32(1.0 / (h * patch) ** 2))
    return filtered


@numba.njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _average_alike(padded, filtered, patch, search, per_square):  # type: ignore[no-untyped-def]
    """Non-local means of `padded` without its margin; `per_square` is 1 / (h^2 times the pixels of a patch).

    Differences to the pixel itself are averaged, so that a constant stays one to the bit.
    """
    n_y, n_x = filtered.shape
    margin = patch // 2
    for place in numba.prange(n_y):
        y = np.int64(place)  # a parallel index has no sign, and -y is needed
        weights = np.ones(n_x, np.float32)
        deviations = np.zeros(n_x, np.float32)
        squares = np.empty(n_x + 2 * margin, np.float32)
        sums = np.empty(n_x, np.float32)
        for dy in range(max(-search, -y), min(search, n_y - 1 - y) + 1):
            for dx in range(-search, search + 1):
                first, last = max(0, -dx), min(n_x, n_x - dx)
                if (dy == 0 and dx == 0) or first >= last:
                    continue
                columns = squares[: last - first + 2 * margin]
                columns[:] = 0.0
                for row in range(y, y + patch):
                    here = padded[row, first : last + 2 * margin]
                    there = padded[row + dy, first + dx : last + dx + 2 * margin]
                    for x in range(columns.size):
                        columns[x] += (there[x] - here[x]) ** 2
                here = padded[y + margin, first + margin : last + margin]
                there = padded[y + dy + margin, first + dx + margin : last + dx + margin]
                distances = sums[: last - first]
                distances[:] = 0.0
                for offset in range(patch):
                    for x in range(distances.size):
                        distances[x] += columns[x + offset]
                weight_sums, deviation_sums = weights[first:last], deviations[first:last]
                for x in range(distances.size):
                    weight = np.exp(-per_square * distances[x])
                    weight_sums[x] += weight
                    deviation_sums[x] += weight * (there[x] - here[x])
        for x in range(n_x):
            filtered[y, x] = padded[y + margin, x + margin] + deviations[x] / weights[x]


FilterFunction = Callable[..., Image]

FILTERS: Mapping[str, FilterFunction] = {
    "gaussian": gaussian,
    "median": median,
    "wiener": wiener,
    "total-variation": total_variation,
    "non-local-means": non_local_means,
}
"""The one table of filter names."""


@dataclass(frozen=True)
class Filter:
    """A filter with its noise level in HU and its settings, called as every denoiser is."""

    name: str
    function: FilterFunction
    noise: float
    settings: Mapping[str, float] = field(default_factory=dict)
    context: int = field(default=0, init=False)
    """No filter looks at neighbouring slices."""

    def __call__(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """Filter every slice of `hu` `(b, 1, y, x)` in HU by itself; the same shape comes back."""
        if hu.ndim != 4 or hu.shape[1] != 1:
            raise ValueError(f"a filter takes slices as (b, 1, y, x); these are {hu.shape}")
        filtered = np.empty_like(hu, dtype=np.float32)
        for slice_, result in zip(hu[:, 0], filtered[:, 0], strict=True):
            result[...] = self.function(slice_, noise=self.noise, **self.settings)
        return filtered

    def describe(self) -> Step:
        return Step(self.name, {"noise_hu": round(self.noise, 3), **self.settings})


def default_settings(name: str, noise: float) -> dict[str, float]:
    """The settings that the filter `name` takes, with the values it uses at `noise` in HU unless given."""
    parameters = inspect.signature(_function(name)).parameters
    settings = {key: value.default for key, value in parameters.items() if key not in ("hu", "noise")}
    if "sigma_px" in settings:
        settings["sigma_px"] = typical_sigma_px(noise)
    return settings


def make_filter(name: str, scan: Scan, *, noise: float | None = None, **settings: float) -> Filter:
    """The filter `name` for `scan`, with the noise level in HU estimated from it unless given.

    Raises ValueError on an unknown name or setting and on a value that the setting cannot have.
    """
    function = _function(name)
    level = scan_noise_level(scan) if noise is None else noise
    _check_noise(level)
    used = default_settings(name, level)
    unknown = [key for key in settings if key not in used]
    if unknown:
        raise ValueError(f"{name} has no setting {unknown[0]!r}; its settings are {', '.join(used)}")
    used |= settings
    function(np.zeros((1, 1), np.float32), noise=level, **used)
    return Filter(name, function, level, used)


def _function(name: str) -> FilterFunction:
    if name not in FILTERS:
        raise ValueError(f"there is no filter {name!r}; the filters are {', '.join(FILTERS)}")
    return FILTERS[name]


def _check_noise(noise: float) -> None:
    if not (isinstance(noise, (int, float)) and isfinite(noise) and noise >= 0):
        raise ValueError(f"the noise level is {noise!r}; it must be a number of HU, 0 or more")


def _not_negative(name: str, value: float) -> float:
    if not (isinstance(value, (int, float)) and isfinite(value) and value >= 0):
        raise ValueError(f"{name} is {value!r}; it must be a number, 0 or more")
    return float(value)


def _whole(name: str, value: float) -> int:
    number = _not_negative(name, value)
    if not number.is_integer():
        raise ValueError(f"{name} is {value!r}; it must be a whole number of pixels")
    return int(number)


def _odd(name: str, value: float) -> int:
    number = _whole(name, value)
    if number % 2 == 0:
        raise ValueError(f"{name} is {value!r}; it must be an odd number of pixels")
    return number
