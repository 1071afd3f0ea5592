import numpy as np
import pytest
import torch

from lowdose.networks.lesion_detector import LesionDetector
from lowdose.quality.lesion_detection import average_precision, match
from lowdose.training.batches import Batch
from lowdose.training.lesion_detection import findings
from tests.training.lesion_scans import squares

ANCHORS = ((8, 12), (16, 24), (32, 48))


def detector(**changes) -> LesionDetector:
    torch.manual_seed(3)
    return LesionDetector(**{"window": (-160.0, 240.0), "width": 8, "anchors": ANCHORS} | changes)


def batch(seeds) -> Batch:
    images, lesions = [], []
    for seed in seeds:
        hu, boxes = squares(seed)
        for z, image in enumerate(hu):
            images.append(image)
            rows = [(*box, 0.0) for box in boxes.get(z, ())]
            lesions.append(np.array(rows, np.float32).reshape(-1, 5))
    stacked = np.stack(images)[:, None]
    return Batch(stacked, stacked, tuple(lesions))


def boxes_and_kinds(one: Batch):
    boxes = [torch.from_numpy(found[:, :4]) for found in one.lesions]
    return boxes, [torch.zeros(len(found), dtype=torch.int64) for found in boxes]


@pytest.fixture(scope="module")
def trained() -> LesionDetector:
    """Learned to find bright squares, in half a minute or less."""
    network = detector()
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for step in range(160):
        one = batch((2 * step, 2 * step + 1))
        torch.manual_seed(step)
        loss = torch.stack(list(network.losses(torch.from_numpy(one.noisy), *boxes_and_kinds(one)).values()))
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    return network.eval()


def test_it_learns_to_find_what_it_was_shown(trained):
    one = batch(range(5000, 5010))
    images = findings(trained, torch.from_numpy(one.noisy), one.lesions, ["P"] * len(one.noisy))
    assert average_precision(match(images)) > 0.9


def test_boxes_are_rows_before_columns(trained):
    hu = np.zeros((1, 1, 96, 96), np.float32)
    hu[0, 0, 60:72, 20:34] = 150.0
    found = trained.find(torch.from_numpy(hu))[0]
    assert found.boxes[0].numpy() == pytest.approx([60, 20, 72, 34], abs=3)
    assert found.scores[0] > 0.5
    assert int(found.kinds[0]) == 0


def test_an_image_of_any_size_is_searched(trained):
    hu = np.zeros((1, 1, 141, 107), np.float32)
    hu[0, 0, 125:138, 90:103] = 150.0
    found = trained.find(torch.from_numpy(hu))[0]
    assert found.boxes[0].numpy() == pytest.approx([125, 90, 138, 103], abs=3)
    assert found.boxes[:, 2].max() <= 141
    assert found.boxes[:, 3].max() <= 107


def test_regions_of_interest_tell_lesions_from_their_surroundings(trained):
    one = batch((9,))
    images = torch.from_numpy(one.noisy[:1])
    lesion = torch.from_numpy(one.lesions[0][:, :4])
    regions = torch.cat([lesion, lesion.new_tensor([[0.0, 80.0, 12.0, 94.0]])])
    shown = trained.of_regions(trained.features(images), [regions], (96, 96))
    assert shown.shape == (2, 16, 5, 5)
    assert float((shown[0] - shown[1]).square().mean().detach()) > 0.05


def test_proposals_hold_the_lesion(trained):
    one = batch((9,))
    (proposed,) = trained.proposals(torch.from_numpy(one.noisy[:1]), 5)
    assert proposed.shape == (5, 4)
    assert proposed[0].numpy() == pytest.approx(one.lesions[0][0, :4], abs=4)


def test_nothing_is_remembered_of_what_it_was_shown(trained):
    """No running statistics: finding and judging leave every weight and buffer as it was."""
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    one = batch((1,))
    trained.find(torch.from_numpy(one.noisy))
    trained.losses(torch.from_numpy(one.noisy), *boxes_and_kinds(one))
    trained.proposals(torch.from_numpy(one.noisy), 4)
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    assert not trained.rcnn.training


def test_losses_pass_gradients_to_the_image():
    network = detector().requires_grad_(False)
    one = batch((1,))
    hu = torch.from_numpy(one.noisy).requires_grad_(True)
    torch.stack(list(network.losses(hu, *boxes_and_kinds(one)).values())).sum().backward()
    assert float(hu.grad.abs().sum()) > 0


def test_values_beyond_the_window_have_a_gradient_too():
    network = detector()
    hu = torch.full((1, 1, 64, 64), 600.0, requires_grad=True)
    network.features(hu)["0"].square().mean().backward()
    assert float(hu.grad.abs().sum()) > 0


def test_several_kinds_and_neighbours():
    network = detector(n_kinds=3, context=1)
    hu = torch.randn(2, 3, 64, 64) * 50
    boxes = [torch.tensor([[4.0, 4.0, 20.0, 20.0]]), torch.zeros(0, 4)]
    kinds = [torch.tensor([2]), torch.zeros(0, dtype=torch.int64)]
    assert set(network.losses(hu, boxes, kinds)) == {
        "loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"
    }  # fmt: skip
    found = network.find(hu)
    assert all(((one.kinds >= 0) & (one.kinds < 3)).all() for one in found)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"window": (5.0, 5.0)}, "the window 5 to 5 HU is empty"),
        ({"width": 12}, "must be a multiple of 8"),
        ({"anchors": ((8,), (16, 24), (32, 48))}, "anchors are 3 lists of as many sides"),
    ],
)
def test_sizes_that_cannot_be_are_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        detector(**wrong)
