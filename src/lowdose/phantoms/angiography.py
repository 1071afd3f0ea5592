"""Digital bodies scanned twice, without and with contrast agent: pairs whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from lowdose.phantoms.abdomen import abdomen
from lowdose.phantoms.acquisition import PhantomScanner, Protocol
from lowdose.phantoms.neck import neck
from lowdose.phantoms.phantom import Phantom
from lowdose.phantoms.thorax import thorax
from lowdose.phantoms.vessel_disease import with_disease
from lowdose.physics.contrast_agent import TRANSITS, Injection, enhancement
from lowdose.physics.geometry import VolumeGrid
from lowdose.physics.scanners import SCANNERS
from lowdose.scan import Scan, Slice

ARTERIES = (
    "aorta", "arteries", "carotid arteries", "vertebral arteries", "lung arteries", "lung vessels",
    "heart chambers",
)  # fmt: skip
"""Structures whose lumen an angiography shows; `false lumen` besides, where there is one."""


@dataclass(frozen=True)
class Region:
    """A part of the body, how it is made, and which vessel falls ill there."""

    make: Callable[[int, float], Phantom]
    """From a seed and the enhancement of its blood in HU."""
    vessel: str
    transit: str
    field: float
    """mm along x and y"""
    z_range: tuple[float, float]
    """mm within which a disease may lie"""


REGIONS: Mapping[str, Region] = {
    "thorax": Region(thorax, "aorta", "aorta", 400.0, (-90.0, 30.0)),
    "abdomen": Region(abdomen, "aorta", "aorta", 400.0, (-100.0, 60.0)),
    "neck": Region(neck, "carotid arteries", "carotid artery", 200.0, (-90.0, 80.0)),
}


@dataclass(frozen=True)
class DigitalPair:
    """One body, twice: everything on one grid."""

    region: str
    disease: str
    enhancement: float
    """HU that the agent adds to the blood of its arteries"""
    plain: Scan
    enhanced: Scan
    true_plain: Scan
    true_enhanced: Scan
    """Without noise or blur"""
    arteries: Scan
    """1 where a voxel's middle lies in the lumen of an artery, 0 elsewhere"""


def digital_pair(
    region: str, disease: str, seed: int, *, n_slices: int, n_pixels: int = 256, thickness: float = 2.5,
    dose: float = 1.0,
) -> DigitalPair:  # fmt: skip
    """The body of `seed` with `disease`, scanned without agent and at the best moment of an angiography.

    The moment differs by up to 3 s from the best one, and hearts differ, so that enhancement does. Noise is
    that of a routine scan at `dose` times its dose, independent between the two. ValueError for a region or a
    disease that there is not.
    """
    if region not in REGIONS:
        raise ValueError(f"there is no region {region!r}; choose one of {', '.join(REGIONS)}")
    of_region = REGIONS[region]
    generator = np.random.default_rng([17, seed])
    added = _enhancement(of_region.transit, generator)
    bodies = []
    for contrast in (0.0, added):
        ill = np.random.default_rng([18, seed])
        bodies.append(
            with_disease(
                of_region.make(seed, contrast), disease, ill, vessel=of_region.vessel, contrast=contrast,
                z_range=of_region.z_range,
            )
        )  # fmt: skip
    pixel = of_region.field / n_pixels
    grid = VolumeGrid((n_slices, n_pixels, n_pixels), (thickness, pixel, pixel))
    middle = 0.0
    if bodies[0].findings and disease != "healthy":
        middle = bodies[0].findings[-1].centre[0]
    protocol = Protocol(SCANNERS["siemens-as+"], grid, middle, rays=2, layers=2)
    plain, enhanced = (
        PhantomScanner(body, protocol, seed=2 * seed + number) for number, body in enumerate(bodies)
    )
    return DigitalPair(
        region, disease, added, plain.scan(dose), enhanced.scan(dose), plain.truth(), enhanced.truth(),
        _arteries(enhanced),
    )  # fmt: skip


def _enhancement(transit: str, generator: np.random.Generator) -> float:
    """HU near the peak of the curve, of a heart between a weak and a strong one."""
    output = generator.uniform(75.0, 110.0)
    time = np.arange(0.0, 60.0, 0.1)
    curve = enhancement(time, Injection(), TRANSITS[transit], output)
    moment = time[int(curve.argmax())] + generator.uniform(-3.0, 3.0)
    return float(np.interp(moment, time, curve))


def _arteries(scanner: PhantomScanner) -> Scan:
    labels = scanner.labels()
    wanted = [
        number
        for number, name in enumerate(scanner.phantom.labels, 1)
        if name in ARTERIES or name == "false lumen"
    ]

    def read(z: int) -> Slice:
        slice_ = labels.read(z)
        return slice_._replace(hu=np.isin(slice_.hu, wanted).astype(np.float32))

    return replace(labels, name=f"{scanner.phantom.title}, arteries", read=read)
