"""Resolution from bar patterns: how much of their modulation an image keeps.

A group of bars that stands alone is its own shape convolved with the point spread function. So the Fourier
coefficient of the group at its line frequency, over that of its shape, is the modulation transfer there,
however few bars there are; and at frequency zero it is the bars' contrast, which blurring does not change.
Droege and Morin (Med Phys 1982;9:758) take the standard deviation in a region on the bars instead, which
needs many bars and a measured contrast.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowdose.quality.uniformity import OutsideError

Floats = NDArray[np.float64]

MARGIN_MM = 2.0
"""How far the blur of a bar may reach."""
_FRAME_MM = 3.0
_OTHER_PLACES = 36


class BarTransfer(NamedTuple):
    """What an image makes of one group of bars."""

    frequency: float
    """1/mm"""
    transfer: float
    """Modulation transfer at that frequency; the noise's share is taken off."""
    noise: float
    """Standard deviation of the transfer where there is only noise."""
    contrast: float
    """HU of the bars over their surroundings."""


def bar_transfer(
    image: NDArray[np.floating],
    spacing: tuple[float, float],
    centre: tuple[float, float],
    angle: float,
    *,
    width: float,
    n_bars: int,
    length: float,
    empty: tuple[float, float],
) -> BarTransfer:
    """The modulation transfer of a group of `n_bars` bars of `width` mm, a width apart, in `image` `[y, x]`.

    `spacing` is the pixel size (y, x) in mm; `centre` (y, x) of the group in mm from the first pixel's
    middle; the bars are `length` mm long in the direction of `angle` degrees from +x towards +y. Around
    `empty`, (y, x) in mm, there is nothing but noise. `OutsideError` if the group is not in the image.
    """
    halves = (2 * n_bars - 1) * width / 2 + MARGIN_MM, length / 2 + MARGIN_MM
    frequency = 0.5 / width
    pattern = _pattern(width, n_bars, length, frequency)
    whole, wave = _coefficients(image, spacing, centre, angle, halves, frequency)
    scale = pattern * whole / (n_bars * width * length)
    if whole <= 0:
        return BarTransfer(frequency, 0.0, float("inf"), 0.0)
    turns = np.linspace(0.0, 360.0, _OTHER_PLACES, endpoint=False)
    noise = [abs(_coefficients(image, spacing, empty, t, halves, frequency)[1]) ** 2 for t in turns]
    power, own = float(np.mean(noise)), abs(wave) ** 2
    return BarTransfer(
        frequency,
        float(np.sqrt(max(own - power, 0.0)) / scale),
        float(np.sqrt(power / 2) / scale),
        float(whole / (n_bars * width * length)),
    )


def resolved(groups: list[BarTransfer], level: float = 0.05) -> float:
    """The frequency in 1/mm of the finest group up to which all stand out of the noise (three standard
    deviations) and keep at least `level` of their modulation; NaN if not even the coarsest does.
    """
    finest = float("nan")
    for group in sorted(groups):
        if not group.transfer > max(level, 3 * group.noise):
            break
        finest = group.frequency
    return finest


def _pattern(width: float, n_bars: int, length: float, frequency: float) -> float:
    """Size of the Fourier coefficient in mm^2 of bars of value one."""
    across = (np.arange(n_bars) - (n_bars - 1) / 2) * 2 * width
    waves = np.exp(-2j * np.pi * frequency * across).sum() * width * np.sinc(frequency * width)
    return float(abs(waves)) * length


def _coefficients(
    image: NDArray[np.floating],
    spacing: tuple[float, float],
    centre: tuple[float, float],
    angle: float,
    halves: tuple[float, float],
    frequency: float,
) -> tuple[float, complex]:
    """Fourier coefficients in HU mm^2 at zero and at `frequency` across the bars, in a rectangle of `halves`
    mm across and along them, less the surroundings beyond their ends.

    The rectangle's rim is weighed by how much of each pixel lies in it, as if pixels were turned with it.
    """
    along = np.deg2rad(angle)
    reach = np.hypot(halves[0], halves[1] + _FRAME_MM) + max(spacing)
    rows, columns = (
        np.arange(max(0, int((c - reach) / d)), int((c + reach) / d) + 2)
        for c, d in zip(centre, spacing, strict=True)
    )
    if rows[-1] >= image.shape[0] or columns[-1] >= image.shape[1] or min(centre) < reach:
        raise OutsideError(
            f"the bars at (y, x) = ({centre[0]:.1f}, {centre[1]:.1f}) mm are not wholly in the image"
        )
    values = np.asarray(image[np.ix_(rows, columns)], np.float64)
    y, x = rows[:, None] * spacing[0] - centre[0], columns[None, :] * spacing[1] - centre[1]
    lengthwise = x * np.cos(along) + y * np.sin(along)
    across = -x * np.sin(along) + y * np.cos(along)
    step = float(np.sqrt(spacing[0] * spacing[1]))

    def share(distance: Floats, half: float) -> Floats:
        return np.clip((half - np.abs(distance)) / step + 0.5, 0.0, 1.0)

    inside = share(across, halves[0]) * share(lengthwise, halves[1])
    frame = share(across, halves[0]) * share(lengthwise, halves[1] + _FRAME_MM) - inside
    # A line along the bars: what is coarse in the surroundings is no contrast of the bars.
    design = np.stack([np.ones_like(across), lengthwise])[:, frame > 0.5]
    level, slope = np.linalg.lstsq(design.T, values[frame > 0.5], rcond=None)[0]
    excess = (values - level - slope * lengthwise) * inside * spacing[0] * spacing[1]
    wave = (excess * np.exp(-2j * np.pi * frequency * across)).sum()
    return float(excess.sum()), complex(wave)
