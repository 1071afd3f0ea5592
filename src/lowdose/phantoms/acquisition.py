"""Scans of phantoms: exact line integrals, counted photons, and a reconstruction."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from lowdose.phantoms.phantom import Phantom
from lowdose.physics.fdk import fdk
from lowdose.physics.geometry import ConeBeam, FanBeam, VolumeGrid
from lowdose.physics.noise import measured
from lowdose.physics.ramp import APODISATIONS, Apodisation, nyquist
from lowdose.physics.reconstruction import fbp
from lowdose.physics.scanner import Scanner, ScannerError, check_fit
from lowdose.provenance import Step
from lowdose.scan import Acquisition, Scan, Slice
from lowdose.units import AIR_HU

Image = NDArray[np.float32]
Read = Callable[[int], Image]

_LOWEST_DOSE, _HIGHEST_DOSE = 1e-4, 1e3
_KEPT = 4
"""Sinograms without noise that are kept: slices are read side by side at several doses."""


@dataclass(frozen=True)
class Protocol:
    """How a phantom is scanned and reconstructed."""

    scanner: Scanner
    grid: VolumeGrid
    middle: float = 0.0
    """z in the phantom of the middle of the grid, in mm."""
    kernel: str = "hann"
    """A window of `APODISATIONS`."""
    cutoff: float = 1.0
    """Where the window ends, as a share of the highest frequency that a view samples."""
    rays: int = 3
    """Rays across the width of a channel, in a cone beam also across its height."""
    layers: int = 3
    """Planes over the thickness of a fan beam's slice."""

    def __post_init__(self) -> None:
        if self.kernel not in APODISATIONS:
            names = ", ".join(sorted(APODISATIONS))
            raise ValueError(f"there is no kernel {self.kernel!r}; choose one of {names}")
        if not 0 < self.cutoff <= 2:
            raise ValueError(f"the cut-off is {self.cutoff:g}; it is a share above 0 and up to 2")
        if self.rays < 1 or self.layers < 1:
            raise ValueError("there must be at least one ray a channel and one layer a slice")

    @property
    def kernel_name(self) -> str:
        return f"{self.kernel}-{self.cutoff:g}"

    @property
    def apodisation(self) -> Apodisation:
        return APODISATIONS[self.kernel](self.cutoff * nyquist(self.scanner.plane))


class PhantomScanner:
    """Scans one phantom at any dose, as often as wanted; ScannerError if it does not fit into the scanner.

    Line integrals without noise are computed once for all doses and repeats that are read side by side, and
    once for all slices of a module. The noise is that of `physics.noise.measured`; it depends on the seed,
    the dose, the repeat and the slice, and on nothing else.
    """

    def __init__(self, phantom: Phantom, protocol: Protocol, seed: int = 1) -> None:
        shifted = (solid.moved((-protocol.middle, 0.0, 0.0)) for solid in phantom.solids)
        self.phantom, self.protocol, self.seed = phantom, protocol, seed
        self._in_grid = replace(phantom, solids=tuple(shifted))
        reach = float(np.abs(protocol.scanner.plane.channel_offsets).max())
        widest = phantom.radius
        check_fit(
            protocol.scanner, max(widest, protocol.grid.plane.radius), f"the {phantom.title} or its image"
        )
        if widest > reach:
            raise ScannerError(
                f"the {phantom.title} reaches {widest:.0f} mm from the axis, but {protocol.scanner.title} "
                "measures "
                f"{reach:.0f} mm: its images would be wrong; name a scanner with a larger field"
            )
        self._sinograms: OrderedDict[Hashable, Image] = OrderedDict()
        self._lock = Lock()

    @property
    def is_cone(self) -> bool:
        """Whether a scan is built as one volume."""
        return isinstance(self.protocol.scanner.geometry, ConeBeam)

    def scan(self, dose: float = 1.0, repeat: int = 0) -> Scan:
        """HU at `dose` times the scanner's routine dose; another `repeat` has noise of its own.

        The volume of a cone beam is built, and kept, when its first slice is read. ValueError if the dose is
        not within a ten-thousandth and a thousand times the routine.
        """
        if not _LOWEST_DOSE <= dose <= _HIGHEST_DOSE:
            raise ValueError(
                f"the dose is {dose:g} times the scanner's routine; give {_LOWEST_DOSE:g} to "
                f"{_HIGHEST_DOSE:g} times"
            )

        def counted(sinogram: Image, z: int) -> Image:
            scanner = self.protocol.scanner
            air = scanner.beam(dose).air_counts(scanner.geometry, sinogram)
            generator = np.random.default_rng([self.seed, round(dose * 1e6), repeat, z])
            return measured(sinogram, air, scanner.electronic, generator, scanner.crosstalk)

        title = f"{self.phantom.title}, dose {dose:g}, repeat {repeat + 1}"
        return self._scan(title, self._reconstructed(counted), dose=dose, repeat=repeat)

    def noise_free(self) -> Scan:
        """The reconstruction of line integrals without noise."""
        return self._scan(f"{self.phantom.title}, without noise", self._reconstructed(lambda p, _z: p))

    def truth(self, fine: int = 4) -> Scan:
        """The phantom itself: the mean HU in every voxel, from `fine`^3 points."""
        grid = self.protocol.grid
        return self._scan(f"{self.phantom.title}, truth", lambda z: self._in_grid.image(grid, z, fine))

    def labels(self) -> Scan:
        """Numbers of the structures in `phantom.labels`, counted from one; 0 is air."""
        grid = self.protocol.grid
        return self._scan(
            f"{self.phantom.title}, labels",
            lambda z: self._in_grid.label_image(grid, z).astype(np.float32),
        )

    def _reconstructed(self, counted: Callable[[Image, int], Image]) -> Read:
        """Reads slices of what `counted` makes of the line integrals."""
        protocol, geometry = self.protocol, self.protocol.scanner.geometry
        if isinstance(geometry, ConeBeam):
            return _WholeVolume(
                lambda: self._hu(
                    fdk(geometry, protocol.grid, counted(self.cone_integrals(), 0), protocol.apodisation)
                )
            )
        return lambda z: self._hu(
            fbp(geometry, protocol.grid.plane, counted(self.slice_integrals(z), z), protocol.apodisation)
        )

    def slice_integrals(self, z: int) -> Image:
        """Line integrals `[view, channel]` of a slice: photons are averaged over its thickness, too."""
        protocol = self.protocol
        place, thickness = float(protocol.grid.positions[z]), protocol.grid.spacing[0]
        key = self._in_grid.prisms(place, thickness)
        heights = (np.arange(protocol.layers) + 0.5) / protocol.layers - 0.5 if key is None else np.zeros(1)

        def made() -> Image:
            layers = (self._integrals(place + thickness * float(height)) for height in heights)
            passed = sum(np.exp(-layer.astype(np.float64)) for layer in layers)
            return np.asarray(-np.log(passed / len(heights)), np.float32)

        return self._once(z if key is None else key, made)

    def cone_integrals(self) -> Image:
        """Line integrals `[view, row, channel]`."""
        return self._once("cone", lambda: self._integrals(0.0))

    def _integrals(self, z: float) -> Image:
        scanner, rays = self.protocol.scanner, self.protocol.rays
        return self._in_grid.line_integrals(scanner.geometry, z, water=scanner.water_mu, rays=rays)

    def _once(self, key: Hashable, make: Callable[[], Image]) -> Image:
        with self._lock:
            if key not in self._sinograms:
                self._sinograms[key] = make()
            while len(self._sinograms) > _KEPT:
                self._sinograms.popitem(last=False)
            return self._sinograms[key]

    def _hu(self, mu: Image) -> Image:
        mu *= np.float32(-AIR_HU / self.protocol.scanner.water_mu)
        mu += np.float32(AIR_HU)
        return mu

    def _scan(self, title: str, read: Read, **parameters: float) -> Scan:
        protocol, grid, fan = self.protocol, self.protocol.grid, self.protocol.scanner.plane
        affine = np.zeros((4, 4))
        affine[2, 0], affine[1, 1], affine[0, 2] = grid.spacing
        z, y, x = (-(n - 1) / 2 * d for n, d in zip(grid.shape, grid.spacing, strict=True))
        affine[:, 3] = x, y, z + protocol.middle, 1.0
        acquisition = Acquisition(
            kernel=protocol.kernel_name,
            manufacturer="lowdose",
            model=f"virtual {protocol.scanner.name}",
            slice_thickness=grid.spacing[0],
            source_to_axis=fan.source_to_axis if isinstance(fan, FanBeam) else None,
            source_to_detector=fan.source_to_detector if isinstance(fan, FanBeam) else None,
        )
        made = {
            "phantom": self.phantom.name,
            "scanner": protocol.scanner.name,
            "kernel": protocol.kernel_name,
            "seed": self.seed,
            **parameters,
        }
        nothing = np.zeros(grid.plane.shape, bool)
        return Scan(
            title,
            grid.shape,
            affine,
            lambda index: Slice(read(index), nothing),
            acquisition,
            (Step("phantom", made),),
        )


class _WholeVolume:
    """Reads slices of a volume that is made when the first of them is asked for."""

    def __init__(self, make: Callable[[], Image]) -> None:
        self._make, self._lock = make, Lock()

    @cached_property
    def _volume(self) -> Image:
        return self._make()

    def __call__(self, z: int) -> Image:
        with self._lock:
            slice_: Image = self._volume[z]
        return slice_
