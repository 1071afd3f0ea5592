import pytest
import torch

from lowdose.networks.graph_convolution import GraphConvolution, _GraphLayer, _Neighbours


def neighbours(features, n_neighbours=4, window=4):
    torch.manual_seed(0)
    module = _Neighbours(features.shape[1], n_neighbours, window).eval().requires_grad_(False)
    return module, *module(features)


def test_the_untrained_network_gives_the_middle_slice():
    image = torch.randn(1, 3, 30, 26)
    assert torch.equal(GraphConvolution(width=4, context=1)(image), image[:, 1:2])


def test_neighbours_are_the_nearest_of_the_window_as_a_search_over_all_pairs_finds_them():
    features = torch.randn(1, 3, 13, 15, generator=torch.Generator().manual_seed(1))
    module, there, weights = neighbours(features)
    embedded = module.embed(features)[0].flatten(1)
    y, x = (one.flatten() for one in torch.meshgrid(torch.arange(13), torch.arange(15), indexing="ij"))
    for pixel in (0, 7, 14, 97, 13 * 15 - 1):
        dy, dx = y - y[pixel], x - x[pixel]
        inside = (dy.abs() <= 4) & (dx.abs() <= 4) & (dy % 2 == 0) & (dx % 2 == 0)
        inside &= (dy.abs() > 1) | (dx.abs() > 1)  # neither itself nor the eight around it
        distances = (embedded - embedded[:, pixel : pixel + 1]).square().mean(dim=0)
        distances[~inside] = torch.inf
        nearest, chosen = distances.sort()
        assert there[pixel].tolist() == chosen[:4].tolist()
        expected = torch.exp(-nearest[:4]) - torch.exp(-nearest[4])
        assert torch.allclose(weights[pixel], expected, atol=1e-6)


def test_a_texture_is_found_again_where_it_repeats():
    """Blocks of 6 x 6 that come again and again: the nearest are the same place of other blocks."""
    tile = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    _, there, _ = neighbours(tile.repeat(1, 1, 7, 7), n_neighbours=4, window=6)
    pixel = 20 * 42 + 21
    found = {(int(one) // 42 - 20, int(one) % 42 - 21) for one in there[pixel]}
    assert found <= {(y, x) for y in (-6, 0, 6) for x in (-6, 0, 6)} - {(0, 0)}


def test_a_neighbour_that_is_replaced_counts_for_nothing():
    """So that the result has no jump where the order of neighbours changes."""
    features = torch.randn(1, 3, 20, 20, generator=torch.Generator().manual_seed(3))
    _, _, weights = neighbours(features, n_neighbours=30, window=8)
    assert (weights >= 0).all()
    assert (weights.diff(dim=1) <= 1e-7).all()
    _, _, of_all = neighbours(features, n_neighbours=10, window=8)
    assert weights[:, :10].gt(of_all).any()  # what the tenth is compared with lies farther away


@pytest.mark.parametrize("rank", [1, 3])
def test_a_message_is_the_neighbour_times_a_matrix_of_low_rank_made_from_the_difference(rank):
    torch.manual_seed(4)
    layer = _GraphLayer(5, rank).requires_grad_(False)
    features, there = torch.randn(1, 5, 3, 4), torch.randint(12, (12, 2))
    weights = torch.rand(12, 2)
    non_local = layer(features, there, weights) - layer.local(features)
    nodes = features[0].flatten(1).T
    for pixel in range(12):
        message = torch.zeros(5)
        for k in range(2):
            other = nodes[there[pixel, k]]
            edge = torch.nn.functional.leaky_relu(layer.difference(other - nodes[pixel]), 0.2)
            left, right = layer.left(edge).reshape(rank, 5), layer.right(edge).reshape(rank, 5)
            matrix = left.T @ right / 5
            assert torch.linalg.matrix_rank(matrix) == rank
            message += weights[pixel, k] * (matrix @ other) / 2
        assert torch.allclose(non_local[0, :, pixel // 4, pixel % 4], message, atol=1e-5)


def test_other_slices_count_less_where_they_are_unlike():
    network = GraphConvolution(width=4, context=1).eval().requires_grad_(False)
    between = network.between_slices
    middle = torch.zeros(1, 4, 8, 8)
    torch.nn.init.ones_(between.told.weight)
    torch.nn.init.zeros_(between.told.bias)
    torch.nn.init.ones_(between.embed.weight)
    words = [float(between(middle, [middle + value] * 2)[0, 0, 4, 4]) / value for value in (0.01, 0.05, 0.2)]
    assert words[0] > words[1] > words[2] > 0
    assert words[0] == pytest.approx(4.0, rel=0.2)


def test_more_neighbours_than_the_window_holds_are_refused():
    with pytest.raises(ValueError, match="24 pixels to choose"):
        GraphConvolution(width=4, window=4, neighbours=24)
