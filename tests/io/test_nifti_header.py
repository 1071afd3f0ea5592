"""The header decides where the voxels lie and what they mean, or says in one sentence why it cannot."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from lowdose.io import nifti_header
from lowdose.io.nifti import read_nifti
from lowdose.io.nifti_header import read_layout
from lowdose.io.origin import InputError
from tests.io.nifti_factory import patched, saved, stored_volume


def empty(path: Path) -> None:
    path.write_bytes(b"")


def web_page(path: Path) -> None:
    path.write_bytes(b"<html>" + b" " * 600)


def two_volumes(path: Path) -> None:
    saved(path, np.zeros((2, 2, 2, 2), np.int16))


def flat(path: Path) -> None:
    saved(path, np.zeros((4, 4), np.int16))


def negative_side(path: Path) -> None:
    patched(saved(path, stored_volume(np.int16)), 42, struct.pack("<h", -4))


def huge_side(path: Path) -> None:
    patched(saved(path, stored_volume(np.int16)), 42, struct.pack("<h", 9000))


def bomb(path: Path) -> None:
    patched(saved(path, stored_volume(np.int16)), 42, struct.pack("<hhh", 8000, 8000, 400))


def absurd(path: Path) -> None:
    patched(saved(path, stored_volume(np.int16)), 42, struct.pack("<hhh", 8192, 8192, 8192))


def colours(path: Path) -> None:
    rgb = np.zeros((3, 3, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(rgb, np.eye(4)), path)


def complex_numbers(path: Path) -> None:
    saved(path, np.zeros((3, 3, 3), np.complex64))


def singular(path: Path) -> None:
    patched(saved(path, stored_volume(np.int16)), 280, struct.pack("<4f", 0, 0, 0, 0))


def nan_affine(path: Path) -> None:
    patched(saved(path, stored_volume(np.int16)), 280, struct.pack("<f", np.nan))


def half_a_pair(path: Path) -> None:
    patched(saved(path, stored_volume(np.int16)), 344, b"ni1\0")


def wrong_magic(path: Path) -> None:
    patched(saved(path, stored_volume(np.int16)), 344, b"xyz\0")


def wrong_offset(path: Path) -> None:
    patched(saved(path, stored_volume(np.int16)), 108, struct.pack("<f", 1e9))


def nan_offset(path: Path) -> None:
    patched(saved(path, stored_volume(np.int16)), 108, struct.pack("<f", np.nan))


def cut_in_the_header(path: Path) -> None:
    saved(path, stored_volume(np.int16))
    whole = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
    path.write_bytes(gzip.compress(whole[:300]) if path.name.endswith(".gz") else whole[:300])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (empty, "is not a NIfTI file"),
        (web_page, "is not a NIfTI file"),
        (two_volumes, "is not a volume of three axes"),
        (flat, "is not a volume of three axes"),
        (negative_side, "damaged header"),
        (huge_side, "9000 voxels along one side"),
        (bomb, "is cut short: its header promises 51200000000 bytes"),
        (absurd, "claims 1024 GiB of voxels"),
        (colours, "holds colours"),
        (complex_numbers, "holds complex numbers"),
        (singular, "affine. that is singular"),
        (nan_affine, "affine. that is singular"),
        (half_a_pair, "one half of a .hdr/.img pair"),
        (wrong_magic, "is not a NIfTI file: the mark"),
        (wrong_offset, "voxels start at byte 1e"),
        (nan_offset, "voxels start at byte nan"),
        (cut_in_the_header, "is cut short: its header has no end"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_damaged_file_is_one_sentence(
    tmp_path: Path, fault: Callable[[Path], None], sentence: str, suffix: str
) -> None:
    path = tmp_path / f"scan{suffix}"
    fault(path)
    with pytest.raises(InputError, match=sentence) as caught:
        read_layout(path)
    told = str(caught.value)
    assert told.startswith(str(path))
    assert "\n" not in told
    assert ";" in told  # what is wrong; what to do


def test_other_geometry_is_kept_and_told(tmp_path: Path) -> None:
    values = stored_volume(np.int16)
    plain = read_nifti(saved(tmp_path / "a.nii", values))
    assert plain.notes == ()
    assert plain.name == "a"

    micron = read_nifti(saved(tmp_path / "b.nii", values, xyzt_units=3))
    np.testing.assert_allclose(micron.spacing, np.array(plain.spacing) / 1000)

    image = nibabel.Nifti1Image(values, np.diag([0.5, 0.75, 2.0, 1.0]))
    image.set_qform(np.diag([0.5, 0.75, 3.0, 1.0]), code=1)
    nibabel.save(image, tmp_path / "c.nii")
    (note,) = read_nifti(tmp_path / "c.nii").notes
    assert "qform and sform disagree by up to 2.0 mm; the sform is used" in note
    assert read_nifti(tmp_path / "c.nii").spacing == plain.spacing

    bare = read_nifti(patched(saved(tmp_path / "d.nii", values), 252, struct.pack("<hh", 0, 0)))
    assert "no orientation" in bare.notes[0]
    assert bare.spacing == plain.spacing

    five = read_nifti(saved(tmp_path / "e.nii", values[..., None, None]))
    np.testing.assert_array_equal(five.hu, plain.hu)

    positive = read_nifti(saved(tmp_path / "f.nii", np.full((3, 3, 3), 24, np.int16)))
    assert "are these HU?" in positive.notes[0]


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_nifti(tmp_path / "none.nii")


def test_the_limits_hold_a_large_micro_ct() -> None:
    assert nifti_header.MAX_SIDE >= 4096
    assert nifti_header.MAX_BYTES >= 2 * 2048**3
