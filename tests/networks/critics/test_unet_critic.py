import pytest
import torch

from lowdose.networks.critics.unet_critic import UnetCritic


def test_widths_double_up_to_eight_times_the_first():
    """As published: 64, 128, 256, 512, 512, 512 and 512 at the bottom."""
    critic = UnetCritic(width=2)
    assert [block.second.out_channels for block in critic.encode] == [2, 4, 8, 16, 16, 16]
    assert [layer.kernel_size for layer in critic.down] == [(4, 4)] * 6
    assert critic.bottom.second.out_channels == 16


def test_weights_counted_by_hand():
    """Two stages of 2 and 4 channels; a block from a to b has (9 a + 1) b + (9 b + 1) b + (a + 1) b."""

    def block(a, b):
        return (9 * a + 1) * b + (9 * b + 1) * b + (a + 1) * b

    encoder = block(1, 2) + block(2, 4) + (16 * 2 + 1) * 2 + (16 * 4 + 1) * 4
    decoder = block(4 + 4, 4) + block(4 + 2, 2)
    by_hand = encoder + block(4, 4) + (4 + 1) + decoder + (2 + 1)
    critic = UnetCritic(width=2, n_stages=2)
    assert sum(value.numel() for value in critic.parameters()) == by_hand


def test_one_logit_of_the_whole_and_one_of_every_pixel():
    verdict = UnetCritic(width=2, n_stages=3)(torch.randn(2, 1, 16, 24))
    assert verdict.whole.shape == (2, 1)
    assert verdict.pixels.shape == (2, 1, 16, 24)


def test_pixels_are_judged_past_the_bottom():
    """With nothing left at the bottom the whole image has one logit, and pixels are still told apart."""
    torch.manual_seed(0)
    critic = UnetCritic(width=2, n_stages=2)
    for value in critic.bottom.parameters():
        torch.nn.init.zeros_(value)
    one, other = critic(torch.randn(1, 1, 16, 16)), critic(torch.randn(1, 1, 16, 16))
    assert torch.equal(one.whole, other.whole)
    assert not torch.allclose(one.pixels, other.pixels)


def _normalised(critic: UnetCritic) -> list[torch.nn.Conv2d]:
    return [
        layer
        for layer in critic.modules()
        if isinstance(layer, torch.nn.Conv2d) and hasattr(layer, "parametrizations")
    ]


def test_layers_are_normalised_unless_they_have_few_channels_in_or_one_out():
    """Three stages of 8: all layers but the two that see the image, and the last."""
    critic = UnetCritic(width=8, n_stages=3)
    plain = [
        layer
        for layer in critic.modules()
        if isinstance(layer, torch.nn.Conv2d) and not hasattr(layer, "parametrizations")
    ]
    assert [layer.in_channels for layer in plain] == [1, 1, 8]
    assert plain[-1].out_channels == 1


def test_spectral_norms_are_one_after_some_iterations():
    torch.manual_seed(0)
    critic, image = UnetCritic(width=8, n_stages=2), torch.randn(1, 1, 8, 8)
    with torch.no_grad():
        for _ in range(70):
            critic(image)
    critic.eval()
    norms = [
        float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2))
        for layer in _normalised(critic)
    ]
    assert len(norms) == 5 * 3 + 2 + 1 - 3  # five blocks, two halvings and the end; three are left plain
    assert norms == pytest.approx([1.0] * len(norms), abs=0.03)


def test_it_does_not_drift_when_it_is_not_trained():
    """Power iterations belong to training: two looks in `eval` agree to the last bit."""
    critic, image = UnetCritic(width=8, n_stages=2).eval(), torch.randn(1, 1, 8, 8)
    assert torch.equal(critic(image).pixels, critic(image).pixels)


@pytest.mark.parametrize("logit", ["whole", "pixels"])
def test_both_logits_teach_the_image_and_can_be_penalised(logit):
    torch.manual_seed(0)
    critic = UnetCritic(width=8, n_stages=2)
    image = torch.randn(2, 1, 16, 16, requires_grad=True)
    (slope,) = torch.autograd.grad(getattr(critic(image), logit).sum(), image, create_graph=True)
    assert bool((slope != 0).any())
    slope.square().sum().backward()
    first = critic.encode[0].first.weight
    assert bool((first.grad != 0).any())
