"""From the slices of one series to homogeneous stacks, sorted by where they lie, and to a Scan each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lowdose.io.header import SeriesFacts, SliceHeader
from lowdose.io.origin import DicomOrigin, InputError, one_line, unreadable
from lowdose.io.pixels import read_slice
from lowdose.scan import Acquisition, Scan, Slice

MAX_SLICES = 5000
"""Slices in one stack."""
SAME_COSINE = 1e-3
"""Largest difference between direction cosines of one orientation: about 0.06 degrees."""
SAME_SPACING = 1e-3
"""Largest relative difference between pixel spacings that are the same."""
SAME_POSITION_MM = 1e-3
"""Slices closer than this lie at one position."""
UNEVEN = 0.1
"""Share of the median distance by which distances between slices may differ and still be even."""
GAP = 1.5
"""A distance of more than this many median distances means that slices are missing."""
TILT_DEGREES = 0.5
"""From this angle between the stack's direction and its slices' normal on, the gantry counts as tilted."""

_Splitter = Callable[[SeriesFacts], object]

# Phases and acquisitions are scans of their own, even where their slices interleave.
_PHASES: tuple[tuple[str, _Splitter], ...] = (
    ("temporal position", lambda facts: facts.temporal_position),
    ("cardiac phase", lambda facts: facts.cardiac_phase),
    ("acquisition", lambda facts: facts.acquisition_number),
)
# These change now and then within one scan; they make two of it only where slices lie on each other.
_VARIANTS: tuple[tuple[str, _Splitter], ...] = (
    ("kVp", lambda facts: facts.kvp),
    ("thickness", lambda facts: facts.slice_thickness),
    ("image type", lambda facts: facts.image_type),
)


@dataclass(frozen=True)
class Stack:
    """Slices of one geometry, kernel and phase, sorted along their normal."""

    headers: tuple[SliceHeader, ...]
    distinction: tuple[str, ...] = ()
    """What sets it apart from the other stacks of its series."""


def split_series(headers: Sequence[SliceHeader]) -> list[Stack]:
    """Homogeneous stacks of one series.

    Geometry, kernel and frame of reference always split. Phases and acquisitions split only where their
    slices interleave unevenly or lie on each other: a scan whose acquisition number counts its rotations, or
    changes from slice to slice, stays one scan.
    """
    geometries: list[tuple[SeriesFacts, tuple[int, int], list[SliceHeader]]] = []
    for header in headers:
        size = header.format.rows, header.format.columns
        for facts, other_size, members in geometries:
            if size == other_size and (header.facts is facts or _same_geometry(header.facts, facts)):
                members.append(header)
                break
        else:
            geometries.append((header.facts, size, [header]))
    stacks = []
    for facts, (rows, columns), members in geometries:
        distinction: tuple[str, ...] = ()
        if len(geometries) > 1:
            distinction = facts.kernel or "no kernel", _plane(facts), f"{columns} x {rows}"
        stacks += _split_phases(_sorted(members), (*_PHASES, *_VARIANTS), distinction)
    return _with_shortest_distinctions(stacks)


def scan_of(stack: Stack, name: str) -> Scan:
    """The scan of one stack, its slices read on demand. Raises InputError where there is no honest scan."""
    if len(stack.headers) > MAX_SLICES:
        raise InputError(
            f"{name} has {len(stack.headers)} slices; at most {MAX_SLICES} are read, so split it"
        )
    headers, notes = _without_duplicates(stack.headers)
    n_slices = len(headers)
    facts = headers[0].facts
    affine = _affine(headers)
    notes += _geometry_notes(headers)
    lossy = any(header.facts.lossy for header in headers)
    if lossy:
        notes.append("It has been compressed with loss: its noise is no longer that of the scanner.")
    if any(header.facts.burned_in for header in headers):
        notes.append("Its header says that text is burned into the image.")

    def read(z: int) -> Slice:
        if not 0 <= z < n_slices:
            raise IndexError(f"slice {z} of {n_slices}")
        return read_slice(headers[z])

    first = headers[0].format
    return Scan(
        name=name,
        shape=(n_slices, first.rows, first.columns),
        affine=affine,
        read=read,
        acquisition=_acquisition(headers),
        notes=tuple(notes),
        origin=DicomOrigin(
            tuple(Path(header.path) for header in headers), facts.series_uid, facts.study_uid, lossy
        ),
    )


def _same_geometry(one: SeriesFacts, other: SeriesFacts) -> bool:
    turned = max(abs(a - b) for a, b in zip(one.orientation, other.orientation, strict=True))
    scaled = max(abs(a / b - 1) for a, b in zip(one.pixel_spacing, other.pixel_spacing, strict=True))
    return (
        turned <= SAME_COSINE
        and scaled <= SAME_SPACING
        and one.kernel == other.kernel
        and one.frame_of_reference == other.frame_of_reference
    )


def _normal(header: SliceHeader) -> NDArray[np.float64]:
    normal = np.cross(header.facts.orientation[:3], header.facts.orientation[3:])
    return np.asarray(normal / np.linalg.norm(normal), np.float64)


def _depths(headers: Sequence[SliceHeader]) -> NDArray[np.float64]:
    """Position of every slice along the normal of the first, in mm."""
    return np.array([header.position for header in headers]) @ _normal(headers[0])


def _sorted(headers: Sequence[SliceHeader]) -> list[SliceHeader]:
    depths = _depths(headers)
    # The label settles the order at one position, so that the result does not depend on the file system's.
    order = sorted(range(len(headers)), key=lambda i: (depths[i], headers[i].label))
    return [headers[i] for i in order]


def _split_phases(
    headers: list[SliceHeader],
    splitters: tuple[tuple[str, _Splitter], ...],
    distinction: tuple[str, ...],
) -> list[Stack]:
    """`headers` as they are, or split by the first of `splitters` that disentangles them."""
    repeats, uneven = _faults(headers)
    for i, (word, value_of) in enumerate(splitters if repeats or uneven else ()):
        parts: dict[object, list[SliceHeader]] = {}
        for header in headers:
            parts.setdefault(value_of(header.facts), []).append(header)
        if len(parts) == 1 or not _entangled(list(parts.values())):
            continue
        left = np.sum([_faults(part) for part in parts.values()], axis=0)
        is_phase = (word, value_of) in _PHASES
        if 2 * left[0] < repeats or (is_phase and 2 * left.sum() < repeats + uneven):
            return [
                stack
                for value, part in parts.items()
                for stack in _split_phases(part, splitters[i + 1 :], (*distinction, f"{word} {value}"))
            ]
    return [Stack(tuple(headers), distinction)]


def _faults(headers: Sequence[SliceHeader]) -> tuple[int, int]:
    """How many slices of a sorted stack lie on the one before them, and how many steps are uneven."""
    steps = np.diff(_depths(headers))
    apart = steps[steps >= SAME_POSITION_MM]
    uneven = int((np.abs(apart - np.median(apart)) > UNEVEN * np.median(apart)).sum()) if apart.size else 0
    return steps.size - apart.size, uneven


def _entangled(parts: list[list[SliceHeader]]) -> bool:
    """True if the extents of two parts overlap, be it in one position."""
    extents = sorted((float(depths[0]), float(depths[-1])) for depths in map(_depths, parts))
    return any(later[0] < earlier[1] + SAME_POSITION_MM for earlier, later in pairwise(extents))


def _plane(facts: SeriesFacts) -> str:
    axis = np.abs(np.cross(facts.orientation[:3], facts.orientation[3:])).argmax()
    return ("sagittal", "coronal", "axial")[axis]


def _with_shortest_distinctions(stacks: list[Stack]) -> list[Stack]:
    """Only the words that not all stacks share."""
    shared = set.intersection(*(set(stack.distinction) for stack in stacks))
    return [
        Stack(stack.headers, tuple(word for word in stack.distinction if word not in shared))
        for stack in stacks
    ]


def _without_duplicates(headers: Sequence[SliceHeader]) -> tuple[list[SliceHeader], list[str]]:
    """One slice at each position. Raises InputError where two differ in their pixels or can't be read."""
    kept = [headers[0]]
    for step, header in zip(np.diff(_depths(headers)), headers[1:], strict=True):
        if step >= SAME_POSITION_MM:
            kept.append(header)
        elif not _same_image(kept[-1], header):
            raise InputError(
                f"{one_line(kept[-1].label)} and {one_line(header.label)} are different images at one "
                "position; give only one of them"
            )
    dropped = len(headers) - len(kept)
    if not dropped:
        return kept, []
    told = (
        "1 identical duplicate of a slice was"
        if dropped == 1
        else f"{dropped} identical duplicates of slices were"
    )
    return kept, [f"{told} dropped."]


def _same_image(one: SliceHeader, other: SliceHeader) -> bool:
    apart = max(abs(a - b) for a, b in zip(one.position, other.position, strict=True))
    if apart >= SAME_POSITION_MM:
        return False
    if _digest(one) == _digest(other):
        return True
    first, second = read_slice(one), read_slice(other)
    return np.array_equal(first.hu, second.hu) and np.array_equal(first.padding, second.padding)


def _digest(header: SliceHeader) -> bytes:
    try:
        with Path(header.path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise unreadable(header.label, error) from None


def _affine(headers: Sequence[SliceHeader]) -> NDArray[np.float64]:
    """4 x 4, (z, y, x, 1) to LPS in mm, with the mean step between slices (PS3.3 C.7.6.2.1.1)."""
    facts = headers[0].facts
    first, last = np.array(headers[0].position), np.array(headers[-1].position)
    affine = np.eye(4)
    if len(headers) > 1:
        affine[:3, 0] = (last - first) / (len(headers) - 1)
    else:
        affine[:3, 0] = _normal(headers[0]) * (facts.slice_thickness or 1.0)
    affine[:3, 1] = np.array(facts.orientation[3:]) * facts.pixel_spacing[0]
    affine[:3, 2] = np.array(facts.orientation[:3]) * facts.pixel_spacing[1]
    affine[:3, 3] = first
    return affine


def _geometry_notes(headers: Sequence[SliceHeader]) -> list[str]:
    if len(headers) < 2:
        return []
    notes = []
    positions = np.array([header.position for header in headers])
    normal = _normal(headers[0])
    steps = np.diff(positions @ normal)
    median = float(np.median(steps))
    gaps = np.flatnonzero(steps > GAP * median)
    if gaps.size:
        before, after = headers[gaps[0]], headers[gaps[0] + 1]
        notes.append(
            f"Slices are missing in {gaps.size} place{'s' if gaps.size > 1 else ''}: "
            f"{steps[gaps[0]]:.4g} mm instead of {median:.4g} mm lie between "
            f"{one_line(Path(before.label).name)} and {one_line(Path(after.label).name)}."
        )
    even = steps[steps <= GAP * median]
    if even.size and np.ptp(even) > UNEVEN * median:
        notes.append(f"The distance between slices varies from {even.min():.4g} to {even.max():.4g} mm.")
    direction = positions[-1] - positions[0]
    length = float(np.linalg.norm(direction))
    tilt = float(np.degrees(np.arccos(np.clip(direction @ normal / length, -1, 1))))
    if tilt > TILT_DEGREES:
        notes.append(f"The gantry is tilted by {tilt:.1f} degrees: the stack is sheared.")
    along = (positions - positions[0]) @ (direction / length)
    aside = np.linalg.norm(positions - positions[0] - np.outer(along, direction / length), axis=1)
    if aside.max() > 0.5 * max(headers[0].facts.pixel_spacing):
        notes.append(f"Slices are shifted sideways against each other by up to {aside.max():.3g} mm.")
    return notes


def _acquisition(headers: Sequence[SliceHeader]) -> Acquisition:
    facts = {header.facts: None for header in headers}
    first = headers[0].facts
    currents = tuple(header.tube_current for header in headers)
    exposures = tuple(header.exposure for header in headers)
    return Acquisition(
        kvp=first.kvp if len({one.kvp for one in facts}) == 1 else None,
        kernel=first.kernel,
        manufacturer=first.manufacturer,
        model=first.model,
        slice_thickness=first.slice_thickness,
        body_part=first.body_part,
        tube_current=currents if any(current is not None for current in currents) else None,
        exposure=exposures if any(exposure is not None for exposure in exposures) else None,
        source_to_detector=first.source_to_detector,
        source_to_axis=first.source_to_axis,
    )
