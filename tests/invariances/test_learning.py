import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lowdose.invariances.learning import (  # noqa: E402
    IDENTITY,
    ExamplePatches,
    LearnAsPublished,
    Likelihood,
    divergence,
    shown,
    smooth,
    weight_of_divergence,
)
from lowdose.invariances.representation import Critic, Representation, RepresentationSizes  # noqa: E402
from lowdose.quality.structural_change import smoothed  # noqa: E402
from lowdose.training.batches import Batch  # noqa: E402
from lowdose.training.loop import Turn  # noqa: E402


def test_patches_hold_the_output_the_noise_and_the_input_of_one_place(examples):
    draw = ExamplePatches([examples], [IDENTITY], 64)
    output_and_noise, image = draw(np.random.default_rng(0))
    assert output_and_noise.shape == (2, 64, 64)
    assert image.shape == (1, 64, 64)
    assert np.array_equal(output_and_noise[0], image[0])
    assert (output_and_noise[1] >= 2).all()
    blurred, image = ExamplePatches([examples], ["gaussian"], 64)(np.random.default_rng(0))
    assert 0.9 < np.corrcoef(blurred[0].ravel(), image.ravel())[0, 1] < 1


def test_smoothing_is_that_of_scipy():
    images = np.random.default_rng(0).normal(size=(2, 1, 40, 40)).astype(np.float32)
    found = smooth(torch.from_numpy(images), 1.7).numpy()
    assert found == pytest.approx(smoothed(images, 1.7), abs=1e-5)


def test_noise_costs_half_a_nat_for_each_independent_pixel_and_a_missing_lesion_more_than_its_place():
    likelihood = Likelihood(1.7)
    noise = smoothed(np.random.default_rng(0).normal(size=(8, 1, 64, 64)), 1.7)
    deviation = torch.full((8, 1, 64, 64), float(noise.std()))
    white = torch.from_numpy(np.random.default_rng(0).normal(size=(8, 1, 64, 64)).astype(np.float32))
    found = likelihood(white, torch.zeros_like(white), deviation).mean().item()
    n_independent = 64**2 / (4 * np.pi * 1.7**2)
    assert found == pytest.approx(0.5 * n_independent, rel=0.2)
    y, x = np.mgrid[:64, :64]
    lesion = torch.from_numpy(10 * (np.hypot(y - 32, x - 32) < 5)).float() * deviation[:1]
    assert likelihood(lesion[None, 0], torch.zeros(1, 1, 64, 64), deviation[:1]).item() > 10


def test_the_divergence_is_that_of_torch():
    mean, log_variance = torch.randn(5, 7), torch.randn(5, 7)
    one = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(one, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    assert torch.allclose(divergence(mean, log_variance), expected, atol=1e-5)


def test_the_published_losses_add_up(examples):
    sizes = RepresentationSizes(
        side=16, first=4, latents=32, encoder_width=12, decoder_width=4, critic_width=4
    )
    torch.manual_seed(0)
    method = LearnAsPublished(Representation(sizes), Critic(sizes))
    generator = np.random.default_rng(0)
    batch = Batch(
        generator.normal(0, 100, (2, 2, 16, 16)).astype(np.float32),
        generator.normal(0, 100, (2, 1, 16, 16)).astype(np.float32),
    )
    turn = Turn(0, torch.Generator().manual_seed(0), slice(0, 2), 2, torch.device("cpu"))
    said = method.step(batch, turn, lambda name, loss: None)
    denoised, _, image = shown(batch, torch.device("cpu"))
    # Nothing is learned yet, so that the denoised image comes back; the critic's opinion is what is left.
    opinion = -method.critic(denoised, denoised).mean().item()
    expected = 0.0011852 * (denoised - image).abs().sum().item() / 2 + 0.57504 * said["surprise"] + opinion
    assert said["loss"] == pytest.approx(expected, rel=1e-4)


def test_the_divergence_comes_to_count_when_latents_are_of_use():
    assert weight_of_divergence(0.0) == weight_of_divergence(0.39) == 0.0
    assert weight_of_divergence(0.4) == pytest.approx(0.003)
    assert weight_of_divergence(0.6) == pytest.approx(0.03)
    assert weight_of_divergence(0.8) == weight_of_divergence(1.0) == pytest.approx(0.3)


def test_latents_begin_with_little_noise_of_their_own():
    torch.manual_seed(0)
    made = Representation(RepresentationSizes(encoder_width=12, decoder_width=4))
    _, log_variance = made.encode(*torch.randn(2, 3, 1, 64, 64))
    assert log_variance.mean().item() == pytest.approx(-5.0, abs=1.0)
