import torch

from lowdose.networks.map_nn import MapNn


def _trained_look(**sizes) -> MapNn:
    torch.manual_seed(0)
    network = MapNn(width=2, **sizes)
    torch.nn.init.normal_(network.block.deconv[3].weight)
    return network.eval()


def test_five_applications_share_the_weights_of_one():
    network = MapNn()
    assert network.levels == 5
    assert sum(value.numel() for value in network.parameters()) == 62_016


def test_every_image_is_the_one_before_and_what_the_block_makes_of_it():
    network, image = _trained_look(), torch.randn(2, 1, 16, 12)
    images = network(image)
    assert images.shape == (2, 5, 16, 12)
    for level in range(5):
        expected = image + network.block(image)
        assert torch.allclose(images[:, level : level + 1], expected)
        image = expected


def test_a_shorter_one_stops_on_the_way():
    longer, image = _trained_look(), torch.randn(1, 1, 16, 16)
    shorter = _trained_look(depth=2)
    assert torch.equal(shorter(image), longer(image)[:, :2])


def test_the_untrained_network_changes_nothing():
    image = torch.randn(1, 1, 16, 16)
    assert torch.equal(MapNn(width=2)(image), image.expand(1, 5, 16, 16))


def test_clipping_as_published():
    images = _trained_look(clip=True)(3 * torch.randn(1, 1, 16, 16))
    assert images.min().item() == 0.0
    assert images.max().item() == 1.0


def test_the_reach_is_exact():
    """Eight pixels an application."""
    network = MapNn(width=1, depth=3).double()
    for value in network.parameters():
        torch.nn.init.ones_(value)
    image = torch.zeros(1, 1, 65, 65, dtype=torch.double)
    image[0, 0, 32, 32] = 1.0
    images = network(image)[0]
    assert network.reach == 24
    for level in range(3):
        rows = images[level].amax(dim=1).nonzero()
        assert (int(rows.min()), int(rows.max())) == (32 - 8 * (level + 1), 32 + 8 * (level + 1))
