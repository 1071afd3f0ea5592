"""Compressed images: which transfer syntaxes are read, by which codec, and what a codec is allowed to see."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from lowdose.io.origin import COPY_AGAIN, EXPORT_AGAIN, InputError

UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
LOSSLESS_JPEG = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
COMPRESSED = {
    "1.2.840.10008.1.2.5": "pydicom",  # RLE
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG baseline
    JPEG_EXTENDED: "pillow",  # JPEG extended, of 8 bits
    **dict.fromkeys(LOSSLESS_JPEG, "lowdose.io.lossless_jpeg"),
    "1.2.840.10008.1.2.4.80": "pyjpegls",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": "pyjpegls",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": "pylibjpeg",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": "pylibjpeg",  # JPEG 2000
}
"""Compressed transfer syntaxes, and the one pydicom plugin that decodes each, so that results never vary.

Plugins are chosen by what they do with damaged images: python-gdcm ends the whole program, pylibjpeg-rle
panics.
"""
LOSSY = tuple(f"1.2.840.10008.1.2.4.{last}" for last in (50, 51, 81, 91))
"""Transfer syntaxes that may have lost something."""

_RLE = "1.2.840.10008.1.2.5"
_JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_J2K_START = b"\xff\x4f\xff\x51"
_END_OF_IMAGE = b"\xff\xd9"


@dataclass(frozen=True)
class CompressedImage:
    """What the header says about one compressed grey image."""

    syntax: str
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool


def decodable() -> dict[str, bool]:
    """Names of the compressed transfer syntaxes, and whether their codec is installed."""
    return {
        UID(syntax).name: syntax in LOSSLESS_JPEG or plugin in get_decoder(UID(syntax)).available_plugins
        for syntax, plugin in COMPRESSED.items()
    }


def decode(frame: bytes, image: CompressedImage) -> tuple[NDArray[Any], int]:
    """Words of the image, uint8 or uint16, row by row, and how many of their bits the codestream holds.

    Raises InputError (without a name) for what is not the image that the header promises; codecs raise more.
    """
    frame, precision = _checked_frame(frame, image)
    if image.syntax in LOSSLESS_JPEG:
        # Imported here because numba takes longer to import than all readers together.
        from lowdose.io import lossless_jpeg

        return lossless_jpeg.decode(frame).reshape(-1), precision
    decoded, properties = get_decoder(UID(image.syntax)).as_buffer(
        encapsulate([frame], has_bot=False),
        index=0,
        decoding_plugin=COMPRESSED[image.syntax],
        rows=image.rows,
        columns=image.columns,
        number_of_frames=1,
        samples_per_pixel=1,
        photometric_interpretation="MONOCHROME2",
        bits_allocated=image.bits_allocated,
        bits_stored=image.bits_stored,
        pixel_representation=int(image.signed),
        pixel_keyword="PixelData",
    )
    words = np.frombuffer(decoded, "u1" if properties["bits_allocated"] == 8 else "<u2")
    if words.size != image.rows * image.columns:
        raise InputError(f"has a compressed image of another size than its header says; {EXPORT_AGAIN}")
    return words, precision


def _checked_frame(frame: bytes, image: CompressedImage) -> tuple[bytes, int]:
    """The bare codestream and its bits per pixel.

    Its size is compared with the header's before a codec sees it: a codec allocates what a codestream claims.
    """
    if image.syntax == _RLE:
        return frame, image.bits_allocated
    if image.syntax in _JPEG_2000:
        frame = frame[max(frame.find(_J2K_START, 0, 4096), 0) :]  # some writers put a JP2 header in front
        rows, columns, components, precision = _jpeg_2000_facts(frame)
    else:
        rows, columns, components, precision = _jpeg_facts(frame)
    if (rows, columns, components) != (image.rows, image.columns, 1):
        raise InputError(f"has a compressed image of another size than its header says; {EXPORT_AGAIN}")
    if precision > image.bits_allocated:
        raise InputError(f"has a compressed image of more bits than its header says; {EXPORT_AGAIN}")
    if _END_OF_IMAGE not in frame[-64:]:
        raise InputError(f"has a compressed image that is cut short; {COPY_AGAIN}")
    return frame, precision


def _jpeg_2000_facts(frame: bytes) -> tuple[int, int, int, int]:
    """Rows, columns, components and precision (ISO/IEC 15444-1, A.5.1)."""
    if not frame.startswith(_J2K_START) or len(frame) < 43:
        raise InputError(f"has a damaged JPEG 2000 image; {COPY_AGAIN}")
    right, bottom, left, top = struct.unpack(">4L", frame[8:24])
    (components,) = struct.unpack(">H", frame[40:42])
    return bottom - top, right - left, components, (frame[42] & 0x7F) + 1


def _jpeg_facts(frame: bytes) -> tuple[int, int, int, int]:
    """Rows, columns, components and precision of JPEG and JPEG-LS (ISO/IEC 10918-1 B.2.2, 14495-1 C.2.2)."""
    position = 2
    while frame[:2] == b"\xff\xd8" and position + 10 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        (length,) = struct.unpack(">H", frame[position + 2 : position + 4])
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            precision, rows, columns, components = struct.unpack(">BHHB", frame[position + 4 : position + 10])
            return rows, columns, components, precision
        position += 2 + length
    raise InputError(f"has a damaged JPEG image; {COPY_AGAIN}")
