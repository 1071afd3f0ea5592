"""Every codec gives every value of every pixel format, or a sentence; none sees what it can't bear."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from lowdose.io.codecs import COMPRESSED, decodable
from lowdose.io.header import FaultySlice, read_slice_header
from lowdose.io.origin import InputError
from lowdose.io.pixels import read_slice
from tests.io.ct_factory import compress, ct_slice, disc, full_range, header_of, save, set_stored, slice_of

LOSSLESS = [RLELossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless]


@pytest.mark.parametrize("bits", [8, 10, 12, 13, 16])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.name[:32])
def test_every_stored_value_comes_through(tmp_path: Path, syntax: Any, signed: bool, bits: int) -> None:
    stored = full_range(bits, signed)
    ds = ct_slice(disc(37, 33), signed=signed, bits_stored=bits)
    set_stored(ds, stored)
    if syntax == RLELossless and bits == 8:
        ds.BitsAllocated = 8  # pydicom's encoder writes only as many bytes as are stored
        set_stored(ds, stored)
    hu = slice_of(compress(ds, syntax), tmp_path).hu
    assert hu.dtype == np.float32
    np.testing.assert_array_equal(hu, stored - 1024)


def test_a_signed_image_in_an_unsigned_codestream(tmp_path: Path) -> None:
    stored = full_range(13, signed=True)
    ds = ct_slice(disc(37, 33), signed=False, bits_stored=13)
    set_stored(ds, stored & 0x1FFF)
    compress(ds, JPEG2000Lossless).PixelRepresentation = 1
    np.testing.assert_array_equal(slice_of(ds, tmp_path).hu, stored - 1024)


def with_frame(ds: FileDataset, syntax: str, change: Callable[[bytes], bytes]) -> FileDataset:
    compress(ds, syntax)
    ds.PixelData = encapsulate([change(get_frame(ds.PixelData, 0, number_of_frames=1))])
    ds["PixelData"].is_undefined_length = True
    return ds


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.name[:32])
def test_a_compressed_image_that_is_cut_short_is_refused(tmp_path: Path, syntax: str) -> None:
    def halved(frame: bytes) -> bytes:
        return frame[: len(frame) // 4 * 2]

    def closed(frame: bytes) -> bytes:
        return halved(frame) + b"\xff\xd9"

    for change in (halved, closed):
        ds = with_frame(ct_slice(disc(64, 64)), syntax, change)
        with pytest.raises(InputError, match=r"slice\.dcm has .*copy it again"):
            slice_of(ds, tmp_path)


@pytest.mark.parametrize(
    "syntax", [syntax for syntax in LOSSLESS if syntax != RLELossless], ids=lambda uid: uid.name[:32]
)
def test_a_codestream_of_another_size_never_reaches_its_codec(tmp_path: Path, syntax: str) -> None:
    ds = compress(ct_slice(disc(40, 48)), syntax)
    ds.Rows, ds.Columns = 48, 40
    with pytest.raises(InputError, match="another size than its header says"):
        slice_of(ds, tmp_path)


def test_fragments_are_joined(tmp_path: Path) -> None:
    ds = compress(ct_slice(disc(64, 64)), JPEGLSLossless)
    ds.PixelData = encapsulate([get_frame(ds.PixelData, 0, number_of_frames=1)], fragments_per_frame=3)
    ds["PixelData"].is_undefined_length = True
    np.testing.assert_array_equal(slice_of(ds, tmp_path).hu, disc(64, 64))


def test_loss_is_noticed(tmp_path: Path) -> None:
    plain = ct_slice(disc(40, 40))
    assert not header_of(plain, tmp_path).facts.lossy
    assert header_of(ct_slice(LossyImageCompression="01"), tmp_path).facts.lossy
    plain.compress(JPEGLSNearLossless, jls_error=2, generate_instance_uid=False)
    header = header_of(plain, tmp_path)
    assert header.facts.lossy
    assert 0 < np.abs(read_slice(header).hu - disc(40, 40)).max() <= 2


def test_eight_bit_jpeg_is_read(tmp_path: Path) -> None:
    stored = np.full((16, 16), 100, np.uint8)
    ds = ct_slice(disc(16, 16), signed=False, bits_stored=8)
    ds.BitsAllocated = 8
    encoded = BytesIO()
    Image.fromarray(stored).save(encoded, "JPEG", quality=95)
    ds.PixelData = encapsulate([encoded.getvalue()])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    header = header_of(ds, tmp_path)
    assert header.facts.lossy
    np.testing.assert_allclose(read_slice(header).hu, stored.astype(float) - 1024, atol=1)


def test_every_codec_is_installed() -> None:
    assert len(decodable()) == len(COMPRESSED)
    assert all(decodable().values())


def test_twelve_bit_lossy_jpeg_is_refused_by_its_header(tmp_path: Path) -> None:
    ds = compress(ct_slice(disc(40, 40), signed=False, bits_stored=12), JPEGLSLossless)
    ds.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    found = read_slice_header(save(ds, tmp_path / "slice.dcm"), "slice.dcm", {})
    assert isinstance(found, FaultySlice)
    assert "lossy 12-bit JPEG" in found.sentence
