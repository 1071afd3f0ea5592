"""Lossless JPEG (ITU-T T.81, process 14), the compression of most archived CT.

The codecs to be had end the whole program on a damaged image or fill what is missing with zeros. This one
refuses: a codestream gives all of its samples, or none.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

_SOI, _EOI, _SOF3, _DHT, _SOS, _DRI = 0xD8, 0xD9, 0xC3, 0xC4, 0xDA, 0xDD
_NO_CODE = 255
_MAX_CATEGORY = 16


class DamagedJpegError(ValueError):
    """The codestream does not give an image."""


@dataclass
class _Frame:
    rows: int = 0
    columns: int = 0
    precision: int = 0
    component: int = -1
    tables: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = field(default_factory=dict)
    restart_interval: int = 0


def decode(codestream: bytes) -> NDArray[np.uint16]:
    """Samples `[y, x]` of a codestream with one component. Raises DamagedJpegError."""
    frame = _Frame()
    position = 2
    if codestream[:2] != bytes((0xFF, _SOI)):
        raise DamagedJpegError("no start of image")
    while True:
        if position + 4 > len(codestream) or codestream[position] != 0xFF:
            raise DamagedJpegError("no scan")
        marker = codestream[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        (length,) = struct.unpack(">H", codestream[position + 2 : position + 4])
        segment = codestream[position + 4 : position + 2 + length]
        if len(segment) != length - 2:
            raise DamagedJpegError("cut short")
        position += 2 + length
        if marker == _DHT:
            _add_tables(frame, segment)
        elif marker == _SOF3:
            _start_frame(frame, segment)
        elif marker == _DRI:
            if len(segment) != 2:
                raise DamagedJpegError("restart interval")
            (frame.restart_interval,) = struct.unpack(">H", segment)
        elif marker == _SOS:
            return _scan(frame, segment, codestream[position:])
        elif 0xC0 <= marker <= 0xCF or marker in (_SOI, _EOI):
            raise DamagedJpegError(f"marker {marker:02X}")


def _add_tables(frame: _Frame, segment: bytes) -> None:
    """Look-up tables of the next 16 bits: the length of the code they start with, and its category (C.2)."""
    position = 0
    while position < len(segment):
        counts = segment[position + 1 : position + 17]
        values = segment[position + 17 : position + 17 + sum(counts)]
        if len(counts) != 16 or len(values) != sum(counts):
            raise DamagedJpegError("Huffman table")
        lengths = np.full(1 << 16, _NO_CODE, np.uint8)
        categories = np.zeros(1 << 16, np.uint8)
        code, used = 0, 0
        for bits, count in enumerate(counts, start=1):
            for value in values[used : used + count]:
                start, end = code << (16 - bits), (code + 1) << (16 - bits)
                if end > 1 << 16 or value > _MAX_CATEGORY:
                    raise DamagedJpegError("Huffman table")
                lengths[start:end] = bits
                categories[start:end] = value
                code += 1
            used += count
            code <<= 1
        frame.tables[segment[position]] = lengths, categories
        position += 17 + len(values)


def _start_frame(frame: _Frame, segment: bytes) -> None:
    if len(segment) != 9 or frame.rows:
        raise DamagedJpegError("frame")
    frame.precision, frame.rows, frame.columns, components, frame.component, sampling, _ = struct.unpack(
        ">BHHBBBB", segment
    )
    if (
        components != 1
        or sampling != 0x11
        or not 2 <= frame.precision <= 16
        or not frame.rows * frame.columns
    ):
        raise DamagedJpegError("frame")


def _scan(frame: _Frame, segment: bytes, coded: bytes) -> NDArray[np.uint16]:
    if not frame.rows or len(segment) != 6:
        raise DamagedJpegError("scan")
    components, component, table, predictor, _, shift = struct.unpack("6B", segment)
    if components != 1 or component != frame.component or table >> 4 not in frame.tables:
        raise DamagedJpegError("scan")
    if not 1 <= predictor <= 7 or shift >= frame.precision or frame.restart_interval % frame.columns:
        raise DamagedJpegError("scan")
    lengths, categories = frame.tables[table >> 4]
    samples = np.zeros((frame.rows, frame.columns), np.uint16)
    end = _decode_samples(
        np.frombuffer(coded, np.uint8),
        lengths,
        categories,
        samples,
        predictor,
        1 << (frame.precision - shift - 1),
        frame.restart_interval // frame.columns,
    )
    if end < 0:
        raise DamagedJpegError("a code that is none" if end == -1 else "cut short")
    rest = coded[end:].lstrip(b"\xff")
    if coded[end : end + 1] != b"\xff" or rest[:1] != bytes((_EOI,)):
        raise DamagedJpegError("no end of image")
    return samples << np.uint16(shift)


@numba.njit(cache=True)
def _predicted(predictor: int, left: Any, above: Any, diagonal: Any) -> Any:
    """What is expected between three known neighbours (table H.1)."""
    if predictor == 1:
        return left
    if predictor == 2:
        return above
    if predictor == 3:
        return diagonal
    if predictor == 4:
        return left + above - diagonal
    if predictor == 5:
        return left + ((above - diagonal) >> 1)
    if predictor == 6:
        return above + ((left - diagonal) >> 1)
    return (left + above) >> 1


@numba.njit(cache=True)
def _decode_samples(
    coded: NDArray[np.uint8],
    lengths: NDArray[np.uint8],
    categories: NDArray[np.uint8],
    samples: NDArray[np.uint16],
    predictor: int,
    first: int,
    rows_per_restart: int,
) -> Any:
    """Fill `samples` (H.1.2). Returns where their end marker is, -1 for a wrong code, -2 for an early end.

    All arithmetic is in int64: numba turns mixed signedness into floating point.
    """
    rows, columns = samples.shape
    position = 0
    window: Any = 0
    held: Any = 0
    restarts = 0
    for y in range(rows):
        restart = rows_per_restart > 0 and y > 0 and y % rows_per_restart == 0
        if restart:
            if held >= 8 or position + 1 >= coded.size or coded[position] != 0xFF:
                return -2
            if coded[position + 1] != 0xD0 + restarts % 8:
                return -2
            restarts += 1
            position, window, held = position + 2, 0, 0
        for x in range(columns):
            # 32 bits serve one code of up to 16 and a difference of up to 15.
            while held <= 32 and position < coded.size:
                byte = np.int64(coded[position])
                if byte == 0xFF:
                    if position + 1 >= coded.size or coded[position + 1] != 0:
                        break
                    position += 1
                position += 1
                window = ((window << 8) | byte) & 0xFFFFFFFFFF
                held += 8
            ahead = (window >> (held - 16)) if held >= 16 else (window << (16 - held))
            ahead &= 0xFFFF
            used = np.int64(lengths[ahead])
            if used == 255:
                return -1
            category = np.int64(categories[ahead])
            extra: Any = category if category < 16 else 0
            if used + extra > held:
                return -2
            difference: Any = 1 << 15
            if category < 16:
                held -= used + extra
                difference = (window >> held) & ((1 << extra) - 1)
                if extra > 0 and difference < 1 << (extra - 1):
                    difference -= (1 << extra) - 1
            else:
                held -= used
            window &= (1 << held) - 1

            above = y > 0 and not restart
            if not above and x == 0:
                predicted: Any = first
            elif not above:
                predicted = np.int64(samples[y, x - 1])
            elif x == 0:
                predicted = np.int64(samples[y - 1, 0])
            else:
                left, upper = np.int64(samples[y, x - 1]), np.int64(samples[y - 1, x])
                predicted = _predicted(predictor, left, upper, np.int64(samples[y - 1, x - 1]))
            samples[y, x] = np.uint16((predicted + difference) & 0xFFFF)
    # Fewer than eight bits may be left over, all of them padding of the last byte.
    return position if held < 8 else -2
