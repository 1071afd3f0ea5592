"""What a model of noise learns is the noise it is shown."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lowdose.losses.noise import periodogram
from lowdose.networks.noise_gan import NoiseCritic, NoiseGan
from lowdose.networks.noise_vae import NoiseVae
from lowdose.training.batches import batch_of_step
from lowdose.training.experiment import make_fabric
from lowdose.training.loop import Schedule, Turn, fit
from lowdose.training.noise_learning import AdversarialNoise, PatchDraw, VariationalNoise


def streaks(n, rng, side=24):
    """Noise of unit level, half of the patches smooth along y, half along x."""
    white = rng.standard_normal((n, side + 16, side + 16))
    half = n // 2
    made = np.concatenate(
        [gaussian_filter(white[:half], (0, 1.5, 0.4)), gaussian_filter(white[half:], (0, 0.4, 1.5))]
    )[:, 8:-8, 8:-8]
    return (made / made.std(axis=(1, 2), keepdims=True)).astype(np.float32)


def started(network, noise):
    with torch.no_grad():
        network.start_from(periodogram(torch.from_numpy(noise)[:, None]).mean(dim=0))
    return network


def learned(method, noise, folder, n_steps):
    schedule = Schedule(
        n_steps=n_steps, batch_size=16, learning_rate=2e-3, warmup=10, ema_decay=0.9, validate_every=1000,
        checkpoint_every=1000, seed=1, selection="last",
    )  # fmt: skip
    return fit(
        make_fabric(), method, PatchDraw(noise), lambda _network: None, schedule, folder, architecture={}
    ).network


def test_patches_are_turned_around_or_not_at_all():
    noise = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    draw, seen = PatchDraw(noise), set()
    for seed in range(40):
        shown, target = draw(np.random.default_rng(seed))
        assert shown.shape == (1, 3, 4)
        assert np.array_equal(shown, target)
        seen.add(shown[0, 0, 0])
    assert seen == {0, 11}


def test_a_variational_model_tells_directions_apart_and_makes_both(tmp_path):
    rng = np.random.default_rng(1)
    noise = streaks(400, rng)
    torch.manual_seed(1)
    network = started(NoiseVae(latents=2, kernel=15, width=8, hidden=16), noise)
    trained = learned(VariationalNoise(network), noise, tmp_path, 500).requires_grad_(False)
    fresh = torch.from_numpy(streaks(60, rng))[:, None]
    textures = trained.texture(trained.encode(fresh)[0])
    along_y, along_x = textures[:30].mean(dim=0), textures[30:].mean(dim=0)
    assert float(_beside(along_y, 0)) > float(_beside(along_y, 1)) + 0.2
    assert float(_beside(along_x, 1)) > float(_beside(along_x, 0)) + 0.2
    trained.settle(torch.from_numpy(noise)[:, None])
    chance = torch.Generator().manual_seed(3)
    made = trained.texture(trained.settled(torch.randn(400, 2, generator=chance)))
    directed = torch.stack([_beside(one, 0) - _beside(one, 1) for one in made])
    assert 0.25 < float((directed > 0).float().mean()) < 0.75


def _beside(kernel, axis):
    """Correlation of neighbours along `axis` in noise of this texture."""
    first, second = (kernel[1:], kernel[:-1]) if axis == 0 else (kernel[:, 1:], kernel[:, :-1])
    return (first * second).sum() / kernel.square().sum()


def test_a_generator_keeps_the_spectrum_while_it_learns_from_its_critic(tmp_path):
    rng = np.random.default_rng(2)
    noise = streaks(300, rng, side=29)
    torch.manual_seed(1)
    network = started(NoiseGan(latents=2, kernel=9, width=4, depth=1), noise)
    before = network.change.weight.clone()
    critic = NoiseCritic(width=4)
    trained = learned(AdversarialNoise(network, critic), noise, tmp_path, 60).requires_grad_(False)
    assert not torch.equal(trained.change.weight, before)
    chance = torch.Generator().manual_seed(3)
    made = trained.noise(torch.randn(300, 2, 1, 1, generator=chance), 29, 29, chance)
    ours, real = (periodogram(one).mean(dim=0) for one in (made, torch.from_numpy(noise)[:, None]))
    assert float((ours - real).square().mean().sqrt() / real.square().mean().sqrt()) < 0.25


@pytest.mark.parametrize("learns", [False, True])
def test_the_generator_learns_from_every_third_batch_and_the_critic_from_all(learns):
    torch.manual_seed(0)
    noise = streaks(20, np.random.default_rng(3), side=29)
    method = AdversarialNoise(NoiseGan(latents=2, kernel=9, width=4, depth=1), NoiseCritic(width=4))
    batch = batch_of_step(PatchDraw(noise), 1, 0, range(4))
    step = 2 if learns else 0
    turn = Turn(step, torch.Generator().manual_seed(1), slice(0, 4), 4, torch.device("cpu"))
    stepped = []
    losses = method.step(batch, turn, lambda name, loss: stepped.append((name, loss.requires_grad)))
    assert stepped == [("critic", True), *([("noise model", True)] if learns else [])]
    assert ("loss" in losses) == learns
