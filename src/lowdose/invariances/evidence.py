"""What an explanation holds: findings, probes, gates and a verdict, ready to be told and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from lowdose.invariances.candidates import Candidate, Place
from lowdose.invariances.probes import VISIBLE, Shape
from lowdose.quality.structural_change import smoothed

Images = NDArray[np.float32]

CONVICTED = 2.0
"""Times what noise explains, by which an input may change without an answer before a place convicts.

A blur of one pixel, which thins fine detail more than noise, stays below 1.6; see tests/invariances."""


@dataclass(frozen=True, eq=False)
class Finding:
    """A change of one input that the output does not show."""

    z: int
    y: int
    x: int
    """Where it is strongest, in pixels of the scan"""
    tissue: str
    diameter: float
    """mm, of a disc of the same area at half of its height, once smoothed"""
    contrast: float
    """HU where it is strongest, once smoothed"""
    candidate: Candidate
    input: Images
    output: Images
    """Of the window as it is, `[y, x]` in HU"""

    @property
    def times(self) -> float:
        """How many times what noise explains."""
        return self.candidate.change.structural


@dataclass(frozen=True)
class SearchedPlace:
    """One window that was searched, and the largest change there that the output does not show."""

    z: int
    y: int
    x: int
    """The middle of the window"""
    tissue: str
    """What it was chosen for"""
    found: dict[str, float]
    """By who found it, as a multiple of what noise explains; 0 if nothing was"""

    @property
    def times(self) -> float:
        """The largest of all."""
        return max(self.found.values(), default=0.0)

    @property
    def convicts(self) -> bool:
        return self.times >= CONVICTED


@dataclass(frozen=True)
class NoiseKept:
    """What a method leaves of noise, in one tissue."""

    tissue: str
    input: float
    output: float
    """Standard deviations in HU"""
    correlation: float
    """Of what is left with the noise of the input: how much of its very realisation shows."""


@dataclass(frozen=True)
class Gate:
    """A condition without which a result does not count."""

    name: str
    value: str
    wanted: str
    passed: bool
    meaning: str


@dataclass(frozen=True)
class Verdict:
    """In a line for the model card; `convicted` is None where a gate forbids one."""

    convicted: bool | None
    sentence: str


@dataclass(frozen=True, eq=False)
class SeenSlice:
    """One of the slices that were looked at, `[y, x]` in HU each."""

    z: int
    own: Images
    """As the scan has it"""
    input: Images
    """At the lower dose"""
    output: Images


@dataclass(frozen=True, eq=False)
class Explanation:
    """Everything that was found out about one method on one scan."""

    method: str
    scan: str
    dose: float
    places: tuple[SearchedPlace, ...]
    findings: tuple[Finding, ...]
    """The largest change of each place that stays without an answer, convicting or not; largest first."""
    shapes: tuple[Shape, ...]
    noise: tuple[NoiseKept, ...]
    gates: tuple[Gate, ...]
    verdict: Verdict
    directions: tuple[DirectionEffect, ...]
    slices: tuple[SeenSlice, ...]


@dataclass(frozen=True)
class DirectionEffect:
    """What following one direction changes: a structure's mask, and the output."""

    z: int
    y: int
    x: int
    found_by: str
    share: float
    """Of the variance along all directions; NaN for those that were searched directly."""
    structure: str
    """That changes most, where the change is at least half of its largest"""
    density: float
    """By how many HU it changes there"""
    density_by_noise: float
    """By how many it differs there from that of the same body under other noise, at most"""
    dice: float
    """Of its mask in the window with that of the input as it is"""
    dice_by_noise: float
    """The least that it agrees with that of the same body under other noise"""
    structural: float
    response: float

    @property
    def times_noise(self) -> float:
        """How much more the structure changes than by noise."""
        return self.density / self.density_by_noise if self.density_by_noise else 0.0

    @property
    def alters_anatomy(self) -> bool:
        """Whether input and structure change far more than by noise, and the output not at all."""
        return self.response <= 1.0 and min(self.structural, self.times_noise) >= CONVICTED


def finding_of(place: Place, candidate: Candidate, tissue: str, spacing: tuple[float, float]) -> Finding:
    """The candidate in words: where, how large, how strong."""
    rows, columns = place.window
    row, column = candidate.change.place
    smooth = smoothed(candidate.input - place.input, place.of_input.sigma_px)
    contrast = float(smooth[row, column])
    parts, _ = label(smooth * np.sign(contrast) > 0.5 * abs(contrast))
    area = int(np.count_nonzero(parts == parts[row, column])) * spacing[0] * spacing[1]
    return Finding(
        place.z, rows.start + row, columns.start + column, tissue, 2 * float(np.sqrt(area / np.pi)), contrast,
        candidate, place.input, place.output,
    )  # fmt: skip


def verdict_of(
    method: str, places: Sequence[SearchedPlace], findings: Sequence[Finding], shapes: Sequence[Shape],
    failed: Sequence[Gate],
) -> Verdict:  # fmt: skip
    """In one line: what is ignored, or that nothing was found; none where a gate failed."""
    if failed:
        return Verdict(
            None, f"No verdict on {method}: {failed[0].name} is {failed[0].value}, not {failed[0].wanted}."
        )
    n = sum(place.convicts for place in places)
    gone = [shape for shape in shapes if shape.ignored]
    told = []
    if n:
        first = findings[0]
        shade = "bright" if first.contrast > 0 else "dark"
        told.append(
            f"in {n} of {len(places)} places the input can change by up to {first.times:.1f} times what "
            f"noise explains and the output stays the same, as with a {shade} structure of "
            f"about {first.diameter:.0f} mm in {first.tissue}"
        )
    for kind in dict.fromkeys(shape.kind for shape in gone):
        of_kind = [shape for shape in gone if shape.kind == kind]
        largest = max(of_kind, key=lambda one: (one.diameter, abs(one.contrast)))
        told.append(
            f"a {kind} of {largest.diameter:g} mm and {largest.contrast:+g} HU that the input shows is "
            f"{100 * (1 - largest.contrast_left):.0f} % gone"
        )
    if told:
        return Verdict(True, f"{method} ignores anatomy: {'; '.join(told)}.")
    most = max((place.times for place in places), default=0.0)
    smallest = _smallest_kept(shapes)
    kept = f", and keeps what could be seen of planted lesions{smallest}" if smallest else ""
    return Verdict(
        False,
        f"{method} was not found to ignore anatomy: in {len(places)} places no change beyond "
        f"{max(most, 1.0):.1f} times what noise explains stays without an answer{kept}.",
    )


def _smallest_kept(shapes: Sequence[Shape]) -> str:
    """The smallest planted lesion that could be seen and was kept."""
    kept = [shape for shape in shapes if shape.visible >= VISIBLE and not shape.ignored]
    if not kept:
        return ""
    smallest = min(kept, key=lambda one: (one.diameter, abs(one.contrast)))
    return f", down to {smallest.diameter:g} mm at {smallest.contrast:+g} HU ({smallest.kind})"
