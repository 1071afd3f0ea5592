"""From a method and a scan to what the method ignores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lowdose.denoising import Denoiser, SlabDenoiser
from lowdose.invariances.candidates import (
    CLIMBED,
    DIRECT,
    LEARNED,
    NULL_SPACE,
    SAMPLED,
    Candidate,
    Place,
    most_ignored,
)
from lowdose.invariances.controls import control_gates, controlled
from lowdose.invariances.direct import Search, directly_found
from lowdose.invariances.evidence import (
    DirectionEffect,
    Explanation,
    Finding,
    Gate,
    NoiseKept,
    SearchedPlace,
    SeenSlice,
    finding_of,
    verdict_of,
)
from lowdose.invariances.noisy_slice import (
    NoisySlice,
    direction_effect,
    noise_kept,
    noisy_slice,
    over_slices,
    place_in,
)
from lowdose.invariances.probes import KINDS, Probe, by_shape, n_steps, probed, sites
from lowdose.invariances.response import SIDE, local_method
from lowdose.invariances.windows import ExplanationError, body_slices, chosen_windows
from lowdose.physics.dose import DoseSimulator, dose_simulator
from lowdose.quality.structural_change import scale_px
from lowdose.scan import Scan, remembering

if TYPE_CHECKING:
    from lowdose.invariances.gradients import DifferentiableMethod
    from lowdose.invariances.sampling import Learned

Images = NDArray[np.float32]
_REMEMBERED = 18
"""Slices of each realisation: all that a method which looks along z is shown at once."""
OnStep = Callable[[str, float], None]
"""Told what is being done and which share of all is done."""


@dataclass(frozen=True)
class Thoroughness:
    """How much is looked at."""

    dose: float = 0.25
    """Fraction of the scan's own dose that the method is shown."""
    n_realisations: int = 6
    n_slices: int = 3
    n_places: int = 4
    """In each slice"""
    n_climbed: int = 2
    """Of these, where gradients are followed"""
    n_sites: int = 3
    """For planted lesions in each slice and tissue"""
    search: Search = field(default_factory=Search)
    seed: int = 1


def explained(
    name: str,
    make: Callable[[Scan], Denoiser | SlabDenoiser],
    scan: Scan,
    thoroughness: Thoroughness = Thoroughness(),
    learned: Learned | None = None,
    network: DifferentiableMethod | None = None,
    *,
    on_step: OnStep = lambda _what, _share: None,
) -> Explanation:
    """What the method `name`, made ready for a scan by `make`, ignores of `scan` at a lower dose.

    With `learned`, inputs are also sampled from what was learned of the method; they count where its gates
    pass. With `network`, the method itself with gradients, these are followed, too. ExplanationError for a
    scan that shows no body, or slices smaller than a window; ResponseError if the method changes the size.
    """
    if min(scan.shape[1:]) < SIDE:
        raise ExplanationError(
            f"{scan.name}: slices of {scan.shape[1]} x {scan.shape[2]} pixels are smaller than the {SIDE} "
            "that are looked at"
        )
    simulator = dose_simulator(scan, seed=thoroughness.seed)
    low = tuple(
        remembering(
            replace(simulator, seed=thoroughness.seed * 1000 + number).at(thoroughness.dose), _REMEMBERED
        )
        for number in range(thoroughness.n_realisations)
    )
    method = make(low[0])
    sigma = scale_px(scan.spacing[1:])
    slices = body_slices(scan, thoroughness.n_slices, sigma)
    found = _Found()
    for number, z in enumerate(slices):
        told = partial(_told, on_step, f"slice {z + 1}: ", number, len(slices))
        told("noise", 0.0)
        level = noisy_slice(scan, low, method, z, sigma)
        found.noise.append(noise_kept(level))
        found.slices.append(SeenSlice(z, level.anatomy, level.inputs[0], level.outputs[0]))
        _search(level, method, thoroughness, learned, network, scan.spacing[1:], found, told)
        found.probes.extend(_probes(simulator, level, method, thoroughness, told))
    found.findings.sort(key=lambda one: -one.times)
    shapes = by_shape(found.probes)
    of_controls = control_gates(found.controls)
    failed = [gate for gate in of_controls if not gate.passed]
    gates = _learned_gates(learned, found, scan.spacing[1:]) if learned is not None else ()
    if any(not gate.passed for gate in gates):
        found.forget_learned()
    return Explanation(
        name, scan.name, thoroughness.dose, tuple(found.places), tuple(found.findings), tuple(shapes),
        over_slices(found.noise), (*of_controls, *gates),
        verdict_of(name, found.places, found.findings, shapes, failed), tuple(found.directions),
        tuple(found.slices),
    )  # fmt: skip


@dataclass(frozen=True)
class _Found:
    """What has been found so far."""

    places: list[SearchedPlace] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    directions: list[DirectionEffect] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    noise: list[list[NoiseKept]] = field(default_factory=list)
    controls: list[tuple[float, float]] = field(default_factory=list)
    slices: list[SeenSlice] = field(default_factory=list)
    sampled: list[tuple[Place, list[Candidate]]] = field(default_factory=list)

    def forget_learned(self) -> None:
        """Leave out what was found by what was learned."""
        self.findings[:] = [one for one in self.findings if one.candidate.found_by not in LEARNED]
        self.directions[:] = [one for one in self.directions if one.found_by not in LEARNED]
        self.places[:] = [
            replace(one, found={who: times for who, times in one.found.items() if who not in LEARNED})
            for one in self.places
        ]


def _learned_gates(learned: Learned, found: _Found, spacing: tuple[float, float]) -> tuple[Gate, ...]:
    from lowdose.invariances.gates import learned_gates  # torch: see _search

    places = [place for place, _ in found.sampled]
    return learned_gates(learned, places, [one for _, some in found.sampled for one in some], spacing)


def _told(on_step: OnStep, slice_: str, number: int, n: int, what: str, share: float) -> None:
    on_step(slice_ + what, (number + share) / n)


def _search(
    level: NoisySlice, method: Denoiser | SlabDenoiser, thoroughness: Thoroughness, learned: Learned | None,
    network: DifferentiableMethod | None, spacing: tuple[float, float], found: _Found, told: OnStep,
) -> None:  # fmt: skip
    """Look for ignored changes at some places of a slice."""
    chosen = chosen_windows(level.anatomy, thoroughness.n_places, level.of_input.sigma_px)
    for index, (window, tissue) in enumerate(chosen):
        told(f"place {index + 1} of {len(chosen)}", 0.05 + 0.45 * index / len(chosen))
        place = place_in(level, method, window)
        candidates = {DIRECT: directly_found(place, thoroughness.search)}
        moves = [(float("nan"), one) for one in most_ignored(candidates[DIRECT])[:2]]
        if network is not None and index < thoroughness.n_climbed:
            from lowdose.invariances import gradients, null_space  # torch takes seconds, others need none

            candidates[CLIMBED] = gradients.found_by_gradients(place, network, seed=level.z)
            if index == 0:
                candidates[NULL_SPACE] = null_space.found_in_null_space(place, network, seed=level.z)
        if learned is not None:
            from lowdose.invariances import sampling

            candidates[SAMPLED] = sampling.sampled(place, learned, seed=level.z)
            found.sampled.append((place, candidates[SAMPLED]))
            for one in sampling.directions(place, learned, seed=level.z):
                moves += [(one.share, candidate) for candidate in one.towards]
        found.directions.extend(
            direction_effect(place, level, share, candidate) for share, candidate in moves
        )
        found.places.append(_searched(place, tissue, candidates))
        found.findings.extend(
            finding_of(place, one, level.tissue_at(place, one), spacing)
            for some in candidates.values()
            for one in most_ignored(some)[:1]
            if one.change.structural > 1.0
        )
        if index == 0:
            found.controls.append(controlled(level, window, thoroughness.search))


def _searched(place: Place, tissue: str, candidates: dict[str, list[Candidate]]) -> SearchedPlace:
    rows, columns = place.window
    found = {}
    for who, some in candidates.items():
        best = most_ignored(some)[:1]
        found[who] = best[0].change.structural if best else 0.0
    return SearchedPlace(place.z, rows.start + SIDE // 2, columns.start + SIDE // 2, tissue, found)


def _probes(
    simulator: DoseSimulator, level: NoisySlice, method: Denoiser | SlabDenoiser, thoroughness: Thoroughness,
    told: OnStep,
) -> list[Probe]:  # fmt: skip
    generator = np.random.default_rng([thoroughness.seed, level.z])
    scan = simulator.scan
    places = {
        tissue: sites(level.anatomy, tissue, scan.spacing[1:], thoroughness.n_sites, generator)
        for tissue in dict.fromkeys(kind.tissue for kind in KINDS)
    }
    whole = (slice(0, scan.shape[1]), slice(0, scan.shape[2]))
    methods = [local_method(method, one, level.z, whole, margin=0) for one in level.low]
    n = max(1, n_steps(places))
    done = iter(range(1, n + 1))

    def on_step() -> None:
        told("planted lesions", 0.5 + 0.5 * next(done, n) / n)

    return probed(simulator, level.z, methods, places, on_step=on_step)
