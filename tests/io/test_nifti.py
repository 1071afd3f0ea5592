"""NIfTI in and out: geometry at the RAS border, number formats to the bit, and damaged files."""

from __future__ import annotations

import gzip
import itertools
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.affines import apply_affine

from lowdose.io.nifti import read_nifti, write_nifti
from lowdose.io.origin import InputError
from lowdose.io.output import OutputError
from lowdose.scan import Scan, Slice
from tests.io.nifti_factory import oriented_affine, patched, saved, stored_volume

ORIENTATIONS = [
    "".join(letters)
    for axes in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*axes)
]


"""All 48 ways to store a volume along the patient's axes."""


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("letters", ORIENTATIONS)
def test_every_orientation_is_read_axially_and_written_as_it_was(
    tmp_path: Path, letters: str, suffix: str
) -> None:
    shape = (4, 5, 3)
    values = stored_volume(np.int16, shape)
    path = saved(tmp_path / f"in{suffix}", values, oriented_affine(letters, shape))
    assert "".join(nibabel.aff2axcodes(nibabel.load(path).affine)) == letters
    scan = read_nifti(path)
    # z along the patient, y to posterior, x to left; spacing 2, 0.75, 0.5 mm.
    directions = scan.affine[:3, :3]
    np.testing.assert_allclose(np.abs(directions[2, 0]), 2.0)
    np.testing.assert_allclose(directions[:, 1], [0, 0.75, 0], atol=1e-9)
    np.testing.assert_allclose(directions[:, 2], [0.5, 0, 0], atol=1e-9)
    # Every voxel is where nibabel says that it is, with x and y of opposite sign.
    image = nibabel.load(path)
    index = np.argwhere(np.ones(shape, bool))
    ras = apply_affine(image.affine, index)
    lps = ras * [-1, -1, 1]
    zyx = np.rint(apply_affine(np.linalg.inv(scan.affine), lps)).astype(int)
    np.testing.assert_array_equal(scan.hu[tuple(zyx.T)], np.asarray(image.dataobj)[tuple(index.T)])

    write_nifti(scan, tmp_path / "out.nii")
    whole = path.read_bytes() if suffix == ".nii" else gzip.decompress(path.read_bytes())
    assert (tmp_path / "out.nii").read_bytes() == whole
    write_nifti(scan, tmp_path / "out.nii.gz")
    assert gzip.decompress((tmp_path / "out.nii.gz").read_bytes()) == whole
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([path.name, "out.nii", "out.nii.gz"])


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("scaling", [None, (0.5, -1024.0), (1.37, 0.1), (1e-3, 5.0)])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_number_type_comes_back_to_the_bit(
    tmp_path: Path, dtype: str, scaling: tuple[float, float] | None, endian: str
) -> None:
    if dtype[0] == "f":
        values = np.random.default_rng(1).normal(0, 300, (4, 5, 3)).astype(dtype)
    else:
        ends = np.iinfo(dtype)
        spread = min(int(ends.max), 10**8)
        values = np.linspace(max(int(ends.min), -spread), spread - 1, 60).astype(dtype).reshape(4, 5, 3)
        if scaling is None:
            values = np.clip(values, max(int(ends.min), -900_000), min(int(ends.max), 900_000)).astype(dtype)
    header = nibabel.Nifti1Header(endianness=endian)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(endian))
    header.set_data_shape(values.shape)
    header.set_sform(np.diag([-1.0, -1.0, 2.0, 1.0]), code=1)
    header.set_slope_inter(*(scaling or (1.0, 0.0)))
    header["magic"], header["vox_offset"] = b"n+1", 352
    if scaling is not None and dtype[1] in "48" and scaling[0] > 1e-3 and dtype[0] != "f":
        values = values // 1000
    content = values.astype(np.dtype(dtype).newbyteorder(endian)).tobytes(order="F")
    path = tmp_path / "in.nii"
    path.write_bytes(header.binaryblock + bytes(4) + content)
    scan = read_nifti(path)
    np.testing.assert_array_equal(
        scan.hu.transpose(2, 1, 0), np.asarray(nibabel.load(path).dataobj, np.float64).astype(np.float32)
    )
    written = write_nifti(scan, tmp_path / "out.nii")
    assert (tmp_path / "out.nii").read_bytes() == path.read_bytes()
    assert written.n_clipped == 0


def test_changed_values_round_half_to_even_and_clip_with_a_note(tmp_path: Path) -> None:
    path = saved(tmp_path / "in.nii", np.full((2, 2, 1), -10, np.int8), scl_slope=1.0, scl_inter=0.0)
    scan = read_nifti(path)
    new = np.array([[0.5, 1.5], [-129.0, 400.0]], np.float32)
    changed = replace(scan, read=lambda z: Slice(new, scan.read(z).padding))
    written = write_nifti(changed, tmp_path / "out.nii")
    assert sorted(np.asarray(nibabel.load(tmp_path / "out.nii").dataobj).ravel()) == [-128, 0, 2, 127]
    assert written.n_clipped == 2
    assert "-128 to 127" in written.notes[0]


def test_of_float64_only_what_changed_is_rounded_to_float32(tmp_path: Path) -> None:
    values = np.random.default_rng(2).normal(0, 100, (3, 4, 2))
    path = saved(tmp_path / "in.nii", values, np.diag([-1.0, -1.0, 1.0, 1.0]))
    scan = read_nifti(path)

    def read(z: int) -> Slice:
        slice_ = scan.read(z)
        hu = slice_.hu.copy()
        hu[0, 0] = 12.25
        return slice_._replace(hu=hu)

    write_nifti(replace(scan, read=read), tmp_path / "out.nii")
    out = np.asarray(nibabel.load(tmp_path / "out.nii").dataobj)
    assert (out[0, 0] == 12.25).all()
    out[0, 0] = values[0, 0]
    np.testing.assert_array_equal(out, values)


def test_slope_zero_or_nan_means_no_scaling(tmp_path: Path) -> None:
    values = stored_volume(np.int16)
    for slope in (0.0, np.nan):
        path = patched(saved(tmp_path / "a.nii", values), 112, struct.pack("<ff", slope, 77.0))
        np.testing.assert_array_equal(np.sort(read_nifti(path).hu.ravel()), np.sort(values.ravel()))


def test_what_lies_far_below_air_is_padding(tmp_path: Path) -> None:
    values = np.array([-1501, -1500, -1499, -3024, 0, 40], np.int16).reshape(2, 3, 1)
    scan = read_nifti(saved(tmp_path / "a.nii", values, np.diag([-1.0, -1.0, 1.0, 1.0])))
    np.testing.assert_array_equal(scan.read(0).padding, [[True, True], [False, False], [False, False]])


def test_nifti_2_and_extensions_are_carried_along(tmp_path: Path) -> None:
    image = nibabel.Nifti2Image(stored_volume(np.int16), np.eye(4))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"kept"))
    image.header["descrip"] = b"chest"
    nibabel.save(image, tmp_path / "in.nii.gz")
    write_nifti(read_nifti(tmp_path / "in.nii.gz"), tmp_path / "out.nii", description="[lowdose x]")
    out = nibabel.load(tmp_path / "out.nii")
    assert isinstance(out, nibabel.Nifti2Image)
    assert out.header.extensions[0].get_content() == b"kept"
    assert bytes(out.header["descrip"].item()) == b"chest [lowdose x]"
    out.header["descrip"] = b"chest"
    assert out.header.binaryblock == nibabel.load(tmp_path / "in.nii.gz").header.binaryblock


def test_a_long_description_gives_way_to_ours(tmp_path: Path) -> None:
    path = saved(tmp_path / "in.nii", stored_volume(np.int16), descrip=b"x" * 79)
    write_nifti(read_nifti(path), tmp_path / "out.nii", description="[lowdose x]")
    assert nibabel.load(tmp_path / "out.nii").header["descrip"].item() == b"x" * 67 + b" [lowdose x]"


def test_slices_come_in_any_order_and_a_second_time(tmp_path: Path) -> None:
    values = stored_volume(np.int16, (4, 5, 6))
    path = saved(tmp_path / "a.nii.gz", values, np.diag([-1.0, -1.0, 1.0, 1.0]))
    scan = read_nifti(path)
    for z in (5, 0, 3, 3, 1, 5):
        np.testing.assert_array_equal(scan.read(z).hu, values[:, :, z].T)


def test_a_phantom_is_written_as_float_hu(tmp_path: Path) -> None:
    hu = np.random.default_rng(3).normal(0, 50, (3, 4, 5)).astype(np.float32)
    phantom = Scan.from_array(hu, spacing=(2.0, 0.75, 0.5))
    write_nifti(phantom, tmp_path / "out.nii.gz")
    image = nibabel.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), hu, strict=False)
    np.testing.assert_allclose(image.affine, np.diag([-0.5, -0.75, 2.0, 1.0]))
    np.testing.assert_allclose(image.header.get_qform(), image.affine)
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(read_nifti(tmp_path / "out.nii.gz").affine, phantom.affine)


def test_a_tilted_gantry_is_kept_in_the_sform(tmp_path: Path) -> None:
    phantom = Scan.from_array(np.zeros((3, 4, 5), np.float32))
    sheared = phantom.affine.copy()
    sheared[1, 0] = 0.5
    write_nifti(replace(phantom, affine=sheared), tmp_path / "out.nii")
    header = nibabel.load(tmp_path / "out.nii").header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 1)
    np.testing.assert_allclose(read_nifti(tmp_path / "out.nii").affine, sheared)


def nan_voxel(path: Path) -> None:
    values = np.full((3, 3, 3), -5, np.float32)
    values[1, 1, 1] = np.nan
    saved(path, values)


def infinite_voxel(path: Path) -> None:
    values = np.full((3, 3, 3), -5, np.float64)
    values[1, 1, 1] = 1e300
    saved(path, values)


def absurd_voxel(path: Path) -> None:
    values = np.full((3, 3, 3), -5, np.float64)
    values[1, 1, 1] = 1e30
    saved(path, values)


def cut_short(path: Path) -> None:
    saved(path, np.random.default_rng(0).normal(0, 50, (16, 16, 8)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:-4000])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (nan_voxel, "NaN or infinite.* in slice 2"),
        (infinite_voxel, "NaN or infinite.* in slice 2"),
        (absurd_voxel, r"holds 1e\+30 in slice 2, which cannot be HU"),
        (cut_short, "is cut short"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_damaged_voxels_are_one_sentence(
    tmp_path: Path, fault: Callable[[Path], None], sentence: str, suffix: str
) -> None:
    path = tmp_path / f"scan{suffix}"
    fault(path)
    with pytest.raises(InputError, match=sentence) as caught:
        list(read_nifti(path))
    told = str(caught.value)
    assert told.startswith(str(path))
    assert "\n" not in told
    assert ";" in told  # what is wrong; what to do


def test_a_changed_byte_in_a_compressed_file_is_found(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-1000, 1000, (16, 16, 8)).astype(np.int16)
    path = saved(tmp_path / "a.nii.gz", values, np.diag([-1.0, -1.0, 1.0, 1.0]))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # in the checksum behind the last voxel
    path.write_bytes(content)
    scan = read_nifti(path)
    scan.read(6)
    with pytest.raises(InputError, match="damaged near slice 8"):
        scan.read(7)


def test_a_source_that_changed_its_shape_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "in.nii", stored_volume(np.int16))
    scan = read_nifti(path)
    saved(path, stored_volume(np.int16, (4, 5, 4)))
    with pytest.raises(InputError, match="has changed since it was read"):
        write_nifti(scan, tmp_path / "out.nii")


@pytest.mark.parametrize("letters", ["LPS", "PSL"])
@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
def test_a_failure_halfway_leaves_nothing(tmp_path: Path, letters: str, name: str) -> None:
    path = saved(tmp_path / "in.nii", stored_volume(np.int16), oriented_affine(letters, (4, 5, 3)))
    scan = read_nifti(path)

    def read(z: int) -> Slice:
        if z == 1:
            raise KeyboardInterrupt
        return scan.read(z)

    with pytest.raises(KeyboardInterrupt):
        write_nifti(replace(scan, read=read), tmp_path / name)
    assert list(tmp_path.iterdir()) == [path]


def test_the_output_is_another_file_named_as_nifti(tmp_path: Path) -> None:
    path = saved(tmp_path / "in.nii", stored_volume(np.int16))
    scan = read_nifti(path)
    with pytest.raises(OutputError, match="is the input itself"):
        write_nifti(scan, path)
    with pytest.raises(OutputError, match="is not named as NIfTI"):
        write_nifti(scan, tmp_path / "out.mha")
