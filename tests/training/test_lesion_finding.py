import numpy as np
import pytest
import torch

from lowdose.lesions import Box
from lowdose.networks.lesion_detector import Found, LesionDetector
from lowdose.scan import Scan, Slice
from lowdose.training.lesion_finding import find_lesions, slice_findings


class Reading(LesionDetector):
    """Finds one box in every slice, at a place and with a score that the slice's first pixels tell."""

    def __init__(self, context: int = 0) -> None:
        super().__init__(window=(-160.0, 240.0), width=8, context=context)
        self.shown: list[np.ndarray] = []

    def find(self, hu):
        self.shown.append(hu[0, :, 0, 0].numpy().copy())
        y, score = (float(hu[0, self.context, 0, k]) for k in (1, 2))
        box = torch.tensor([[y, 5.0, y + 10.0, 15.0]])
        return [Found(box, torch.tensor([0]), torch.tensor([score]))]


def scan_of(rows: list[tuple[float, float]]) -> Scan:
    hu = np.zeros((len(rows), 64, 64), np.float32)
    for z, (y, score) in enumerate(rows):
        hu[z, 0, :3] = (z, y, score)
    return Scan.from_array(hu)


def test_boxes_that_meet_in_neighbouring_slices_are_one_lesion_and_the_surest_is_first():
    scan = scan_of([(4, 0.6), (6, 0.8), (40, 0.9), (41, 0.2), (42, 0.95)])
    first, second, third = find_lesions(Reading(), ["nodule"], scan, 0.5)
    assert (first.slices, first.score) == ((4,), pytest.approx(0.95))
    assert (second.slices, second.score) == ((2,), pytest.approx(0.9))
    assert (third.slices, third.score) == ((0, 1), pytest.approx(0.8))
    assert third.boxes[1] == (Box(6.0, 5.0, 16.0, 15.0),)
    assert third.kind == "nodule"


def test_findings_below_the_threshold_are_left_out():
    assert find_lesions(Reading(), ["nodule"], scan_of([(4, 0.4)]), 0.5) == ()
    assert len(find_lesions(Reading(), ["nodule"], scan_of([(4, 0.4)]), 0.4)) == 1


def test_neighbours_are_shown_and_repeated_at_the_ends():
    network = Reading(context=1)
    find_lesions(network, ["nodule"], scan_of([(1, 0.9)] * 4), 0.5)
    assert [shown.tolist() for shown in network.shown] == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 3]]


def test_every_slice_is_read_once_and_padding_is_air():
    reads = []
    base = scan_of([(1, 0.9)] * 5)
    padding = np.zeros((64, 64), bool)
    padding[0, 0] = True

    def read(z: int) -> Slice:
        reads.append(z)
        return Slice(base.read(z).hu, padding)

    network = Reading(context=2)
    told = []
    scan = Scan(base.name, base.shape, base.affine, read)
    find_lesions(network, ["nodule"], scan, 0.5, lambda: told.append(1))
    assert sorted(reads) == [0, 1, 2, 3, 4]
    assert len(told) == 5
    assert {float(value) for shown in network.shown for value in shown} == {-1000.0}


def test_every_searched_slice_is_told_with_what_is_known_at_any_score():
    scan = scan_of([(4, 0.3), (6, 0.8), (40, 0.01)])
    told = []
    images = slice_findings(Reading(), scan, (0, 2), {2: [Box(1, 2, 8, 9)]}, "P", 0, lambda: told.append(1))
    assert [image.scores.tolist() for image in images] == [[pytest.approx(0.3)], [pytest.approx(0.01)]]
    assert images[1].lesions.tolist() == [[1, 2, 8, 9]]
    assert len(images[0].lesions) == 0
    assert len(told) == 2
    assert slice_findings(Reading(), scan, (0,), {}, "P", kind=1)[0].scores.tolist() == []


def test_neighbours_are_not_read_again_slice_by_slice():
    """A denoised arm makes every slice that is read: with neighbours it would be made three times."""
    base, reads = scan_of([(1, 0.9)] * 5), []

    def read(z: int) -> Slice:
        reads.append(z)
        return base.read(z)

    slice_findings(Reading(context=1), Scan(base.name, base.shape, base.affine, read), range(5), {}, "P")
    assert sorted(reads) == [0, 1, 2, 3, 4]
