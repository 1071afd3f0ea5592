import nibabel
import numpy as np
import pytest

from lowdose.io.coco import AnnotatedScan, read_coco, write_coco
from lowdose.training.dataset import PreparedImages, PreparedPair
from lowdose.training.lesion_sources import LesionDataError, prepare_lesions
from lowdose.training.sources import Watcher
from tests.training.lesion_scans import SIDE, annotated_files, squares


def prepared(path, **changes):
    settings = {"with_noise": False, "seed": 1, "watcher": Watcher()}
    return prepare_lesions(path, path.parent / "cache", **(settings | changes))


def test_scans_come_with_the_boxes_of_their_slices(tmp_path):
    data = prepared(annotated_files(tmp_path))
    assert data.kinds == ("node",)
    assert [scan.prepared.patient for scan in data.training] == ["A", "B"]
    assert [scan.prepared.patient for scan in data.validation] == ["C"]
    hu, boxes = squares(0)
    scan = data.training[0]
    assert isinstance(scan.prepared, PreparedImages)
    assert np.array_equal(scan.prepared.hu, np.rint(hu).astype(np.int16))
    assert {z: found[:, :4].tolist() for z, found in scan.boxes.items()} == {
        z: [list(box) for box in found] for z, found in boxes.items()
    }
    assert scan.searched == (0, 1, 2, 3)


def test_every_fifth_patient_is_held_back_or_who_is_named(tmp_path):
    names = tuple("abcdefghijk")
    path = annotated_files(tmp_path, names, n_slices=2)
    assert [scan.prepared.patient for scan in prepared(path).validation] == ["e", "j"]
    named = prepared(path, validation_patients=["b"])
    assert [scan.prepared.patient for scan in named.validation] == ["b"]
    assert not {s.prepared.patient for s in named.training} & {s.prepared.patient for s in named.validation}


def test_scans_of_a_patient_weigh_as_one(tmp_path):
    path = annotated_files(tmp_path)
    first, second, third = read_coco(path)
    write_coco(path, [first, AnnotatedScan(second.source, "A", *vars_of(second)), third])
    weights = {scan.prepared.weight for scan in prepared(path).training}
    assert weights == {0.5}


def vars_of(scan: AnnotatedScan):
    return scan.size, scan.searched, scan.lesions


def test_a_low_dose_scan_beside_it_makes_a_pair(tmp_path):
    path = annotated_files(tmp_path, ("A", "B"))
    scans = [AnnotatedScan(s.source, s.patient, *vars_of(s), low=f"low-{s.source}") for s in read_coco(path)]
    for scan in scans:
        image = nibabel.load(tmp_path / scan.source)
        nibabel.save(nibabel.Nifti1Image(image.get_fdata() + 7, image.affine), tmp_path / scan.low)
    write_coco(path, scans)
    (one,) = prepared(path, with_noise=True).training
    assert isinstance(one.prepared, PreparedPair)
    assert np.abs(one.prepared.low - one.prepared.high - 7).max() <= 1


def test_boxes_that_do_not_fit_the_low_dose_grid_are_refused(tmp_path):
    path = annotated_files(tmp_path, ("A", "B"))
    scans = [AnnotatedScan(s.source, s.patient, *vars_of(s), low="low.nii") for s in read_coco(path)]
    nibabel.save(nibabel.Nifti1Image(np.zeros((48, 48, 4), np.float32), np.eye(4)), tmp_path / "low.nii")
    write_coco(path, scans)
    with pytest.raises(
        LesionDataError, match=r"differ in shape.* so the boxes do not fit the low dose; give rec"
    ):
        prepared(path, with_noise=True)


def test_boxes_of_another_scan_are_refused(tmp_path):
    path = annotated_files(tmp_path, ("A", "B"))
    nibabel.save(nibabel.Nifti1Image(np.zeros((48, 48, 4), np.float32), np.eye(4)), tmp_path / "A.nii")
    with pytest.raises(
        LesionDataError, match=rf"boxes of A.nii are of 4 or more slices of {SIDE} x {SIDE}, and"
    ):
        prepared(path)


def test_what_cannot_be_learned_from_is_refused_in_a_sentence(tmp_path):
    path = annotated_files(tmp_path, ("A", "B"))
    with pytest.raises(LesionDataError, match="has no patient Z to hold back; it has A, B"):
        prepared(path, validation_patients=["Z"])
    with pytest.raises(LesionDataError, match="no patient is left with lesions to train on"):
        prepared(path, validation_patients=["A", "B"])
    with pytest.raises(LesionDataError, match="lesions of the kind node, and the detector knows nodule"):
        prepared(path, kinds=["nodule"])
    write_coco(path, [AnnotatedScan("A.nii", "A", (SIDE, SIDE), (0,), ())])
    with pytest.raises(LesionDataError, match=r"lesions.json: holds no lesion; give one with boxes"):
        prepared(path)
    (tmp_path / "A.nii").unlink()
    with pytest.raises(LesionDataError):
        prepared(annotated_files(tmp_path / "gone", ("A",)).parent / "nothing.json")
