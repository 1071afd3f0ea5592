"""Training a detector of lesions on scans at their own dose, and judging it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lowdose.networks.lesion_detector import Features, LesionDetector
from lowdose.quality.lesion_detection import ImageFindings, average_precision, match
from lowdose.training.batches import Batch
from lowdose.training.loop import Descend, Trained, Turn, Validate, Validation


def detection_loss(
    detector: LesionDetector, hu: Tensor, batch: Batch, turn: Turn, features: Features | None = None
) -> Tensor:
    """The four losses of Faster R-CNN together, for images `(b, 1 + 2 context, y, x)` in HU.

    Torchvision draws the regions that it learns from with torch's global generator: it is set by the step, so
    that a run can be resumed to the bit, and put back.
    """
    boxes = [torch.from_numpy(lesions[:, :4]).to(hu.device) for lesions in batch.lesions]
    kinds = [torch.from_numpy(lesions[:, 4].astype(np.int64)).to(hu.device) for lesions in batch.lesions]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=turn.generator)))
        losses = detector.losses(hu, boxes, kinds, features)
    return torch.stack(list(losses.values())).sum()


@dataclass(frozen=True)
class Detecting:
    """What `fit` does to a detector with images and their lesions."""

    detector: LesionDetector

    @property
    def trained(self) -> Mapping[str, Trained]:
        return {"detector": Trained(self.detector, 1.0)}

    def step(self, batch: Batch, turn: Turn, descend: Descend) -> dict[str, float]:
        """Learn from one batch of scans as they are."""
        hu = torch.from_numpy(batch.noisy).to(turn.device)
        loss = detection_loss(self.detector, hu, batch, turn)
        descend("detector", loss)
        return {"loss": float(loss.detach())}


def findings(
    detector: LesionDetector,
    images: Tensor,
    lesions: Sequence[np.ndarray],
    patients: Sequence[str],
    kind: int = 0,
) -> list[ImageFindings]:
    """What `detector` finds in images `(b, 1 + 2 context, y, x)` in HU, beside what there is, of one kind."""
    found = detector.find(images)
    result = []
    for one, known, patient in zip(found, lesions, patients, strict=True):
        of_kind = (one.kinds == kind).cpu().numpy()
        result.append(
            ImageFindings(
                patient,
                known[known[:, 4] == kind][:, :4],
                one.boxes.cpu().numpy()[of_kind],
                one.scores.cpu().numpy()[of_kind],
            )
        )
    return result


def validation_by_lesions(batches: Sequence[Batch], device: torch.device) -> Validate:
    """A detector is judged by what its average precision lacks, over the overlaps 0.5 and 0.75."""

    def validate(network: nn.Module) -> Validation | None:
        if not batches:
            return None
        assert isinstance(network, LesionDetector)
        images = judged(network, batches, device)
        lacks = [1.0 - average_precision(match(images, overlap)) for overlap in (0.5, 0.75)]
        return Validation(error=float(np.mean(lacks)), ssim=None)

    return validate


def judged(network: LesionDetector, batches: Sequence[Batch], device: torch.device) -> list[ImageFindings]:
    """What is found in all of `batches`, all kinds as one patient's: a mean over kinds weighs by lesions."""
    images: list[ImageFindings] = []
    for number, batch in enumerate(batches):
        hu = torch.from_numpy(batch.noisy).to(device)
        for kind in range(network.n_kinds):
            names = [f"{number}"] * len(hu)
            images += findings(network, hu, batch.lesions, names, kind)
    return images
