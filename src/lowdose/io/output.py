"""Outputs that are whole or absent: temporary name, fsync, rename; and the one error of every writer."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lowdose.io.origin import one_line
from lowdose.scan import Scan, Slice

_NO_SPACE = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_CLIPPED_SHARE = 0.02
"""Up to this share of clipped values is ordinary: noise of air below the lowest value that can be stored."""
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


class OutputError(Exception):
    """One sentence: which output could not be written, why, and what to do."""


@dataclass(frozen=True)
class Written:
    """What a writer left behind."""

    path: Path
    n_slices: int
    n_clipped: int
    """Values that lay beyond what the source's number format holds, and were set to its nearest end."""
    series_uid: str | None
    """SeriesInstanceUID of a DICOM series, None for NIfTI."""
    notes: tuple[str, ...]


def check_output(output: Path, sources: Iterable[Path]) -> None:
    """Refuse an `output` that would overwrite something or mix with the input.

    `sources` are the files of the input. OutputError if `output` is a link, exists (an empty folder may
    stand there already), lies inside a folder of the input, or holds the input.
    """
    with explained(output):
        is_link = output.is_symlink()
    if is_link:
        raise OutputError(f"{output} is a symbolic link; name the place it points to, or another one")
    files = {source.resolve() for source in sources}
    # A single file is an input by itself: its folder may well be where the output should go.
    folders = {file.parent for file in files} if len(files) > 1 else set()
    place = output.resolve()
    if place in files | folders:
        raise OutputError(
            f"{output} is the input itself; the source is never overwritten, so name another place"
        )
    if any(folder in place.parents for folder in folders):
        raise OutputError(f"{output} lies inside the input folder; name a place outside of it")
    if any(place in file.parents for file in files):
        raise OutputError(f"{output} holds the input; name a folder that does not exist yet")
    with explained(output):
        if output.is_dir():
            if os.path.ismount(output):
                raise OutputError(f"{output} is where a disk is mounted; name a new folder inside it")
            if any(output.iterdir()):
                raise OutputError(f"{output} exists and is not empty; name a new folder or empty this one")
        elif output.exists():
            raise OutputError(f"{output} exists already; name a new file or remove this one")


@contextmanager
def explained(output: Path) -> Iterator[None]:
    """Turn what the operating system says about writing `output` into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise OutputError(
                f"{one_line(str(output))} cannot be written: its name is too long for the file system; "
                "name a shorter one"
            ) from error
        folder = output.parent
        if error.errno in _NO_SPACE:
            told = f"no space is left in {folder}; nothing was kept, so free some or name another disk"
        elif error.errno in _NOT_ALLOWED:
            told = f"writing into {folder} is not allowed; name a folder you may write to"
        else:
            reason = error.strerror or type(error).__name__
            told = f"{reason}; nothing was kept, so name another place"
        raise OutputError(f"{output} cannot be written: {told}") from error


@contextmanager
def whole_folder(output: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `output`; rename it to `output` on success, remove it on failure."""
    temporary = _beside(output)
    try:
        with explained(output):
            temporary.mkdir(parents=True)
        yield temporary
        with explained(output):
            sync(temporary)
            if output.is_dir():
                output.rmdir()
            temporary.rename(output)
            sync(output.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def whole_file(output: Path) -> Iterator[Path]:
    """Yield a temporary name beside `output`; fsync and rename it on success, remove it on failure.

    OutputError if something has appeared at `output` meanwhile: it is not overwritten.
    """
    temporary = _beside(output)
    try:
        with explained(output):
            temporary.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with explained(output):
            sync(temporary)
            _publish(temporary, output)
            sync(output.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _publish(temporary: Path, output: Path) -> None:
    """Rename, but never over something: a hard link fails where a rename would replace."""
    try:
        os.link(temporary, output)
    except OSError:  # something is there, or the file system has no hard links
        if os.path.lexists(output):
            raise OutputError(
                f"{output} has been written by someone else meanwhile; name a new file or remove this one"
            ) from None
        temporary.replace(output)
    else:
        temporary.unlink()


def sync(path: Path) -> None:
    """Have the operating system put a file, or a folder's list of names, on the disk."""
    if os.name == "nt" and path.is_dir():  # Windows keeps folders by itself and opens none
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checked_slice(scan: Scan, z: int) -> Slice:
    """Slice `z` of `scan`; OutputError unless it has the scan's shape and every value is a finite number."""
    slice_ = scan.read(z)
    if slice_.hu.shape != scan.shape[1:]:
        raise OutputError(
            f"{scan.name} cannot be written: slice {z + 1} came out as {slice_.hu.shape} instead of "
            f"{scan.shape[1:]}; "
            "nothing was kept, so use another method"
        )
    if not np.isfinite(slice_.hu).all():
        raise OutputError(
            f"{scan.name} cannot be written: slice {z + 1} came out with NaN or infinite values; "
            "nothing was kept, so use another method or leave this scan aside"
        )
    return slice_


def clipping_notes(n_clipped: int, n_values: int, low: float, high: float) -> tuple[str, ...]:
    """The sentence a user should see when too many values did not fit into the source's number format."""
    if n_clipped <= _CLIPPED_SHARE * n_values:
        return ()
    return (
        f"{n_clipped} of {n_values} values lay beyond what the source's number format holds "
        f"(stored values {low:g} to {high:g}) and were set to its nearest end; mostly this is the noise of "
        "air below the lowest HU, which then reads a little high.",
    )


def _beside(output: Path) -> Path:
    """A name no other process uses, in the same folder, so that a rename is enough to publish it."""
    return output.parent / f".lowdose-{uuid.uuid4().hex[:12]}.part"
