import pytest
import torch

from lowdose.networks.unet_2d import Unet2d, unet_reach


def _positive(network: torch.nn.Module) -> torch.nn.Module:
    """Every weight one and no bias: whatever a positive voxel can touch, it does, and nothing cancels."""
    for name, value in network.named_parameters():
        torch.nn.init.constant_(value, 0.0 if name.endswith("bias") else 1.0)
    return network.double().eval()


def _trained_look(**sizes) -> Unet2d:
    torch.manual_seed(0)
    network = Unet2d(**sizes)
    torch.nn.init.normal_(network.head.weight)
    return network.eval()


def test_weights_counted_by_hand():
    """Two levels of width 2: encoders 1-2-2 and 2-4-4, a 2x2 way up 4-2, a decoder 4-2-2 and the head."""
    first = (9 * 1 * 2 + 2) + (9 * 2 * 2 + 2)
    second = (9 * 2 * 4 + 4) + (9 * 4 * 4 + 4)
    up, decoder, head = 4 * 4 * 2 + 2, (9 * 4 * 2 + 2) + (9 * 2 * 2 + 2), 2 + 1
    network = Unet2d(width=2, n_levels=2)
    assert sum(value.numel() for value in network.parameters()) == first + second + up + decoder + head


def test_four_levels_of_32_64_128_and_256_channels_without_normalisation():
    network = Unet2d()
    assert [stage[0].out_channels for stage in network.encode] == [32, 64, 128, 256]
    assert network.multiple == 8
    assert list(network.buffers()) == []  # running means and variances would be buffers


@pytest.mark.parametrize(("n_levels", "by_hand"), [(1, 2), (2, 9), (4, 51)])
def test_reach_by_hand(n_levels, by_hand):
    """One level: two 3-wide convolutions. Two levels, voxel 1: the decoder sees -1, which lies in cell -1;
    two convolutions there see cell -3, whose voxels are -6 and -5; two more see -8, which is 9 away.
    """
    assert unet_reach(n_levels) == by_hand


@pytest.mark.parametrize("n_levels", [1, 2, 3])
def test_the_reach_is_exact(n_levels):
    network = _positive(Unet2d(width=1, n_levels=n_levels, residual=False))
    farthest = 0
    for place in range(network.multiple):
        image = torch.zeros(1, 1, 64, 64, dtype=torch.double)
        image[0, 0, 32 + place, 32] = 1.0
        rows = network(image)[0, 0].amax(dim=1).nonzero()
        farthest = max(farthest, 32 + place - int(rows.min()), int(rows.max()) - 32 - place)
    assert farthest == network.reach


def test_the_untrained_network_gives_back_the_middle_slice():
    image = torch.randn(2, 5, 16, 24)
    assert torch.equal(Unet2d(width=4, context=2)(image), image[:, 2:3])


def test_neighbouring_slices_matter():
    network, image = _trained_look(width=4, context=1), torch.randn(1, 3, 16, 16)
    changed = image.clone()
    changed[:, 2] += 1.0
    assert not torch.allclose(network(changed), network(image))


def test_predicting_the_noise_or_the_image():
    direct, image = _trained_look(width=4, n_levels=2, residual=False), torch.randn(1, 1, 16, 16)
    residual = Unet2d(width=4, n_levels=2)
    residual.load_state_dict(direct.state_dict())
    assert torch.allclose(residual(image), image - direct(image))


def test_a_shift_by_the_multiple_shifts_the_result():
    """Away from the borders and to the last bit."""
    network = _trained_look(width=2, n_levels=3).double()
    image = torch.randn(1, 1, 96, 96, dtype=torch.double)
    shifted = torch.roll(image, shifts=(4, -8), dims=(2, 3))
    inner = slice(36, -36)
    expected = torch.roll(network(image), shifts=(4, -8), dims=(2, 3))
    assert torch.allclose(network(shifted)[..., inner, inner], expected[..., inner, inner], atol=1e-12)
