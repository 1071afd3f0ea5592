import pytest
import torch

from lowdose.losses.noise import expected_periodogram, periodogram
from lowdose.networks.noise_vae import NoiseVae, latent_field


def model(**sizes):
    torch.manual_seed(0)
    return NoiseVae(**{"latents": 3, "kernel": 5} | sizes).requires_grad_(False)


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def correlation_down(kernel):
    """Of a pixel with the next one along y, in white noise filtered with `kernel`."""
    return (kernel[1:] * kernel[:-1]).sum() / kernel.square().sum()


@pytest.mark.parametrize("size", [(32, 32), (33, 50)])
def test_patches_of_any_size_have_latents(size):
    mean, log_variance = model().encode(torch.randn(2, 1, *size))
    assert mean.shape == log_variance.shape == (2, 3)


def test_latents_do_not_depend_on_where_the_noise_lies():
    """Of a patch that repeats, filters see the same power wherever it starts."""
    network, tile = model(), torch.randn(1, 1, 16, 16, generator=generator())
    network.filters.weight.copy_(torch.randn_like(network.filters.weight))
    first, moved = (
        network.encode(tile.repeat(1, 1, 3, 3)[..., y : y + 24, x : x + 24])[0] for y, x in ((0, 0), (3, 7))
    )
    assert torch.allclose(first, moved, atol=1e-4)


def test_noise_has_unit_level_and_the_power_of_its_texture():
    network, latents = model(), 3 * torch.randn(1, 3, generator=generator())
    made = torch.cat([network.noise(latents[:, :, None, None], 64, 64, generator(k)) for k in range(600)])
    texture = network.texture(latents)
    assert torch.allclose(texture, texture.flip(1, 2), atol=1e-6)
    assert float(made.var()) == pytest.approx(1.0, rel=0.02)
    unit = texture / texture.square().sum().sqrt()
    measured, expected = periodogram(made).mean(dim=0), expected_periodogram(unit, 64, 64)[0]
    assert float((measured - expected).abs().mean() / expected.mean()) < 0.05
    by_pixel = made.var(dim=0)[0]  # no border, no seam
    assert float(by_pixel.std() / by_pixel.mean()) < 0.07


def test_a_texture_that_changes_from_left_to_right_leaves_no_seam():
    network = model()
    ends = 3 * torch.randn(2, 3, generator=generator())
    field = ends.T.reshape(1, 3, 1, 2)
    made = torch.cat([network.noise(field, 64, 41, generator(k)) for k in range(400)])
    assert torch.allclose(made.var(dim=(0, 1, 2)), torch.ones(41), rtol=0.05)
    first, last = network.texture(ends)
    shares = torch.linspace(0, 1, 41)
    beside = torch.stack([correlation_down((1 - s) * first + s * last) for s in shares])
    found = (made[:, :, 1:] * made[:, :, :-1]).mean(dim=(0, 1, 2))
    assert torch.allclose(found, beside, atol=0.05)


def test_the_texture_of_no_latents_has_the_power_that_it_starts_from():
    network = model(kernel=17)
    for weight in network.decoder.parameters():
        weight.zero_()
    given = torch.zeros(1, 17, 17)
    given[0, 6:11, 7:10] = torch.randn(5, 3, generator=generator())
    power = expected_periodogram(given, 32, 32)[0]
    network.start_from(power)
    started = expected_periodogram(network.texture(torch.zeros(1, 3)), 32, 32)[0]
    assert float((started - power).abs().mean() / power.mean()) < 0.1


def test_noise_is_drawn_as_the_patches_were_encoded():
    network, patches = model(), torch.randn(300, 1, 24, 24, generator=generator())
    patches[:150] = patches[:150] + patches[:150].roll(1, dims=2)
    network.settle(patches)
    mean, log_variance = network.encode(patches)
    drawn = network.settled(torch.randn(20000, 3, generator=generator()))
    assert torch.allclose(drawn.mean(dim=0), mean.mean(dim=0), atol=0.1)
    expected = torch.cov(mean.T) + torch.diag(log_variance.exp().mean(dim=0))
    assert torch.allclose(torch.cov(drawn.T), expected, rtol=0.2, atol=0.1)


def test_two_heaps_of_latents_stay_two():
    network, patches = model(), torch.randn(400, 1, 24, 24, generator=generator())
    heaps = torch.cat([torch.full((200, 3), -2.0), torch.full((200, 3), 2.0)])
    network.encode = lambda noise: (heaps, torch.full_like(heaps, -8.0))
    network.settle(patches)
    drawn = network.settled(torch.randn(2000, 3, generator=generator()))
    near = (drawn - drawn.sign() * 2.0).abs().amax(dim=1) < 0.3
    assert float(near.float().mean()) > 0.9
    assert 0.4 < float((drawn[:, 0] > 0).float().mean()) < 0.6


def test_the_same_seed_gives_the_same_noise_and_another_one_another():
    network, latents = model(), torch.zeros(1, 3, 2, 2)
    made = network.noise(latents, 20, 20, generator())
    assert torch.equal(made, network.noise(latents, 20, 20, generator()))
    assert not torch.allclose(made, network.noise(latents, 20, 20, generator(2)))


@pytest.mark.parametrize("size", [(40, 51), (33, 64)])
def test_latents_of_unit_variance_that_change_slowly(size):
    field = latent_field(300, 4, *size, 8.0, generator())
    assert field.shape == (300, 4, *size)
    assert float(field.var()) == pytest.approx(1.0, rel=0.05)
    assert float(field.var(dim=(0, 1)).std()) < 0.1
    step = (field[..., 1:] - field[..., :-1]).square().mean()
    assert float(step) == pytest.approx(1 / (2 * 8.0**2), rel=0.1)  # of a Gaussian correlation


def test_an_even_kernel_has_no_middle():
    with pytest.raises(ValueError, match="make its kernel odd"):
        NoiseVae(kernel=4)
