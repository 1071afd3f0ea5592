"""The pixels of one DICOM slice: from the file's bytes to HU and padding, every stored value exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lowdose.io.codecs import COMPRESSED, CompressedImage, decode
from lowdose.io.dicom import encapsulated_items, read_inflated
from lowdose.io.header import PixelFormat, SliceHeader
from lowdose.io.origin import COPY_AGAIN, EXPORT_AGAIN, InputError, one_line, unreadable
from lowdose.scan import Slice

PADDING_BELOW_HU = -1500.0
"""Lower values are padding even where the header doesn't say so: air is -1000 HU, and scanners fill the
corners outside of their field of view with -2000 or -3024 HU."""


def read_slice(header: SliceHeader) -> Slice:
    """HU float32 `[y, x]` and padding of one slice. Raises InputError, which names the file.

    Padding is what `PixelPaddingValue` (to `PixelPaddingRangeLimit`) says and all below `PADDING_BELOW_HU`;
    there, too, `hu` is the file's rescaled value.
    """
    try:
        stored = _stored_values(header)
    except InputError as error:
        raise InputError(f"{one_line(header.label)} {error}") from None
    except OSError as error:
        raise unreadable(header.label, error) from None
    except Exception:  # codecs raise whatever they like
        raise InputError(
            f"{one_line(header.label)} has pixel data that cannot be decoded; {COPY_AGAIN}"
        ) from None
    pixel_format = header.format
    hu = rescaled(stored, pixel_format.slope, pixel_format.intercept)
    padding = hu < PADDING_BELOW_HU
    if pixel_format.padding is not None:
        low, high = pixel_format.padding
        padding |= (stored >= low) & (stored <= high)
    return Slice(hu, padding)


def rescaled(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[np.float32]:
    """`slope * stored + intercept` in double precision, rounded once."""
    values = stored.astype(np.float64)
    values *= slope
    values += intercept
    return values.astype(np.float32)


def _stored_values(header: SliceHeader) -> NDArray[Any]:
    """Stored values int16 or uint16 `[y, x]`: unused high bits are cleared, signs extended."""
    pixel_format = header.format
    if pixel_format.syntax in COMPRESSED:
        words, precision = _decoded(Path(header.path), header.offset, pixel_format)
    else:
        words, precision = _uncompressed(header), pixel_format.bits_allocated
    if pixel_format.foreign_padding is not None and (words == pixel_format.foreign_padding).any():
        raise InputError(f"has padding that needs more than its BitsStored; {EXPORT_AGAIN}")
    # A codestream may hold fewer bits than the header promises, and may not know that they are signed.
    unused = 16 - min(pixel_format.bits_stored, precision)
    words = words.astype(np.uint16, copy=False)
    values: NDArray[Any] = words.view(np.int16) if pixel_format.signed else words
    if unused:
        values = (values << unused) >> unused
    return values.reshape(pixel_format.rows, pixel_format.columns)


def _uncompressed(header: SliceHeader) -> NDArray[Any]:
    pixel_format = header.format
    kind = (
        np.dtype("u1")
        if pixel_format.bits_allocated == 8
        else np.dtype(">u2" if header.big_endian else "<u2")
    )
    count = pixel_format.rows * pixel_format.columns
    if header.deflated:
        inflated = read_inflated(Path(header.path))
        image = inflated[header.offset : header.offset + count * kind.itemsize]
    else:
        with Path(header.path).open("rb") as file:
            file.seek(header.offset)
            image = file.read(count * kind.itemsize)
    if len(image) != count * kind.itemsize:
        raise InputError(f"has become shorter since it was found; {COPY_AGAIN}")
    return np.frombuffer(image, kind)


def _decoded(path: Path, offset: int, pixel_format: PixelFormat) -> tuple[NDArray[Any], int]:
    """Words of the decoded image, and how many of their bits the codestream holds."""
    with path.open("rb") as file:
        parts = []
        for start, length in encapsulated_items(file, offset):
            file.seek(start)
            parts.append(file.read(length))
    image = CompressedImage(
        pixel_format.syntax,
        pixel_format.rows,
        pixel_format.columns,
        pixel_format.bits_allocated,
        pixel_format.bits_stored,
        pixel_format.signed,
    )
    return decode(b"".join(parts), image)
