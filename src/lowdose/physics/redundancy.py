"""Weights of rays that a fan measures more than once.

Turning once, a fan meets every line twice, from opposite sides; a short scan meets some lines twice and the
others once. Filtered back projection wants every line to count once, and its filter wants weights that change
smoothly along a view.

Short scans: D. L. Parker, Med Phys 9:254 (1982). Longer ones: M. D. Silver, Med Phys 27:773 (2000), and
S. Wesarg et al., Med Phys 29:372 (2002). Detectors far beside the axis: G. Wang, Med Phys 29:1634 (2002).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.geometry import FULL_TURN, FanBeam

Floats = NDArray[np.float64]

_ROUNDING = 1e-9
_RISE = 0.25
"""Radians of one step of a half: wide against the reach of the ramp filter, narrow against noise."""
_INTERLEAVED = 1.0
"""Channels: a smaller shift lets opposite rays interleave, a larger one widens the field."""


def redundancy_weights(geometry: FanBeam) -> Floats:
    """The share `[view, channel]` of every ray in its line; a line's rays add up to one.

    A half for a full turn. ValueError if the scan is too short for its fan, longer than a turn, or short with
    a detector shifted by a channel or more, or if the detector does not reach the axis.
    """
    check_scan(geometry)
    shape = geometry.n_views, geometry.n_channels
    angles = geometry.channel_angles
    if geometry.is_short:
        return short_scan_weights(geometry.view_angles[:, None], angles[None, :], geometry.scan_angle)
    if is_displaced(geometry):
        return np.broadcast_to(displaced_weights(angles), shape)
    return np.broadcast_to(0.5, shape)


def is_displaced(geometry: FanBeam) -> bool:
    """Whether the detector stands so far to one side that its far end sees what no opposite ray sees."""
    return abs(geometry.channel_shift) >= _INTERLEAVED


def check_scan(geometry: FanBeam) -> None:
    """ValueError if the views of `geometry` do not measure its whole field, or measure it in excess."""
    scanned, shortest = np.rad2deg(geometry.scan_angle), 180 + np.rad2deg(geometry.fan_angle)
    if geometry.scan_angle > FULL_TURN * (1 + _ROUNDING):
        raise ValueError(f"the scan covers {scanned:.1f} degrees; more than one turn cannot be weighted")
    if is_displaced(geometry):
        if geometry.is_short:
            raise ValueError(
                f"the detector is shifted by {geometry.channel_shift:g} channels, which needs a full turn, "
                f"but the scan covers {scanned:.1f} degrees"
            )
        if geometry.channel_offsets[0] * geometry.channel_offsets[-1] >= 0:
            raise ValueError(
                f"the detector is shifted by {geometry.channel_shift:g} channels; it must reach the axis"
            )
    if geometry.is_short and geometry.scan_angle < np.pi + geometry.fan_angle - _ROUNDING:
        raise ValueError(
            f"a scan of {scanned:.1f} degrees is too short: this fan needs half a turn plus its own angle, "
            f"{shortest:.1f} degrees"
        )


def short_scan_weights(view_angles: Floats, channel_angles: Floats, scan_angle: float) -> Floats:
    """Weights from zero at either end of the scan over a half to one for rays measured once.

    The ray (b, g) of view angle b and channel angle g lies on the line of (b + pi + 2 g, -g). Both are in a
    scan of `scan_angle` if b is at most ``scan_angle - pi - 2 g``; over that range the weight rises, and the
    other ray's falls by as much. Where the range is short this is Parker's squared sine. Where it is longer
    there are two steps of a half, because equal weights make the least noise. All in radians; the arrays
    broadcast.
    """
    first = _two_steps(view_angles, scan_angle - np.pi - 2 * channel_angles)
    return first * _two_steps(scan_angle - view_angles, scan_angle - np.pi + 2 * channel_angles)


def _two_steps(place: Floats, measured_twice: Floats) -> Floats:
    """A rise from zero to one over `measured_twice`: to a half at its beginning, to one at its end."""
    measured_twice = np.maximum(measured_twice, _ROUNDING)
    width = np.minimum(measured_twice, _RISE)
    steps = _step(place / width) + _step((place - measured_twice) / width + 1)
    return np.asarray(steps / 2)


def _step(share: Floats) -> Floats:
    return np.asarray(np.sin(np.pi / 2 * np.clip(share, 0.0, 1.0)) ** 2)


def displaced_weights(channel_angles: Floats) -> Floats:
    """Weights of a full turn with the detector far to one side.

    They rise from zero at the near end to one where the detector reaches no opposite ray.
    """
    near = float(min(-channel_angles.min(), channel_angles.max()))
    towards_far = channel_angles if channel_angles.max() > near else -channel_angles
    return _step((1 + towards_far / near) / 2)


def whole_detector(geometry: FanBeam) -> tuple[FanBeam, int, int]:
    """A detector that reaches as far on both sides of the axis, and the channels to add before and after.

    They are to be zero: what the filter spreads beyond the near end of a displaced detector belongs to the
    image.
    """
    missing = round(2 * abs(geometry.channel_shift))
    before, shift = (missing, -missing / 2) if geometry.channel_shift > 0 else (0, missing / 2)
    whole = replace(
        geometry,
        n_channels=geometry.n_channels + missing,
        channel_shift=geometry.channel_shift + shift,
    )
    return whole, before, missing - before
