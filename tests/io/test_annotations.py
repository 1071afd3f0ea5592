"""Lesions of a made scan from every kind of file, some of them by independent makers (highdicom, nibabel)."""

from __future__ import annotations

from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from lowdose.io import InputError, open_input
from lowdose.io.annotations import read_annotations
from lowdose.lesions import Box
from lowdose.scan import Scan
from tests.io.ct_factory import ct_series, ct_slice, disc, save
from tests.io.nifti_factory import saved

ROWS, COLUMNS, N_SLICES = 24, 20, 6
FIRST, SECOND = Box(4, 5, 9, 8), Box(15, 10, 19, 18)
"""A lesion in the slices 1 to 3 and one in slice 3."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A series whose files are not in the order of their slices, 3 mm apart, pixels of 0.5 x 0.75 mm."""
    folder = tmp_path_factory.mktemp("scan")
    for z in range(N_SLICES):
        one = ct_slice(disc(ROWS, COLUMNS, seed=z), z=3.0 * z - 40.0, number=z + 1)
        save(one, folder / f"{(z * 5) % 7}.dcm")
    return folder


@pytest.fixture
def scan(folder) -> Scan:
    with open_input(folder) as found:
        (case,) = found.cases
        assert case.scan is not None
        return case.scan


def mask() -> np.ndarray:
    """Labels `[z, y, x]`: 1 and 2."""
    values = np.zeros((N_SLICES, ROWS, COLUMNS), np.uint8)
    values[1:4, 4:9, 5:8] = 1
    values[3, 15:19, 10:18] = 2
    return values


def boxes(lesion) -> dict[int, tuple[Box, ...]]:
    return dict(lesion.boxes)


EXPECTED = [{1: (FIRST,), 2: (FIRST,), 3: (FIRST,)}, {3: (SECOND,)}]


def segmentation(folder: Path, path: Path, *, syntax: str, kind: str) -> Path:
    series = sorted(
        (pydicom.dcmread(one) for one in folder.glob("*.dcm")), key=lambda ds: ds.ImagePositionPatient[2]
    )
    segments = [
        highdicom.seg.SegmentDescription(
            number, name, codes.SCT.Tissue, codes.SCT.Mass, highdicom.seg.SegmentAlgorithmTypeValues.MANUAL
        )
        for number, name in ((1, "Nodule A"), (2, "Cyst"))
    ]
    values = mask()
    pixels = np.stack([values == 1, values == 2], axis=-1)
    fractional = kind == "FRACTIONAL"
    highdicom.seg.Segmentation(
        series, pixels.astype(np.float32) * 0.8 if fractional else pixels, kind, segments, "1.2.826.1", 9,
        "1.2.826.2", 1, "Maker", "Model", "1", "7", transfer_syntax_uid=syntax,
    ).save_as(path)  # fmt: skip
    return path


@pytest.mark.parametrize(
    ("syntax", "kind"),
    [
        (ExplicitVRLittleEndian, "BINARY"),
        (ExplicitVRLittleEndian, "FRACTIONAL"),
        (RLELossless, "FRACTIONAL"),
    ],
)
def test_a_segmentation_by_highdicom(folder, scan, tmp_path, syntax, kind):
    path = segmentation(folder, tmp_path / "seg.dcm", syntax=syntax, kind=kind)
    found = read_annotations(path, scan)
    assert [boxes(lesion) for lesion in found.lesions] == EXPECTED
    assert [lesion.kind for lesion in found.lesions] == ["Nodule A", "Cyst"]
    some = read_annotations(path, scan, {"nodule": "nodule"})
    assert [lesion.kind for lesion in some.lesions] == ["nodule"]
    assert some.notes == (f"{path}: regions left aside: Cyst",)


def label_map(path: Path, scan: Scan, letters: str = "LPS") -> Path:
    """The labels as another program stores them; `letters` tell the order and direction of its axes."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ scan.affine @ np.eye(4)[[2, 1, 0, 3]]
    image = nibabel.Nifti1Image(mask().transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    turned = image.as_reoriented(
        nibabel.orientations.ornt_transform(
            nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(letters)
        )
    )
    nibabel.save(turned, path)
    return path


@pytest.mark.parametrize("letters", ["LPS", "RAS", "LAI", "RPS"])
def test_a_label_map_in_any_orientation(scan, tmp_path, letters):
    found = read_annotations(label_map(tmp_path / "labels.nii.gz", scan, letters), scan)
    assert sorted(found.lesions[0].slices) in ([1, 2, 3], [3])
    assert sorted((boxes(lesion) for lesion in found.lesions), key=len, reverse=True) == EXPECTED
    assert {lesion.kind for lesion in found.lesions} == {"lesion"}


def test_values_of_a_label_map_have_kinds(scan, tmp_path):
    path = label_map(tmp_path / "labels.nii", scan)
    found = read_annotations(path, scan, {"2": "cyst"})
    assert [(lesion.kind, boxes(lesion)) for lesion in found.lesions] == [("cyst", EXPECTED[1])]


def test_of_planes_closer_than_slices_the_nearest_counts(scan, tmp_path):
    """A label map with three planes for each slice, shrinking downwards."""
    values = np.zeros((COLUMNS, ROWS, 3 * N_SLICES), np.uint8)
    for z in range(3, 10):
        values[5:15, 4 : 8 + z, z] = 1
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ scan.affine @ np.eye(4)[[2, 1, 0, 3]]
    affine[:3, 2] /= 3
    found = read_annotations(saved(tmp_path / "dense.nii", values, affine), scan)
    (lesion,) = found.lesions
    assert lesion.boxes == {z: (Box(4, 5, 8 + 3 * z, 15),) for z in (1, 2, 3)}
    assert "4 outlines" in found.notes[0]


def structure_set(path: Path, outlines: list[tuple[int, list[list[float]]]], *names: str) -> Path:
    """One region for each name, with all outlines of its number; points in LPS mm."""
    ds = ct_slice()
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    ds.Modality = "RTSTRUCT"
    del ds.PixelData
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, name in enumerate(names, start=1):
        region = Dataset()
        region.ROINumber, region.ROIName = number, name
        ds.StructureSetROISequence.append(region)
        contours = Dataset()
        contours.ReferencedROINumber, contours.ContourSequence = number, []
        for owner, points in outlines:
            if owner == number:
                outline = Dataset()
                outline.ContourGeometricType = "CLOSED_PLANAR"
                outline.NumberOfContourPoints = len(points)
                outline.ContourData = [value for point in points for value in point]
                contours.ContourSequence.append(outline)
        ds.ROIContourSequence.append(contours)
    pydicom.dcmwrite(path, ds, enforce_file_format=True)
    return path


def outline(box: Box, z: float) -> list[list[float]]:
    """A diamond whose tips touch the box; the scan's first voxel centre is at x -10, y -20."""
    middle = (box.y0 + box.y1) / 2, (box.x0 + box.x1) / 2
    tips = [(box.y0, middle[1]), (middle[0], box.x1), (box.y1, middle[1]), (middle[0], box.x0)]
    return [[-10 + 0.75 * (x - 0.5), -20 + 0.5 * (y - 0.5), z] for y, x in tips]


def test_the_outlines_of_a_structure_set(scan, tmp_path):
    outlines = [(1, outline(FIRST, 3.0 * z - 40.0)) for z in (1, 2, 3)]
    outlines += [(2, outline(SECOND, -31.0)), (1, outline(FIRST, 100.0)), (1, outline(FIRST, -38.5))]
    path = structure_set(tmp_path / "rt.dcm", outlines, "GTV 1", "Heart")
    found = read_annotations(path, scan)
    assert [lesion.kind for lesion in found.lesions] == ["GTV 1", "Heart"]
    assert [boxes(lesion) for lesion in found.lesions] == EXPECTED
    assert "1 outlines" in found.notes[0]
    assert "beyond the slices" in found.notes[0]
    assert "between slices" in found.notes[1]
    tumours = read_annotations(path, scan, {"gtv": "tumour"})
    assert [lesion.kind for lesion in tumours.lesions] == ["tumour"]


def test_a_point_covers_a_pixel(scan, tmp_path):
    path = structure_set(tmp_path / "rt.dcm", [(1, [[-10 + 0.75 * 7, -20 + 0.5 * 4, -40.0]])], "seed")
    (lesion,) = read_annotations(path, scan).lesions
    assert lesion.boxes == {0: (Box(4, 7, 5, 8),)}


LIDC = """<?xml version="1.0" encoding="UTF-8"?>
<LidcReadMessage xmlns="http://www.nih.gov"><ResponseHeader/>{sessions}</LidcReadMessage>"""
NODULE = "<unblindedReadNodule><noduleID>1</noduleID>{rois}</unblindedReadNodule>"


def roi(z: float, points: list[tuple[int, int]], inclusion: str = "TRUE") -> str:
    edge = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for y, x in points)
    return f"<roi><imageZposition>{z}</imageZposition><inclusion>{inclusion}</inclusion>{edge}</roi>"


def ring(box: Box) -> list[tuple[int, int]]:
    """The pixels right around a box."""
    y0, x0, y1, x1 = (int(value) for value in box)
    return [(y, x) for y in range(y0 - 1, y1 + 1) for x in (x0 - 1, x1)]


def lidc(path: Path, *readers: str) -> Path:
    sessions = "".join(f"<readingSession>{one}</readingSession>" for one in readers)
    path.write_text(LIDC.format(sessions=sessions), encoding="utf-8")
    return path


def test_readers_of_lidc(scan, tmp_path):
    first = NODULE.format(rois="".join(roi(3.0 * z - 40, ring(FIRST)) for z in (1, 2, 3)))
    second = NODULE.format(rois=roi(-31.0, ring(SECOND)) + roi(-31.0, [(16, 12), (17, 13)], "FALSE"))
    small = NODULE.format(rois=roi(-31.0, [(3, 3)]))
    path = lidc(tmp_path / "read.xml", first + second, first + small, first + second, second)
    found = read_annotations(path, scan)
    assert [boxes(lesion) for lesion in found.lesions] == EXPECTED
    assert [lesion.kind for lesion in found.lesions] == ["nodule", "nodule"]
    assert found.notes == ("1 marks of nodules under 3 mm",)
    with pytest.raises(InputError, match="marks no lesion in Chest"):
        read_annotations(path, scan, at_least=4)


def other_file(tmp_path: Path) -> Path:
    return ct_series(tmp_path / "other", 1)[0]


def text(name: str, content: str):
    def write(tmp_path: Path) -> Path:
        (tmp_path / name).write_text(content, encoding="utf-8")
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: folder / "nothing.dcm", "is no file; give a DICOM segmentation"),
        (other_file, "marks no lesions: it is neither a DICOM segmentation"),
        (text("a.xml", "<a><b></a>"), "is not whole XML; copy it again"),
        (text("a.xml", "<a/>"), "is XML, but no reading of LIDC-IDRI"),
        (text("a.xml", LIDC.format(sessions="")), "marks no lesion in Chest 3.0; leave it out"),
        (
            lambda folder: lidc(folder / "a.xml", NODULE.format(rois="<roi><edgeMap/><edgeMap/></roi>")),
            "an outline without inclusion",
        ),
        (
            lambda folder: lidc(folder / "a.xml", NODULE.format(rois=roi(-40.0, [(3, 3), (3, 90)]))),
            "has a box outside the image of 24 x 20",
        ),
        (
            lambda folder: structure_set(folder / "a.dcm", [(1, outline(Box(4, 4, 90, 9), -40.0))], "GTV"),
            r"marks a GTV outside the images of Chest 3.0 \(rows 4 to 90, columns 4 to 9 of 24 x 20\)",
        ),
        (
            lambda folder: structure_set(folder / "a.dcm", [(1, [[0, 0, -40], [5, 0, -35], [0, 5, 0]])], "A"),
            "is drawn in planes that are not parallel to the slices",
        ),
        (
            lambda folder: structure_set(folder / "a.dcm", [(1, outline(FIRST, 500.0))], "GTV"),
            "marks no lesion in Chest 3.0 .*beyond the slices",
        ),
    ],
)  # fmt: skip
def test_what_does_not_mark_a_lesion_of_the_scan_is_one_sentence(scan, tmp_path, make, sentence):
    with pytest.raises(InputError, match=sentence) as refused:
        read_annotations(make(tmp_path), scan)
    assert "\n" not in str(refused.value)


def test_a_damaged_segmentation_is_one_sentence(folder, scan, tmp_path):
    whole = segmentation(folder, tmp_path / "seg.dcm", syntax=ExplicitVRLittleEndian, kind="BINARY")
    ds = pydicom.dcmread(whole)
    ds.PixelData = ds.PixelData[:20]
    pydicom.dcmwrite(tmp_path / "cut.dcm", ds)
    with pytest.raises(InputError, match=r"cut\.dcm"):
        read_annotations(tmp_path / "cut.dcm", scan)
    ds = pydicom.dcmread(whole)
    for groups in ds.PerFrameFunctionalGroupsSequence:
        del groups.PlanePositionSequence
    pydicom.dcmwrite(tmp_path / "lost.dcm", ds)
    with pytest.raises(InputError, match="does not say PlanePositionSequence of its frame 1"):
        read_annotations(tmp_path / "lost.dcm", scan)


def test_the_annotations_of_a_scan_fit_its_copies_and_no_other_scan(folder, tmp_path):
    path = segmentation(folder, tmp_path / "seg.dcm", syntax=ExplicitVRLittleEndian, kind="BINARY")
    for z in range(N_SLICES):
        one = ct_slice(disc(ROWS, COLUMNS, seed=z), z=3.0 * z - 40.0, number=z + 1, series_uid="1.2.9")
        save(one, tmp_path / "quarter" / f"{z}.dcm")
        save(ct_slice(disc(8, 8), z=3.0 * z - 40.0, number=z + 1), tmp_path / "small" / f"{z}.dcm")
    for name, fits in (("quarter", True), ("small", False)):
        with open_input(tmp_path / name) as found:
            if fits:
                assert [boxes(one) for one in read_annotations(path, found.cases[0].scan).lesions] == EXPECTED
            else:
                with pytest.raises(InputError, match="give the annotations of this scan"):
                    read_annotations(path, found.cases[0].scan)
