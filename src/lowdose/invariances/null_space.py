"""The null space of a network's linear part: smooth structures that its output does not answer to.

At one input a network of rectified units is an affine map, its Jacobian. A randomised singular value
decomposition (Halko, Martinsson and Tropp 2011, SIAM Rev) gives the directions that the output answers to;
what is at right angles to them, the linear part ignores. Directions are counted among structures that are as
smooth as lesions, in standard deviations of the noise of input and output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.autograd.functional import jvp, vjp

from lowdose.invariances.candidates import NULL_SPACE, Candidate, Place, judged
from lowdose.invariances.direct import Search, scaled, spots
from lowdose.invariances.gradients import DifferentiableMethod, respondent
from lowdose.invariances.learning import smooth

_LEAST_OWN = 1e-3
"""Of a mixture of overlapping spots, as a share of the largest: fainter ones are the same as others."""


@dataclass(frozen=True)
class Rank:
    """How much of the Jacobian is looked at."""

    rank: int = 40
    """Directions that count as answered"""
    n_powers: int = 0
    n_random: int = 6
    """Mixtures at right angles to them that are tried"""
    spots: Search = field(default_factory=lambda: Search(radii_px=(2.0,), step=4))


def found_in_null_space(
    place: Place, method: DifferentiableMethod, rank: Rank = Rank(), seed: int = 0
) -> list[Candidate]:
    """Candidates of structures without what the linear part of `method` answers to."""
    structures = _independent(place, rank.spots)
    respond = respondent(place, method)
    n, side = len(structures), structures.shape[-1]
    of_output = torch.from_numpy(place.of_output.deviation[place.window])

    def answer(weights: Tensor) -> Tensor:
        added = (weights @ structures.reshape(n, -1)).reshape(1, 1, side, side)
        found: Tensor = smooth(respond(added), place.of_output.sigma_px)[0, 0] / of_output
        return found

    _, answered = answered_directions(answer, torch.zeros(n), min(rank.rank, n - 1), seed, rank.n_powers)
    chance = torch.Generator().manual_seed(seed)
    tried = torch.randn(rank.n_random, n, generator=chance)
    ignored = tried - tried @ answered.T @ answered
    inputs = (ignored @ structures.reshape(n, -1)).reshape(-1, side, side).numpy()
    first = scaled(place, inputs, rank.spots.first)
    stronger = [np.float32(growth) * first for growth in (1.0, *rank.spots.growth)]
    added = np.concatenate(stronger)
    return judged(place, place.input + np.concatenate([added, -added]), NULL_SPACE)


def answered_directions(
    respond: Callable[[Tensor], Tensor], at: Tensor, rank: int, seed: int = 0, n_powers: int = 2
) -> tuple[Tensor, Tensor]:
    """The `rank` largest singular values of the Jacobian of `respond` at an image `at`, and directions.

    Values `(rank,)` and an orthonormal basis of inputs `(rank, pixels)`.
    """
    chance = torch.Generator().manual_seed(seed)
    n = at.numel()
    with torch.no_grad():
        shape = respond(at).shape
    rank = min(rank, n)
    sketch = torch.randn(min(n, rank + 10), n, generator=chance, dtype=at.dtype)

    def forwards(rows: Tensor) -> Tensor:
        found = [jvp(respond, at, row.reshape(at.shape))[1].reshape(-1) for row in rows]  # type: ignore[no-untyped-call]
        return torch.stack(found)

    def backwards(rows: Tensor) -> Tensor:
        found = [vjp(respond, at, row.reshape(shape))[1].reshape(-1) for row in rows]  # type: ignore[no-untyped-call]
        return torch.stack(found)

    for _ in range(n_powers):
        image, _ = torch.linalg.qr(forwards(sketch).T)
        sketch_q, _ = torch.linalg.qr(backwards(image.T).T)
        sketch = sketch_q.T
    image, _ = torch.linalg.qr(forwards(sketch).T)
    small = backwards(image.T)  # what each direction of the image pulls back to: the Jacobian seen from there
    _, values, directions = torch.linalg.svd(small, full_matrices=False)
    return values[:rank], directions[:rank]


def share_ignored(structures: Tensor, directions: Tensor) -> Tensor:
    """Share of each of `structures` `(n, pixels)` that is at right angles to all `directions`, `(n,)`."""
    seen = structures @ directions.T @ directions
    ignored = torch.linalg.vector_norm(structures - seen, dim=1)
    share: Tensor = ignored / torch.linalg.vector_norm(structures, dim=1).clamp_min(1e-12)
    return share


def _independent(place: Place, search: Search) -> Tensor:
    """Mixtures of spots `(n, y, x)` that change the smoothed input by one deviation, each in its own way."""
    single = torch.from_numpy(spots(place.input.shape[0], search))
    deviation = torch.from_numpy(place.of_input.deviation[place.window])
    changes = (smooth(single[:, None], place.of_input.sigma_px)[:, 0] / deviation).flatten(1).double()
    powers, mixtures = torch.linalg.eigh(changes @ changes.T)
    own = powers > _LEAST_OWN * powers[-1]
    weights = (mixtures[:, own] / powers[own].sqrt()).T.float()
    found: Tensor = torch.tensordot(weights, single, dims=1)
    return found
