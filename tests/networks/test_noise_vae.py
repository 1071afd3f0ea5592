import pytest
import torch

from lowdose.networks.noise_vae import NoiseVae


def model(**sizes):
    torch.manual_seed(0)
    return NoiseVae(**{"width": 4, "latents": 3, "kernel": 5} | sizes).requires_grad_(False)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [(32, 32), (33, 50), (7, 128)])
def test_noise_has_the_size_that_is_asked_for(size):
    assert model().sample(2, *size, generator()).shape == (2, 1, *size)


def test_latents_lie_four_pixels_apart():
    mean, log_variance = model().encode(torch.randn(2, 1, 32, 24))
    assert mean.shape == log_variance.shape == (2, 3, 8, 6)


def test_the_same_seed_gives_the_same_noise_and_another_one_another():
    made = model().sample(1, 20, 20, generator())
    assert torch.equal(made, model().sample(1, 20, 20, generator()))
    assert not torch.allclose(made, model().sample(1, 20, 20, generator(2)))


def test_noise_is_alike_everywhere():
    """Neither seams between latents that padding reaches nor a border: variance is that of the middle."""
    network = model()
    made = network.sample(3000, 24, 24, generator())
    variance = made.var(dim=0)[0]
    by_phase = torch.stack([variance[y::4, x::4].mean() for y in range(4) for x in range(4)])
    border = torch.cat([variance[0], variance[-1], variance[:, 0], variance[:, -1]]).mean()
    assert float(border) == pytest.approx(float(variance[4:-4, 4:-4].mean()), rel=0.03)
    assert by_phase.max() / by_phase.min() < 1.1  # of an untrained decoder


def test_the_spectrum_is_that_of_the_texture():
    network = model()
    network.texture.copy_(torch.randn(1, 1, 5, 5, generator=generator(3)))
    for weight in network.decoder.parameters():
        weight.zero_()
    made = network.sample(4000, 16, 16, generator())
    periodic = torch.fft.rfft2(torch.nn.functional.pad(network.texture[0, 0], (0, 11, 0, 11))).abs().square()
    assert torch.allclose(network.spectrum(16, 16), periodic, atol=1e-4)
    assert float(made.var()) == pytest.approx(float(network.texture.square().sum()), rel=0.02)


def test_an_even_kernel_has_no_middle():
    with pytest.raises(ValueError, match="must be odd"):
        NoiseVae(kernel=4)
