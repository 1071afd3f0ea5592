import torch

from lowdose.networks.resnet import ResNet


def test_the_noise_is_subtracted():
    network, image = ResNet(width=8, n_blocks=1), torch.randn(1, 1, 9, 8)
    torch.nn.init.zeros_(network.last.weight)
    torch.nn.init.constant_(network.last.bias, 0.25)
    assert torch.equal(network(image), image - 0.25)


def test_a_block_by_hand():
    """Kernels with a one in the middle; batch normalisation with mean 1 and variance 4 halves what is above
    the mean, and the second, with mean 0 and variance 1, lets it pass. Each of the eight groups sees itself.
    """
    block = ResNet(width=8, n_blocks=1).blocks[0].eval()
    first, norm, _, second, norm_again, _, third = block.layers
    for layer in (first, second, third):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    for channel in range(8):
        first.weight.data[channel, channel, 1, 1] = 1.0
        second.weight.data[channel, 0, 1, 1] = 1.0
        third.weight.data[channel, channel, 0, 0] = 1.0
    norm.running_mean.fill_(1.0)
    norm.running_var.fill_(4.0)
    norm.eps = norm_again.eps = 0.0
    features = torch.randn(1, 8, 5, 6)
    assert torch.allclose(block(features), features + torch.relu((features - 1.0) / 2.0))


def test_training_uses_the_statistics_of_the_batch():
    torch.manual_seed(0)
    network, image = ResNet(width=8, n_blocks=1), torch.randn(2, 1, 16, 16)
    in_training = network.train()(image)
    assert not torch.allclose(network.eval()(image), in_training, atol=1e-3)


def test_the_reach_grows_with_the_blocks():
    assert ResNet().reach == 4 + 20 + 1
    assert ResNet(width=8, n_blocks=3).reach == 4 + 6 + 1
