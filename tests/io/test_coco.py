"""Lesions to JSON and back; pycocotools reads the same boxes from it."""

from __future__ import annotations

import contextlib
import io
import json

import pytest
from pycocotools.coco import COCO

from lowdose.io.coco import AnnotatedScan, read_coco, write_coco
from lowdose.io.origin import InputError
from lowdose.lesions import Box, Lesion

ONE, TWO = Box(4.5, 5, 9, 8.25), Box(15, 10, 19, 18)
SCANS = [
    AnnotatedScan(
        "ward/anna", "anna", (24, 20), (0, 1, 2, 3),
        (Lesion("nodule", {1: (ONE,), 2: (ONE, TWO)}), Lesion("cyst", {2: (TWO,)})),
    ),
    AnnotatedScan("ward/ben.nii.gz", "ben", (512, 400), (0, 2), ()),
]  # fmt: skip


@pytest.fixture
def path(tmp_path):
    write_coco(tmp_path / "lesions.json", SCANS)
    return tmp_path / "lesions.json"


def test_what_is_written_is_read(path):
    assert list(read_coco(path)) == SCANS


def test_pycocotools_reads_it(path):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
    (image,) = (one for one in coco.imgs.values() if (one["file_name"], one["slice"]) == ("ward/anna", 2))
    found = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
    kinds = [(coco.cats[one["category_id"]]["name"], one["bbox"]) for one in found]
    one, two = [5, 4.5, 3.25, 4.5], [10, 15, 8, 4]
    assert kinds == [("nodule", one), ("nodule", two), ("cyst", two)]
    assert len(coco.imgs) == 6


def test_boxes_of_others_are_linked_across_slices(path):
    document = json.loads(path.read_text())
    for annotation in document["annotations"]:
        del annotation["lesion"]
    for image in document["images"]:
        del image["patient"]
    path.write_text(json.dumps(document | {"info": {"year": 2026}}))
    anna, ben = read_coco(path)
    assert (anna.patient, ben.patient) == ("ward/anna", "ward/ben.nii.gz")
    assert [(one.kind, dict(one.boxes)) for one in anna.lesions] == [
        ("nodule", {1: (ONE,), 2: (ONE,)}),
        ("nodule", {2: (TWO,)}),
        ("cyst", {2: (TWO,)}),
    ]


def changed(**changes):
    def change(document):
        for place, value in changes.items():
            what, key = place.split("__")
            document[what][0][key] = value

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (changed(annotations__image_id=99), "annotation 1 is of image 99, which the file lacks"),
        (changed(annotations__category_id=9), "annotation 1 is of the class 9, .* they have 1, 2"),
        (changed(annotations__bbox=[0, 0, 0, 3]), "a box without an area"),
        (changed(annotations__bbox=[18, 0, 3, 3]), "a box outside the image of 24 x 20"),
        (changed(annotations__bbox=[18, 0, 3]), r"annotations\.0\.bbox"),
        (changed(annotations__bbox=[0, 0, "wide", 3]), r"annotations\.0\.bbox\.2"),
        (changed(images__slice=-1), r"images\.0\.slice"),
        (changed(images__height=30), "the images of ward/anna are of 2 sizes"),
        (changed(images__patient="carl"), "the images of ward/anna are of 2 patients"),
        (lambda document: document.pop("categories"), "categories: Field required"),
        (lambda document: document.update(images=[], annotations=[]), "names no images"),
    ],
)
def test_what_cannot_be_is_one_sentence(path, change, sentence):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=sentence) as refused:
        read_coco(path)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_coco(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("lesions: many")
    with pytest.raises(InputError, match="is not JSON"):
        read_coco(tmp_path / "text.json")
