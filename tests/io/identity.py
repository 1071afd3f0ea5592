"""Series as scans, and the derivation that changes nothing, for tests of derived series."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.dataset import FileDataset

from lowdose.io.derived import Derivation, write_derived
from lowdose.io.header import SliceHeader, read_slice_header
from lowdose.io.stacks import scan_of, split_series
from lowdose.scan import Scan

IDENTITY = Derivation(
    marker="[lowdose identity]",
    description="Identity: pixel values unchanged.",
    code=("ID001", "Identity: pixel values unchanged"),
    image_type="IDENTITY",
    series_offset=9,
)


def scan_from(paths: list[Path]) -> Scan:
    headers = [read_slice_header(path, path.name, {}) for path in paths]
    assert all(isinstance(header, SliceHeader) for header in headers), headers
    (stack,) = split_series(headers)
    return scan_of(stack, "series")


def derive(paths: list[Path], output: Path, derivation: Derivation = IDENTITY) -> list[FileDataset]:
    write_derived(scan_from(paths), output, derivation)
    return [pydicom.dcmread(path) for path in sorted(output.iterdir())]
