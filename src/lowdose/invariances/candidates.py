"""Other inputs that a method may map to the same output, and how far each is from the one at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowdose.invariances.response import LocalMethod
from lowdose.quality.structural_change import Change, NoiseNull, Window, change_of

Images = NDArray[np.float32]

DIRECT = "direct search"
CLIMBED = "search along gradients"
NULL_SPACE = "null space of the linear part"
SAMPLED = "learned representation"
SWEPT = "direction of the representation"
"""Who finds candidates; the last two by what was learned."""
LEARNED = (SAMPLED, SWEPT)

CORRECTIONS = 4
"""How often a candidate is corrected by what its output lacks."""


@dataclass(frozen=True, eq=False)
class Place:
    """A window of one slice: the method there, and what noise changes in its inputs and outputs."""

    method: LocalMethod
    output: Images
    """What the method makes of the window as it is, `[y, x]` in HU."""
    z: int
    window: Window
    of_input: NoiseNull
    of_output: NoiseNull

    @property
    def input(self) -> Images:
        """The window as it is, `[y, x]` in HU."""
        return self.method.input


@dataclass(frozen=True, eq=False)
class Candidate:
    """Another input for a place, what the method makes of it, and how both differ from what is there."""

    input: Images
    output: Images
    change: Change
    found_by: str


def judged(place: Place, inputs: Images, found_by: str) -> list[Candidate]:
    """Each of `inputs` `[b, y, x]` in HU with its output and change."""
    if not len(inputs):
        return []
    return [
        Candidate(
            one,
            output,
            change_of(
                one - place.input, output - place.output, place.of_input, place.of_output, place.window
            ),
            found_by,
        )
        for one, output in zip(inputs, place.method(inputs), strict=True)
    ]


def corrected(place: Place, inputs: Images, n: int = CORRECTIONS) -> Images:
    """`inputs` `[b, y, x]` moved towards the same output: `n` times, what the output lacks is added.

    A denoiser passes structure on, so this takes away what it sees and leaves what it ignores: of the
    identity, the input at hand comes out; of what ignores everything, `inputs` themselves.
    """
    for _ in range(n):
        inputs = inputs + (place.output - place.method(inputs))
    return inputs


def most_ignored(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The consistent ones, those with the largest change beyond noise first."""
    consistent = [one for one in candidates if one.change.consistent]
    return sorted(consistent, key=lambda one: -one.change.structural)
