"""Whether what was learned of a method may be believed on a scan: conditions, each with what it is for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import kstest

from lowdose.invariances.candidates import Candidate, Place
from lowdose.invariances.evidence import Gate
from lowdose.invariances.learning import SCALING
from lowdose.invariances.sampling import Learned
from lowdose.models.card import PIXEL_SIZE_MARGIN
from lowdose.quality.structural_change import smoothed

MOST_MISSED = 1.5
"""Structure that a representation may miss, in standard deviations of noise; noise alone is 1."""
MOST_MISSED_SHARE = 0.5
"""Of the structure that the method takes away: who takes away much leaves much to reproduce."""
ROUND_TRIP = 1e-4
FARTHEST = 0.1
"""Kolmogorov and Smirnov's distance of the flow's numbers from normal ones."""
FEWEST_CONSISTENT = 0.5
"""Share of the sampled inputs whose outputs are the same but for noise."""
FEWEST_NATS = 1.0
"""That the latents must tell of an input, over all methods that were learned from."""


def learned_gates(
    learned: Learned, places: Sequence[Place], sampled: Sequence[Candidate], spacing: tuple[float, float]
) -> tuple[Gate, ...]:
    """The conditions for `learned` at `places`, of which `sampled` are all candidates; mm along y and x."""
    denoised = torch.from_numpy(SCALING.scaled(np.stack([place.output for place in places])[:, None]))
    image = torch.from_numpy(SCALING.scaled(np.stack([place.input for place in places])[:, None]))
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        mean, log_variance = learned.representation.encode(image, denoised)
        latents = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=chance)
        normal, _ = learned.flow(latents, denoised)
        back = learned.flow.inverse(normal, denoised)
        again = learned.representation.decode(mean, denoised)[:, 0].numpy()
    missed = _in_noise(
        places, [one - place.input for place, one in zip(places, SCALING.unscaled(again), strict=True)]
    )
    taken_away = _in_noise(places, [place.input - place.output for place in places])
    most_missed = max(MOST_MISSED, MOST_MISSED_SHARE * taken_away)
    trip = float((back - latents).abs().max())
    distance = float(kstest(normal.numpy().ravel(), "norm").statistic)
    consistent = float(np.mean([one.change.consistent for one in sampled])) if sampled else 0.0
    nats = learned.nats
    smallest, largest = learned.pixel_mm[0] / PIXEL_SIZE_MARGIN, learned.pixel_mm[1] * PIXEL_SIZE_MARGIN
    return (
        Gate(
            "representation: structure missed", f"{missed:.2f} × noise",
            f"at most {MOST_MISSED:g}, or half of the {taken_away:.1f} that the method takes away",
            missed <= most_missed,
            "What the autoencoder cannot reproduce it cannot vary; far from its training it fails here.",
        ),
        Gate(
            "flow: there and back", f"{trip:.0e}", f"below {ROUND_TRIP:.0e}", trip < ROUND_TRIP,
            "The flow must be invertible in the numbers of this machine.",
        ),
        Gate(
            "flow: normal numbers", f"{distance:.3f}", f"at most {FARTHEST:g}", distance <= FARTHEST,
            "Real inputs must become normal numbers, or sampled numbers will not become real inputs.",
        ),
        Gate(
            "samples: consistent", f"{100 * consistent:.0f} %", f"at least {100 * FEWEST_CONSISTENT:.0f} %",
            consistent >= FEWEST_CONSISTENT,
            "Sampled inputs must have the same output but for noise.",
        ),
        Gate(
            "latents: what they tell", "not measured" if nats is None else f"{nats:.1f} nats",
            f"at least {FEWEST_NATS:g}", nats is not None and nats >= FEWEST_NATS,
            "Latents that tell nothing of any method's inputs have collapsed, and find nothing.",
        ),
        Gate(
            "representation: pixels", f"{max(spacing):.2f} mm", f"{smallest:.2f} to {largest:.2f} mm",
            smallest <= min(spacing) and max(spacing) <= largest,
            "Anatomy in pixels of other sizes than were learned from looks different, and noise as well.",
        ),
    )  # fmt: skip


def _in_noise(places: Sequence[Place], differences: Sequence[np.ndarray]) -> float:
    """Root mean square of smoothed differences, in standard deviations of one realisation's noise."""
    squares = []
    for place, difference in zip(places, differences, strict=True):
        deviation = place.of_input.deviation[place.window] / np.sqrt(2)
        squares.append(np.square(smoothed(difference, place.of_input.sigma_px) / deviation).mean())
    return float(np.sqrt(np.mean(squares)))
