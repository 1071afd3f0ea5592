"""What a denoiser minimises beside critics: a weighted sum of pixel losses and a distance of features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from lowdose.losses import PIXEL_LOSSES

FeatureDistance = Callable[[Tensor, Tensor], Tensor]
"""From two images in scaled HU to a number."""


@dataclass(frozen=True)
class Objective:
    """Callable as `objective(output, noisy, target)`, all `(b, 1, [z,] y, x)` in scaled HU."""

    weights: Mapping[str, float]
    """Of the losses in `PIXEL_LOSSES`."""
    perceptual: FeatureDistance | None = None
    perceptual_weight: float = 0.0

    def __call__(self, output: Tensor, noisy: Tensor, target: Tensor) -> Tensor:
        terms = [weight * PIXEL_LOSSES[name](output, noisy, target) for name, weight in self.weights.items()]
        if self.perceptual is not None:
            terms.append(self.perceptual_weight * self.perceptual(output, target))
        total = output.new_zeros(())
        for term in terms:
            total = total + term
        return total
