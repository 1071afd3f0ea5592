from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lowdose.invariances.flow import ConditionalFlow  # noqa: E402
from lowdose.invariances.flow_learning import LearnFlow, encoded, shown_encoded  # noqa: E402
from lowdose.invariances.learning import SCALING, ExamplePatches  # noqa: E402
from lowdose.invariances.representation import Representation  # noqa: E402
from lowdose.training.batches import batch_of_step  # noqa: E402
from lowdose.training.loop import Turn  # noqa: E402
from tests.invariances.tiny import TINY, TINY_FLOW  # noqa: E402


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Representation(TINY).eval().requires_grad_(False)


def test_patches_keep_the_latents_that_the_representation_gives_them(examples, network):
    draw = ExamplePatches([examples], ["gaussian"], TINY.side)
    shares = []
    patches = encoded(draw, network, 20, 3, 7, shares.append)
    assert shares == [0.8, 1.0]
    batch = batch_of_step(draw, 3, 8, range(4))  # the second step's
    assert np.array_equal(patches.denoised[16:], batch.noisy[:, 0])
    image, denoised = (torch.from_numpy(SCALING.scaled(one)) for one in (batch.target, batch.noisy[:, :1]))
    mean, log_variance = network.encode(image, denoised)
    assert patches.posterior[16:, 0] == pytest.approx(mean.numpy(), abs=1e-6)
    assert patches.posterior[16:, 1] == pytest.approx(log_variance.numpy(), abs=1e-5)


def test_what_is_drawn_is_one_of_the_patches(examples, network):
    patches = encoded(ExamplePatches([examples], ["gaussian"], TINY.side), network, 5, 0, 0)
    denoised, posterior = patches(np.random.default_rng(0))
    assert denoised.shape == (1, TINY.side, TINY.side)
    number = next(n for n in range(5) if np.array_equal(patches.posterior[n], posterior))
    assert np.array_equal(denoised[0], patches.denoised[number])


def test_the_loss_is_the_likelihood_of_latents_from_their_posterior(examples, network):
    """A flow that does nothing yet leaves latents as they are: mean square and variance are the loss."""
    patches = encoded(ExamplePatches([examples], ["gaussian"], TINY.side), network, 8, 0, 0)
    batch = batch_of_step(patches, 0, 0, range(64))
    flow = ConditionalFlow(replace(TINY_FLOW, latents=TINY.latents))
    flow.start_from(torch.randn(512, TINY.latents), torch.zeros(512, 1, TINY.side, TINY.side))
    with torch.no_grad():
        latents = torch.randn(64, TINY.latents)
        denoised, mean, log_variance = shown_encoded(batch)
        normal, log_determinant = flow(latents, denoised)
        assert normal.std() == pytest.approx(1.0, abs=0.2)
    turn = Turn(0, torch.Generator().manual_seed(0), slice(0, 64), 64, torch.device("cpu"))
    told = LearnFlow(flow).step(batch, turn, lambda _name, _loss: None)
    chance = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        normal, log_determinant = flow(mean + (0.5 * log_variance).exp() * chance, denoised)
    expected = (0.5 * normal.square().sum(dim=1) - log_determinant).mean() / TINY.latents
    assert told["loss"] == pytest.approx(expected.item(), rel=1e-5)
