import torch

from lowdose.networks.res_hlf import ResHlf


def test_weights_counted_by_hand():
    by_hand = (9 * 64 + 64) + 6 * (9 * 64 * 64 + 64) + (9 * 64 + 1)
    assert sum(value.numel() for value in ResHlf().parameters()) == by_hand == 222_785


def test_the_untrained_network_changes_nothing():
    image = torch.randn(1, 1, 9, 14)
    assert torch.equal(ResHlf(width=2)(image), image)


def test_what_it_predicts_is_the_noise():
    network, image = ResHlf(width=2), torch.randn(1, 1, 9, 14)
    torch.nn.init.constant_(network.noise[-1].bias, 0.25)
    assert torch.allclose(network(image), image - 0.25)


def test_the_reach_is_exact():
    network = ResHlf(width=1).double()
    for name, value in network.named_parameters():
        torch.nn.init.constant_(value, 0.0 if name.endswith("bias") else 1.0)
    image = torch.zeros(1, 1, 41, 41, dtype=torch.double)
    image[0, 0, 20, 20] = 1.0
    touched = network(image)[0, 0].nonzero()
    assert touched.min(dim=0).values.tolist() == [20 - network.reach] * 2
    assert touched.max(dim=0).values.tolist() == [20 + network.reach] * 2
