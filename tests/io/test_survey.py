"""What an input holds: every CT stack a case, the rest left aside with a reason."""

from __future__ import annotations

import gc
import os
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from lowdose.io import Case, Found, InputError, open_input
from lowdose.scan import Scan
from tests.io.ct_factory import ct_series, ct_slice, disc, save

OTHER_SERIES = "1.2.826.0.1.3680043.8.498.77"


def found_in(path: Path) -> Found:
    with open_input(path) as found:
        return found


def only_case(path: Path) -> Case:
    (case,) = found_in(path).cases
    return case


def only_scan(path: Path) -> Scan:
    case = only_case(path)
    assert case.scan is not None, case.error
    return case.scan


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught, open_input(path):
        pass
    return str(caught.value)


def test_a_nested_and_mixed_folder(tmp_path: Path) -> None:
    ct_series(tmp_path / "a" / "b", 3, names=["x", "IM2.ima", "3.dcm"])
    ct_series(tmp_path / "a" / "other", 2, series_uid=OTHER_SERIES, SeriesDescription="Abdomen")
    save(ct_slice(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), tmp_path / "a" / "b" / "scout")
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "a" / ".hidden").write_text("hello")
    (tmp_path / "DICOMDIR").write_bytes(b"index")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "junk").write_text("junk")
    found = found_in(tmp_path)
    assert [(case.name, case.source, case.error) for case in found.cases] == [
        ("Chest 3.0", str(tmp_path / "a" / "b"), None),
        ("Abdomen", str(tmp_path / "a" / "other"), None),
    ]
    assert [case.scan and case.scan.shape for case in found.cases] == [(3, 16, 16), (2, 16, 16)]
    assert {(left.source, left.reason) for left in found.left_aside} == {
        (str(tmp_path / "a" / "b" / "scout"), "a localizer (scout) image"),
        (str(tmp_path / "readme.txt"), "not a DICOM file (no mark DICM at byte 128)"),
    }


def test_many_files_with_one_reason_are_one_entry(tmp_path: Path) -> None:
    ct_series(tmp_path, 1)
    for i in range(5):
        (tmp_path / f"{i}.txt").write_text("hello")
    (left,) = found_in(tmp_path).left_aside
    assert left.source == str(tmp_path)
    assert left.reason == "5 files: not a DICOM file (no mark DICM at byte 128)"


def test_one_file_is_a_case(tmp_path: Path) -> None:
    paths = ct_series(tmp_path, 3, SeriesDescription=None)
    case = only_case(paths[1])
    assert case.name == "IM0001"
    assert case.scan is not None
    np.testing.assert_array_equal(case.scan.hu, [disc(seed=2)])


def test_a_series_without_description_has_its_folders_name(tmp_path: Path) -> None:
    ct_series(tmp_path / "patient 7", 2, SeriesDescription=None)
    assert only_case(tmp_path).name == "patient 7"


def test_a_stacks_name_says_what_sets_it_apart(tmp_path: Path) -> None:
    ct_series(tmp_path / "a", 2)
    ct_series(tmp_path / "b", 2, ConvolutionKernel="B70f")
    names = [case.name for case in found_in(tmp_path).cases]
    assert names == ["Chest 3.0 [B30f]", "Chest 3.0 [B70f]"]


def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    for i, number in enumerate((2, 3, 3)):
        ct_series(tmp_path / str(i), 1, series_uid=f"1.2.{i + 1}", SeriesNumber=number)
    cases = found_in(tmp_path).cases
    names = [case.name for case in cases]
    assert names == ["Chest 3.0 (series 2)", "Chest 3.0 (series 3) (1)", "Chest 3.0 (series 3) (2)"]
    assert [case.scan and case.scan.name for case in cases] == names


def test_names_are_one_safe_line(tmp_path: Path) -> None:
    path = save(ct_slice(SeriesDescription="A" * 12), tmp_path / "slice")
    path.write_bytes(path.read_bytes().replace(b"A" * 12, b"<b>\n\x1b[31m  "))
    assert only_case(path).name == "<b> [31m"


def test_one_faulty_slice_fails_its_series_and_no_other(tmp_path: Path) -> None:
    ct_series(tmp_path / "good", 2, series_uid=OTHER_SERIES)
    paths = ct_series(tmp_path / "bad", 4)
    paths[1].write_bytes(paths[1].read_bytes()[:-1])
    save(ct_slice(z=3, number=2, RescaleSlope=0), paths[2])
    bad, good = found_in(tmp_path).cases
    assert good.error is None
    assert bad.scan is None
    assert bad.name == "Chest 3.0 (series 2) (1)"
    assert bad.error == (
        f"{paths[1]} is cut short: its image needs 512 bytes and 511 are there; "
        "copy it again from its source (1 more like it)"
    )


def test_a_file_that_does_not_tell_its_series_fails_by_itself(tmp_path: Path) -> None:
    paths = ct_series(tmp_path, 3)
    paths[2].write_bytes(paths[2].read_bytes()[:400])
    series, damaged = sorted(found_in(tmp_path).cases, key=lambda case: case.error is not None)
    assert series.scan is not None
    assert len(series.scan) == 2
    assert damaged.error is not None
    assert damaged.error.startswith(f"{paths[2]} has ")


def test_one_series_of_two_patients_is_refused(tmp_path: Path) -> None:
    ct_series(tmp_path / "a", 2)
    ct_series(tmp_path / "b", 2, PatientID="Secret")
    error = only_case(tmp_path).error
    assert error is not None
    assert "several patients" in error
    assert "Secret" not in error


def test_our_own_derived_series_is_left_aside(tmp_path: Path) -> None:
    def derive(ds: FileDataset) -> None:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "denoised", "99LOWDOSE", "Denoised"
        ds.DerivationCodeSequence = Sequence([code])

    ct_series(tmp_path / "derived", 2, edit=derive, series_uid=OTHER_SERIES)
    assert "2 x a derived series of this program" in refusal(tmp_path)
    ct_series(tmp_path / "original", 2)
    found = found_in(tmp_path)
    assert len(found.cases) == 1
    assert found.left_aside[0].reason == "2 files: a derived series of this program: give it the original"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_links_out_of_the_input_are_not_followed(tmp_path: Path, kind: str) -> None:
    outside = ct_series(tmp_path / "outside", 2, series_uid=OTHER_SERIES)
    inside = tmp_path / "inside"
    ct_series(inside, 2)
    (inside / "link").symlink_to(outside[0].parent if kind == "folder" else outside[0])
    found = found_in(inside)
    assert len(found.cases) == 1
    (left,) = found.left_aside
    assert left.source == str(inside / "link")
    assert "leads out of the input" in left.reason


def test_links_within_the_input_add_nothing_twice(tmp_path: Path) -> None:
    paths = ct_series(tmp_path / "a", 2)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "c.dcm").symlink_to(paths[0])
    scan = only_scan(tmp_path)
    assert (len(scan), scan.notes) == (2, ())


def test_links_into_a_hidden_store_are_followed(tmp_path: Path) -> None:
    store = ct_series(tmp_path / ".store", 2)
    for path in store:
        (tmp_path / path.name).symlink_to(path)
    assert len(only_scan(tmp_path)) == 2


def test_the_input_itself_may_be_a_link(tmp_path: Path) -> None:
    ct_series(tmp_path / "real", 2)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(only_scan(tmp_path / "link")) == 2


def test_a_pipe_does_not_hang_the_survey(tmp_path: Path) -> None:
    ct_series(tmp_path, 1)
    os.mkfifo(tmp_path / "pipe")
    (left,) = found_in(tmp_path).left_aside
    assert left.reason == "neither a file nor a folder"
    assert "neither a file nor a folder" in refusal(tmp_path / "pipe")


def test_an_archive_within_a_folder_is_left_aside(tmp_path: Path) -> None:
    ct_series(tmp_path / "in", 1)
    shutil.make_archive(str(tmp_path / "in" / "more"), "zip", tmp_path / "in")
    (left,) = found_in(tmp_path / "in").left_aside
    assert left.reason == "an archive within the input: give it by itself"


def test_a_volume_beside_slices_is_left_aside(tmp_path: Path) -> None:
    ct_series(tmp_path, 1)
    (tmp_path / "mask.nii.gz").write_bytes(b"mask")
    found = found_in(tmp_path)
    assert len(found.cases) == 1
    assert "NIfTI volume beside DICOM" in found.left_aside[0].reason


def test_a_damaged_volume_is_a_case_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"no volume")
    case = only_case(tmp_path / "scan.nii.gz")
    assert case.name == "scan"
    assert case.error is not None
    assert "scan.nii.gz" in case.error


def test_nothing_to_work_on_is_one_sentence(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere").startswith(f"{tmp_path}/nowhere does not exist; give")
    (tmp_path / "empty").mkdir()
    assert "holds no CT series (it is empty)" in refusal(tmp_path / "empty")
    (tmp_path / "a.txt").write_text("hello")
    assert "a.txt holds no CT series (1 x not a DICOM file" in refusal(tmp_path / "a.txt")
    save(ct_slice(SOPClassUID="1.2.840.10008.5.1.4.1.1.4", Modality="MR"), tmp_path / "mr" / "1")
    assert "1 x not a CT image: MR Image Storage" in refusal(tmp_path / "mr")


def test_a_path_that_is_too_long_is_one_sentence(tmp_path: Path) -> None:
    assert "cannot be read: File name too long; check" in refusal(tmp_path / ("x" * 300))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    ct_series(tmp_path / "good", 1)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    assert "a folder that cannot be read" in found_in(tmp_path).left_aside[0].reason
    assert "locked cannot be read" in refusal(locked)


def test_a_folder_that_vanishes_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("lowdose.io.survey.os.scandir", denied)
    assert "cannot be read: Permission denied; check its permissions" in refusal(tmp_path)


def test_the_survey_of_a_long_series_stays_small(tmp_path: Path) -> None:
    """What is kept of a slice is measured as the difference of 120 and 20 slices: below 2 kB each."""
    kept = []
    for n_slices in (20, 120):
        folder = tmp_path / str(n_slices)
        folder.mkdir()
        template = save(ct_slice(z=7.125), tmp_path / "template").read_bytes()
        for i in range(n_slices):
            (folder / f"IM{i:04d}.dcm").write_bytes(template.replace(b"7.125", f"{3 * i:05.1f}".encode()))
        tracemalloc.start()
        with open_input(folder) as found:
            assert found.cases[0].scan is not None, found.cases[0].error
            assert len(found.cases[0].scan) == n_slices
            gc.collect()  # what pydicom leaves in cycles is not kept
            kept.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert (kept[1] - kept[0]) / 100 < 2048
