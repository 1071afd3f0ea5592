import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

from lowdose.denoising import denoise, make_denoiser
from lowdose.invariances.response import ResponseError, local_method
from lowdose.scan import Scan
from tests.invariances.places import SPACING, WINDOW, Slicewise, noisy_slices

SCAN = Scan.from_array(noisy_slices(3), spacing=SPACING)


def test_in_a_window_a_method_gives_what_it_gives_in_the_whole_slice():
    local = local_method(Slicewise("mean", lambda hu: uniform_filter(hu, 7)), SCAN, 1, WINDOW)
    assert np.array_equal(local.input, SCAN.read(1).hu[WINDOW])
    expected = uniform_filter(SCAN.read(1).hu, 7)[WINDOW]
    assert local(local.input[None])[0] == pytest.approx(expected, abs=1e-2)


def test_only_the_window_changes_and_many_inputs_are_answered_in_order():
    local = local_method(Slicewise("identity", lambda hu: hu), SCAN, 1, WINDOW)
    inputs = np.arange(20, dtype=np.float32)[:, None, None] + np.zeros((20, 64, 64), np.float32)
    assert np.array_equal(local(inputs), inputs)


def test_neighbours_along_z_are_shown_to_a_method_that_looks_at_them():
    class Mean:
        context = 1

        def __call__(self, hu):
            return hu.mean(axis=1, keepdims=True)

        def describe(self):
            return Slicewise("mean", lambda hu: hu).describe()

    local = local_method(Mean(), SCAN, 1, WINDOW)
    assert local(local.input[None])[0] == pytest.approx(SCAN.hu.mean(axis=0)[WINDOW], abs=1e-3)
    lifted = local(local.input[None] + 3)[0]
    assert lifted == pytest.approx(SCAN.hu.mean(axis=0)[WINDOW] + 1, abs=1e-3)


def test_at_the_rim_there_is_less_around_the_window():
    window = (slice(0, 64), slice(96, 160))
    local = local_method(Slicewise("blur", lambda hu: gaussian_filter(hu, 1)), SCAN, 0, window)
    assert local.surroundings.shape == (1, 96, 96)
    assert local.input.shape == (64, 64)


def test_a_network_along_three_axes_sees_slices_on_either_side():
    scan = Scan.from_array(noisy_slices(20), spacing=(0.2, 0.2, 0.2))
    method = make_denoiser("microct-3d", scan)
    local = local_method(method, scan, 10, WINDOW, margin=48)
    found = local(local.input[None])[0]
    whole = denoise(scan, make_denoiser("microct-3d", scan)).read(10).hu[WINDOW]
    assert np.abs(found - whole).max() < 0.2 * np.abs(whole - scan.read(10).hu[WINDOW]).max()


def test_a_method_that_changes_the_size_is_refused():
    local = local_method(Slicewise("half", lambda hu: hu[::2, ::2]), SCAN, 1, WINDOW)
    with pytest.raises(ResponseError, match="half gives images of 64 x 64 for images of 128 x 128"):
        local(local.input[None])


def test_a_window_beyond_the_slice_is_refused():
    with pytest.raises(ValueError, match="not within 160 x 160"):
        local_method(Slicewise("identity", lambda hu: hu), SCAN, 1, (slice(120, 184), slice(0, 64)))
