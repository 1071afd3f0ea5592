"""NIfTI files for the whole suite, made by nibabel and damaged by hand."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform


def stored_volume(dtype: Any, shape: tuple[int, int, int] = (4, 5, 3)) -> np.ndarray:
    """Distinct numbers, some of them below the padding limit, as long as the type has them."""
    return (np.arange(np.prod(shape)).reshape(shape) * 37 - 1600).astype(dtype)


def oriented_affine(letters: str, shape: tuple[int, int, int]) -> np.ndarray:
    """RAS affine of a volume stored along `letters`, with three spacings and an offset."""
    to_ras = ornt_transform(axcodes2ornt(letters), axcodes2ornt("RAS"))
    affine = np.diag([0.5, 0.75, 2.0, 1.0])
    affine[:3, 3] = 11, -7, 40
    return affine @ np.linalg.inv(inv_ornt_aff(to_ras, shape))


def saved(path: Path, values: np.ndarray, affine: Any = None, **header: Any) -> Path:
    image = nibabel.Nifti1Image(values, np.diag([0.5, 0.75, 2.0, 1.0]) if affine is None else affine)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


def patched(path: Path, offset: int, content: bytes) -> Path:
    """The file with `content` at `offset`, compressed or not."""
    compressed = path.name.endswith(".gz")
    whole = gzip.decompress(path.read_bytes()) if compressed else path.read_bytes()
    whole = whole[:offset] + content + whole[offset + len(content) :]
    path.write_bytes(gzip.compress(whole) if compressed else whole)
    return path
