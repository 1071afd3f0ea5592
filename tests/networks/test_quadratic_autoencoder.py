import pytest
import torch

from lowdose.networks.quadratic_autoencoder import QuadraticAutoencoder


def test_a_neuron_by_hand():
    """(w_r x + b_r)(w_g x + b_g) + w_b x^2 + b_b at one pixel, with kernels that see only the middle."""
    layer = QuadraticAutoencoder(width=1).encoder[0]
    for part, weight, bias in ((layer.linear, 2.0, 0.5), (layer.gate, -1.0, 3.0), (layer.square, 0.25, -4.0)):
        torch.nn.init.zeros_(part.weight)
        part.weight.data[0, 0, 1, 1] = weight
        torch.nn.init.constant_(part.bias, bias)
    x = 1.5
    assert layer(torch.full((1, 1, 1, 1), x)).item() == (2 * x + 0.5) * (-x + 3) + 0.25 * x**2 - 4


def test_at_first_it_is_linear_between_its_relus():
    network, image = QuadraticAutoencoder(), torch.rand(1, 1, 12, 12)
    assert torch.allclose(network(3 * image), 3 * network(image), atol=1e-5)
    assert 0.07 < network.encoder[1].linear.weight.std().item() < 0.1  # of 0.1, cut off at twice that
    assert network.encoder[1].linear.weight.abs().max().item() <= 0.2


def test_the_input_is_added_and_may_be_negative():
    network, image = QuadraticAutoencoder(width=2), torch.randn(1, 1, 12, 12)
    for layer in network.decoder:
        torch.nn.init.zeros_(layer.linear.weight)
    assert torch.equal(network(image), image)


@pytest.mark.parametrize("size", [3, 4, 17])
def test_small_images(size):
    assert QuadraticAutoencoder(width=2)(torch.zeros(1, 1, size, size)).shape == (1, 1, size, size)
