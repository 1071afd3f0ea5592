import pytest
import torch

from lowdose.networks.critics.patch_critic import PatchCritic


def test_weights_counted_by_hand():
    convolutions = [(1, 64), (64, 128), (128, 256), (256, 512), (512, 1)]
    by_hand = sum(16 * n_in * n_out + n_out for n_in, n_out in convolutions)
    with torch.device("meta"):
        critic = PatchCritic()
    assert sum(value.numel() for value in critic.parameters()) == by_hand


@pytest.mark.parametrize(("n_strided", "side"), [(1, 16), (2, 34), (3, 70)])
def test_what_a_score_sees(n_strided, side):
    """From the end: 4, 7, then s -> 2 s + 2 for each strided layer: 16, 34, 70."""
    critic = PatchCritic(width=1, n_strided=n_strided).double()
    for name, value in critic.named_parameters():
        torch.nn.init.constant_(value, 0.0 if name.endswith("bias") else 1.0)
    image = torch.ones(1, 1, 128, 128, dtype=torch.double, requires_grad=True)
    scores = critic(image)
    middle = scores.shape[-1] // 2
    (slope,) = torch.autograd.grad(scores[0, 0, middle, middle], image)
    rows = slope[0, 0].abs().amax(dim=1).nonzero()
    assert int(rows.max() - rows.min()) + 1 == side


def test_sizes_by_hand():
    """64 is halved to 8 in three steps; the two 4-wide layers with a rim of one take one each."""
    assert PatchCritic(width=1)(torch.zeros(2, 1, 64, 80)).shape == (2, 1, 6, 8)


def test_spectral_norm_bounds_every_layer():
    torch.manual_seed(0)
    critic, image = PatchCritic(width=4, spectral=True), torch.randn(1, 1, 24, 24)
    with torch.no_grad():
        for _ in range(40):  # each call improves the estimate of the norm
            critic(image)
    norms = [
        float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2))
        for layer in critic.eval().layers
        if hasattr(layer, "weight")
    ]
    assert len(norms) == 5
    assert norms == pytest.approx([1.0] * 5, abs=0.03)


@pytest.mark.parametrize("spectral", [False, True])
def test_a_penalty_of_its_slope_teaches_all_layers(spectral):
    torch.manual_seed(0)
    critic = PatchCritic(width=2, spectral=spectral)
    image = torch.randn(2, 1, 32, 32, requires_grad=True)
    (slope,) = torch.autograd.grad(critic(image).sum(), image, create_graph=True)
    slope.square().sum().backward()
    weights = [value for name, value in critic.named_parameters() if "bias" not in name]
    assert len(weights) == 5
    assert all(bool((value.grad != 0).any()) for value in weights)
