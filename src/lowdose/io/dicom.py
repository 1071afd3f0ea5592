"""The one gate to DICOM files: a header is read whole and safely, or refused in one sentence.

pydicom trusts a file's lengths: cut files pass as complete, nested sequences exhaust the stack, a few
kilobytes inflate to gigabytes. Here every read is bounded, and the pixel data is found and measured without
being loaded.
"""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple, NoReturn, cast

import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from lowdose.io.origin import COPY_AGAIN, EXPORT_AGAIN, LEAVE_OUT, InputError, one_line, unreadable

MAX_FILE_BYTES = 256 * 2**20
"""A single CT slice with a large private header stays far below this."""
MAX_INFLATED_BYTES = 64 * 2**20
"""What a deflated file may become: twice the largest accepted image."""
MAX_READS = 100_000
"""Reads of one header, two to three an element. It bounds the time that a hostile header can take."""
MAX_ITEMS = 10_000
"""Fragments of one compressed image, or elements behind it."""
MAX_NESTING = 64
"""Sequences within sequences."""
TOO_NESTED = f"has sequences nested more than {MAX_NESTING} deep; {LEAVE_OUT}"

_PIXEL_DATA = 0x7FE00010
_FLOAT_PIXEL_DATA = (0x7FE00008, 0x7FE00009)
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_OPEN_ITEMS = (b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xff\xfe\xe0\x00\xff\xff\xff\xff")
_ITEM_ENDS = (b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xff\xfe\xe0\x0d\0\0\0\0")
"""Items of undefined length, in either byte order: pydicom reads these, and no others, one inside another."""
_LONG_VRS = frozenset(
    (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UN", b"UT", b"UC", b"UR", b"SV", b"UV")
)
"""VRs whose explicit length has four bytes."""


class NotDicomError(InputError):
    """The file is no DICOM file at all, so that it can be left aside with `reason`."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(f"{name} is {reason}; {LEAVE_OUT}")
        self.reason = reason


class DamagedImageError(InputError):
    """The header is whole, its image is not; `dataset` says whose image it was."""

    def __init__(self, sentence: str, dataset: FileDataset) -> None:
        super().__init__(sentence)
        self.dataset = dataset


class PixelElement(NamedTuple):
    """Where the pixel data is: in the file, or in the inflated file where `deflated`."""

    offset: int
    length: int | None
    """Bytes, or None for compressed pixel data, which comes in items."""
    deflated: bool
    big_endian: bool


class _DeflatedError(Exception):
    """pydicom is about to inflate everything that follows."""


class _GuardedFile:
    """A file that can't be read too often or too deep, nor asked for more bytes than it holds."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._read = file.read
        self._reads = 0
        self._depth = 0
        self.refusal: InputError | None = None
        """Why reading ended; pydicom turns some errors into others on their way."""
        self.size = size
        self.seek = file.seek
        self.tell = file.tell

    def read(self, count: int = -1) -> bytes:
        self._reads += 1
        if self._reads > MAX_READS:
            self._refuse(f"has a header of too many elements; {LEAVE_OUT}")
        if count < 0:
            # The only place where pydicom reads "all the rest" is in front of a deflated data set.
            raise _DeflatedError
        if count > max(self.size, 8192):
            self._refuse(f"has an element of {count} bytes, more than the file holds; {COPY_AGAIN}")
        content = self._read(count)
        if content in _OPEN_ITEMS:
            self._depth += 1
            if self._depth > MAX_NESTING:
                self._refuse(TOO_NESTED)
        elif content in _ITEM_ENDS:
            self._depth -= 1
        return content

    def _refuse(self, sentence: str) -> NoReturn:
        self.refusal = InputError(sentence)
        raise self.refusal


def read_dataset(path: Path, label: str | None = None) -> FileDataset:
    """All elements in front of the pixel data, never the pixels. Raises InputError, which names `label`."""
    return read_header(path, label)[0]


def read_header(
    path: Path, label: str | None = None, tags: Sequence[int] | None = None
) -> tuple[FileDataset, PixelElement | None]:
    """The elements in front of the pixel data (only `tags` where given), and where the pixel data is.

    None stands for a file without pixel data. Raises NotDicomError, DamagedImageError or InputError, and
    nothing else.
    """
    name = one_line(label or str(path))
    try:
        with path.open("rb") as file:
            _checked_start(file)
            return _parsed(file, tags)
    except NotDicomError as error:
        raise NotDicomError(error.reason, name) from None
    except DamagedImageError as error:
        raise DamagedImageError(f"{name} {error}", error.dataset) from None
    except InputError as error:
        raise InputError(f"{name} {error}") from None
    except RecursionError:
        raise InputError(f"{name} {TOO_NESTED}") from None
    except Exception as error:  # pydicom raises a dozen kinds, an OSError of its own among them
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(name, error) from None
        raise InputError(f"{name} has a damaged header; {COPY_AGAIN}") from None


def read_inflated(path: Path) -> bytes:
    """The whole file with its deflated part inflated. Raises InputError (without the name of the file)."""
    with path.open("rb") as file:
        guarded = _GuardedFile(file, _checked_start(file))
        try:
            pydicom.dcmread(cast(BinaryIO, guarded), stop_before_pixels=True, specific_tags=[_PIXEL_DATA])
        except _DeflatedError:
            return _inflated(file)
    raise InputError(f"is no longer the deflated file that it was; {COPY_AGAIN}")


def encapsulated_items(file: IO[bytes], start: int) -> list[tuple[int, int]]:
    """Offset and length of each fragment of one compressed image; the offset table is left out.

    Leaves `file` behind the end marker. Raises InputError where the items do not fit into the file.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(start)
    items: list[tuple[int, int]] = []
    while True:
        header = file.read(8)
        if len(header) < 8:
            raise InputError(f"is cut short: its compressed image has no end; {COPY_AGAIN}")
        group, element, length = struct.unpack("<HHL", header)
        tag = group << 16 | element
        if tag == _SEQUENCE_END:
            break
        position = file.tell()
        if tag != _ITEM or len(items) > MAX_ITEMS:
            raise InputError(f"has damaged compressed pixel data; {COPY_AGAIN}")
        if position + length > size:
            raise InputError(f"is cut short: its compressed image has no end; {COPY_AGAIN}")
        items.append((position, length))
        file.seek(position + length)
    fragments = [item for item in items[1:] if item[1] > 0]
    if not fragments:
        raise InputError(f"has compressed pixel data without an image in it; {EXPORT_AGAIN}")
    return fragments


def _checked_start(file: BinaryIO) -> int:
    """The size of a file that starts as a DICOM file does; `file` is left at its beginning."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(132)
    if size == 0:
        raise NotDicomError("an empty file")
    if start[128:] != b"DICM":
        raise NotDicomError("not a DICOM file (no mark DICM at byte 128)")
    if size > MAX_FILE_BYTES:
        raise InputError(
            f"has {size} bytes, more than the {MAX_FILE_BYTES} a single CT slice may have; {LEAVE_OUT}"
        )
    file.seek(0)
    return size


def _parsed(file: BinaryIO, tags: Sequence[int] | None) -> tuple[FileDataset, PixelElement | None]:
    guarded = _GuardedFile(file, os.fstat(file.fileno()).st_size)
    try:
        return _parsed_stream(file, guarded, tags, deflated=False)
    except _DeflatedError:
        whole = _inflated(file)
        stream = BytesIO(whole)
        return _parsed_stream(stream, _GuardedFile(stream, len(whole)), tags, deflated=True)


def _parsed_stream(
    stream: BinaryIO, guarded: _GuardedFile, tags: Sequence[int] | None, *, deflated: bool
) -> tuple[FileDataset, PixelElement | None]:
    with warnings.catch_warnings():
        # What pydicom warns of (odd VRs, unknown character sets) is tolerated, or refused below by name.
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(
                cast(BinaryIO, guarded), stop_before_pixels=True, specific_tags=list(tags) if tags else None
            )
        except OSError:
            if guarded.refusal is not None:
                raise guarded.refusal from None
            raise
    try:
        return dataset, _pixel_element(stream, bool(dataset.original_encoding[1]), deflated)
    except InputError as error:
        raise DamagedImageError(str(error), dataset) from None


def _inflated(file: BinaryIO) -> bytes:
    """The file with an inflated data set behind a file meta group that says so; `file` stands before it."""
    start = file.tell()
    body = file.read()
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(body, MAX_INFLATED_BYTES)
    except zlib.error:
        raise InputError(f"has a damaged deflated data set; {COPY_AGAIN}") from None
    if inflater.unconsumed_tail:
        raise InputError(f"inflates to more than {MAX_INFLATED_BYTES} bytes; {LEAVE_OUT}")
    if not inflater.eof:
        raise InputError(f"is cut short: its deflated data set has no end; {COPY_AGAIN}")
    file.seek(0)
    meta = file.read(start)
    head = b"\x02\x00\x10\x00UI\x16\x00"
    before = head + DeflatedExplicitVRLittleEndian.encode()
    if meta.count(before) != 1:
        raise InputError(f"has a damaged transfer syntax; {COPY_AGAIN}")
    return meta.replace(before, head + ExplicitVRLittleEndian.encode().ljust(22, b"\0")) + inflated


def _pixel_element(stream: BinaryIO, little_endian: bool, deflated: bool) -> PixelElement | None:
    """The pixel data at which `stream` stands, measured against the file; None at the end of the file."""
    start = stream.tell()
    size = stream.seek(0, os.SEEK_END)
    stream.seek(start)
    # Data sets are not always explicit or implicit as their transfer syntax says, so the element itself
    # decides: as the start of an implicit length, OB, OW and UN would make it odd, and lengths are even.
    implicit = stream.read(8)[4:6] not in (b"OB", b"OW", b"UN", b"OF", b"OD")
    stream.seek(start)
    element = _next_element(stream, implicit, little_endian)
    if element is None:
        return None
    tag, length = element
    if tag in _FLOAT_PIXEL_DATA:
        raise InputError(f"has floating-point pixel data, which a CT image never has; {LEAVE_OUT}")
    if tag != _PIXEL_DATA:
        raise InputError(f"has a damaged header; {COPY_AGAIN}")
    offset = stream.tell()
    if length == _UNDEFINED:
        encapsulated_items(stream, offset)
    elif offset + length > size:
        raise InputError(
            f"is cut short: its image needs {length} bytes and {size - offset} are there; {COPY_AGAIN}"
        )
    else:
        stream.seek(offset + length)
    _check_rest(stream, size, implicit, little_endian)
    return PixelElement(offset, None if length == _UNDEFINED else length, deflated, not little_endian)


def _next_element(stream: BinaryIO, implicit: bool, little_endian: bool) -> tuple[int, int] | None:
    """Tag and length of the element at which `stream` stands; None where no whole element header is left."""
    order = "<" if little_endian else ">"
    header = stream.read(8)
    if len(header) < 8:
        return None
    group, element = struct.unpack(order + "HH", header[:4])
    if implicit:
        (length,) = struct.unpack(order + "L", header[4:])
    elif header[4:6] in _LONG_VRS:
        long_length = stream.read(4)
        if len(long_length) < 4:
            return None
        (length,) = struct.unpack(order + "L", long_length)
    else:
        (length,) = struct.unpack(order + "H", header[6:])
    return group << 16 | element, length


def _check_rest(stream: BinaryIO, size: int, implicit: bool, little_endian: bool) -> None:
    """Refuse a file that ends inside an element behind its image; stray zero bytes are no harm."""
    last = _PIXEL_DATA
    for _ in range(MAX_ITEMS):
        position = stream.tell()
        if position == size:
            return
        element = _next_element(stream, implicit, little_endian)
        if element is None or element[0] <= last:
            stream.seek(position)
            if any(stream.read(2**20)):
                raise InputError(f"is cut short or damaged behind its image; {COPY_AGAIN}")
            return
        last, length = element
        if length == _UNDEFINED or stream.tell() + length > size:
            raise InputError(f"is cut short behind its image; {COPY_AGAIN}")
        stream.seek(length, os.SEEK_CUR)
    raise InputError(f"has too many elements behind its image; {LEAVE_OUT}")
