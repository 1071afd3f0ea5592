"""From a method and a scan to what the method ignores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lowdose.denoising import Denoiser, Identity, SlabDenoiser, denoise
from lowdose.invariances.candidates import Candidate, Place, most_ignored
from lowdose.invariances.direct import FOUND_BY as DIRECT
from lowdose.invariances.direct import Search, directly_found
from lowdose.invariances.evidence import (
    CONVICTED,
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
from lowdose.invariances.probes import KINDS, Probe, by_shape, n_steps, probed, sites
from lowdose.invariances.response import SIDE, local_method
from lowdose.physics.dose import DoseSimulator, dose_simulator
from lowdose.provenance import Step
from lowdose.quality.structural_change import NoiseNull, Window, noise_null, scale_px, smoothed
from lowdose.quality.structures import BONE, LUNG, SOFT, VESSEL, dice, structures
from lowdose.scan import Scan

if TYPE_CHECKING:
    from lowdose.invariances.gradients import DifferentiableMethod
    from lowdose.invariances.sampling import Learned

Images = NDArray[np.float32]
OnStep = Callable[[str, float], None]
"""Told what is being done and which share of all is done."""

_NULL_WINDOWS = 48
_BODY_SHARE = 0.5
_LEVEL = 0.05
"""Of re-noised pairs whose masks agree less."""


class ExplanationError(ValueError):
    """One sentence: why this scan or method cannot be explained."""


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


@dataclass(frozen=True, eq=False)
class _Level:
    """One slice with noise: inputs and outputs of all realisations, and what noise changes in them."""

    z: int
    anatomy: Images
    low: tuple[Scan, ...]
    inputs: Images
    outputs: Images
    of_input: NoiseNull
    of_output: NoiseNull


class Constant:
    """Gives one value everywhere: a control that ignores everything."""

    context = 0

    def __call__(self, hu: Images) -> Images:
        return np.full_like(hu, -300.0)

    def describe(self) -> Step:
        return Step("constant")


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
        replace(simulator, seed=thoroughness.seed * 1000 + number).at(thoroughness.dose)
        for number in range(thoroughness.n_realisations)
    )
    method = make(low[0])
    sigma = scale_px(scan.spacing[1:])
    slices = _slices(scan, thoroughness.n_slices, sigma)
    found = _Found()
    for number, z in enumerate(slices):
        told = partial(_told, on_step, f"slice {z + 1}: ", number, len(slices))
        told("noise", 0.0)
        level = _level(scan, low, method, z, sigma)
        found.noise.append(_noise_kept(level))
        found.slices.append(SeenSlice(z, level.anatomy, level.inputs[0], level.outputs[0]))
        _search(level, method, thoroughness, learned, network, scan.spacing[1:], found, told)
        found.probes.extend(_probes(simulator, level, method, thoroughness, told))
    found.findings.sort(key=lambda one: -one.times)
    shapes = by_shape(found.probes)
    control_gates = _control_gates(found.controls)
    failed = [gate for gate in control_gates if not gate.passed]
    gates = _learned_gates(learned, found) if learned is not None else ()
    if any(not gate.passed for gate in gates):
        found.forget_learned()
    return Explanation(
        name, scan.name, thoroughness.dose, tuple(found.places), tuple(found.findings), tuple(shapes),
        _merged(found.noise), (*control_gates, *gates),
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
        self.findings[:] = [one for one in self.findings if "represent" not in one.candidate.found_by]
        self.directions[:] = [one for one in self.directions if "represent" not in one.found_by]
        self.places[:] = [
            replace(one, found={who: times for who, times in one.found.items() if "represent" not in who})
            for one in self.places
        ]


def _learned_gates(learned: Learned, found: _Found) -> tuple[Gate, ...]:
    from lowdose.invariances.gates import (
        learned_gates,
    )  # torch takes seconds, and the direct search none of it

    places = [place for place, _ in found.sampled]
    return learned_gates(learned, places, [one for _, some in found.sampled for one in some])


def _told(on_step: OnStep, slice_: str, number: int, n: int, what: str, share: float) -> None:
    on_step(slice_ + what, (number + share) / n)


def _search(
    level: _Level, method: Denoiser | SlabDenoiser, thoroughness: Thoroughness, learned: Learned | None,
    network: DifferentiableMethod | None, spacing: tuple[float, float], found: _Found, told: OnStep,
) -> None:  # fmt: skip
    """Look for ignored changes at some places of a slice."""
    chosen = _windows(level.anatomy, thoroughness.n_places, level.of_input.sigma_px)
    for index, (window, tissue) in enumerate(chosen):
        told(f"place {index + 1} of {len(chosen)}", 0.05 + 0.45 * index / len(chosen))
        place = _place(level, method, window)
        candidates = {DIRECT: directly_found(place, thoroughness.search)}
        moves = [(float("nan"), one) for one in most_ignored(candidates[DIRECT])[:2]]
        if network is not None and index < thoroughness.n_climbed:
            from lowdose.invariances import gradients  # torch takes seconds, and the direct search none of it

            candidates[gradients.FOUND_BY] = gradients.found_by_gradients(place, network, seed=level.z)
        if learned is not None:
            from lowdose.invariances import sampling  # torch takes seconds, and the direct search none of it

            candidates[sampling.SAMPLED] = sampling.sampled(place, learned, seed=level.z)
            found.sampled.append((place, candidates[sampling.SAMPLED]))
            for one in sampling.directions(place, learned, seed=level.z):
                moves += [(one.share, candidate) for candidate in one.towards]
        found.directions.extend(_effect(place, level, share, candidate) for share, candidate in moves)
        found.places.append(_searched(place, tissue, candidates))
        found.findings.extend(
            finding_of(place, one, tissue, spacing)
            for some in candidates.values()
            for one in most_ignored(some)[:1]
            if one.change.structural > 1.0
        )
        if index == 0:
            found.controls.append(_controls(level, window, thoroughness.search))


def _slices(scan: Scan, n: int, sigma: float) -> list[int]:
    """Slices evenly spaced through those that show a body."""
    looked_at = np.unique(np.linspace(0, len(scan) - 1, min(len(scan), 5 * n)).astype(int))
    bodies = []
    for z in looked_at.tolist():
        masks = structures(smoothed(scan.read(z).without_padding(), sigma))
        if sum(int(np.count_nonzero(mask)) for mask in masks.values()) > SIDE**2 // 2:
            bodies.append(z)
    if not bodies:
        raise ExplanationError(
            f"{scan.name}: shows no body of {SIDE} pixels along a side; give a scan of a patient"
        )
    middles = ((np.arange(n) + 0.5) * len(bodies) / n).astype(int)
    return sorted({bodies[at] for at in middles})


def _level(scan: Scan, low: Sequence[Scan], method: Denoiser | SlabDenoiser, z: int, sigma: float) -> _Level:
    inputs = np.stack([one.read(z).without_padding() for one in low])
    outputs = np.stack([denoise(one, method).read(z).without_padding() for one in low])
    anatomy = scan.read(z).without_padding()
    windows = _bodily(anatomy)
    return _Level(
        z, anatomy, tuple(low), inputs, outputs, noise_null(inputs, sigma, windows),
        noise_null(outputs, sigma, windows),
    )  # fmt: skip


def _grid(shape: tuple[int, ...], step: int) -> list[Window]:
    n_y, n_x = shape
    return [
        (slice(y, y + SIDE), slice(x, x + SIDE))
        for y in range(0, n_y - SIDE + 1, step)
        for x in range(0, n_x - SIDE + 1, step)
    ]


def _bodily(anatomy: Images) -> list[Window]:
    """Windows that are mostly body, some dozens at most; all of them where none is."""
    windows = _grid(anatomy.shape, SIDE // 2)
    bodily = [one for one in windows if (anatomy[one] > -950).mean() >= _BODY_SHARE] or windows
    step = -(-len(bodily) // _NULL_WINDOWS)
    return bodily[::step]


def _windows(anatomy: Images, n: int, sigma: float) -> list[tuple[Window, str]]:
    """`n` windows that do not overlap and show different things: vessels in lung, bone, soft tissue, lung."""
    masks = structures(smoothed(anatomy, sigma))
    windows = [one for one in _grid(anatomy.shape, SIDE // 4) if (anatomy[one] > -950).mean() >= _BODY_SHARE]
    chosen: list[tuple[Window, str]] = []
    for number in range(4 * n):
        wanted = (VESSEL, SOFT, BONE, LUNG)[number % 4]
        free = [one for one in windows if not any(_overlap(one, other) for other, _ in chosen)]
        if not free or len(chosen) == n:
            break
        shares = [float(masks[wanted][one].mean()) for one in free]
        if max(shares) > 0.02:
            chosen.append((free[int(np.argmax(shares))], wanted))
    return chosen


def _overlap(one: Window, other: Window) -> bool:
    return all(abs(a.start - b.start) < SIDE for a, b in zip(one, other, strict=True))


def _place(level: _Level, method: Denoiser | SlabDenoiser, window: Window) -> Place:
    local = local_method(method, level.low[0], level.z, window)
    return Place(local, local(local.input[None])[0], level.z, window, level.of_input, level.of_output)


def _searched(place: Place, tissue: str, candidates: dict[str, list[Candidate]]) -> SearchedPlace:
    rows, columns = place.window
    found = {}
    for who, some in candidates.items():
        best = most_ignored(some)[:1]
        found[who] = best[0].change.structural if best else 0.0
    return SearchedPlace(place.z, rows.start + SIDE // 2, columns.start + SIDE // 2, tissue, found)


def _effect(place: Place, level: _Level, share: float, candidate: Candidate) -> DirectionEffect:
    """Which structure's mask changes most, compared with what noise does to it."""
    sigma = place.of_input.sigma_px
    rows, columns = place.window
    whole = [smoothed(one, sigma) for one in level.inputs]
    moved = level.inputs[0].copy()
    moved[place.window] = candidate.input
    masks = [{name: mask[place.window] for name, mask in structures(one).items()} for one in whole]
    after = {name: mask[place.window] for name, mask in structures(smoothed(moved, sigma)).items()}
    found = []
    for name, mask in masks[0].items():
        if np.count_nonzero(mask) < 20 and np.count_nonzero(after[name]) < 20:
            continue
        by_noise = [dice(mask, other[name]) for other in masks[1:]]
        found.append((dice(mask, after[name]) - min(by_noise), name, dice(mask, after[name]), min(by_noise)))
    _, name, agreement, by_noise_ = min(found, default=(0.0, "nothing", 1.0, 1.0))
    return DirectionEffect(
        place.z, rows.start + SIDE // 2, columns.start + SIDE // 2, candidate.found_by, share, name,
        agreement, by_noise_, candidate.change.structural, candidate.change.response,
    )  # fmt: skip


def _noise_kept(level: _Level) -> list[NoiseKept]:
    masks = structures(smoothed(level.anatomy, 2 * level.of_input.sigma_px))
    of_input, of_output = (images - images.mean(axis=0) for images in (level.inputs, level.outputs))
    factor = len(level.inputs) / (len(level.inputs) - 1)
    kept = []
    for tissue in (LUNG, SOFT):
        mask = masks[tissue]
        if np.count_nonzero(mask) < 500:
            continue
        ours, theirs = of_input[:, mask], of_output[:, mask]
        power_in, power_out = (float(np.square(one).mean()) * factor for one in (ours, theirs))
        both = float((ours * theirs).mean()) * factor
        scale = np.sqrt(power_in * power_out)
        kept.append(
            NoiseKept(
                tissue, float(np.sqrt(power_in)), float(np.sqrt(power_out)), both / scale if scale else 0.0
            )
        )
    return kept


def _merged(noise: Sequence[Sequence[NoiseKept]]) -> tuple[NoiseKept, ...]:
    """The means over the slices."""
    everything = [one for some in noise for one in some]
    merged = []
    for tissue in dict.fromkeys(one.tissue for one in everything):
        of_tissue = [one for one in everything if one.tissue == tissue]
        values = [(one.input, one.output, one.correlation) for one in of_tissue]
        merged.append(NoiseKept(tissue, *(float(value) for value in np.mean(values, axis=0))))
    return tuple(merged)


def _controls(level: _Level, window: Window, search: Search) -> tuple[float, float]:
    """The largest ignored change with what changes nothing, and with what forgets everything."""
    found = []
    for control in (Identity(), Constant()):
        outputs = np.stack([control(one[None, None])[0, 0] for one in level.inputs])
        null = noise_null(outputs, level.of_input.sigma_px, _bodily(level.anatomy))
        local = local_method(control, level.low[0], level.z, window)
        place = Place(local, local(local.input[None])[0], level.z, window, level.of_input, null)
        best = most_ignored(directly_found(place, search))[:1]
        found.append(best[0].change.structural if best else 0.0)
    return found[0], found[1]


def _control_gates(controls: Sequence[tuple[float, float]]) -> tuple[Gate, Gate]:
    identity, constant = max(one for one, _ in controls), min(other for _, other in controls)
    return (
        Gate(
            "control: changes nothing", f"{identity:.2f}", f"below {CONVICTED:g}", identity < CONVICTED,
            "A method that gives its input back ignores nothing; the search must not say otherwise.",
        ),
        Gate(
            "control: forgets everything", f"{constant:.2f}", f"at least {CONVICTED:g}",
            constant >= CONVICTED,
            "A method that gives one value everywhere ignores everything; the search must find that.",
        ),
    )  # fmt: skip


def _probes(
    simulator: DoseSimulator, level: _Level, method: Denoiser | SlabDenoiser, thoroughness: Thoroughness,
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

    return probed(simulator, level.z, methods, level.outputs, places, on_step=on_step)
