import torch

from lowdose.networks.ssms import Ssms


def test_weights_counted_by_hand():
    """1-32 flat; 32-32 solid and flat in turn, three times; 32-1 solid; each with biases."""
    flat, solid = 9 * 32 * 32 + 32, 27 * 32 * 32 + 32
    by_hand = (9 * 32 + 32) + 3 * (solid + flat) + (27 * 32 + 1)
    assert sum(value.numel() for value in Ssms().parameters()) == by_hand == 111_969


def test_the_layers_alone_take_the_published_block_to_the_published_size():
    """80 x 80 x 11 voxels to 64 x 64 x 3."""
    features = torch.zeros(1, 1, 11, 80, 80)
    for convolve in Ssms(width=2).conv:
        features = convolve(features)
    assert features.shape == (1, 1, 3, 64, 64)


def test_the_reach_is_eight_pixels_and_four_slices():
    network = Ssms(width=1).double()
    for name, value in network.named_parameters():
        torch.nn.init.constant_(value, 0.0 if name.endswith("bias") else 1.0)
    image = torch.zeros(1, 1, 21, 31, 31, dtype=torch.double)
    image[0, 0, 10, 15, 15] = 1.0
    touched = network(image)[0, 0].nonzero()
    assert touched.min(dim=0).values.tolist() == [10 - 4, 15 - 8, 15 - 8]
    assert touched.max(dim=0).values.tolist() == [10 + 4, 15 + 8, 15 + 8]
    assert network.reach == 8


def test_the_rim_is_continued_and_not_surrounded_by_zeros():
    """A constant volume stays constant up to its border."""
    torch.manual_seed(0)
    result = Ssms(width=2)(torch.full((1, 1, 3, 5, 6), -2.0))
    assert torch.allclose(result, result.mean().expand_as(result), atol=1e-6)
