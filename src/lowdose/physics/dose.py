"""A scan as it would look at a lower dose: the noise that is missing, through the projections, added to the
image.

The image itself is never reconstructed anew, so nothing but noise changes: at a dose fraction of one the scan
comes back bit for bit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from lowdose.physics.calibration import Calibration, calibrate, relative_tube_current
from lowdose.physics.geometry import ImageGrid
from lowdose.physics.noise import missing_noise, mixed
from lowdose.physics.reconstruction import fbp
from lowdose.physics.scan_projection import image_grid, line_integrals, sampled_slices
from lowdose.physics.scanner import Scanner, ScannerChoice, check_fit
from lowdose.physics.scanners import scanner_for
from lowdose.provenance import Step
from lowdose.scan import Scan, Slice
from lowdose.units import checked_dose_fraction, mu_difference_to_hu

Sinogram = NDArray[np.float32]

METAL_HU = 3000.0
_BODY_HU = -500.0
_TRUNCATED_SHARE = 0.05
_METAL_PIXELS = 20
_LOOKED_AT = 9
_KEPT_SLICES = 6
_SMALLEST_RANGE_HU, _AIR_BELOW_HU = 100.0, -200.0
_FEW_REGIONS = 24


@dataclass(frozen=True, eq=False)
class DoseSimulator:
    """Makes the noise that separates one scan from the same scan at lower doses, slice by slice.

    The projections of a slice serve all doses: read the same slice of each before the next one.
    """

    scan: Scan
    choice: ScannerChoice
    calibration: Calibration
    seed: int
    notes: tuple[str, ...] = ()
    """Sentences about what limits the simulation of this scan."""
    _currents: tuple[float, ...] = ()
    _kept: OrderedDict[int, tuple[Slice, Sinogram]] = field(default_factory=OrderedDict, repr=False)
    _one_at_a_time: Lock = field(default_factory=Lock, repr=False)
    """Every slice takes all cores, and not every threading layer may be entered twice."""

    @property
    def scanner(self) -> Scanner:
        return self.choice.scanner

    @property
    def grid(self) -> ImageGrid:
        return image_grid(self.scan)

    def of(self, scan: Scan) -> DoseSimulator:
        """The same calibration for a scan of the same slices that was changed on the way, by lesions say."""
        return replace(self, scan=scan, _kept=OrderedDict())

    def at(self, fraction: float) -> Scan:
        """The scan at `fraction` of its dose, computed slice by slice as it is read.

        Every slice has a random stream of its own, derived from the seed and its index, so that a slice does
        not depend on which others were read. Padding is not touched. ValueError if `fraction` is not in
        (0, 1].
        """
        fraction = checked_dose_fraction(fraction)

        def read(z: int) -> Slice:
            generator = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(z,)))
            with self._one_at_a_time:
                original, counts = self.counts(z)
                noise = self.missing_noise(counts, fraction, generator)
            return Slice(np.where(original.padding, original.hu, original.hu + noise), original.padding)

        if fraction == 1.0:
            return self.scan.with_slices(self.scan.read, _step(fraction, self.seed))
        simulated = self.scan.with_slices(read, _step(fraction, self.seed, self))
        return replace(simulated, notes=(*self.scan.notes, *self.notes))

    def counts(self, z: int) -> tuple[Slice, Sinogram]:
        """Slice `z` and the photons expected behind it, float32 `[view, channel]`, at its own dose."""
        if z not in self._kept:
            slice_ = self.scan.read(z)
            projection = line_integrals(slice_, self.grid, self.scanner.plane, self.scanner.water_mu)
            relative = self._currents[z] if self._currents else 1.0
            beam, level = self.calibration.beam, self.calibration.level(z)
            self._kept[z] = slice_, beam.counts(self.scanner.plane, projection, relative / level)
            while len(self._kept) > _KEPT_SLICES:
                self._kept.popitem(last=False)
        return self._kept[z]

    def missing_noise(self, counts: Sinogram, fraction: float, generator: np.random.Generator) -> Sinogram:
        """Noise in HU, float32 `[y, x]`, that takes a slice from its own dose to `fraction` of it.

        `counts` are the photons of its own dose. Rays that would end in fewer photons than the electronic
        noise get the noise of as many as that: the logarithm of a scanner is limited in the same way.
        """
        beam = self.calibration.beam
        enough = np.maximum(counts, np.float32(max(1.0, beam.electronic) / fraction))
        noise = missing_noise(enough, fraction, beam.electronic, generator)
        if self.calibration.noise is None:
            # A kernel that is measured on the scan has the cross-talk in it.
            noise = mixed(noise, self.scanner.crosstalk)
        image = fbp(self.scanner.plane, self.grid, noise, self.calibration.kernel)
        return mu_difference_to_hu(image, self.scanner.water_mu)


def dose_simulator(scan: Scan, *, seed: int, scanner: Scanner | ScannerChoice | None = None) -> DoseSimulator:
    """Calibrate a simulator to the noise of `scan`; without a `scanner` the header decides which."""
    grid = image_grid(scan)
    choice = scanner or scanner_for(scan.acquisition, grid)
    if isinstance(choice, Scanner):
        choice = ScannerChoice(choice)
    check_fit(choice.scanner, grid.radius, f"{scan.name}: the image")
    calibration = calibrate(scan, choice.scanner, np.random.default_rng([seed, len(scan)]))
    notes = _limits(scan, choice.scanner, calibration)
    currents = relative_tube_current(scan.acquisition, len(scan))
    return DoseSimulator(scan, choice, calibration, seed, notes, currents)


def simulate(
    scan: Scan, fraction: float, *, seed: int, scanner: Scanner | ScannerChoice | None = None
) -> Scan:
    """`scan` at `fraction` of its dose; see `DoseSimulator.at`, where doses share one calibration."""
    fraction = checked_dose_fraction(fraction)
    if fraction == 1.0:
        return scan.with_slices(scan.read, _step(fraction, seed))
    return dose_simulator(scan, seed=seed, scanner=scanner).at(fraction)


def simulate_ladder(
    scan: Scan, fractions: Sequence[float], *, seed: int, scanner: Scanner | ScannerChoice | None = None
) -> tuple[Scan, ...]:
    """`scan` at several fractions of its dose: one calibration, and one projection of each slice."""
    checked = [checked_dose_fraction(fraction) for fraction in fractions]
    simulator = dose_simulator(scan, seed=seed, scanner=scanner)
    return tuple(simulator.at(fraction) for fraction in checked)


def _step(fraction: float, seed: int, simulator: DoseSimulator | None = None) -> Step:
    parameters: dict[str, object] = {"dose_fraction": fraction, "seed": seed}
    if simulator is None:
        return Step("simulate", parameters)
    calibration = simulator.calibration
    beam, evidence = calibration.beam, calibration.evidence
    return Step(
        "simulate",
        parameters
        | {
            "scanner": simulator.scanner.name,
            "geometry": repr(simulator.scanner.plane),
            "photons_per_ray": round(beam.photons),
            "electronic_noise_photons": round(beam.electronic, 2),
            "modulation": beam.modulation,
            "hardening": beam.hardening,
            "noise_of_the_scan_hu": None if calibration.noise is None else round(calibration.noise, 2),
            "regions_measured": 0 if evidence is None else evidence.n_regions,
            "read": " ".join(simulator.choice.read) or "nothing",
            "assumed": " ".join(simulator.choice.assumed) or "nothing",
        },
    )


def _limits(scan: Scan, scanner: Scanner, calibration: Calibration) -> tuple[str, ...]:
    """What a user should know of a simulation of this scan."""
    notes = []
    sample = list(sampled_slices(scan, _LOOKED_AT))
    measured = [slice_.hu[~slice_.padding] for _, slice_ in sample]
    lowest, highest = min(one.min(initial=0) for one in measured), max(one.max(initial=0) for one in measured)
    if highest - lowest < _SMALLEST_RANGE_HU:
        notes.append(
            f"All values lie between {lowest:.3g} and {highest:.3g}, which are no HU of a body: if this is "
            "attenuation in 1/mm or a share of it, convert it first."
        )
    elif lowest > _AIR_BELOW_HU:
        notes.append(
            f"No value is below {lowest:.0f}: without air in the image this may be right, but an offset of "
            "1024 is "
            "common; if air does not read −1000 HU here, convert the values first."
        )
    evidence = calibration.evidence
    if evidence is not None and evidence.n_regions < _FEW_REGIONS:
        notes.append(
            f"The noise was measured in only {evidence.n_regions} flat regions: level and spectrum are "
            "uncertain."
        )
    if calibration.noise is None:
        notes.append(
            "There is too little flat soft tissue with noise to calibrate to: "
            f"{round(calibration.photons)} photons a ray and the pure ramp are assumed."
        )
    metal, truncated = 0, 0
    for _, slice_ in sample:
        body = (slice_.hu > _BODY_HU) & ~slice_.padding
        metal += int(np.count_nonzero(slice_.hu > METAL_HU) > _METAL_PIXELS)
        truncated += int(_share_at_border(body, ~slice_.padding) > _TRUNCATED_SHARE)
    if metal:
        notes.append(
            f"Metal (above {METAL_HU:g} HU) in {metal} of {len(sample)} slices looked at: where a ray would "
            "end in "
            "fewer photons than the electronic noise it gets the noise of as many as that, so that streaks "
            "of "
            "starved rays are milder than real ones."
        )
    if truncated:
        notes.append(
            f"The patient reaches beyond the image in {truncated} of {len(sample)} slices looked at: what "
            "lies outside attenuates nothing here, so noise from those directions is too weak."
        )
    reach = float(np.abs(scanner.plane.channel_offsets).max())
    if min(image_grid(scan).size) / 2 > reach * 1.02:
        notes.append(
            f"The image reaches {min(image_grid(scan).size) / 2:.0f} mm from the axis, {scanner.title} "
            f"measures {reach:.0f} mm: the noise outside is not to be trusted; name a scanner with a larger "
            "field."
        )
    return tuple(notes)


def _share_at_border(body: NDArray[np.bool_], measured: NDArray[np.bool_]) -> float:
    """Share of the outline of the measured field that is body."""
    inner = measured.copy()
    inner[1:-1, 1:-1] &= measured[:-2, 1:-1] & measured[2:, 1:-1] & measured[1:-1, :-2] & measured[1:-1, 2:]
    inner[[0, -1]] = False
    inner[:, [0, -1]] = False
    outline = measured & ~inner
    return float(body[outline].mean()) if outline.any() else 0.0
