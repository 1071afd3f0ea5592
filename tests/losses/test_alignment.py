"""What moves one image onto another, and how rough that is: closed forms."""

from __future__ import annotations

import pytest
import torch

from lowdose.losses import absolute_error_within, roughness, warped


def test_no_displacement_gives_the_image() -> None:
    image = torch.randn(2, 1, 12, 15, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(warped(image, torch.zeros(2, 2, 12, 15)), image, atol=1e-5)


def test_the_first_component_is_along_y_the_second_along_x_both_in_pixels() -> None:
    y, x = torch.meshgrid(torch.arange(10.0), torch.arange(14.0), indexing="ij")
    displacement = torch.stack((torch.full_like(y, 2.0), torch.full_like(x, -1.5)))[None]
    for ramp, shift in ((y, 2.0), (x, -1.5)):
        inner = (warped(ramp[None, None], displacement) - ramp - shift)[0, 0, :8, 2:]
        assert inner.abs().max() < 1e-4


def test_beyond_the_border_the_image_goes_on_as_it_ends() -> None:
    image = torch.arange(6.0).expand(1, 1, 5, 6)
    displacement = torch.zeros(1, 2, 5, 6)
    displacement[:, 1] = 100.0
    assert torch.allclose(warped(image, displacement), torch.full((1, 1, 5, 6), 5.0))


@pytest.mark.filterwarnings("ignore:.*native grid_sample")
def test_monai_warps_alike() -> None:
    from monai.networks.blocks import Warp

    generator = torch.Generator().manual_seed(2)
    image = torch.randn(2, 1, 20, 31, generator=generator)
    displacement = 4 * torch.randn(2, 2, 20, 31, generator=generator)
    theirs = Warp(mode="bilinear", padding_mode="border")(image, displacement)
    assert torch.allclose(warped(image, displacement), theirs, atol=1e-4)


def test_the_roughness_of_a_linear_displacement_is_the_sum_of_its_squared_slopes() -> None:
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(7.0), indexing="ij")
    displacement = torch.stack((0.3 * y + 0.1 * x, -0.2 * y))[None]
    expected = (0.3**2 + 0.2**2) / 2 + (0.1**2 + 0.0) / 2
    assert float(roughness(displacement)) == pytest.approx(expected, rel=1e-5)
    assert float(roughness(displacement + 5.0)) == pytest.approx(expected, rel=1e-5)


def test_an_error_within_a_region_counts_nothing_outside_it() -> None:
    target = torch.zeros(1, 1, 2, 2)
    image = torch.tensor([[1.0, 3.0], [50.0, -70.0]])[None, None]
    within = torch.tensor([[True, True], [False, False]])[None, None]
    assert float(absolute_error_within(image, target, within)) == 2.0
    assert float(absolute_error_within(image, target, torch.zeros_like(within))) == 0.0
