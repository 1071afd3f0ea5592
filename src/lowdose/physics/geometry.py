"""Scan geometries as values, in mm and radians, for one slice.

A ray in the plane is the line ``x cos(t) + y sin(t) = s``: `t` is the angle of its normal and `s` its signed
distance from the rotation axis. In both geometries here `t` is a view angle plus a channel angle and `s`
belongs to the channel alone, so one projector serves both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ImageGrid:
    """Pixels around the rotation axis: `shape` counts along (y, x), `spacing` in mm along (y, x)."""

    shape: tuple[int, int]
    spacing: tuple[float, float]

    @property
    def size(self) -> tuple[float, float]:
        """Extent along (y, x) in mm."""
        return self.shape[0] * self.spacing[0], self.shape[1] * self.spacing[1]

    @property
    def radius(self) -> float:
        """Distance in mm from the axis to the farthest corner."""
        return float(np.hypot(*self.size)) / 2


@dataclass(frozen=True)
class ParallelBeam:
    """Parallel rays, `n_views` angles over half a turn."""

    n_views: int
    n_channels: int
    channel_spacing: float
    """mm"""

    @property
    def view_angles(self) -> Floats:
        return np.arange(self.n_views, dtype=np.float64) * (np.pi / self.n_views)

    @property
    def channel_angles(self) -> Floats:
        return np.zeros(self.n_channels)

    @property
    def channel_offsets(self) -> Floats:
        """Signed distance of every channel's rays from the axis in mm."""
        places = np.arange(self.n_channels, dtype=np.float64) - (self.n_channels - 1) / 2
        return places * self.channel_spacing

    @property
    def sampling_at_axis(self) -> float:
        """Distance between neighbouring rays at the axis in mm."""
        return self.channel_spacing


@dataclass(frozen=True)
class FanBeam:
    """A source opposite a detector that is an arc around it: channels at equal angles, a full turn of
    views.
    """

    n_views: int
    n_channels: int
    channel_spacing: float
    """mm along the arc of the detector"""
    source_to_axis: float
    """mm"""
    source_to_detector: float
    """mm"""

    @property
    def view_angles(self) -> Floats:
        return np.arange(self.n_views, dtype=np.float64) * (2 * np.pi / self.n_views)

    @property
    def channel_angles(self) -> Floats:
        return (np.arange(self.n_channels, dtype=np.float64) - (self.n_channels - 1) / 2) * self.channel_step

    @property
    def channel_offsets(self) -> Floats:
        """Signed distance of every channel's rays from the axis in mm."""
        return self.source_to_axis * np.sin(self.channel_angles)

    @property
    def channel_step(self) -> float:
        """Angle between neighbouring channels in radians."""
        return self.channel_spacing / self.source_to_detector

    @property
    def sampling_at_axis(self) -> float:
        """Distance between neighbouring rays at the axis in mm."""
        return self.source_to_axis * self.channel_step


Geometry = ParallelBeam | FanBeam

CLINICAL_FAN = FanBeam(
    n_views=720, n_channels=736, channel_spacing=1.2858, source_to_axis=595.0, source_to_detector=1085.6
)
"""A third-generation clinical scanner, after the published dimensions of the Siemens Definition AS+."""

_SMALLEST_CLINICAL_FIELD_MM = 100.0


def default_geometry(grid: ImageGrid) -> Geometry:
    """The clinical fan beam, or for a small field of view (specimens, animals) a parallel beam as fine as
    it.
    """
    if min(grid.size) >= _SMALLEST_CLINICAL_FIELD_MM:
        return CLINICAL_FAN
    spacing = min(grid.spacing)
    n_channels = int(np.ceil(2 * grid.radius / spacing)) + 2
    return ParallelBeam(n_views=720, n_channels=n_channels, channel_spacing=spacing)
