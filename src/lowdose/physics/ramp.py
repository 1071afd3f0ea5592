"""The ramp filter of filtered back projection and the windows that tame it.

A. C. Kak and M. Slaney, "Principles of Computerized Tomographic Imaging", chapter 3: the band-limited ramp is
sampled in space, so that the mean of the image is right; the equiangular fan has its own ramp.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from lowdose.physics.geometry import FanBeam, Geometry

Image = NDArray[np.float32]
Floats = NDArray[np.float64]
Apodisation = Callable[[Floats], Floats]
"""Gain of the reconstruction kernel over the pure ramp at spatial frequencies in 1/mm, at the rotation
axis.
"""


def ram_lak(frequencies: Floats) -> Floats:
    """The pure ramp, cut at the detector's Nyquist frequency."""
    return np.ones_like(frequencies)


def rectangle(cutoff: float) -> Apodisation:
    """The pure ramp up to `cutoff` in 1/mm, nothing beyond."""
    return _window(cutoff, np.ones_like)


def shepp_logan(cutoff: float) -> Apodisation:
    """A sinc window, 2 / pi at `cutoff` in 1/mm and nothing beyond."""
    return _window(cutoff, lambda share: np.sinc(share / 2))


def cosine(cutoff: float) -> Apodisation:
    """A cosine window that reaches zero at `cutoff` in 1/mm."""
    return _window(cutoff, lambda share: np.cos(np.pi / 2 * share))


def hamming(cutoff: float) -> Apodisation:
    """A Hamming window, 0.08 at `cutoff` in 1/mm and nothing beyond."""
    return _window(cutoff, lambda share: 0.54 + 0.46 * np.cos(np.pi * share))


def hann(cutoff: float) -> Apodisation:
    """A Hann window that reaches zero at `cutoff` in 1/mm."""
    return _window(cutoff, lambda share: 0.5 + 0.5 * np.cos(np.pi * share))


APODISATIONS: Mapping[str, Callable[[float], Apodisation]] = MappingProxyType(
    {
        "ram-lak": rectangle,
        "shepp-logan": shepp_logan,
        "cosine": cosine,
        "hamming": hamming,
        "hann": hann,
    }
)
"""Windows by name, each made for a cut-off frequency in 1/mm at the axis: `nyquist(geometry)` or a share of
it."""


def _window(cutoff: float, gain: Apodisation) -> Apodisation:
    if not cutoff > 0:
        raise ValueError(f"the cut-off frequency is {cutoff:g} 1/mm; it must be positive")
    return lambda frequencies: np.where(frequencies <= cutoff, gain(frequencies / cutoff), 0.0)


def nyquist(geometry: Geometry) -> float:
    """The highest frequency that one view samples, in 1/mm at the axis."""
    return 0.5 / geometry.sampling_at_axis


def ramp_response(geometry: Geometry, apodisation: Apodisation) -> Image:
    """Frequency response of the apodised ramp for rows padded so that their ends do not meet."""
    n_channels = geometry.n_channels
    n_padded = 2 * scipy.fft.next_fast_len(n_channels, real=True)
    n = np.arange(1, n_channels, 2)
    if isinstance(geometry, FanBeam) and geometry.detector == "arc":
        spacing = geometry.channel_spacing / geometry.source_to_detector
        distances = np.sin(n * spacing)
    else:
        spacing = geometry.sampling_at_axis
        distances = n * spacing
    kernel = np.zeros(n_padded)
    kernel[0] = 1 / (4 * spacing)
    kernel[n] = kernel[-n] = -spacing / (np.pi * distances) ** 2
    frequencies = scipy.fft.rfftfreq(n_padded, d=geometry.sampling_at_axis)
    response = scipy.fft.rfft(kernel).real * apodisation(frequencies)
    return np.asarray(response, dtype=np.float32)


def filtered_rows(sinogram: Image, response: Image) -> Image:
    """`sinogram` `[..., channel]` filtered along its channels by `ramp_response` of its geometry."""
    n_channels = sinogram.shape[-1]
    n_padded = 2 * (len(response) - 1)
    spectrum = scipy.fft.rfft(sinogram, n=n_padded, axis=-1, workers=-1)
    spectrum *= response
    rows: Image = scipy.fft.irfft(spectrum, n=n_padded, axis=-1, workers=-1, overwrite_x=True)
    return rows[..., :n_channels]
