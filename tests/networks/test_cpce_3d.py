import pytest
import torch

from lowdose.networks.cpce_2d import Cpce2d
from lowdose.networks.cpce_3d import Cpce3d, inflated


@pytest.mark.parametrize(("n_slices", "n_weights"), [(3, 62_592), (5, 81_024), (7, 99_456), (9, 117_888)])
def test_each_pair_of_slices_turns_one_flat_kernel_into_a_solid_one(n_slices, n_weights):
    """27 weights for 9: 18 * 32 more in the first layer, 18 * 32 * 32 more in each of the next."""
    assert n_weights == 62_016 + 18 * 32 + (n_slices // 2 - 1) * 18 * 32 * 32
    network = Cpce3d(n_slices=n_slices)
    assert sum(value.numel() for value in network.parameters()) == n_weights
    assert network.context == n_slices // 2


@pytest.mark.parametrize("n_slices", [3, 5, 7, 9])
def test_inflated_weights_compute_what_the_flat_network_does_on_the_middle_slice(n_slices):
    torch.manual_seed(0)
    flat, solid = Cpce2d(width=4), Cpce3d(width=4, n_slices=n_slices)
    solid.load_state_dict(inflated(flat.state_dict(), n_slices))
    image = torch.randn(2, n_slices, 16, 20)
    middle = image[:, n_slices // 2 : n_slices // 2 + 1]
    assert torch.allclose(solid(image), flat(middle), atol=1e-6)


def test_inflating_leaves_the_given_weights_alone():
    weights = Cpce2d(width=2).state_dict()
    before = {name: value.clone() for name, value in weights.items()}
    inflated(weights, 9)
    assert all(torch.equal(weights[name], before[name]) for name in before)


@pytest.mark.parametrize("n_slices", [3, 9])
def test_every_slice_matters(n_slices):
    network = Cpce3d(width=1, n_slices=n_slices)
    for value in network.parameters():
        torch.nn.init.ones_(value)
    for place in range(n_slices):
        image = torch.zeros(1, n_slices, 12, 12)
        image[0, place, 6, 6] = 1.0
        assert bool((network(image) > 0).any())


@pytest.mark.parametrize("n_slices", [1, 4, 11])
def test_other_numbers_of_slices_are_refused(n_slices):
    with pytest.raises(ValueError, match=str(n_slices)):
        Cpce3d(n_slices=n_slices)
