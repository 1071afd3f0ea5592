"""HU images as text inside a page: lossless, checked, and unpacked by the browser itself.

Each pixel is predicted from its left, upper and upper-left neighbours with the median predictor of JPEG-LS
(Weinberger et al., IEEE Trans Image Process 2000;9:1309). What remains is folded to small unsigned numbers;
its low and high bytes are laid one after the other, deflated (zlib) and written in base64. `viewer.js` undoes
it and compares the CRC-32.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PackedImage:
    """One image as text, and the CRC-32 of its little-endian int16 values."""

    data: str
    crc32: int


def stored_hu(hu: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    """`hu` rounded to whole HU and held within int16; what is not a number becomes the lowest value."""
    lowest, highest = np.iinfo(np.int16).min, np.iinfo(np.int16).max
    values = np.nan_to_num(np.rint(hu), nan=lowest, posinf=highest, neginf=lowest)
    stored: NDArray[np.int16] = np.clip(values, lowest, highest).astype(np.int16)
    return stored


def pack(image: NDArray[np.int16]) -> PackedImage:
    """`image` `[y, x]` in HU as text for the page."""
    if image.ndim != 2 or image.dtype != np.int16 or image.size == 0:
        raise ValueError(f"an image for the page is int16 [y, x], not {image.dtype} of shape {image.shape}")
    values = image.astype(np.int32)
    remainder = ((values - _predicted(values) + 0x8000) & 0xFFFF) - 0x8000
    folded = (remainder << 1) ^ (remainder >> 31)
    planes = (folded & 0xFF).astype(np.uint8).tobytes() + (folded >> 8).astype(np.uint8).tobytes()
    packed = base64.b64encode(zlib.compress(planes, 9)).decode("ascii")
    return PackedImage(packed, zlib.crc32(image.astype("<i2").tobytes()))


def _predicted(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """The median of left, up and left + up − corner; in the first row the left, in the first column up."""
    left, up, corner = (np.zeros_like(values) for _ in range(3))
    left[:, 1:] = values[:, :-1]
    up[1:] = values[:-1]
    corner[1:, 1:] = values[:-1, :-1]
    left[1:, 0] = corner[1:, 0] = values[:-1, 0]
    up[0, 1:] = corner[0, 1:] = values[0, :-1]
    predicted: NDArray[np.int32] = np.clip(left + up - corner, np.minimum(left, up), np.maximum(left, up))
    return predicted
