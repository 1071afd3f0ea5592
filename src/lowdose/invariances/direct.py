"""The direct search: structures that can be added to an input while its output hardly changes.

Needs nothing trained and no gradients. Bright and dark spots of several sizes are tried one by one; the
method's answers to all of them also give the mixtures that change the input most for the change of the
output, the leading solutions of a generalised eigenvalue problem. Both are made stronger until the output
tells. An independent check on what a learned representation finds; the search is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from lowdose.invariances.candidates import DIRECT, Candidate, Place, judged
from lowdose.quality.structural_change import smoothed

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Search:
    """How thoroughly to look."""

    radii_px: tuple[float, ...] = (2.0, 3.5)
    """Of the spots: two standard deviations, where they have fallen to a seventh of their contrast."""
    reach: int = 32
    """Pixels along the square in the middle of a window that spots lie in."""
    step: int = 8
    """Pixels between spots"""
    first: float = 2.0
    """Change that spots are first tried at, as a multiple of what noise reaches."""
    n_mixtures: int = 6
    n_strengthened: int = 8
    growth: tuple[float, ...] = (0.6, 0.75, 1.3, 1.7, 2.5, 4.0)
    """Strengths that the best are tried at, in multiples of the first."""


def spots(side: int, search: Search) -> Images:
    """All spots `[n, y, x]` of height one, in a window of `side` pixels."""
    first = (side - search.reach) // 2 + search.step // 2
    centres = np.arange(first, (side + search.reach) // 2, search.step)
    y, x = np.mgrid[:side, :side]
    found = [
        np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * (radius / 2) ** 2))
        for radius in search.radii_px
        for cy in centres
        for cx in centres
    ]
    return np.asarray(found, np.float32)


def directly_found(place: Place, search: Search = Search()) -> list[Candidate]:
    """All candidates that were tried."""
    single = scaled(place, spots(place.input.shape[0], search), search.first)
    bright, dark = (judged(place, place.input + sign * single, DIRECT) for sign in (1, -1))
    mixtures = scaled(place, _mixtures(place, single, bright, dark, search.n_mixtures), search.first)
    signed = np.concatenate([mixtures, -mixtures])
    tried = [*bright, *dark, *judged(place, place.input + signed, DIRECT)]
    best = sorted(tried, key=lambda one: one.change.response)[: search.n_strengthened]
    stronger = [
        place.input + np.float32(growth) * (one.input - place.input)
        for one in best
        for growth in search.growth
    ]
    return [*tried, *judged(place, np.stack(stronger), DIRECT)]


def scaled(place: Place, structures: Images, change: float) -> Images:
    """Each of `structures` `[n, y, x]` made so strong that it changes the input so many times the limit."""
    if not len(structures):
        return structures
    reached = place.of_input.change(structures, place.window).max(axis=(1, 2))
    return np.asarray(structures * (change / np.maximum(reached, 1e-12))[:, None, None], np.float32)


def _mixtures(
    place: Place, single: Images, bright: Sequence[Candidate], dark: Sequence[Candidate], n: int
) -> Images:
    """The `n` mixtures of `single` with the largest change of the input for that of the output `[n, y, x]`.

    Half the difference of the answers to a bright and a dark spot is the answer of the method made linear.
    """
    halves = [(up.output - down.output) / 2 for up, down in zip(bright, dark, strict=True)]
    answers = np.stack(halves).astype(np.float32)
    of_input, of_output = place.of_input, place.of_output
    changes = _in_noise(single, of_input.sigma_px, of_input.deviation[place.window])
    responses = _in_noise(answers, of_output.sigma_px, of_output.deviation[place.window])
    gram_in, gram_out = changes @ changes.T, responses @ responses.T
    floor = 1e-3 * float(np.trace(gram_in)) / len(single)
    _, vectors = eigh(gram_in, gram_out + floor * np.eye(len(single)))
    leading = vectors[:, ::-1][:, :n].T
    return np.asarray(np.tensordot(leading, single, axes=1), np.float32)


def _in_noise(images: Images, sigma_px: float, deviation: Images) -> NDArray[np.float64]:
    """`[n, y, x]` smoothed, in standard deviations of the noise, as `[n, pixels]`."""
    return np.asarray((smoothed(images, sigma_px) / deviation).reshape(len(images), -1), np.float64)
