"""Series to stacks: sorted by position, split only where it is another scan, honest about geometry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from lowdose.io import stacks
from lowdose.io.header import SliceHeader, read_slice_header
from lowdose.io.origin import DicomOrigin, InputError
from lowdose.io.stacks import Stack, scan_of, split_series
from tests.io.ct_factory import ct_series, ct_slice, disc, save


def headers_of(slices: Sequence[FileDataset], folder: Path) -> list[SliceHeader]:
    found = []
    for i, ds in enumerate(slices):
        header = read_slice_header(save(ds, folder / f"{i:03d}.dcm"), f"{i:03d}.dcm", {})
        assert isinstance(header, SliceHeader), header
        found.append(header)
    return found


def at(*depths: float, **attributes: Any) -> list[FileDataset]:
    return [ct_slice(z=z, number=i, **attributes) for i, z in enumerate(depths)]


def split(slices: Sequence[FileDataset], folder: Path) -> list[Stack]:
    return split_series(headers_of(slices, folder))


def depths(stack: Stack) -> list[float]:
    return [header.position[2] for header in stack.headers]


def test_slices_are_sorted_by_position_alone(tmp_path: Path) -> None:
    slices = at(6, 0, 9, 3)
    for number, ds in zip((1, 2, 2, None), slices, strict=True):
        ds.InstanceNumber = number
    (stack,) = split(slices, tmp_path)
    assert depths(stack) == [0, 3, 6, 9]
    scan = scan_of(stack, "scan")
    np.testing.assert_array_equal(scan.hu[0], disc(seed=1))
    np.testing.assert_array_equal(scan.hu[3], disc(seed=2))
    assert isinstance(scan.origin, DicomOrigin)
    assert [path.name for path in scan.origin.paths] == ["001.dcm", "003.dcm", "000.dcm", "002.dcm"]
    assert scan.origin.series_uid == slices[0].SeriesInstanceUID
    assert scan.notes == ()


def test_the_affine_leads_from_voxels_to_the_patient(tmp_path: Path) -> None:
    scan = scan_of(split(at(5, 8, 11), tmp_path)[0], "scan")
    assert scan.shape == (3, 16, 16)
    assert scan.spacing == pytest.approx((3, 0.5, 0.75))
    # Column 4 of row 2 in slice 1: x = -10 + 4 * 0.75, y = -20 + 2 * 0.5, z = 8.
    np.testing.assert_allclose(scan.affine @ (1, 2, 4, 1), (-7, -19, 8, 1))


def test_a_sagittal_stack_is_sorted_along_its_normal(tmp_path: Path) -> None:
    slices = [
        ct_slice(number=i, ImageOrientationPatient=[0, 1, 0, 0, 0, -1], ImagePositionPatient=[x, 7, 50])
        for i, x in enumerate((4, 2, 0))
    ]
    scan = scan_of(split(slices, tmp_path)[0], "scan")
    # (0, 1, 0) x (0, 0, -1) = (-1, 0, 0): x falls along the stack.
    np.testing.assert_allclose(scan.affine @ (0, 0, 0, 1), (4, 7, 50, 1))
    np.testing.assert_allclose(scan.affine @ (2, 0, 0, 1), (0, 7, 50, 1))
    np.testing.assert_allclose(scan.affine @ (0, 2, 3, 1), (4, 7 + 3 * 0.75, 50 - 2 * 0.5, 1))


@pytest.mark.parametrize(("thickness", "step"), [(2.5, 2.5), (None, 1.0)])
def test_a_single_slice_is_a_scan(tmp_path: Path, thickness: float | None, step: float) -> None:
    scan = scan_of(split(at(7, SliceThickness=thickness), tmp_path)[0], "scan")
    assert scan.shape == (1, 16, 16)
    assert scan.spacing == pytest.approx((step, 0.5, 0.75))
    assert scan.notes == ()


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"ConvolutionKernel": "B70f"}, {"B30f", "B70f"}),
        ({"PixelSpacing": [0.6, 0.75]}, {"", "(2)"}),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, {"axial", "coronal"}),
        ({"FrameOfReferenceUID": "1.2.3"}, {"", "(2)"}),
        ({"hu": disc(16, 20)}, {"16 x 16", "20 x 16"}),
    ],
)
def test_another_geometry_or_kernel_is_another_stack(
    tmp_path: Path, attributes: dict[str, Any], words: set[str]
) -> None:
    found = split([*at(0, 3, 6), *at(1, 4, 7, 10, **attributes)], tmp_path)
    assert sorted(len(stack.headers) for stack in found) == [3, 4]
    if "" not in words:
        assert {word for stack in found for word in stack.distinction} == words


def test_rounding_of_the_orientation_splits_nothing(tmp_path: Path) -> None:
    slices = at(0, 3, 6)
    slices[1].ImageOrientationPatient = ["0.9999999", "0.0004", "0", "-0.0004", "0.9999999", "0"]
    assert len(split(slices, tmp_path)) == 1


def phases(attribute: str, *stacks: Sequence[float]) -> list[FileDataset]:
    """One series whose `attribute` is 1 in the first of `stacks` (depths in mm), 2 in the second, ..."""
    slices = [ds for i, zs in enumerate(stacks, start=1) for ds in at(*zs, **{attribute: i})]
    for number, ds in enumerate(slices):
        ds.InstanceNumber = number
    return slices


@pytest.mark.parametrize("attribute", ["AcquisitionNumber", "TemporalPositionIdentifier", "KVP"])
def test_phases_at_the_same_positions_are_split(tmp_path: Path, attribute: str) -> None:
    found = split(phases(attribute, (0, 3, 6), (0, 3, 6), (0, 3, 6)), tmp_path)
    assert [depths(stack) for stack in found] == [[0, 3, 6]] * 3
    assert len({stack.distinction for stack in found}) == 3


def test_acquisitions_that_interleave_unevenly_are_split(tmp_path: Path) -> None:
    found = split(phases("AcquisitionNumber", (0, 5, 10, 15), (1, 6, 11, 16)), tmp_path)
    assert [depths(stack) for stack in found] == [[0, 5, 10, 15], [1, 6, 11, 16]]
    assert [stack.distinction for stack in found] == [("acquisition 1",), ("acquisition 2",)]


def test_overlapping_acquisitions_are_split(tmp_path: Path) -> None:
    chest, abdomen = range(0, 60, 3), range(50, 110, 3)
    assert [len(stack.headers) for stack in split(phases("AcquisitionNumber", chest, abdomen), tmp_path)] == [
        20,
        20,
    ]


@pytest.mark.parametrize(
    "acquisitions",
    [
        [(0, 3, 6), (9, 12, 15)],  # one after the other, as steps of the table
        [(0, 6, 12), (3, 9, 15)],  # evenly interleaved
        [(0,), (3,), (6,), (9,)],  # a number for every slice
        [(0, 6, 12, 24), (3, 9, 15, 21, 27)],  # interleaved, one slice missing
    ],
)
def test_one_scan_of_several_acquisition_numbers_stays_one(
    tmp_path: Path, acquisitions: list[tuple[float, ...]]
) -> None:
    (stack,) = split(phases("AcquisitionNumber", *acquisitions), tmp_path)
    assert depths(stack) == sorted(z for zs in acquisitions for z in zs)


def test_a_tube_voltage_that_changes_along_the_scan_splits_nothing(tmp_path: Path) -> None:
    (stack,) = split(phases("KVP", (0, 7, 9), (6, 8, 10)), tmp_path)
    assert scan_of(stack, "scan").acquisition.kvp is None


def test_identical_duplicates_are_dropped(tmp_path: Path) -> None:
    slices = at(0, 3, 6)
    (stack,) = split([*slices, slices[1], ct_slice(z=6.0002, number=2, SeriesDescription="copy")], tmp_path)
    scan = scan_of(stack, "scan")
    assert scan.shape[0] == 3
    assert scan.notes == ("2 identical duplicates of slices were dropped.",)


def test_one_duplicate_is_told_in_the_singular(tmp_path: Path) -> None:
    slices = at(0, 3, 6)
    (stack,) = split([*slices, slices[1]], tmp_path)
    assert scan_of(stack, "scan").notes == ("1 identical duplicate of a slice was dropped.",)


def test_conflicting_duplicates_are_refused(tmp_path: Path) -> None:
    (stack,) = split([*at(0, 3), ct_slice(z=3, number=7)], tmp_path)
    with pytest.raises(InputError, match=r"001\.dcm and 002\.dcm are different images at one position"):
        scan_of(stack, "scan")


def test_gaps_are_told(tmp_path: Path) -> None:
    scan = scan_of(split(at(0, 3, 6, 15, 18, 21), tmp_path)[0], "scan")
    assert scan.notes == (
        "Slices are missing in 1 place: 9 mm instead of 3 mm lie between 002.dcm and 003.dcm.",
    )


def test_uneven_distances_are_told(tmp_path: Path) -> None:
    scan = scan_of(split(at(0, 3, 6, 9, 13), tmp_path)[0], "scan")
    assert scan.notes == ("The distance between slices varies from 3 to 4 mm.",)


def test_a_tilted_gantry_is_told_and_its_geometry_kept(tmp_path: Path) -> None:
    tilt = np.radians(20)
    orientation = [1, 0, 0, 0, round(float(np.cos(tilt)), 6), round(float(np.sin(tilt)), 6)]
    scan = scan_of(split(at(0, 3, 6, ImageOrientationPatient=orientation), tmp_path)[0], "scan")
    assert scan.notes == ("The gantry is tilted by 20.0 degrees: the stack is sheared.",)
    np.testing.assert_allclose(scan.affine[:3, 0], (0, 0, 3))
    np.testing.assert_allclose(scan.affine[:3, 1], np.array(orientation[3:]) * 0.5)


def test_loss_and_burned_in_text_are_told(tmp_path: Path) -> None:
    scan = scan_of(split(at(0, 3, LossyImageCompression="01", BurnedInAnnotation="YES"), tmp_path)[0], "scan")
    assert len(scan.notes) == 2
    assert "compressed with loss" in scan.notes[0]
    assert scan.origin.lossy


def test_each_slice_keeps_its_own_rescale(tmp_path: Path) -> None:
    slices = at(0, 3)
    slices[1].RescaleSlope, slices[1].RescaleIntercept = 2, -3000
    scan = scan_of(split(slices, tmp_path)[0], "scan")
    stored = disc(seed=1).astype(int) + 1024
    np.testing.assert_array_equal(scan.hu[0], disc(seed=0))
    np.testing.assert_array_equal(scan.hu[1], 2 * stored - 3000)


def test_the_acquisition_is_what_the_headers_say(tmp_path: Path) -> None:
    slices = at(0, 3, 6)
    del slices[1].XRayTubeCurrent
    acquisition = scan_of(split(slices, tmp_path)[0], "scan").acquisition
    assert acquisition.kvp == 120
    assert (acquisition.kernel, acquisition.manufacturer, acquisition.model) == ("B30f", "Maker", "Scanner 1")
    assert acquisition.slice_thickness == 3
    assert acquisition.body_part == "CHEST"
    assert acquisition.tube_current == (200, None, 202)


def test_a_stack_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (stack,) = split(at(0, 3, 6), tmp_path)
    monkeypatch.setattr(stacks, "MAX_SLICES", 2)
    with pytest.raises(InputError, match="scan has 3 slices; at most 2 are read"):
        scan_of(stack, "scan")


def test_a_slice_beyond_the_stack_is_an_index_error(tmp_path: Path) -> None:
    scan = scan_of(split(at(0, 3), tmp_path)[0], "scan")
    for z in (-1, 2):
        with pytest.raises(IndexError):
            scan.read(z)


def test_a_damaged_slice_is_named_when_it_is_read(tmp_path: Path) -> None:
    paths = ct_series(tmp_path, 3)
    found = [read_slice_header(path, path.name, {}) for path in paths]
    scan = scan_of(split_series([header for header in found if isinstance(header, SliceHeader)])[0], "scan")
    paths[1].write_bytes(paths[1].read_bytes()[:-100])
    np.testing.assert_array_equal(scan.read(2).hu, disc(seed=3))
    with pytest.raises(InputError, match=r"IM0001\.dcm has become shorter"):
        scan.read(1)
