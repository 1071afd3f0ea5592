"""Denoising so that lesions are found: LIDnet (ACM Multimedia 2021), around any denoiser of ours.

A detector's features in regions of interest shape the denoiser, and denoised images train the detector
(Algorithm 1 there): the detector first learns on normal-dose images for T1 steps, then denoiser and detector
take turns of T2 and T3 steps, the other one frozen. The weights and the exact losses were not published; ours
are chosen by the gradients that they give.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from lowdose.networks.lesion_detector import Features, LesionDetector
from lowdose.training.adversarial import Adversarial
from lowdose.training.batches import Batch
from lowdose.training.lesion_detection import detection_loss
from lowdose.training.loop import Descend, Trained, Turn
from lowdose.training.supervised import Scaled, Supervised, last_level

Phase = Literal["pretraining", "denoiser", "detector"]

N_JITTERED, N_PROPOSALS = 2, 8
"""Regions of interest: every box and so many others around it, and so many proposals an image."""
LEAST_OVERLAP = 0.5
"""Intersection over union of a jittered box with its own."""
_JITTER = 0.2
"""Share of a side that it moves or grows by, at most."""
_SMALLEST = 2.0
"""Pixels along a side."""


@dataclass(frozen=True)
class Turns:
    """Whose turn it is: Algorithm 1's T1, T2 and T3."""

    pretraining: int
    denoiser: int
    detector: int
    """0 leaves the detector as it is: training without collaboration."""

    def phase(self, step: int) -> Phase:
        """What a step is for."""
        if step < self.pretraining:
            return "pretraining"
        return "denoiser" if self._within(step) < self.denoiser else "detector"

    def round(self, step: int) -> int:
        """How many turns the denoiser has had before."""
        return (step - self.pretraining) // (self.denoiser + self.detector)

    def _within(self, step: int) -> int:
        return (step - self.pretraining) % (self.denoiser + self.detector)

    def steps_for(self, denoiser_steps: int) -> int:
        """Steps in all until the denoiser has had `denoiser_steps`."""
        whole, rest = divmod(denoiser_steps, self.denoiser)
        return self.pretraining + whole * (self.denoiser + self.detector) + rest


class Watching(nn.Module):
    """The detector in the loop, and what its opinions weigh: a checkpoint holds both."""

    weights: Tensor
    calibrated: Tensor

    def __init__(self, detector: LesionDetector) -> None:
        super().__init__()
        self.detector = detector
        self.register_buffer("weights", torch.zeros(2))
        """Of the distance of features and of the detection loss."""
        self.register_buffer("calibrated", torch.tensor(-1))
        """The round that they are of."""


@dataclass(frozen=True)
class LesionInspired:
    """What `fit` does to a denoiser, its critics if it has some, and a detector."""

    base: Supervised | Adversarial
    watching: Watching
    turns: Turns
    detector_rate: float
    """Learning rate of the detector as a share of the denoiser's."""
    roi_share: float
    detection_share: float
    """Norm of the gradient that each gives the denoiser's last layer, over that of the reconstruction."""

    @property
    def trained(self) -> Mapping[str, Trained]:
        return {**self.base.trained, "detector": Trained(self.watching, self.detector_rate)}

    def step(self, batch: Batch, turn: Turn, descend: Descend) -> dict[str, float]:
        """Teach whose turn it is; the other is not touched."""
        phase = self.turns.phase(turn.step)
        if phase == "denoiser" and not self.roi_share and not self.detection_share:
            return self.base.step(batch, turn, descend)
        if phase == "denoiser":
            with _frozen(self.watching):
                losses = replace(self.base, beside=self._opinion).step(batch, turn, descend)
            return losses | self._told()
        scaled = Scaled(batch, self.base.scaling, self.base.denoiser.context, turn.device)
        if phase == "pretraining":
            images = scaled.target
        else:
            with torch.no_grad():
                images = last_level(self.base.denoiser(scaled.shown))
        loss = detection_loss(self.watching.detector, self._hu(images), batch, turn)
        descend("detector", loss)
        return {"detector": float(loss.detach())}

    def _told(self) -> dict[str, float]:
        roi, detection = self.watching.weights.tolist()
        return {"weight of regions": roi, "weight of detection": detection}

    def _opinion(
        self, output: Tensor, scaled: Scaled, reconstruction: Tensor, batch: Batch, turn: Turn
    ) -> Tensor:
        """The ROI perceptual loss and the detection loss, weighed."""
        hu, target = self._hu(output), self._hu(scaled.target)
        boxes = [torch.from_numpy(lesions[:, :4]).to(turn.device) for lesions in batch.lesions]
        detector = self.watching.detector
        features = detector.features(hu)
        terms = [
            roi_distance(detector, features, target, boxes, turn.generator),
            detection_loss(detector, hu, batch, turn, features),
        ]
        if int(self.watching.calibrated) != self.turns.round(turn.step):
            self._calibrate(reconstruction, terms, self.turns.round(turn.step))
        weights = self.watching.weights
        return weights[0] * terms[0] + weights[1] * terms[1]

    def _calibrate(self, reconstruction: Tensor, terms: Sequence[Tensor], number: int) -> None:
        """Weigh the terms by their gradients; from the second round on, the mean with the weights before.

        A single batch tells gradients apart to some tens of percent, and they fall as training goes on.
        """
        layer = last_layer(self.base.denoiser)
        whole = _gradient_norm(reconstruction, layer)
        for place, (term, share) in enumerate(
            zip(terms, (self.roi_share, self.detection_share), strict=True)
        ):
            norm = _gradient_norm(term, layer)
            wanted = share * whole / norm if norm > 0 else 0.0
            before = float(self.watching.weights[place])
            now = np.sqrt(before * wanted) if before > 0 and wanted > 0 else wanted
            self.watching.weights[place] = float(now)
        self.watching.calibrated.fill_(number)

    def _hu(self, images: Tensor) -> Tensor:
        """Scaled images `(b, 1, [z,] y, x)` in HU, of volumes the middle slice, which the boxes are of."""
        if images.dim() == 5:
            images = images[:, :, images.shape[2] // 2]
        scaling = self.base.scaling
        return images * scaling.scale + scaling.offset


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """While it lasts, a module's parameters need no gradients; what passes through it still has some."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def last_layer(network: nn.Module) -> list[Tensor]:
    """The last weights with more than one axis, or all there are."""
    weights: list[Tensor] = [one for one in network.parameters() if one.requires_grad]
    layers = [one for one in weights if one.dim() > 1]
    return layers[-1:] or weights


def _gradient_norm(loss: Tensor, weights: Sequence[Tensor]) -> float:
    gradients = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
    return float(sum(float(one.square().sum()) for one in gradients if one is not None) ** 0.5)


def roi_distance(
    detector: LesionDetector,
    features: Features,
    target: Tensor,
    boxes: Sequence[Tensor],
    generator: torch.Generator,
) -> Tensor:
    """Mean squared difference of `features`, which the detector's backbone made of denoised images, to those
    of `target` `(b, 1, y, x)` in HU, in regions of interest: lesions, jittered and not, and what the detector
    takes for one in the target.
    """
    size = (target.shape[-2], target.shape[-1])
    with torch.no_grad():
        wanted = detector.features(target)
        proposals = detector.proposals(target, N_PROPOSALS, wanted)
        regions = [
            torch.cat([known, *(jittered(known, size, generator) for _ in range(N_JITTERED)), proposed])
            for known, proposed in zip(boxes, proposals, strict=True)
        ]
        theirs = detector.of_regions(wanted, regions, size)
    ours = detector.of_regions(features, regions, size)
    return (ours - theirs).square().mean() if len(ours) else ours.sum()


def jittered(boxes: Tensor, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Boxes `(n, 4)` of y0, x0, y1, x1 moved and scaled by chance within an image; ones that would overlap
    their own by less than `LEAST_OVERLAP` stay.
    """
    if not len(boxes):
        return boxes
    sides = boxes[:, 2:] - boxes[:, :2]
    chance = 2 * torch.rand((2, len(boxes), 2), generator=generator).to(boxes.device) - 1
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 + _JITTER * chance[0] * sides
    halves = sides / 2 * (1 + _JITTER * chance[1])
    limits = torch.tensor(size, dtype=boxes.dtype, device=boxes.device)
    moved = torch.cat([(centres - halves).clamp_min(0), torch.minimum(centres + halves, limits)], dim=1)
    low, high = torch.maximum(moved[:, :2], boxes[:, :2]), torch.minimum(moved[:, 2:], boxes[:, 2:])
    common = (high - low).clamp_min(0).prod(dim=1)
    moved_sides = moved[:, 2:] - moved[:, :2]
    overlap = common / (sides.prod(dim=1) + moved_sides.clamp_min(0).prod(dim=1) - common)
    fits = (overlap >= LEAST_OVERLAP) & (moved_sides.min(dim=1).values >= _SMALLEST)
    return torch.where(fits[:, None], moved, boxes)
