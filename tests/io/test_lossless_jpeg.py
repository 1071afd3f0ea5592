"""Lossless JPEG against an encoder written here from the standard, for every predictor."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowdose.io.lossless_jpeg import DamagedJpegError, decode
from tests.io.ct_factory import lossless_jpeg

BY_GDCM = bytes.fromhex(
    "ffd8ffc3000b100008000801011100ffc4001e00010100010403010000000000000000000706050304090a01020810ff"
    "da0008010100010000fde7df575f73bbdea06472795cbe67379dfb02868e969ea6aeb7940b1b3b5b7b9bbbde701050d1"
    "51d252d37b2028a9aaabacadaef6c061636567696b6dee80e2e6eaeef2f6fbffd900"
)
"""The squares of 0 to 63, row by row, as GDCM 3.2 compresses them (process 14, selection value 1)."""


def test_another_encoders_image_is_decoded() -> None:
    np.testing.assert_array_equal(decode(BY_GDCM), np.arange(64).reshape(8, 8) ** 2)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    precision=st.integers(8, 16),
    predictor=st.integers(1, 7),
    rows_per_restart=st.integers(0, 4),
    smooth=st.booleans(),
)
def test_what_was_encoded_is_decoded(
    seed: int, rows: int, columns: int, precision: int, predictor: int, rows_per_restart: int, smooth: bool
) -> None:
    top = 3 if smooth else (1 << precision) - 1
    image = np.random.default_rng(seed).integers(0, top, (rows, columns), endpoint=True)
    np.testing.assert_array_equal(decode(lossless_jpeg(image, precision, predictor, rows_per_restart)), image)


@pytest.mark.parametrize("rows_per_restart", [0, 1, 3])
def test_no_truncation_and_no_lost_byte_passes(rows_per_restart: int) -> None:
    image = np.random.default_rng(0).integers(0, 4096, (8, 8))
    whole = lossless_jpeg(image, 12, 1, rows_per_restart)
    for cut in range(len(whole)):
        with pytest.raises(DamagedJpegError):
            decode(whole[:cut])
    start = whole.index(b"\xff\xda") + 10
    for cut in range(start, len(whole) - 12):
        with pytest.raises(DamagedJpegError):
            decode(whole[:cut] + whole[-2:])


def test_damage_raises_nothing_else() -> None:
    rng = np.random.default_rng(3)
    whole = lossless_jpeg(rng.integers(0, 4096, (8, 8)), 12, 4)
    n_refused = 0
    for _ in range(500):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        try:
            decode(bytes(damaged))
        except DamagedJpegError:
            n_refused += 1
    assert n_refused > 100
