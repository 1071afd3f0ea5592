"""TIFF stacks in and out: every pixel and every word of the source, and voxel sizes on the way."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from lowdose.io import InputError, OutputError, open_input, write_derived
from lowdose.io.origin import TiffOrigin
from lowdose.scan import Scan, Slice
from tests.io.ct_factory import ct_series
from tests.io.identity import IDENTITY
from tests.io.nifti_factory import saved, stored_volume

SIDECAR = "voxel_size_mm: [0.06, 0.03, 0.02]\nrescale: [0.5, -1000]\n"


def volume(dtype: str, shape: tuple[int, int, int] = (5, 7, 9)) -> np.ndarray:
    generator = np.random.default_rng(3)
    if dtype == "float32":
        return generator.normal(-200, 300, shape).astype(dtype)
    ends = np.iinfo(dtype)
    return generator.integers(max(ends.min, -1024), min(ends.max, 4000), shape).astype(dtype)


def slices(folder: Path, values: np.ndarray, name: str = "slice_{}.tif", **options: Any) -> Path:
    """A folder with a file for each slice; numbers without leading zeros, so that names do not sort."""
    folder.mkdir(parents=True)
    for z, plane in enumerate(values):
        options = {"photometric": "minisblack", "metadata": None, **options}
        tifffile.imwrite(folder / name.format(z + 8), plane, **options)
    return folder


def imagej(path: Path, values: np.ndarray, **options: Any) -> Path:
    metadata = {"spacing": 0.06, "unit": "mm", "axes": "ZYX"}
    tifffile.imwrite(path, values, imagej=True, resolution=(50, 1 / 0.03), metadata=metadata, **options)
    return path


def only_scan(path: Path) -> Scan:
    with open_input(path) as found:
        (case,) = found.cases
    assert case.scan is not None, case.error
    return case.scan


def only_error(path: Path) -> str:
    with open_input(path) as found:
        (case,) = found.cases
    assert case.error is not None
    return case.error


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_a_folder_of_slices_comes_back_to_the_bit(
    tmp_path: Path, dtype: str, byteorder: str, compression: str | None
) -> None:
    values = volume(dtype)
    folder = slices(tmp_path / "in", values, compression=compression, byteorder=byteorder)
    (folder / "scan.yaml").write_text(SIDECAR)
    scan = only_scan(folder)
    assert scan.name == "in"
    assert scan.spacing == pytest.approx((0.06, 0.03, 0.02))
    assert np.array_equal(scan.hu, (0.5 * values.astype(np.float64) - 1000).astype(np.float32))
    written = write_derived(scan, tmp_path / "out", IDENTITY)
    assert (written.path, written.n_slices, written.n_clipped) == (tmp_path / "out", 5, 0)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["0001.tif", "0002.tif", "0003.tif", "0004.tif", "0005.tif", "scan.yaml"]
    again = np.stack([tifffile.imread(tmp_path / "out" / name) for name in names[:5]])
    assert again.tobytes() == values.tobytes()
    assert again.dtype == values.dtype
    assert (tmp_path / "out" / "scan.yaml").read_text() == SIDECAR
    if compression is None:
        for z, name in enumerate(names[:5]):
            assert (tmp_path / "out" / name).read_bytes() == (folder / f"slice_{z + 8}.tif").read_bytes()
    assert only_scan(tmp_path / "out").hu.tobytes() == scan.hu.tobytes()


@pytest.mark.parametrize("options", [{}, {"truncate": True}, {"compression": "zlib"}])
def test_an_imagej_stack_comes_back_with_its_own_words(tmp_path: Path, options: dict[str, Any]) -> None:
    values = volume("float32")
    path = imagej(tmp_path / "mouse.tif", values, **options)
    scan = only_scan(path)
    assert scan.name == "mouse"
    assert scan.spacing == pytest.approx((0.06, 0.03, 0.02))
    assert np.array_equal(scan.hu, values)
    written = write_derived(scan, tmp_path / "out.tif", IDENTITY)
    assert written.path == tmp_path / "out.tif"
    if "compression" not in options:
        assert (tmp_path / "out.tif").read_bytes() == path.read_bytes()
    again = only_scan(tmp_path / "out.tif")
    assert again.hu.tobytes() == scan.hu.tobytes()
    assert again.spacing == scan.spacing
    folder = write_derived(scan, tmp_path / "folder", IDENTITY)
    assert folder.path == tmp_path / "folder" / "volume.tif"
    assert np.array_equal(tifffile.imread(folder.path), values)
    assert only_scan(tmp_path / "folder").spacing == scan.spacing


def test_an_ome_stack_and_pages_of_any_other_writer(tmp_path: Path) -> None:
    values = volume("int16")
    sizes = {"PhysicalSizeZ": 60.0, "PhysicalSizeY": 30.0, "PhysicalSizeX": 20.0}
    tifffile.imwrite(
        tmp_path / "a.ome.tif", values, photometric="minisblack", metadata={"axes": "ZYX", **sizes}
    )
    scan = only_scan(tmp_path / "a.ome.tif")
    assert scan.spacing == pytest.approx((0.06, 0.03, 0.02))
    write_derived(scan, tmp_path / "out.tif", IDENTITY)
    assert (tmp_path / "out.tif").read_bytes() == (tmp_path / "a.ome.tif").read_bytes()


def test_a_single_file_has_a_sidecar_of_its_own_name(tmp_path: Path) -> None:
    values = volume("uint16")
    path = tmp_path / "mouse.tiff"
    tifffile.imwrite(path, values, photometric="minisblack", metadata=None)
    told = only_error(path)
    assert told.startswith(
        f"{path} does not say how large its voxels are and which HU its grey values (uint16)"
    )
    assert "write mouse.yaml beside it with voxel_size_mm: [z, y, x] and rescale: [slope, intercept]" in told
    (tmp_path / "mouse.yaml").write_text(SIDECAR)
    scan = only_scan(path)
    write_derived(scan, tmp_path / "out" / "new.tif", IDENTITY)
    assert (tmp_path / "out" / "new.tif").read_bytes() == path.read_bytes()
    assert (tmp_path / "out" / "new.yaml").read_text() == SIDECAR
    with pytest.raises(OutputError, match=r"new\.tif exists already"):
        write_derived(scan, tmp_path / "out" / "new.tif", IDENTITY)
    written = write_derived(scan, tmp_path / "folder", IDENTITY)
    assert written.path == tmp_path / "folder" / "volume.tiff"
    assert only_scan(tmp_path / "folder").hu.tobytes() == scan.hu.tobytes()


def changed(scan: Scan, hu: np.ndarray) -> Scan:
    return replace(scan, read=lambda z: Slice(hu[z], np.zeros(hu[z].shape, bool)))


def test_new_values_are_rounded_and_clipped_and_counted(tmp_path: Path) -> None:
    folder = slices(tmp_path / "in", np.full((2, 2, 2), 2000, np.uint16))
    (folder / "scan.yaml").write_text(SIDECAR)
    hu = np.array([[[0.2, 0.3], [-1000.6, 40000.0]], [[0.0, 0.25], [0.75, -1000.2]]], np.float32)
    written = write_derived(changed(only_scan(folder), hu), tmp_path / "out", IDENTITY)
    stored = np.stack([tifffile.imread(tmp_path / "out" / f"000{z}.tif") for z in (1, 2)])
    assert stored.tolist() == [[[2000, 2001], [0, 65535]], [[2000, 2000], [2002, 0]]]
    assert written.n_clipped == 2
    assert "0 to 65535" in written.notes[0]


def test_of_finer_numbers_only_what_changed_is_rounded_to_float32(tmp_path: Path) -> None:
    """Through HU and back, most of these would come out one place off."""
    values = np.random.default_rng(0).uniform(0, 1, (3, 8, 8)).astype(np.float32)
    path = imagej(tmp_path / "a.tif", values)
    (tmp_path / "a.yaml").write_text("rescale: [1234.5, -1000]")
    scan = only_scan(path)
    write_derived(scan, tmp_path / "out.tif", IDENTITY)
    assert tifffile.imread(tmp_path / "out.tif").tobytes() == values.tobytes()
    hu = scan.hu
    hu[1, 2, 3] += 10.0
    write_derived(changed(scan, hu), tmp_path / "new.tif", IDENTITY)
    new = tifffile.imread(tmp_path / "new.tif")
    assert (new != values).sum() == 1
    assert new[1, 2, 3] == pytest.approx(values[1, 2, 3] + 10 / 1234.5, abs=1e-6)


def test_slices_come_in_any_order(tmp_path: Path) -> None:
    for options in ({}, {"compression": "zlib"}):
        values = volume("int16")
        path = tmp_path / f"{len(options)}.tif"
        tifffile.imwrite(path, values, photometric="minisblack", metadata=None, **options)
        path.with_suffix(".yaml").write_text("voxel_size_mm: [1, 1, 1]")
        scan = only_scan(path)
        for z in (4, 0, 2, 2, 1):
            assert np.array_equal(scan.read(z).hu, values[z])


def test_what_lies_far_below_air_is_padding(tmp_path: Path) -> None:
    values = np.array([[[-3024, -1500, -1501, 40]]], np.int16)
    folder = slices(tmp_path / "in", values)
    (folder / "scan.yaml").write_text("voxel_size_mm: [1, 1, 1]")
    assert only_scan(folder).read(0).padding.tolist() == [[True, False, True, False]]


def test_several_stacks_in_a_folder_are_several_cases(tmp_path: Path) -> None:
    folder = slices(tmp_path / "in", volume("int16"), "a_{}.tif")
    slices(tmp_path / "b", volume("int16")[:3], "b_{}.tif")
    for path in (tmp_path / "b").iterdir():
        path.rename(folder / path.name)
    (folder / "b_9.tif").unlink()
    (folder / "scan.yaml").write_text("voxel_size_mm: [1, 1, 1]")
    imagej(folder / "sub.tif", volume("float32"))
    slices(folder / "deeper", volume("int16"))
    with open_input(folder) as found:
        facts = [(case.name, case.scan and len(case.scan)) for case in found.cases]
        notes = [case.scan.notes for case in found.cases if case.scan is not None]
        assert "voxel" in str(found.cases[2].error)
    assert facts == [("in (1)", 5), ("in (2)", 2), ("deeper", None), ("sub", 5)]
    assert notes == [(), ("The numbers of its files leave out 1: are slices missing?",), ()]


def test_a_damaged_slice_is_never_left_out(tmp_path: Path) -> None:
    folder = slices(tmp_path / "in", volume("int16"))
    (folder / "scan.yaml").write_text("voxel_size_mm: [1, 1, 1]")
    (folder / "slice_10.tif").write_bytes(b"II")
    assert only_error(folder).startswith(f"{folder}/slice_10.tif is damaged")


def test_a_zip_holds_stacks_too(tmp_path: Path) -> None:
    folder = slices(tmp_path / "in", volume("uint16"))
    (folder / "scan.yaml").write_text(SIDECAR)
    expected = only_scan(folder).hu
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"mouse/{path.name}")
    with open_input(tmp_path / "a.zip") as found:
        (case,) = found.cases
        assert case.scan is not None, case.error
        assert case.name == "mouse"
        assert np.array_equal(case.scan.hu, expected)
        write_derived(case.scan, tmp_path / "out", IDENTITY)
    assert np.array_equal(only_scan(tmp_path / "out").hu, expected)


def test_beside_dicom_and_nifti_tiff_is_left_aside(tmp_path: Path) -> None:
    slices(tmp_path / "dicom" / "pictures", volume("int16"))
    ct_series(tmp_path / "dicom" / "series", 2)
    slices(tmp_path / "nifti" / "pictures", volume("int16"))
    saved(tmp_path / "nifti" / "scan.nii", stored_volume(np.int16))
    for kind in ("dicom", "nifti"):
        with open_input(tmp_path / kind) as found:
            (case,) = found.cases
            assert not isinstance(case.scan and case.scan.origin, TiffOrigin)
            (aside,) = found.left_aside
        assert aside.source == str(tmp_path / kind / "pictures")
        assert aside.reason == "5 files: a TIFF image beside DICOM files or volumes: give it by itself"


def test_values_that_cannot_be_hu_are_one_sentence(tmp_path: Path) -> None:
    values = volume("float32")
    values[1, 2, 3], values[3, 0, 0] = np.nan, 1e9
    scan = only_scan(imagej(tmp_path / "a.tif", values))
    with pytest.raises(InputError, match=r"a\.tif holds values that are no numbers .* slice 2; replace"):
        scan.read(1)
    with pytest.raises(InputError, match=r"a\.tif holds 1e\+09 in slice 4, which cannot be HU"):
        scan.read(3)


@pytest.mark.parametrize("kind", ["slices", "imagej", "compressed"])
def test_a_failure_halfway_leaves_nothing(tmp_path: Path, kind: str) -> None:
    if kind == "slices":
        source = slices(tmp_path / "in", volume("int16"))
        (source / "scan.yaml").write_text("voxel_size_mm: [1, 1, 1]")
    else:
        (tmp_path / "in").mkdir()
        options = {"compression": "zlib"} if kind == "compressed" else {}
        source = imagej(tmp_path / "in" / "a.tif", volume("float32"), **options)
        source.with_suffix(".yaml").write_text("voxel_size_mm: [1, 1, 1]")
    scan = only_scan(source)

    def read(z: int) -> Slice:
        if z == 3:
            raise KeyboardInterrupt
        return scan.read(z)

    for name in ("out", *(["out.tif"] if kind != "slices" else [])):
        with pytest.raises(KeyboardInterrupt):
            write_derived(replace(scan, read=read), tmp_path / name, IDENTITY)
        assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_output_of_another_kind_is_nifti_or_refused(tmp_path: Path) -> None:
    folder = slices(tmp_path / "in", volume("int16"))
    (folder / "scan.yaml").write_text("voxel_size_mm: [0.06, 0.03, 0.02]")
    scan = only_scan(folder)
    write_derived(scan, tmp_path / "out.nii.gz", IDENTITY)
    again = only_scan(tmp_path / "out.nii.gz")
    assert np.array_equal(again.hu, scan.hu)
    assert again.spacing == pytest.approx(scan.spacing)
    with pytest.raises(OutputError, match="named as one file for a folder of slices"):
        write_derived(scan, tmp_path / "out.tif", IDENTITY)
    with pytest.raises(OutputError, match="DICOM cannot be made from TIFF"):
        write_derived(scan, tmp_path / "out.dcm", IDENTITY)
    with pytest.raises(OutputError, match="lies inside the input folder"):
        write_derived(scan, folder / "out", IDENTITY)


def test_a_source_that_changed_is_refused(tmp_path: Path) -> None:
    path = imagej(tmp_path / "a.tif", volume("float32"))
    scan = only_scan(path)
    shutil.copyfile(imagej(tmp_path / "b.tif", volume("float32")[:3]), path)
    with pytest.raises(InputError, match="has changed since it was read"):
        write_derived(scan, tmp_path / "out.tif", IDENTITY)
