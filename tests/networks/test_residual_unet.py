import pytest
import torch

from lowdose.networks import NETWORKS
from lowdose.networks.residual_unet import ResidualUnet


@pytest.mark.parametrize("name", NETWORKS)
def test_an_untrained_network_changes_nothing(name):
    image = torch.randn(2, 1, 24, 40)
    assert torch.equal(NETWORKS[name](width=8)(image), image)


def _trained_look(width: int = 8) -> ResidualUnet:
    torch.manual_seed(0)
    network = ResidualUnet(width=width)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return network.eval()


def test_it_scales_with_its_input():
    """Without biases and with ReLU, a positive factor passes through: no noise level is special."""
    network, image = _trained_look(), torch.randn(1, 1, 32, 32)
    assert torch.allclose(network(7 * image), 7 * network(image), rtol=1e-4, atol=1e-4)


def test_far_pixels_do_not_matter():
    """The reach of the layers, added by hand: 73 px at most."""
    network = _trained_look()
    image = torch.zeros(1, 1, 256, 256)
    touched = image.clone()
    touched[0, 0, 128, 128] = 1.0
    reach = (network(touched) - network(image)).abs()[0, 0] > 0
    rows = reach.any(dim=1).nonzero()
    assert 128 - int(rows.min()) <= 73
    assert int(rows.max()) - 128 <= 73


def test_sizes_are_as_documented():
    network = ResidualUnet(width=32, blocks=(2, 1, 2))
    assert sum(weight.numel() for weight in network.parameters()) == 876_800
