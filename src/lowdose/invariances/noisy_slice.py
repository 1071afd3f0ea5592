"""One slice of a scan at a lower dose, several times with new noise, and what a method makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lowdose.denoising import Denoiser, SlabDenoiser, denoise
from lowdose.invariances.candidates import Candidate, Place
from lowdose.invariances.evidence import DirectionEffect, NoiseKept
from lowdose.invariances.response import SIDE, local_method
from lowdose.invariances.windows import bodily_windows
from lowdose.quality.structural_change import NoiseNull, Window, noise_null, smoothed
from lowdose.quality.structures import LUNG, SOFT, Masks, dice, structures
from lowdose.scan import Scan

Images = NDArray[np.float32]

_FEWEST_PX = 6
"""Of a structure where it changes, below which it is not spoken of."""


@dataclass(frozen=True, eq=False)
class NoisySlice:
    """One slice with noise: inputs and outputs of all realisations, and what noise changes in them."""

    z: int
    anatomy: Images
    low: tuple[Scan, ...]
    inputs: Images
    outputs: Images
    of_input: NoiseNull
    of_output: NoiseNull

    @cached_property
    def masks(self) -> list[Masks]:
        """The structures of every input."""
        return [structures(smoothed(one, self.of_input.sigma_px)) for one in self.inputs]

    def tissue_at(self, place: Place, candidate: Candidate) -> str:
        """What the scan shows where a candidate of `place` differs most."""
        rows, columns = place.window
        row, column = candidate.change.place
        at = rows.start + row, columns.start + column
        shown = structures(smoothed(self.anatomy, self.of_input.sigma_px))
        return next((name for name, mask in shown.items() if mask[at]), "no tissue")


def noisy_slice(
    scan: Scan, low: Sequence[Scan], method: Denoiser | SlabDenoiser, z: int, sigma: float
) -> NoisySlice:
    inputs = np.stack([one.read(z).without_padding() for one in low])
    outputs = np.stack([denoise(one, method).read(z).without_padding() for one in low])
    anatomy = scan.read(z).without_padding()
    windows = bodily_windows(anatomy)
    return NoisySlice(
        z, anatomy, tuple(low), inputs, outputs, noise_null(inputs, sigma, windows),
        noise_null(outputs, sigma, windows),
    )  # fmt: skip


def place_in(level: NoisySlice, method: Denoiser | SlabDenoiser, window: Window) -> Place:
    local = local_method(method, level.low[0], level.z, window)
    return Place(local, local(local.input[None])[0], level.z, window, level.of_input, level.of_output)


def direction_effect(place: Place, level: NoisySlice, share: float, candidate: Candidate) -> DirectionEffect:
    """Which structure changes most, in density where the change is strong, compared with what noise does."""
    sigma = place.of_input.sigma_px
    rows, columns = place.window
    change = smoothed(candidate.input - place.input, sigma)
    peak = float(change.flat[np.abs(change).argmax()])
    strong = np.sign(peak) * change >= 0.5 * abs(peak)
    noise = [smoothed(one[place.window] - place.input, sigma) for one in level.inputs[1:]]
    masks = [{name: mask[place.window] for name, mask in one.items()} for one in level.masks]
    name, density, by_noise = "nothing", 0.0, 0.0
    for structure, mask in masks[0].items():
        there = strong & mask
        if not peak or np.count_nonzero(there) < _FEWEST_PX:
            continue
        found = abs(float(change[there].mean())), max(abs(float(one[there].mean())) for one in noise)
        if found[0] * by_noise >= density * found[1]:
            name, (density, by_noise) = structure, found
    moved = level.inputs[0].copy()
    moved[place.window] = candidate.input
    after = structures(smoothed(moved, sigma)) if name != "nothing" else {}
    agreement, least = 1.0, 1.0
    if name in after:
        agreement = dice(masks[0][name], after[name][place.window])
        least = min(dice(masks[0][name], other[name]) for other in masks[1:])
    return DirectionEffect(
        place.z, rows.start + SIDE // 2, columns.start + SIDE // 2, candidate.found_by, share, name, density,
        by_noise, agreement, least, candidate.change.structural, candidate.change.response,
    )  # fmt: skip


def noise_kept(level: NoisySlice) -> list[NoiseKept]:
    """What is left of noise in lung and in soft tissue, where there is enough of either."""
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


def over_slices(noise: Sequence[Sequence[NoiseKept]]) -> tuple[NoiseKept, ...]:
    """The means over the slices."""
    everything = [one for some in noise for one in some]
    merged = []
    for tissue in dict.fromkeys(one.tissue for one in everything):
        of_tissue = [one for one in everything if one.tissue == tissue]
        values = [(one.input, one.output, one.correlation) for one in of_tissue]
        merged.append(NoiseKept(tissue, *(float(value) for value in np.mean(values, axis=0))))
    return tuple(merged)
