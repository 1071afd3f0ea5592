import torch

from lowdose.networks.wgan_vgg import WganVgg


def test_eight_layers_of_3_pixels():
    layers = [layer for layer in WganVgg().layers if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.kernel_size for layer in layers] == [(3, 3)] * 8
    assert [layer.out_channels for layer in layers] == [32] * 7 + [1]


def test_nothing_is_added_and_the_end_is_open():
    """The last layer's bias is all that is left without weights, and it may be negative."""
    network = WganVgg(width=2)
    for weight in network.parameters():
        torch.nn.init.zeros_(weight)
    torch.nn.init.constant_(network.layers[-1].bias, -3.0)
    assert torch.equal(network(torch.randn(1, 1, 8, 9)), torch.full((1, 1, 8, 9), -3.0))
