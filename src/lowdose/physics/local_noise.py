"""The noise at one place of an image, by direction.

Filtered back projection is local in this: noise of the spatial frequency ``f (cos t, sin t)`` at a place
comes from the rays through that place whose normals have the angle t, or t + 180 degrees. So the noise power
in that direction is the ramp and the kernel, which all places share, times the variance of those rays (K. M.
Hanson 1979, Med Phys 6:441, for the stationary case).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.geometry import FanBeam, Geometry

Floats = NDArray[np.float64]

N_SECTORS = 24
"""Directions over half a turn."""

_ACROSS = 9
"""Rays that are averaged over the width of a region."""


def sector_angles(n_sectors: int = N_SECTORS) -> Floats:
    """The middle of every sector in radians, in 0..pi."""
    return (np.arange(n_sectors, dtype=np.float64) + 0.5) * (np.pi / n_sectors)


def directional_variance(
    geometry: Geometry, variance: NDArray[np.float32], places: Floats, width: float
) -> Floats:
    """Mean variance `[place, sector]` of the rays through regions of `width` mm around `places`.

    `variance` is that of the line integrals `[view, channel]` over a whole turn (half of one for parallel
    beams), `places` are (y, x) in mm from the axis.
    """
    angles = sector_angles()
    across = np.linspace(-width / 2, width / 2, _ACROSS)
    turns = (0.0, np.pi) if isinstance(geometry, FanBeam) else (0.0,)
    found = np.zeros((len(places), len(angles)))
    for turn in turns:
        normal = angles + turn
        middle = places[:, 1:] * np.cos(normal) + places[:, :1] * np.sin(normal)
        offsets = middle[..., None] + across
        views, channels = _nearest_rays(geometry, np.broadcast_to(normal[:, None], offsets.shape), offsets)
        found += variance[views, channels].mean(axis=-1) / len(turns)
    return found


def _nearest_rays(
    geometry: Geometry, normal: Floats, offsets: Floats
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Views and channels of the measured rays nearest to the lines of these normals and offsets."""
    middle = (geometry.n_channels - 1) / 2 - geometry.channel_shift
    if isinstance(geometry, FanBeam):
        fan = np.arcsin(np.clip(offsets / geometry.source_to_axis, -1.0, 1.0))
        along = fan if geometry.detector == "arc" else np.tan(fan)
        channel = along * geometry.source_to_detector / geometry.channel_spacing + middle
        view = (normal - fan) % (2 * np.pi) / geometry.scan_angle * geometry.n_views
    else:
        channel = offsets / geometry.channel_spacing + middle
        view = normal % np.pi / np.pi * geometry.n_views
    views = np.rint(view).astype(np.intp) % geometry.n_views
    return views, np.clip(np.rint(channel).astype(np.intp), 0, geometry.n_channels - 1)


def sector_power(
    power: Floats, spacing: tuple[float, float], band: tuple[float, float]
) -> tuple[Floats, NDArray[np.intp]]:
    """Noise power by direction `[region, sector]` over the typical power at the same frequency.

    `power` `[region, fy, fx]` is that of regions of one scan; frequencies within `band` in 1/mm are taken,
    each divided by the median over regions of its ring. Also how many of them every sector holds, `[sector]`.
    """
    n_y, n_x = power.shape[1:]
    f_y, f_x = np.fft.fftfreq(n_y, spacing[0])[:, None], np.fft.fftfreq(n_x, spacing[1])[None]
    radius, angle = np.hypot(f_y, f_x), np.arctan2(f_y, f_x) % np.pi
    taken = (radius > band[0]) & (radius < band[1])
    ring = np.rint(radius / min(1 / (n_y * spacing[0]), 1 / (n_x * spacing[1]))).astype(np.intp)
    typical = np.median(power, axis=0)
    n_members = np.bincount(ring.ravel())
    mean = np.bincount(ring.ravel(), typical.ravel()) / np.maximum(n_members, 1)
    relative = power[:, taken] / mean[ring[taken]]
    sector = np.minimum((angle[taken] / np.pi * N_SECTORS).astype(np.intp), N_SECTORS - 1)
    counts = np.bincount(sector, minlength=N_SECTORS)
    sums = np.stack([np.bincount(sector, row, minlength=N_SECTORS) for row in relative])
    return sums / np.maximum(counts, 1), counts


def typical_rings(power: Floats, members: list[tuple[NDArray[np.intp], ...]]) -> Floats:
    """Radial power `[ring]`, the median over regions: a few with anatomy in them do not matter.

    A median of noise alone lies below its mean, but by the same factor in the scan and in the simulation.
    """
    rings = np.stack([power[:, y, x].mean(axis=1) for y, x in members], axis=1)
    return np.asarray(np.median(rings, axis=0))
