import torch

from lowdose.networks.residual_unet import ResidualUnet


def test_an_untrained_network_changes_nothing():
    image = torch.randn(2, 1, 24, 40)
    assert torch.equal(ResidualUnet(width=8)(image), image)


def test_it_scales_with_its_input():
    """Without biases and with ReLU, a positive factor passes through: no noise level is special."""
    torch.manual_seed(0)
    network, image = ResidualUnet(width=8).eval(), torch.randn(1, 1, 32, 32)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    assert torch.allclose(network(7 * image), 7 * network(image), rtol=1e-4, atol=1e-4)


def test_sizes_are_as_documented():
    network = ResidualUnet(width=32, blocks=(2, 1, 2))
    assert sum(weight.numel() for weight in network.parameters()) == 876_800
