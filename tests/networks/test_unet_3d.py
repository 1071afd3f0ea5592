import torch

from lowdose.networks.unet_3d import Unet3d


def test_weights_counted_by_hand():
    """Two levels of width 2: encoders 1-2-2 and 2-4-4, a 2x2x2 way up 4-2, a decoder 4-2-2 and the head."""
    first = (27 * 1 * 2 + 2) + (27 * 2 * 2 + 2)
    second = (27 * 2 * 4 + 4) + (27 * 4 * 4 + 4)
    up, decoder, head = 8 * 4 * 2 + 2, (27 * 4 * 2 + 2) + (27 * 2 * 2 + 2), 2 + 1
    network = Unet3d(width=2, n_levels=2)
    assert sum(value.numel() for value in network.parameters()) == first + second + up + decoder + head


def test_four_levels_of_16_32_64_and_128_channels():
    network = Unet3d()
    assert [stage[0].out_channels for stage in network.encode] == [16, 32, 64, 128]
    assert (network.multiple, network.reach) == (8, 51)


def test_the_reach_is_exact_along_every_axis():
    network = Unet3d(width=1, n_levels=2, residual=False).double().eval()
    for name, value in network.named_parameters():
        torch.nn.init.constant_(value, 0.0 if name.endswith("bias") else 1.0)
    farthest = [0, 0, 0]
    for place in range(2):
        image = torch.zeros(1, 1, 24, 24, 24, dtype=torch.double)
        centre = 12 + place
        image[0, 0, centre, centre, centre] = 1.0
        touched = network(image)[0, 0].nonzero()
        for axis in range(3):
            low, high = int(touched[:, axis].min()), int(touched[:, axis].max())
            farthest[axis] = max(farthest[axis], centre - low, high - centre)
    assert farthest == [network.reach] * 3


def test_the_untrained_network_changes_nothing():
    volume = torch.randn(1, 1, 8, 16, 8)
    assert torch.equal(Unet3d(width=2)(volume), volume)
