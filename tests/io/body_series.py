"""CT series with enough soft tissue in them to measure its noise, for tests of commands and of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from tests.io.ct_factory import ct_slice, disc, save

SIDE = 72
"""Pixels along each side of a slice."""


def body_series(
    folder: Path, n_slices: int = 2, *, seed: int = 1, side: int = SIDE, **attributes: Any
) -> Path:
    """Write a series of noisy water discs; another `seed` is another patient's series. Returns the folder."""
    attributes = {"series_uid": f"1.2.826.0.1.3680043.8.498.7.{seed}", "PatientID": f"P{seed}"} | attributes
    for z in range(n_slices):
        values = disc(side, side, seed=100 * seed + z)
        save(ct_slice(values, z=3.0 * z, number=z + 1, **attributes), folder / f"{z + 1:04d}.dcm")
    return folder


def stored_hu(folder: Path) -> np.ndarray:
    """HU `[z, y, x]` of the DICOM files in `folder`, read by pydicom alone, in the order of position."""
    files = sorted(
        (pydicom.dcmread(path) for path in folder.glob("*.dcm")), key=lambda ds: ds.ImagePositionPatient[2]
    )
    return np.stack([ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept) for ds in files])
