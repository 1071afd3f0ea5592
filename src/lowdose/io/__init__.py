"""Everything that knows files: DICOM, NIfTI, TIFF and zip in, derived series out."""

from __future__ import annotations

from lowdose.io.derivation import Derivation
from lowdose.io.derived import write_derived
from lowdose.io.header import SIMULATED
from lowdose.io.origin import DicomOrigin, InputError, NiftiOrigin, TiffOrigin
from lowdose.io.output import OutputError, Written
from lowdose.io.survey import Case, Found, LeftAside, only_scan, open_input

__all__ = [
    "SIMULATED",
    "Case",
    "Derivation",
    "DicomOrigin",
    "Found",
    "InputError",
    "LeftAside",
    "NiftiOrigin",
    "OutputError",
    "TiffOrigin",
    "Written",
    "only_scan",
    "open_input",
    "write_derived",
]
