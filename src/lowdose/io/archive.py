"""Zip archives as input: unpacked into a temporary folder, under our own names and within limits."""

from __future__ import annotations

import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from lowdose.io.origin import COPY_AGAIN, InputError, one_line

MAX_ENTRIES = 100_000
MAX_DIRECTORY_BYTES = 24 * 2**20
"""Of the archive's table of contents, which is read before its entries can be counted."""
MAX_RATIO = 100
"""Unpacked to packed size: CT reaches 2 to 5, bombs a thousand."""
FREE_SHARE = 0.9
"""Share of the free disk space that an archive may fill."""

_KEPT_ENDINGS = (".nii.gz", ".nii", ".zip", ".tif", ".tiff", ".yaml", ".yml")
_UNPACK_YOURSELF = "if you trust it, unpack it yourself and give the folder"
_END, _END_64, _LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"


def is_zip(path: Path) -> bool:
    """True for a file that starts as a zip archive does and is no DICOM file with such a preamble."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start[:4] in (b"PK\x03\x04", _END) and start[128:] != b"DICM"


@contextmanager
def unpacked(archive: Path) -> Iterator[list[tuple[Path, str]]]:
    """Path and label of every file in the archive; the files are gone on leaving.

    Nothing is unpacked unless all entries are harmless. Raises InputError, which names the archive.
    """
    with tempfile.TemporaryDirectory(prefix="lowdose-") as folder:
        try:
            with archive.open("rb") as file:
                _check_directory(file)
                with zipfile.ZipFile(file) as content:
                    entries = _checked_entries(content, Path(folder))
                    files = [
                        _unpack(content, entry, Path(folder), i, archive) for i, entry in enumerate(entries)
                    ]
        except InputError as error:
            raise InputError(f"{one_line(str(archive))} {error}") from None
        except OSError as error:
            raise InputError(
                f"{one_line(str(archive))} cannot be unpacked: {error.strerror or error}; check that you may "
                "read it and that the disk for temporary files has room"
            ) from None
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
            ValueError,
        ) as error:
            raise InputError(
                f"{one_line(str(archive))} is a damaged archive ({one_line(str(error), 80)}); pack it again"
            ) from None
        yield files


def _check_directory(file: BinaryIO) -> None:
    """Refuse a table of contents that would take seconds and gigabytes to read."""
    size = file.seek(0, 2)
    tail_start = max(0, size - 22 - 0xFFFF - 20)
    file.seek(tail_start)
    tail = file.read()
    end = tail.rfind(_END)
    if end < 0 or len(tail) - end < 22:
        raise InputError(f"is no complete zip archive: it is damaged or cut short; {COPY_AGAIN}")
    n_entries, directory_size = struct.unpack("<HL", tail[end + 10 : end + 16])
    locator = tail[end - 20 : end] if end >= 20 else b""
    if locator.startswith(_LOCATOR_64):
        file.seek(struct.unpack("<Q", locator[8:16])[0])
        record = file.read(56)
        if len(record) == 56 and record.startswith(_END_64):
            n_entries, directory_size = struct.unpack("<QQ", record[32:48])
    if n_entries > MAX_ENTRIES or directory_size > MAX_DIRECTORY_BYTES:
        raise InputError(
            f"has more than the {MAX_ENTRIES} entries that are read; unpack it and give the folder"
        )
    file.seek(0)


def _checked_entries(content: zipfile.ZipFile, folder: Path) -> list[zipfile.ZipInfo]:
    entries = [entry for entry in content.infolist() if not entry.is_dir()]
    if len(entries) > MAX_ENTRIES:
        raise InputError(
            f"has more than the {MAX_ENTRIES} entries that are read; unpack it and give the folder"
        )
    for entry in entries:
        name = one_line(entry.filename, 100)
        if _leads_out(entry.filename):
            raise InputError(f"has an entry that leads out of it ({name}); {_UNPACK_YOURSELF}")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise InputError(f"holds a symbolic link ({name}); pack the files themselves")
        if entry.flag_bits & 1:
            raise InputError(f"is encrypted ({name}); unpack it and give the folder")
        if entry.file_size > MAX_RATIO * max(entry.compress_size, 1):
            raise InputError(
                f"holds an entry that grows more than {MAX_RATIO} times ({name}); {_UNPACK_YOURSELF}"
            )
    total, packed = sum(entry.file_size for entry in entries), sum(entry.compress_size for entry in entries)
    if total > MAX_RATIO * max(packed, 1):
        raise InputError(f"grows more than {MAX_RATIO} times; {_UNPACK_YOURSELF}")
    if total > FREE_SHARE * shutil.disk_usage(folder).free:
        raise InputError(
            f"needs {total / 2**30:.1f} GiB, more than is free for temporary files ({folder.parent}); "
            "free some space, or unpack it elsewhere and give the folder"
        )
    return entries


def _leads_out(name: str) -> bool:
    windows = PureWindowsPath(name)
    return PurePosixPath(name).is_absolute() or bool(windows.anchor) or ".." in windows.parts


def _unpack(
    content: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, number: int, archive: Path
) -> tuple[Path, str]:
    """One entry under a number; of its name only the kind of volume is kept."""
    lower = entry.filename.lower()
    suffix = next((ending for ending in _KEPT_ENDINGS if lower.endswith(ending)), "")
    target = folder / f"{number:06d}{suffix}"
    with content.open(entry) as source, target.open("xb") as out:
        shutil.copyfileobj(source, out, 2**20)
    return target, f"{archive}/{entry.filename}"
