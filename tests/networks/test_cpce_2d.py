import torch

from lowdose.networks.cpce_2d import Cpce2d


def test_the_published_number_of_weights():
    """Six layers of 32 to 32 channels, one from and one to a single channel, three mergers of 64 to 32."""
    network = Cpce2d()
    assert sum(value.numel() for value in network.parameters()) == 6 * 9 * 32 * 32 + 2 * 9 * 32 + 3 * 64 * 32
    assert sum(value.numel() for value in network.parameters()) == 62_016


def test_the_reach_is_exact():
    network = Cpce2d(width=1).double()
    for value in network.parameters():
        torch.nn.init.ones_(value)
    image = torch.zeros(1, 1, 41, 41, dtype=torch.double)
    image[0, 0, 20, 20] = 1.0
    touched = network(image)[0, 0].nonzero()
    assert touched.min(dim=0).values.tolist() == [20 - network.reach] * 2
    assert touched.max(dim=0).values.tolist() == [20 + network.reach] * 2


def test_the_final_relu_is_the_only_difference():
    torch.manual_seed(0)
    free, image = Cpce2d(width=4), torch.randn(1, 1, 16, 16)
    published = Cpce2d(width=4, final_relu=True)
    published.load_state_dict(free.state_dict())
    assert bool((free(image) < 0).any())
    assert torch.equal(published(image), free(image).clamp_min(0))


def test_features_are_conveyed_to_the_layer_of_their_size():
    """With the way through the bottom cut, the last merger still sees the first convolution: a reach of 2."""
    network = Cpce2d(width=1).double()
    for value in network.parameters():
        torch.nn.init.ones_(value)
    torch.nn.init.zeros_(network.deconv[2].weight)
    image = torch.zeros(1, 1, 41, 41, dtype=torch.double)
    image[0, 0, 20, 20] = 1.0
    touched = network(image)[0, 0].nonzero()
    assert touched.min(dim=0).values.tolist() == [18, 18]
    assert touched.max(dim=0).values.tolist() == [22, 22]
