import torch

from lowdose.networks.cnn10 import Cnn10


def test_three_layers_of_9_3_and_5_pixels():
    layers = [layer for layer in Cnn10().layers if isinstance(layer, torch.nn.Conv2d)]
    assert [layer.kernel_size for layer in layers] == [(9, 9), (3, 3), (5, 5)]
    assert [layer.out_channels for layer in layers] == [64, 32, 1]


def test_pixels_stay_where_they_are():
    """Kernels with a one in the middle give back what is positive, up to the last row."""
    network = Cnn10(width=2)
    for name, weight in network.named_parameters():
        torch.nn.init.zeros_(weight)
        if name.endswith("weight"):
            weight.data[0, 0, weight.shape[2] // 2, weight.shape[3] // 2] = 1.0
    image = torch.randn(1, 1, 11, 7)
    assert torch.equal(network(image), torch.relu(image))
