"""Resolution where the truth is known: the transfer from what was scanned to what is seen.

Noise that knows nothing of the object averages out of the product of the image's and the truth's Fourier
transforms; what stays, over the truth's own power, is the transfer. Strong edges count most, so that of a
nonlinear method this is the transfer at high contrast.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lowdose.quality.spectra import radial_bins

Floats = NDArray[np.float64]


class TruthTransfer:
    """The transfer over many slices, added one by one."""

    def __init__(self, shape: tuple[int, int], spacing: tuple[float, float]) -> None:
        self.spacing = spacing
        self.frequencies, self._members = radial_bins(shape, spacing)
        windows = [np.hanning(n + 2)[1:-1] for n in shape]
        self._window = windows[0][:, None] * windows[1][None, :]
        f_y, f_x = (np.fft.fftfreq(n, d) for n, d in zip(shape, spacing, strict=True))
        # The truth is averaged over pixels; the image is not.
        self._pixel = np.sinc(f_y * spacing[0])[:, None] * np.sinc(f_x * spacing[1])[None, :]
        self._cross = np.zeros(shape)
        self._power = np.zeros(shape)

    def add(self, image: NDArray[np.floating], truth: NDArray[np.floating]) -> None:
        """Take in one slice `[y, x]` in HU and what it should be, the mean over every pixel."""
        level = float(truth.mean())
        seen = np.fft.fft2((np.asarray(image, np.float64) - level) * self._window)
        true = np.fft.fft2((np.asarray(truth, np.float64) - level) * self._window)
        self._cross += (seen * true.conj()).real * self._pixel
        self._power += np.abs(true) ** 2

    @property
    def transfer(self) -> Floats:
        """Averaged over directions, at `frequencies` in 1/mm."""
        sums = [(self._cross[one].sum(), self._power[one].sum()) for one in self._members]
        return np.array([cross / power if power > 0 else np.nan for cross, power in sums])

    def falls_to(self, level: float) -> float:
        """The first frequency in 1/mm at which the transfer is below `level`; NaN where it never is."""
        curve = np.concatenate([[1.0], self.transfer])
        frequencies = np.concatenate([[0.0], self.frequencies])
        below = np.flatnonzero(curve < level)
        if not below.size:
            return float("nan")
        k = int(below[0])
        share = (curve[k - 1] - level) / (curve[k - 1] - curve[k])
        return float(frequencies[k - 1] + share * (frequencies[k] - frequencies[k - 1]))
