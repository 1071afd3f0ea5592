import math
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from lowdose.invariances.flow import (  # noqa: E402
    PUBLISHED_FLOW,
    ConditionalFlow,
    FlowSizes,
    negative_log_likelihood,
)

TINY = FlowSizes(side=16, latents=6, places=0, condition=5, n_blocks=3, hidden=16, embedding_width=4)


PLACED = FlowSizes(side=16, latents=8, places=2, condition=3, n_blocks=3, hidden=8, embedding_width=4)
BOTH = pytest.mark.parametrize("sizes", [TINY, PLACED], ids=["without places", "on a grid"])


def flow(sizes: FlowSizes = TINY, seed: int = 0) -> ConditionalFlow:
    """One whose couplings do something: they start as permutations."""
    torch.manual_seed(seed)
    made = ConditionalFlow(sizes)
    for name, weight in made.named_parameters():
        if "scales" in name or "shifts" in name:
            torch.nn.init.normal_(weight, std=0.5 / weight[0].numel() ** 0.5)
    made.start_from(3 * torch.randn(256, sizes.latents) + 1, torch.randn(256, 1, sizes.side, sizes.side))
    return made.eval()


def test_there_and_back_again():
    for sizes in (TINY, FlowSizes()):
        made = flow(sizes)
        latents = 3 * torch.randn(32, sizes.latents)
        images = torch.randn(32, 1, sizes.side, sizes.side)
        with torch.no_grad():
            normal, _ = made(latents, images)
            assert (made.inverse(normal, images) - latents).abs().max() < 1e-4
            assert (normal - latents).abs().max() > 0.1


@BOTH
def test_the_log_determinant_is_that_of_autograd(sizes):
    made = flow(sizes).double()
    for seed in range(4):
        torch.manual_seed(seed)
        latents, image = torch.randn(1, sizes.latents).double(), torch.randn(1, 1, 16, 16).double()
        jacobian = torch.autograd.functional.jacobian(lambda one, image=image: made(one, image)[0], latents)
        _, expected = torch.linalg.slogdet(jacobian[0, :, 0])
        assert made(latents, image)[1].item() == pytest.approx(expected.item(), abs=1e-10)


@BOTH
def test_the_image_has_a_say(sizes):
    made = flow(sizes)
    latents = torch.randn(1, sizes.latents).expand(2, -1)
    with torch.no_grad():
        normal, _ = made(latents, torch.randn(2, 1, 16, 16))
    assert (normal[0] - normal[1]).abs().max() > 1e-3


def test_on_a_grid_the_image_has_a_say_at_its_own_place():
    sizes = replace(PLACED, side=64, places=8, latents=128, n_blocks=1)
    made = flow(sizes)
    latents, image = torch.randn(1, 128), torch.randn(1, 1, 64, 64)
    other = image.clone()
    other[..., :8, :8] += 1.0  # the first place
    with torch.no_grad():
        change = (made(latents, image)[0] - made(latents, other)[0]).abs().reshape(2, 8, 8).amax(dim=0)
    assert change[0, 0] > 1e-4
    assert change[7, 7] == 0.0


def test_samples_take_no_randomness_of_their_own_and_saved_weights_keep_their_normalisation():
    made = flow()
    other = ConditionalFlow(TINY)
    other.load_state_dict(made.state_dict())
    latents, images = torch.randn(8, 6), torch.randn(8, 1, 16, 16)
    with torch.no_grad():
        assert torch.equal(made(latents, images)[0], other.eval()(latents, images)[0])


def test_the_first_batch_comes_out_normal():
    torch.manual_seed(0)
    made = ConditionalFlow(TINY)
    latents = 5 + 4 * torch.randn(2000, 6)
    images = torch.randn(2000, 1, 16, 16)
    made.start_from(latents, images)
    with torch.no_grad():
        normal, _ = made(latents, images)
    assert normal.mean().item() == pytest.approx(0, abs=0.3)
    assert normal.std().item() == pytest.approx(1, abs=0.2)


def test_the_likelihood_is_that_of_normal_numbers_and_counts_the_change_of_volume():
    normal = torch.randn(5, 6)
    expected = 0.5 * normal.square().sum(dim=1).mean() - 2.0
    assert negative_log_likelihood(normal, torch.full((5,), 2.0)).item() == pytest.approx(expected.item())


def test_the_published_sizes_have_the_published_number_of_weights():
    with torch.device("meta"):
        made = ConditionalFlow(PUBLISHED_FLOW)
    n_flow, n_embedding = (
        sum(weight.numel() for weight in part.parameters()) for part in (made.flow, made.embedding)
    )
    assert n_flow == pytest.approx(126.0e6, rel=1e-3)
    assert n_embedding == pytest.approx(11.1e6, rel=5e-3)


def test_a_small_flow_takes_less_than_five_megabytes():
    assert 4 * sum(weight.numel() for weight in ConditionalFlow().parameters()) < 5e6


def test_training_raises_the_likelihood_of_latents_that_follow_the_image():
    """Latents whose mean is the image's: the best there is in closed form is -log of a narrow normal."""
    torch.manual_seed(0)
    sizes = FlowSizes(side=16, latents=2, places=0, condition=4, n_blocks=4, hidden=32, embedding_width=4)
    made = ConditionalFlow(sizes)

    def drawn(n):
        level = torch.randn(n, 1, 1, 1)
        return level[:, 0, 0] + 0.1 * torch.randn(n, 2), level.expand(-1, -1, 16, 16)

    made.start_from(*drawn(512))
    optimiser = torch.optim.Adam(made.parameters(), lr=6e-3)
    for _ in range(150):
        latents, images = drawn(64)
        loss = negative_log_likelihood(*made(latents, images))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        found = negative_log_likelihood(*made(*drawn(2000))).item()
    assert found == pytest.approx(2 * (0.5 + math.log(0.1)), abs=0.6)
