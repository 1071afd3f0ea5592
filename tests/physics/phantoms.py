"""Discs with exact line integrals, and water scans whose noise is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.geometry import ConeBeam, FanBeam, Geometry, ImageGrid, ParallelBeam
from lowdose.physics.noise import expected_counts, line_integral_variance
from lowdose.physics.projector import Projector
from lowdose.physics.ramp import Apodisation, ram_lak
from lowdose.physics.reconstruction import fbp
from lowdose.scan import Scan
from lowdose.units import WATER_MU_PER_MM, mu_difference_to_hu

PARALLEL = ParallelBeam(n_views=360, n_channels=365, channel_spacing=1.0)
FAN = FanBeam(
    n_views=480, n_channels=400, channel_spacing=2.0, source_to_axis=595.0, source_to_detector=1085.6
)
GEOMETRIES: dict[str, Geometry] = {
    "parallel": PARALLEL,
    "parallel, offset": replace(PARALLEL, channel_shift=0.25),
    "fan": FAN,
    "fan, offset": replace(FAN, channel_shift=0.25),
    "flat fan": replace(FAN, detector="flat"),
    "flat fan, offset": replace(FAN, detector="flat", channel_shift=-0.25),
    "short fan": replace(FAN, scan_angle=np.deg2rad(240)),
    "short flat fan, offset": replace(FAN, scan_angle=4.5, detector="flat", channel_shift=0.25),
}
GRID = ImageGrid((224, 224), (1.3, 1.3))


def disc(grid: ImageGrid, radius: float, centre: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.float32]:
    """A disc of value one, float32 `[y, x]`, its edge averaged over each pixel; `centre` (y, x) in mm."""
    fine = 8
    (n_y, n_x), (d_y, d_x) = grid.shape, grid.spacing
    y = ((np.arange(n_y * fine) + 0.5) / fine - n_y / 2) * d_y - centre[0]
    x = ((np.arange(n_x * fine) + 0.5) / fine - n_x / 2) * d_x - centre[1]
    inside = np.hypot(y[:, None], x[None, :]) < radius
    return inside.reshape(n_y, fine, n_x, fine).mean(axis=(1, 3)).astype(np.float32)


def chords(
    geometry: Geometry, radius: float, centre: tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.float64]:
    """Exact line integrals `[view, channel]` of the same disc."""
    angle = geometry.view_angles[:, None] + geometry.channel_angles[None, :]
    distance = geometry.channel_offsets[None, :] - (centre[1] * np.cos(angle) + centre[0] * np.sin(angle))
    return 2.0 * np.sqrt(np.maximum(radius**2 - distance**2, 0.0))


def ball_chords(
    geometry: ConeBeam, radius: float, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> NDArray[np.float64]:
    """Exact line integrals `[view, row, channel]` of a ball of value one; `centre` (z, y, x) in mm."""
    angle = geometry.view_angles[:, None, None]
    along, aside, depth = np.cos(angle), np.sin(angle), geometry.source_to_detector
    u, w = geometry.channel_places, geometry.row_places[:, None]
    ray = np.stack(
        np.broadcast_arrays(w, u * aside - depth * along, u * along + depth * aside, subok=False), axis=-1
    )
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    source = geometry.source_to_axis * np.concatenate([0 * angle, along, -aside], axis=-1)
    towards = np.array(centre) - source[:, :, None, :]
    reach = (towards * ray).sum(-1)
    missed = (towards**2).sum(-1) - reach**2
    return 2 * np.sqrt(np.maximum(radius**2 - missed, 0.0))


def noisy_water(
    *,
    photons: float,
    n_slices: int,
    geometry: Geometry = FAN,
    grid: ImageGrid = GRID,
    apodisation: Apodisation = ram_lak,
    radius: float = 110.0,
    seed: int = 0,
) -> Scan:
    """Slices of a water cylinder scanned with `photons` per ray, whose noise is exactly what the physics
    says.
    """
    generator = np.random.default_rng(seed)
    water = disc(grid, radius)
    counts = expected_counts(Projector(grid, geometry)(water * np.float32(WATER_MU_PER_MM)), photons)
    deviation = np.sqrt(line_integral_variance(counts, 0.0))
    slices = []
    for _ in range(n_slices):
        noise = generator.standard_normal(counts.shape, dtype=np.float32) * deviation
        slices.append(water * 1000 - 1000 + mu_difference_to_hu(fbp(geometry, grid, noise, apodisation)))
    return Scan.from_array(np.stack(slices), spacing=(2.0, *grid.spacing), name="water")
