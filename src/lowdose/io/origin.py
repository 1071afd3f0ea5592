"""Where a scan came from, and the one error that every reader raises."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from pathlib import Path

COPY_AGAIN = "copy it again from its source"
"""What to do about a file that is damaged or cut short."""
EXPORT_AGAIN = "export it again from the scanner or the archive"
"""What to do about a whole file that lacks or contradicts something."""
LEAVE_OUT = "leave this file out"
"""What to do about a file that no exporter would mend."""


class InputError(Exception):
    """One sentence: which file, what is wrong with it; what to do."""


@dataclass(frozen=True)
class DicomOrigin:
    """The files of a DICOM stack, which a derived series takes everything but its pixels from."""

    paths: tuple[Path, ...]
    """The file of each slice, in the order of z."""
    series_uid: str
    study_uid: str
    lossy: bool = False
    """True where a slice has ever been compressed with loss: a derived series has to go on saying so."""


@dataclass(frozen=True)
class NiftiOrigin:
    """The file of a NIfTI volume, whose header and storage order the derived volume keeps."""

    path: Path


@dataclass(frozen=True)
class TiffOrigin:
    """The files of a TIFF stack, of which the derived stack keeps everything but the pixels."""

    paths: tuple[Path, ...]
    """One file, or the file of each slice in the order of z."""
    sidecar: Path | None
    """What says the voxel size and the calibration, if the files do not."""
    folder: bool
    """True where each slice has a file of its own."""
    label: str
    """How messages call it."""


def unreadable(label: str, error: OSError) -> InputError:
    """What the operating system says about reading a file, as a sentence."""
    told = error.strerror or one_line(str(error), 80)
    return InputError(
        f"{one_line(label)} cannot be read: {told}; check that it is there and that you may read it"
    )


def one_line(text: str, limit: int = 200) -> str:
    """`text` from a file as one safe line of at most `limit` characters, none of them a control character."""
    cleaned = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in str(text)[: 4 * limit])
    cleaned = " ".join(cleaned.split())
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1] + "…"
