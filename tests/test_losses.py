import pytest
import torch

from lowdose.losses import share_of_noise_left


def test_by_hand():
    target = torch.zeros(2, 1, 1, 2)
    noisy = torch.tensor([[[[2.0, 0.0]]], [[[0.0, 20.0]]]])
    output = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 10.0]]]])
    assert float(share_of_noise_left(output, noisy, target)) == pytest.approx(0.25)


def test_quiet_and_noisy_patches_weigh_alike():
    target, noise = torch.zeros(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
    noise[1] *= 50
    left = share_of_noise_left(0.5 * noise, noise, target)
    assert float(left) == pytest.approx(0.25, rel=1e-5)


def test_a_patch_without_noise_gives_no_infinity():
    zero = torch.zeros(1, 1, 4, 4)
    assert float(share_of_noise_left(zero, zero, zero)) == 0.0
