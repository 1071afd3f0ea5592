import pytest
import torch

from lowdose.losses import (
    cutmix,
    cutmix_inconsistency,
    gradient_penalty,
    lsgan_loss,
    wgan_critic_loss,
    wgan_generator_loss,
)


def test_wasserstein_losses_by_hand():
    real, fake = torch.tensor([[3.0], [5.0]]), torch.tensor([[1.0], [-2.0]])
    assert float(wgan_critic_loss(real, fake)) == pytest.approx(-0.5 - 4.0)
    assert float(wgan_generator_loss(fake)) == pytest.approx(0.5)


def _linear(weights):
    return lambda images: (images * weights).flatten(1).sum(dim=1, keepdim=True)


@pytest.mark.parametrize("shape", [(3, 1, 4, 5), (3, 1, 2, 4, 5)])
def test_the_penalty_of_a_linear_critic_is_in_the_length_of_its_weights(shape):
    """Its gradient is w everywhere: (|w| - 1)^2, and with |w| = 1 nothing."""
    weights = torch.randn(shape[1:], generator=torch.Generator().manual_seed(0))
    real, fake, alpha = torch.randn(shape), torch.randn(shape), torch.rand(3)
    expected = (float(weights.norm()) - 1) ** 2
    assert float(gradient_penalty(_linear(weights), real, fake, alpha)) == pytest.approx(expected, rel=1e-5)
    unit = weights / weights.norm()
    assert float(gradient_penalty(_linear(unit), real, fake, alpha)) == pytest.approx(0.0, abs=1e-10)


def test_the_norm_is_that_of_the_whole_image():
    """Weights 1/2 on 2 x 2 pixels have length 1, so nothing is to be paid. Norms of columns would be
    sqrt(1/2) each and cost (sqrt(1/2) - 1)^2, about 0.086.
    """
    weights = torch.full((1, 2, 2), 0.5)
    image = torch.zeros(2, 1, 2, 2)
    assert float(gradient_penalty(_linear(weights), image, image, torch.zeros(2))) == pytest.approx(0.0)


def test_every_sample_has_its_own_norm():
    """C = x^2 / 2 has the gradient x: lengths 1 and 3 cost 0 and 4."""

    def critic(images):
        return images.square().flatten(1).sum(dim=1, keepdim=True) / 2

    real = torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)
    penalty = gradient_penalty(critic, real, 0 * real, torch.ones(2))
    assert penalty.item() == pytest.approx((0 + 4) / 2)


def test_alpha_is_the_share_of_the_real_image():
    seen = []

    def critic(images):
        seen.append(images.detach())
        return images.flatten(1).sum(dim=1, keepdim=True)

    real, fake = torch.full((2, 1, 2, 2), 4.0), torch.zeros(2, 1, 2, 2)
    gradient_penalty(critic, real, fake, torch.tensor([0.25, 1.0]))
    assert seen[0][:, 0, 0, 0].tolist() == [1.0, 4.0]


def test_the_penalty_teaches_the_critic_and_not_the_generator():
    """d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|."""
    weights = torch.full((1, 2, 2), 1.0, requires_grad=True)
    fake = torch.randn(2, 1, 2, 2, requires_grad=True)
    gradient_penalty(_linear(weights), torch.randn(2, 1, 2, 2), fake, torch.rand(2)).backward()
    assert torch.allclose(weights.grad, torch.full((1, 2, 2), 2 * (2 - 1) * 1 / 2.0))
    assert fake.grad is None


def test_least_squares_by_hand():
    logits = torch.tensor([[0.0], [3.0]])
    assert float(lsgan_loss(logits, 1.0)) == pytest.approx((1 + 4) / 2)
    assert float(lsgan_loss(logits, torch.tensor([[1.0], [0.0]]))) == pytest.approx((1 + 9) / 2)


@pytest.mark.parametrize("shape", [(64, 1, 20, 30), (64, 1, 3, 20, 30)])
def test_a_mixture_is_real_but_for_a_box(shape):
    mixed, mask = cutmix(torch.ones(shape), torch.zeros(shape), torch.Generator().manual_seed(0))
    assert torch.equal(mixed, mask.expand(shape))
    assert mask.shape == (64, 1, *[1] * (len(shape) - 4), 20, 30)
    for sample in mask.reshape(64, 20, 30):
        fake = (sample == 0).nonzero()
        if len(fake):
            low, high = fake.min(dim=0).values, fake.max(dim=0).values
            assert len(fake) == int((high - low + 1).prod())  # a box and nothing beside it


def test_every_share_of_the_area_is_equally_likely():
    """A uniform variable has the mean 1/2 and the standard deviation sqrt(1/12); 4000 draws know them to
    0.005 and 0.003.
    """
    real = torch.ones(4000, 1, 64, 64)
    _, mask = cutmix(real, real, torch.Generator().manual_seed(1))
    share = 1 - mask.mean(dim=(1, 2, 3))
    assert float(share.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(share.std()) == pytest.approx(12**-0.5, abs=0.012)


def test_the_generator_decides():
    real, fake = torch.ones(4, 1, 8, 8), torch.zeros(4, 1, 8, 8)
    first, again, other = (cutmix(real, fake, torch.Generator().manual_seed(seed))[0] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_critic_that_judges_every_pixel_by_itself_is_consistent():
    real, fake = torch.randn(4, 1, 8, 8), torch.randn(4, 1, 8, 8)
    mixed, mask = cutmix(real, fake, torch.Generator().manual_seed(0))
    assert float(cutmix_inconsistency(3 * mixed, 3 * real, 3 * fake, mask)) == pytest.approx(0.0, abs=1e-10)


def test_inconsistency_by_hand():
    """Two pixels, real and fake: expected scores 1 and -1, given 2 and -1."""
    mask = torch.tensor([[[[1.0, 0.0]]]])
    real, fake = torch.full((1, 1, 1, 2), 1.0), torch.full((1, 1, 1, 2), -1.0)
    mixed = torch.tensor([[[[2.0, -1.0]]]])
    assert float(cutmix_inconsistency(mixed, real, fake, mask)) == pytest.approx((1 + 0) / 2)
