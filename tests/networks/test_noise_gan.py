import pytest
import torch

from lowdose.losses.noise import expected_periodogram, periodogram
from lowdose.networks.noise_gan import NoiseCritic, NoiseGan


def model(**sizes):
    torch.manual_seed(0)
    return NoiseGan(**{"latents": 2, "kernel": 9, "width": 6} | sizes).requires_grad_(False)


def awake(network):
    """With a change that is not zero, as after training."""
    torch.manual_seed(1)
    network.change.weight.copy_(0.05 * torch.randn_like(network.change.weight))
    return network


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def test_before_it_learns_it_is_the_noise_of_the_texture_it_starts_from():
    network = model()
    given = torch.zeros(1, 9, 9)
    given[0, 3:6, 4:6] = torch.randn(3, 2, generator=generator())
    power = expected_periodogram(given / given.norm(), 32, 32)[0]
    network.start_from(power)
    latents = torch.randn(1, 2, 1, 1, generator=generator())
    made = torch.cat([network.noise(latents, 32, 32, generator(k)) for k in range(800)])
    difference = (periodogram(made).mean(dim=0) - power).abs().mean()
    assert float(difference / power.mean()) < 0.15


@pytest.mark.parametrize("size", [(32, 32), (33, 50)])
def test_noise_of_any_size_has_no_border_and_no_seam(size):
    network, latents = awake(model()), torch.zeros(1, 2, 2, 2)
    made = torch.cat([network.noise(latents, *size, generator(k)) for k in range(600)])
    assert made.shape == (600, 1, *size)
    by_pixel = made.var(dim=0)[0]
    assert float(by_pixel.std() / by_pixel.mean()) < 0.09  # of 600 draws, and 0.058 by chance


def test_latents_change_the_noise_and_the_seed_decides_it():
    network = awake(model())
    ones, zeros = (torch.full((1, 2, 1, 1), value) for value in (1.0, 0.0))
    made = network.noise(zeros, 20, 20, generator())
    assert torch.equal(made, network.noise(zeros, 20, 20, generator()))
    assert not torch.allclose(made, network.noise(ones, 20, 20, generator()))
    assert not torch.allclose(made, network.noise(zeros, 20, 20, generator(2)))


def test_latents_mix_textures_of_unit_level():
    network = model()
    torch.manual_seed(2)
    network.shares[-1].weight.copy_(torch.randn_like(network.shares[-1].weight))
    levels, spectra = [], []
    for value in (-2.0, 0.0, 2.0):
        latents = torch.full((1, 2, 1, 1), value)
        made = torch.cat([network.noise(latents, 48, 48, generator(k)) for k in range(60)])
        levels.append(float(made.std()))
        spectra.append(periodogram(made).mean(dim=0))
    assert levels == pytest.approx([1.0, 1.0, 1.0], rel=0.02)
    change = (spectra[0] - spectra[2]).abs().mean() / spectra[1].mean()
    assert float(change) > 0.2


@pytest.mark.parametrize("size", [(32, 32), (40, 48)])
def test_a_critic_scores_every_patch_by_itself(size):
    torch.manual_seed(0)
    critic, noise = NoiseCritic(width=4), torch.randn(3, 1, *size)
    scores = critic(noise)
    assert scores.shape == (3, 1)
    assert torch.allclose(critic(noise[1:2]), scores[1:2], atol=1e-6)


def test_an_even_kernel_has_no_middle():
    with pytest.raises(ValueError, match="make its kernel odd"):
        NoiseGan(kernel=4)
