"""Visual information fidelity against torchmetrics and against what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torchmetrics.functional.image import visual_information_fidelity

from lowdose.quality.visual_information import visual_information

WINDOW = (-1024.0, 1900.0)
RNG = np.random.default_rng(4)
ANATOMY = gaussian_filter(RNG.normal(0, 900, (2, 70, 96)), (0, 3, 3))


@pytest.mark.parametrize("noise", [2.0, 20.0])
@pytest.mark.parametrize("blur", [0.0, 1.2])
def test_it_is_the_number_of_torchmetrics(noise: float, blur: float) -> None:
    comparison = gaussian_filter(ANATOMY + RNG.normal(0, noise, ANATOMY.shape), (0, blur, blur))
    for one, other in zip(ANATOMY, comparison, strict=True):
        images = (torch.from_numpy(image)[None, None] for image in (other, one))
        expected = float(visual_information_fidelity(*images))
        assert visual_information(one, other, WINDOW) == pytest.approx(expected, rel=1e-6)


def test_equal_images_keep_all_and_a_shift_takes_nothing() -> None:
    assert visual_information(ANATOMY, ANATOMY, WINDOW) == pytest.approx(1.0, abs=1e-6)
    assert visual_information(ANATOMY, ANATOMY + 40, WINDOW) == pytest.approx(1.0, abs=1e-6)
    assert visual_information(ANATOMY, -ANATOMY, WINDOW) < 0.01


def test_of_white_noise_the_number_is_known() -> None:
    """Half the contrast of a strong image: log(1 + v / 4 n) over log(1 + v / n), summed over scales."""
    white = np.random.default_rng(1).normal(0, 30, (512, 512))
    found = visual_information(white, white / 2, WINDOW, visual_noise=1e-3)
    # At every scale v is 1e2 to 1e6 times n: the ratio nears 1 as the logarithms grow.
    assert 1 - np.log(4) / np.log(1e3) < found < 1 - np.log(4) / np.log(1e6)


def test_a_scan_of_many_slices_pools_what_its_slices_tell() -> None:
    comparison = ANATOMY + RNG.normal(0, 10, ANATOMY.shape)
    whole = visual_information(ANATOMY, comparison, WINDOW)
    each = [visual_information(a, b, WINDOW) for a, b in zip(ANATOMY, comparison, strict=True)]
    assert min(each) <= whole <= max(each)


def test_masked_pixels_tell_nothing() -> None:
    mask = np.zeros(ANATOMY.shape, bool)
    mask[:, :, :60] = True
    ruined = np.where(mask, ANATOMY, RNG.normal(0, 500, ANATOMY.shape))
    assert visual_information(ANATOMY, ruined, WINDOW, mask) == pytest.approx(1.0, abs=1e-6)
    assert visual_information(ANATOMY, ruined, WINDOW) < 0.9


def test_what_cannot_be_measured_is_said() -> None:
    flat = np.zeros((41, 41))
    assert np.isnan(visual_information(flat, flat, WINDOW))
    with pytest.raises(ValueError, match="41 pixels"):
        visual_information(np.zeros((40, 64)), np.zeros((40, 64)), WINDOW)
    with pytest.raises(ValueError, match="shape"):
        visual_information(np.zeros((50, 64)), np.zeros((64, 50)), WINDOW)
    with pytest.raises(ValueError, match="window"):
        visual_information(ANATOMY, ANATOMY, (1.0, 1.0))
