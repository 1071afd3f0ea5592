import pytest
import torch

from lowdose.networks.critics.wgan_critic import WganCritic


def test_weights_counted_by_hand():
    """A patch of 64 goes 62, 30, 28, 13, 11, 5; 256 * 5 * 5 values reach the dense layers."""
    convolutions = [(1, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256)]
    by_hand = sum(9 * n_in * n_out + n_out for n_in, n_out in convolutions)
    by_hand += (256 * 5 * 5 + 1) * 1024 + 1024 + 1
    with torch.device("meta"):
        critic = WganCritic()
    assert sum(value.numel() for value in critic.parameters()) == by_hand


def test_weights_of_the_solid_one_counted_by_hand():
    """27 weights a kernel, and the patch keeps its three slices to the end."""
    convolutions = [(1, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256)]
    by_hand = sum(27 * n_in * n_out + n_out for n_in, n_out in convolutions)
    by_hand += (256 * 3 * 5 * 5 + 1) * 1024 + 1024 + 1
    with torch.device("meta"):
        critic = WganCritic(depth=3)
    assert sum(value.numel() for value in critic.parameters()) == by_hand


@pytest.mark.parametrize(("patch", "side"), [(29, 1), (64, 5), (80, 7)])
def test_the_dense_layer_fits_the_patch(patch, side):
    critic = WganCritic(width=2, n_hidden=3, patch=patch)
    assert critic.hidden.in_features == 8 * side**2
    assert critic(torch.randn(2, 1, patch, patch)).shape == (2, 1)


def test_volumes():
    critic = WganCritic(width=2, n_hidden=3, patch=32, depth=3)
    assert critic(torch.randn(2, 1, 3, 32, 32)).shape == (2, 1)


def test_a_patch_of_which_nothing_would_be_left_is_refused():
    with pytest.raises(ValueError, match="28 pixels"):
        WganCritic(patch=28)


def test_a_score_does_not_depend_on_the_other_samples():
    critic, images = WganCritic(width=2, n_hidden=4, patch=32), torch.randn(3, 1, 32, 32)
    assert torch.allclose(critic(images)[1:2], critic(images[1:2]), atol=1e-6)


def test_a_penalty_of_its_slope_teaches_all_weights_of_the_layers():
    """The gradient of the length of a gradient: the second derivative goes back to every kernel."""
    torch.manual_seed(0)
    critic = WganCritic(width=2, n_hidden=4, patch=32)
    image = torch.randn(2, 1, 32, 32, requires_grad=True)
    (slope,) = torch.autograd.grad(critic(image).sum(), image, create_graph=True)
    assert bool((slope != 0).any())
    slope.square().sum().backward()
    weights = [value for name, value in critic.named_parameters() if name.endswith("weight")]
    assert all(bool((value.grad != 0).any()) for value in weights)
