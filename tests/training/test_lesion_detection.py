import numpy as np
import pytest
import torch

from lowdose.networks.lesion_detector import Found, LesionDetector
from lowdose.training.batches import Batch
from lowdose.training.lesion_detection import (
    Detecting,
    detection_loss,
    findings,
    judged,
    validation_by_lesions,
)
from lowdose.training.loop import Turn

CPU = torch.device("cpu")


class Knowing(LesionDetector):
    """Finds what it is told, whatever it is shown."""

    def __init__(self, told: list[Found], n_kinds: int = 1) -> None:
        super().__init__(window=(-160.0, 240.0), width=8, n_kinds=n_kinds)
        self.told = told

    def find(self, hu):
        return self.told


def found(boxes, scores, kinds=None) -> Found:
    kinds = [0] * len(boxes) if kinds is None else kinds
    return Found(torch.tensor(boxes).reshape(-1, 4), torch.tensor(kinds), torch.tensor(scores))


def batch_of(lesions) -> Batch:
    images = np.zeros((len(lesions), 1, 64, 64), np.float32)
    rows = tuple(np.array(one, np.float32).reshape(-1, 5) for one in lesions)
    return Batch(images, images, rows)


BOX = [4.0, 4.0, 14.0, 14.0]


def test_findings_are_told_by_kind():
    network = Knowing([found([BOX, [30.0, 30.0, 40.0, 44.0]], [0.9, 0.4], [0, 1])], n_kinds=2)
    known = [np.array([[*BOX, 1.0], [5, 5, 9, 9, 0]], np.float32)]
    images = torch.zeros(1, 1, 64, 64)
    (first,), (second,) = (findings(network, images, known, ["P"], kind) for kind in (0, 1))
    assert first.found.tolist() == [BOX]
    assert first.lesions.tolist() == [[5, 5, 9, 9]]
    assert second.scores == pytest.approx([0.4])
    assert second.lesions.tolist() == [BOX]


def test_a_detector_is_judged_by_what_its_precision_lacks():
    perfect = Knowing([found([BOX], [0.9]), found([], [])])
    validate = validation_by_lesions([batch_of([[[*BOX, 0.0]], []])], CPU)
    assert validate(perfect).error == pytest.approx(0.0)
    blind = Knowing([found([], []), found([], [])])
    assert validate(blind).error == pytest.approx(1.0)
    rough = Knowing([found([[4.0, 4.0, 14.0, 10.5]], [0.9]), found([], [])])
    assert validate(rough).error == pytest.approx(0.5)
    assert validation_by_lesions([], CPU)(perfect) is None


def test_every_image_of_every_batch_is_judged():
    network = Knowing([found([BOX], [0.9])])
    assert len(judged(network, [batch_of([[[*BOX, 0.0]]])] * 3, CPU)) == 3


def test_the_loss_depends_on_the_turn_alone_and_leaves_the_global_chance():
    network = LesionDetector(window=(-160.0, 240.0), width=8)
    batch = batch_of([[[*BOX, 0.0]]])

    def loss(step: int) -> float:
        turn = Turn(step, torch.Generator().manual_seed(step), slice(0, 1), 1, CPU)
        return float(detection_loss(network, torch.from_numpy(batch.noisy), batch, turn).detach())

    torch.manual_seed(1)
    first, state = loss(3), torch.get_rng_state()
    torch.manual_seed(9)
    assert loss(3) == first
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
    assert loss(4) != first


def test_a_step_lowers_the_loss_on_the_scans_as_they_are():
    network = LesionDetector(window=(-160.0, 240.0), width=8)
    batch = batch_of([[[*BOX, 0.0]], []])._replace(target=np.full((2, 1, 64, 64), np.nan, np.float32))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []

    def descend(name: str, loss: torch.Tensor) -> None:
        assert name == "detector"
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for _ in range(8):
        turn = Turn(0, torch.Generator().manual_seed(0), slice(0, 2), 2, CPU)
        losses.append(Detecting(network).step(batch, turn, descend)["loss"])
    assert losses[-1] < losses[0]
