import numpy as np
import pytest

from lowdose.lesions import Box, Lesion
from lowdose.training.dataset import PreparedPair, PreparedScan
from lowdose.training.lesion_sampling import LesionSampler, LesionScan, boxes_by_slice, within
from lowdose.training.sampling import PairSampler, PatchShape
from tests.training.lesion_scans import LESION, SIDE, lesion_scan

PATCH = PatchShape(48, 48)


def sampler(*scans: LesionScan, patch: PatchShape = PATCH, **changes) -> LesionSampler:
    pairs = PairSampler((), 4.0, patch, lowest_target_dose=1.0, averaged=0.0, kernels=0.0)
    return LesionSampler(scans or (lesion_scan(1), lesion_scan(2)), pairs, **changes)


def drawn(one: LesionSampler, n: int):
    return [one(np.random.default_rng([7, k])) for k in range(n)]


def test_boxes_are_where_the_lesions_are_however_the_patch_is_turned():
    for _, target, lesions in drawn(sampler(lesion_scan(1, noise=0.0), with_lesion=1.0), 60):
        assert len(lesions) >= 1
        marked = np.zeros(target.shape[1:], bool)
        for y0, x0, y1, x1, _kind in lesions:
            marked[round(y0) : round(y1), round(x0) : round(x1)] = True
        assert np.array_equal(marked, target[0] == LESION)


def test_lesions_lie_whole_in_their_patches_and_not_always_in_the_middle():
    centres = []
    for _, _, lesions in drawn(sampler(with_lesion=1.0), 80):
        y0, x0, y1, x1, _ = lesions[0]
        assert min(y1 - y0, x1 - x0) >= 9
        centres.append((float(y0 + y1) / 2, float(x0 + x1) / 2))
    assert np.std(centres, axis=0).min() > 6


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0.0, 0.5), (1.0, 1.0, 1.0)])
def test_the_share_around_lesions_is_as_asked(share, least, most):
    found = [len(lesions) > 0 for _, _, lesions in drawn(sampler(with_lesion=share), 100)]
    assert least <= np.mean(found) <= most


def test_slices_that_were_not_searched_are_not_shown():
    scan = lesion_scan(3)
    scan.prepared.hu[3] = 77
    only = LesionScan(scan.prepared, (3,), {})
    for noisy, _, lesions in drawn(sampler(only), 10):
        assert (noisy == 77).all()
        assert len(lesions) == 0


def test_low_dose_patches_come_from_the_scans_noise():
    hu = np.zeros((3, SIDE, SIDE), np.int16)
    noise = (np.random.default_rng(1).normal(0, 20, (3, 3, SIDE, SIDE)) * 8).astype(np.int16)
    prepared = PreparedScan("P", 1.0, (3.0, 1.0, 1.0), hu, noise)
    noisy, target, _ = sampler(LesionScan(prepared, (0, 1, 2), {}))(np.random.default_rng(4))
    assert target.std() == 0
    assert noisy.std() == pytest.approx(20 * np.sqrt(3), rel=0.1)


def test_pairs_are_shown_as_they_were_taken():
    low, high = (np.full((3, SIDE, SIDE), value, np.int16) for value in (5, 9))
    prepared = PreparedPair("P", 1.0, (3.0, 1.0, 1.0), low, high)
    noisy, target, _ = sampler(LesionScan(prepared, (0,), {}))(np.random.default_rng(4))
    assert (noisy == 5).all()
    assert (target == 9).all()


@pytest.mark.parametrize("n_z", [2, 3, 4])
def test_volumes_are_around_the_slice_of_the_boxes(n_z):
    scan = lesion_scan(5, noise=0.0)
    scan.prepared.hu[:] += np.arange(4, dtype=np.int16)[:, None, None] * 1000
    one = sampler(scan, patch=PatchShape(48, 48, n_z=n_z, volume=True), with_lesion=1.0)
    for _, target, lesions in drawn(one, 20):
        assert target.shape == (1, n_z, 48, 48)
        y0, x0, y1, x1, _ = lesions[0].round().astype(int)
        assert (target[0, n_z // 2, y0:y1, x0:x1] % 1000 == LESION).all()


def test_boxes_are_cut_and_those_mostly_outside_left_out():
    boxes = np.array(
        [[0, 0, 10, 10, 1], [4, 4, 24, 8, 0], [8, 8, 30, 30, 0], [40, 40, 50, 50, 0]], np.float32
    )
    found = within(boxes, (slice(5, 15), slice(4, 14)))
    assert found.tolist() == [[0, 0, 10, 4, 0]]


def test_a_lesion_larger_than_the_patch_fills_it():
    scan = lesion_scan(1)
    large = LesionScan(scan.prepared, scan.searched, {0: np.array([[10, 10, 80, 80, 0]], np.float32)})
    for _, _, lesions in drawn(sampler(large, with_lesion=1.0), 20):
        assert (lesions[0, 2:4] - lesions[0, :2] == 48).all()


def test_kinds_are_numbered_as_the_detector_has_them():
    lesions = [Lesion("b", {2: (Box(0, 0, 4, 4),)}), Lesion("a", {2: (Box(5, 5, 9, 9),)})]
    assert boxes_by_slice(lesions, ("a", "b"))[2].tolist() == [[0, 0, 4, 4, 1], [5, 5, 9, 9, 0]]
    with pytest.raises(ValueError, match="is not in list"):
        boxes_by_slice(lesions, ("a",))


def test_no_scans_and_small_scans_are_refused():
    with pytest.raises(ValueError, match="no scans with lesions"):
        LesionSampler((), PairSampler((), 4.0, PATCH))
    with pytest.raises(ValueError, match=r"patches of 128 x 128 do not fit into the 96 x 96 of a scan of P1"):
        sampler(patch=PatchShape(128, 128))
