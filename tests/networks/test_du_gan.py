import torch

from lowdose.networks.du_gan import DuGan


def test_skips_by_hand():
    """Layers that pass on what is positive: each of the ten inner skips adds it once more, the last one adds
    the image itself.
    """
    network = DuGan(width=2)
    for name, weight in network.named_parameters():
        torch.nn.init.zeros_(weight)
        if name.endswith("weight"):
            weight.data[0, 0, 1, 1] = 1.0
    image = torch.randn(1, 1, 9, 8)
    assert torch.allclose(network(image), image + 11 * torch.relu(image))


def test_it_starts_close_to_the_identity():
    torch.manual_seed(0)
    network, image = DuGan(), torch.randn(1, 1, 32, 32)
    weights = torch.cat([layer.weight.flatten() for layer in (*network.encoder, *network.decoder)])
    assert abs(weights.std().item() / 0.01 - 1) < 0.02
    assert (network(image) - image).abs().max() < 0.1 * image.std()


def test_a_final_relu():
    image = torch.randn(1, 1, 8, 8)
    assert DuGan(width=4, final_relu=True)(image).min() == 0


def test_fewer_layers_see_less():
    assert DuGan(n_layers=4).reach == 8
