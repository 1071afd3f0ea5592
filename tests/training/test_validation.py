from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lowdose.models.card import HuScaling
from lowdose.networks.network import DenoisingNetwork
from lowdose.training.batches import Batch
from lowdose.training.sampling import PatchShape
from lowdose.training.sources import Watcher, prepare_data
from lowdose.training.validation import VALIDATION_BATCHES, validation_batches, validation_of
from tests.training.ward import plan

SQUARE = PatchShape(32, 32)


def test_validation_is_always_on_the_same_patches(root, cache):
    data = prepare_data(plan(), root, cache, Watcher())
    first, again = (validation_batches(plan(), SQUARE, data.validation) for _ in range(2))
    assert len(first) == VALIDATION_BATCHES
    for (noisy, target, _), (noisy_again, target_again, _) in zip(first, again, strict=True):
        assert noisy.tobytes() == noisy_again.tobytes()
        assert target.tobytes() == target_again.tobytes()
    hu = {float(value) for scan in data.validation for value in np.unique(scan.hu)}
    assert {float(value) for _, target, _ in first for value in np.unique(target)} <= hu
    assert validation_batches(plan(), SQUARE, ()) == []


class Halfway(DenoisingNetwork):
    """Gives two images: what it is shown, and half of it; of neighbours, it looks at the middle one."""

    levels = 2

    def __init__(self, context: int) -> None:
        super().__init__()
        self.context = context

    def forward(self, image: Tensor) -> Tensor:
        middle = image[:, self.context : self.context + 1]
        return torch.cat([middle, 0.5 * middle], dim=1)


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("scaling", [HuScaling(0.0, 500.0), HuScaling(0.0, 90.0)])
def test_the_last_image_of_a_network_is_judged_and_the_scale_does_not_matter(context, scaling):
    generator = np.random.default_rng(0)
    target = np.zeros((3, 1, 24, 24), np.float32)
    noisy = generator.normal(0, 30, (3, 1 + 2 * context, 24, 24)).astype(np.float32)
    network = Halfway(context)
    found = validation_of([Batch(noisy, target)], network, scaling, torch.device("cpu"))(network)
    assert found is not None
    assert found.error == pytest.approx(0.5, rel=1e-4)
    worse = validation_of([Batch(2 * noisy, target)], network, scaling, torch.device("cpu"))(network)
    assert worse.ssim < found.ssim < 1.0


def test_without_batches_there_is_no_validation():
    assert validation_of([], Halfway(0), HuScaling(0.0, 1.0), torch.device("cpu"))(Halfway(0)) is None
