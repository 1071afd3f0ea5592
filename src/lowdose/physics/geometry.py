"""Scan geometries as values, in mm and radians.

In the plane a ray is the line ``x cos(t) + y sin(t) = s``: `t` is the angle of its normal and `s` its signed
distance from the rotation axis; x points right and y down, as columns and rows do. In parallel and fan beams
`t` is a view angle plus a channel angle and `s` belongs to the channel alone, so one projector serves both.

At the view angle `b` the source of a diverging beam is at ``(x, y) = source_to_axis * (-sin b, cos b)`` and
its central ray goes through the axis to the detector, whose channels advance along ``(cos b, sin b)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FULL_TURN = 2 * np.pi


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
class VolumeGrid:
    """Voxels around the isocentre: `shape` counts along (z, y, x), `spacing` in mm along (z, y, x)."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @property
    def plane(self) -> ImageGrid:
        """The pixels of one slice."""
        return ImageGrid(self.shape[1:], self.spacing[1:])

    @property
    def positions(self) -> Floats:
        """z of every slice in mm from the mid-plane."""
        return (np.arange(self.shape[0], dtype=np.float64) - (self.shape[0] - 1) / 2) * self.spacing[0]


@dataclass(frozen=True)
class ParallelBeam:
    """Parallel rays at `n_views` angles, evenly over half a turn."""

    n_views: int
    n_channels: int
    channel_spacing: float
    """mm"""
    channel_shift: float = 0.0
    """By how many channels the detector's middle lies beside the axis."""

    @property
    def view_angles(self) -> Floats:
        return np.arange(self.n_views, dtype=np.float64) * (np.pi / self.n_views)

    @property
    def channel_angles(self) -> Floats:
        return np.zeros(self.n_channels)

    @property
    def channel_offsets(self) -> Floats:
        """Signed distance of every channel's rays from the axis in mm."""
        return _places(self) * self.channel_spacing

    @property
    def sampling_at_axis(self) -> float:
        """Distance between neighbouring rays at the axis in mm."""
        return self.channel_spacing


@dataclass(frozen=True)
class FanBeam:
    """A source opposite a detector in one plane, turning round the axis.

    The detector is an `arc` around the source with channels at equal angles, as in clinical scanners, or
    `flat` with channels at equal distances.
    """

    n_views: int
    n_channels: int
    channel_spacing: float
    """mm along the detector"""
    source_to_axis: float
    """mm"""
    source_to_detector: float
    """mm"""
    detector: Literal["arc", "flat"] = "arc"
    channel_shift: float = 0.0
    """By how many channels the detector's middle lies beside the central ray: 0.25 is the quarter-detector
    offset, by which opposite views interleave."""
    scan_angle: float = FULL_TURN
    """Radians that the views cover, evenly: a full turn, or a short scan of at least half a turn plus the fan
    angle."""

    @property
    def view_angles(self) -> Floats:
        return np.arange(self.n_views, dtype=np.float64) * (self.scan_angle / self.n_views)

    @property
    def channel_angles(self) -> Floats:
        """Angle of every channel's rays to the central ray in radians."""
        along = _places(self) * (self.channel_spacing / self.source_to_detector)
        return along if self.detector == "arc" else np.arctan(along)

    @property
    def channel_offsets(self) -> Floats:
        """Signed distance of every channel's rays from the axis in mm."""
        return self.source_to_axis * np.sin(self.channel_angles)

    @property
    def fan_angle(self) -> float:
        """Radians between the outermost rays, twice the angle of the outer one where the detector is off
        centre."""
        return float(2 * np.abs(self.channel_angles).max())

    @property
    def is_short(self) -> bool:
        """Whether the views cover less than a full turn, so that rays measured twice must be weighted."""
        return self.scan_angle < FULL_TURN * (1 - 1e-9)

    @property
    def sampling_at_axis(self) -> float:
        """Distance between neighbouring rays at the axis in mm."""
        return self.channel_spacing * self.source_to_axis / self.source_to_detector


@dataclass(frozen=True)
class ConeBeam:
    """A source opposite a flat panel, turning round the axis once or along a short scan.

    A sinogram is `[view, row, channel]`; rows advance along +z.
    """

    n_views: int
    n_rows: int
    n_channels: int
    row_spacing: float
    """mm on the panel"""
    channel_spacing: float
    """mm on the panel"""
    source_to_axis: float
    """mm"""
    source_to_detector: float
    """mm"""
    channel_shift: float = 0.0
    """By how many channels the panel's middle lies beside the central ray."""
    scan_angle: float = FULL_TURN
    """Radians that the views cover, evenly."""

    @property
    def view_angles(self) -> Floats:
        return np.arange(self.n_views, dtype=np.float64) * (self.scan_angle / self.n_views)

    @property
    def channel_places(self) -> Floats:
        """Position of every channel on the panel in mm from the central ray."""
        return _places(self) * self.channel_spacing

    @property
    def row_places(self) -> Floats:
        """Position of every row on the panel in mm from the mid-plane."""
        return (np.arange(self.n_rows, dtype=np.float64) - (self.n_rows - 1) / 2) * self.row_spacing

    @property
    def mid_plane(self) -> FanBeam:
        """The fan of rays in the mid-plane."""
        return FanBeam(
            n_views=self.n_views,
            n_channels=self.n_channels,
            channel_spacing=self.channel_spacing,
            source_to_axis=self.source_to_axis,
            source_to_detector=self.source_to_detector,
            detector="flat",
            channel_shift=self.channel_shift,
            scan_angle=self.scan_angle,
        )

    @property
    def magnification(self) -> float:
        return self.source_to_detector / self.source_to_axis


Geometry = ParallelBeam | FanBeam
"""The geometries of single slices."""


def _places(geometry: ParallelBeam | FanBeam | ConeBeam) -> Floats:
    """Position of every channel in channels from the central ray."""
    middle = (geometry.n_channels - 1) / 2
    return np.arange(geometry.n_channels, dtype=np.float64) - middle + geometry.channel_shift


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
