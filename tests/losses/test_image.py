import math

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from lowdose.losses import (
    PIXEL_LOSSES,
    charbonnier,
    feature_distance,
    gradient_difference,
    mean_absolute_error,
    mean_squared_error,
    share_of_noise_left,
    sobel,
    ssim_loss,
)

SHAPES = [(2, 1, 13, 16), (2, 1, 3, 13, 16)]


def _images(shape):
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(shape, generator=generator)
    return target, target + 0.3 * torch.randn(shape, generator=generator)


def test_share_of_noise_left_by_hand():
    target = torch.zeros(2, 1, 1, 2)
    noisy = torch.tensor([[[[2.0, 0.0]]], [[[0.0, 20.0]]]])
    output = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 10.0]]]])
    assert float(share_of_noise_left(output, noisy, target)) == pytest.approx(0.25)


@pytest.mark.parametrize("shape", SHAPES)
def test_quiet_and_noisy_patches_weigh_alike(shape):
    target, noise = torch.zeros(shape), _images(shape)[0]
    noise[1] *= 50
    left = share_of_noise_left(
        noise * torch.tensor([0.5, 0.1]).view(2, *[1] * (noise.dim() - 1)), noise, target
    )
    assert float(left) == pytest.approx((0.25 + 0.01) / 2, rel=1e-5)


def test_a_patch_without_noise_gives_no_infinity():
    zero = torch.zeros(1, 1, 4, 4)
    assert float(share_of_noise_left(zero, zero, zero)) == 0.0


def test_errors_by_hand():
    """Differences of 3 and -4."""
    output, target = torch.tensor([[[[4.0, 1.0]]]]), torch.tensor([[[[1.0, 5.0]]]])
    assert float(mean_squared_error(output, target)) == pytest.approx((9 + 16) / 2)
    assert float(mean_absolute_error(output, target)) == pytest.approx((3 + 4) / 2)
    by_hand = (math.sqrt(9 + 16) + math.sqrt(16 + 16)) / 2 - 4
    assert float(charbonnier(output, target, epsilon=4.0)) == pytest.approx(by_hand)


@pytest.mark.parametrize("name", PIXEL_LOSSES)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_loss_is_zero_for_the_target_and_above_it_otherwise(name, shape):
    target, noisy = _images(shape)
    assert float(PIXEL_LOSSES[name](target, noisy, target)) == pytest.approx(0.0, abs=1e-6)
    assert float(PIXEL_LOSSES[name](noisy, noisy, target)) > 0.01


@pytest.mark.parametrize("name", PIXEL_LOSSES)
def test_going_down_the_gradient_comes_closer_to_the_target(name):
    target, noisy = _images(SHAPES[0])
    output = noisy.clone().requires_grad_()
    loss = PIXEL_LOSSES[name](output, noisy, target)
    (slope,) = torch.autograd.grad(loss, output)
    with torch.no_grad():
        lower = PIXEL_LOSSES[name](output - 1e-3 * slope / slope.norm(), noisy, target)
    assert lower < loss
    assert float((slope * (noisy - target)).sum()) > 0


def test_volumes_are_seen_slice_by_slice():
    target, noisy = _images(SHAPES[1])
    for name in ("ssim", "gradient", "gradient-l2"):
        whole = PIXEL_LOSSES[name](noisy, noisy, target)
        slices = [PIXEL_LOSSES[name](noisy[:, :, z], noisy[:, :, z], target[:, :, z]) for z in range(3)]
        assert torch.allclose(whole, torch.stack(slices).mean(), rtol=1e-5)


@pytest.mark.parametrize("data_range", [0.5, 4.0])
def test_ssim_is_that_of_torchmetrics(data_range):
    """Which takes the values as they are, so they are shifted for it, and continues the rim by reflection,
    where Wang et al. leave it out.
    """
    target, noisy = _images((2, 1, 24, 31))
    _, theirs = structural_similarity_index_measure(
        noisy.double() + 5,
        target.double() + 5,
        sigma=1.5,
        kernel_size=11,
        data_range=data_range,
        reduction="none",
        return_full_image=True,
    )
    ours = 1 - ssim_loss(noisy.double(), target.double(), data_range=data_range, lowest=-5.0)
    assert float(ours) == pytest.approx(float(theirs[..., 5:-5, 5:-5].mean()), abs=1e-7)


def test_ssim_of_two_constant_images_by_hand():
    """Only the luminance term differs from one: (2 a b + C1) / (a^2 + b^2 + C1) with a = 1, b = 3."""
    a, b = torch.full((1, 1, 11, 11), -1.0), torch.full((1, 1, 11, 11), 1.0)
    c1 = 0.01**2
    by_hand = 1 - (6 + c1) / (10 + c1)
    assert float(ssim_loss(a, b, data_range=1.0)) == pytest.approx(by_hand, rel=1e-4)


def test_the_gradient_of_a_ramp_is_eight_times_its_slope():
    """So half of the two derivatives differs by 8 * 0.5, the other half not at all."""
    ramp = 0.5 * torch.arange(9.0).expand(1, 1, 7, 9)
    flat = torch.full((1, 1, 7, 9), 11.0)
    assert float(gradient_difference(ramp, flat)) == pytest.approx((4 + 0) / 2)
    assert float(gradient_difference(ramp, flat, squared=True)) == pytest.approx((16 + 0) / 2)


def test_a_constant_bias_has_no_gradient():
    target, _ = _images(SHAPES[0])
    assert float(gradient_difference(target + 3.0, target)) == pytest.approx(0.0, abs=1e-5)


def test_sobel_by_hand():
    """An edge of height 2 along y: four times its height on both sides of it, nothing elsewhere."""
    edge = torch.zeros(1, 1, 6, 5)
    edge[:, :, 3:] = 2.0
    expected = torch.zeros(6, 5)
    expected[2:4] = 8.0
    assert torch.allclose(sobel(edge)[0, 0], expected, atol=1e-5)


def test_sobel_does_not_care_which_way_an_image_is_turned():
    image, _ = _images((2, 1, 3, 8, 9))
    turned = torch.rot90(sobel(image), dims=(-2, -1))
    assert torch.allclose(sobel(torch.rot90(image, dims=(-2, -1))), turned, atol=1e-5)


def test_sobel_of_a_flat_image_can_be_trained_through():
    flat = torch.ones(1, 1, 5, 5, requires_grad=True)
    (slope,) = torch.autograd.grad(sobel(flat).sum(), flat)
    assert bool(slope.isfinite().all())


def test_feature_distance_by_hand():
    """Stages that differ by 1 and by 2 everywhere, with weights 1 and 0.5: 1 + 0.5 * 4."""
    a = [torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 2, 2)]
    b = [torch.ones(1, 2, 4, 4), torch.full((1, 3, 2, 2), 2.0)]
    assert float(feature_distance(a, b, (1.0, 0.5))) == pytest.approx(3.0)


def test_feature_distance_needs_a_weight_for_every_stage():
    a = [torch.zeros(1, 1, 2, 2)] * 2
    with pytest.raises(ValueError, match="zip"):
        feature_distance(a, a, (1.0,))
