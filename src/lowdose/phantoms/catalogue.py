"""The phantoms by name, each with a scan that suits it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from lowdose.phantoms.abdomen import abdomen
from lowdose.phantoms.acquisition import Protocol
from lowdose.phantoms.acr import ACR_464
from lowdose.phantoms.catphan import CATPHAN_504, CATPHAN_600
from lowdose.phantoms.layout import Layout
from lowdose.phantoms.microct_phantom import MICRO_CT
from lowdose.phantoms.mita import MITA, mita_layout
from lowdose.phantoms.mouse import mouse
from lowdose.phantoms.neck import neck
from lowdose.phantoms.phantom import Phantom
from lowdose.phantoms.thorax import thorax
from lowdose.phantoms.twins import twin
from lowdose.phantoms.water import water_layout
from lowdose.physics.geometry import ConeBeam, VolumeGrid
from lowdose.physics.scanner import Scanner
from lowdose.physics.scanners import SCANNERS

_CLINICAL, _BENCH = "siemens-as+", "micro-ct"


@dataclass(frozen=True)
class Entry:
    """A phantom in the catalogue."""

    name: str
    summary: str
    make: Callable[[int, float | None], Phantom]
    """From a seed and the contrast of the blood in HU, None for the phantom's own."""
    scanner: str
    grid: VolumeGrid
    middle: float = 0.0
    varies: bool = False
    """Whether the seed makes it another one."""
    enhances: bool = False
    """Whether it has blood that a contrast agent shows."""

    def protocol(
        self, scanner: Scanner | None = None, slices: int | None = None, thickness: float | None = None
    ) -> Protocol:
        """A scan of it, with another scanner, number of slices or slice thickness in mm if given.

        Where one of the two is given, the other follows, so that the same length is scanned.
        """
        grid = self.grid
        length = grid.shape[0] * grid.spacing[0]
        machine = scanner or SCANNERS[self.scanner]
        is_cone = isinstance(machine.geometry, ConeBeam)
        if thickness is not None or slices is not None:
            # A cone beam sees planes: thicker voxels would show less than what is in them.
            stretches = slices is not None and not (self._is_uniform or is_cone)
            step = thickness or (length / slices if slices and stretches else grid.spacing[0])
            number = slices or max(1, round(length / step))
            grid = VolumeGrid((number, *grid.shape[1:]), (step, *grid.spacing[1:]))
        rays = 2 if is_cone else 3
        return Protocol(machine, grid, self.middle, rays=rays)

    @property
    def _is_uniform(self) -> bool:
        return self.name in ("water", MITA.name, "mita-uniform")


def _fixed(phantom: Phantom) -> Callable[[int, float | None], Phantom]:
    return lambda _seed, _contrast: phantom


def _body_grid(n_slices: int, thickness: float, field: float) -> VolumeGrid:
    return VolumeGrid((n_slices, 512, 512), (thickness, field / 512, field / 512))


_ENTRIES = (
    Entry("water", "a cylinder of water, 200 mm", _fixed(twin(water_layout())), _CLINICAL,
          _body_grid(20, 3.0, 250.0)),
    Entry(MITA.name, "CCT189: four rods of 3 to 14 HU in 200 mm of water", _fixed(twin(MITA)), _CLINICAL,
          _body_grid(10, 3.0, 250.0)),
    Entry("mita-uniform", "the CCT189 without its rods", _fixed(twin(mita_layout(rods=False))), _CLINICAL,
          _body_grid(10, 3.0, 250.0)),
    Entry(CATPHAN_504.name, "Catphan 504: sensitometry, line pairs, low contrast, uniformity",
          _fixed(twin(CATPHAN_504)), _CLINICAL, _body_grid(52, 2.5, 250.0), middle=-18.0),
    Entry(CATPHAN_600.name, "Catphan 600: the same modules in another order", _fixed(twin(CATPHAN_600)),
          _CLINICAL, _body_grid(80, 2.5, 250.0), middle=-88.0),
    Entry(ACR_464.name, "ACR 464: the four modules of accreditation", _fixed(twin(ACR_464)), _CLINICAL,
          _body_grid(64, 2.5, 250.0), middle=60.0),
    Entry("mouse", "a mouse from neck to hip; seeds 1 to 38 are the published study's number of animals",
          lambda seed, _contrast: mouse(seed), _BENCH, VolumeGrid((256, 256, 256), (0.14, 0.14, 0.14)),
          varies=True),
    Entry(MICRO_CT.name, "28 mm for micro-CT: rods of eight materials, a uniform part, bars",
          _fixed(twin(MICRO_CT)), _BENCH, VolumeGrid((96, 256, 256), (0.14, 0.14, 0.14))),
    Entry("thorax", "an adult chest with nodules",
          lambda seed, contrast: thorax(seed, 0.0 if contrast is None else contrast), _CLINICAL,
          _body_grid(64, 2.5, 400.0), varies=True, enhances=True),
    Entry("abdomen", "an adult upper abdomen with liver metastases",
          lambda seed, contrast: abdomen(seed, 120.0 if contrast is None else contrast), _CLINICAL,
          _body_grid(64, 2.5, 400.0), varies=True, enhances=True),
    Entry("neck", "an adult neck with carotid arteries and jugular veins",
          lambda seed, contrast: neck(seed, 0.0 if contrast is None else contrast), _CLINICAL,
          _body_grid(64, 2.5, 200.0), varies=True, enhances=True),
)  # fmt: skip

LAYOUTS: Mapping[str, Layout] = {
    layout.name: layout
    for layout in (CATPHAN_504, CATPHAN_600, ACR_464, MITA, mita_layout(rods=False), water_layout())
}
"""The test objects that can be found in a scan and measured."""

PHANTOMS: Mapping[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def on_a_grid(protocol: Protocol, shape: tuple[int, int], spacing: tuple[float, float]) -> Protocol:
    """`protocol` with other pixels."""
    grid = VolumeGrid((protocol.grid.shape[0], *shape), (protocol.grid.spacing[0], *spacing))
    return replace(protocol, grid=grid)
