from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from lowdose.io.origin import InputError
from lowdose.io.volume_values import in_hu, slice_of


def layout(slope: float = 1.0, inter: float = 0.0) -> SimpleNamespace:
    return SimpleNamespace(label="mouse.tif", slope=slope, inter=inter)


def test_values_without_scaling_keep_every_bit():
    stored = np.array([[0.1, -1e-30], [3e4, -0.0]], np.float32)
    assert in_hu(layout(), stored).tobytes() == stored.tobytes()


def test_scaling_is_rounded_once():
    stored = np.arange(-5, 5, dtype=np.int16)[None]
    exact = (stored.astype(np.float64) * 0.1 - 1024.3).astype(np.float32)
    assert np.array_equal(in_hu(layout(0.1, -1024.3), stored), exact)


def test_what_was_not_measured_is_padding():
    found = slice_of(layout(), np.array([[-3024, -1500, -1501, 40]], np.int16), 0, "convert it")
    assert found.padding.tolist() == [[True, False, True, False]]
    assert found.hu.tolist() == [[-3024, -1500, -1501, 40]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(value):
    with pytest.raises(InputError, match=r"mouse\.tif holds values that are no numbers .* in slice 4"):
        slice_of(layout(), np.array([[value]], np.float32), 3, "convert it")


def test_values_that_cannot_be_hu_are_refused_with_what_to_do():
    with pytest.raises(InputError, match="which cannot be HU; convert it"):
        slice_of(layout(), np.array([[2e6]], np.float32), 0, "convert it")
