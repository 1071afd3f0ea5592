"""What critics and the denoisers they judge are trained on.

A critic takes images `(b, c, [z,] y, x)` and gives scores, `(b, 1)` or one for every pixel or patch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def wgan_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """E[C(fake)] - E[C(real)]: minus the Wasserstein distance as the critic sees it.

    Arjovsky et al. 2017, ICML.
    """
    return fake_scores.mean() - real_scores.mean()


def wgan_generator_loss(fake_scores: Tensor) -> Tensor:
    """-E[C(fake)] (Arjovsky et al. 2017, ICML)."""
    return -fake_scores.mean()


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
    """mean (|dC/dx| - 1)^2 at x = alpha real + (1 - alpha) fake (Gulrajani et al. 2017, NeurIPS).

    `alpha` in 0..1 is one number a sample, `(b,)`. The norm is that of the gradient of a sample's score over
    its whole image; norms of parts of it, as of columns, are another and much weaker constraint. The critic
    may not mix samples, as batch normalisation would. Nothing flows back into `real` and `fake`.
    """
    share = alpha.reshape(-1, *[1] * (real.dim() - 1))
    between = (share * real + (1 - share) * fake).detach().requires_grad_()
    with torch.enable_grad():
        scores = critic(between)
        (slope,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
    norms: Tensor = torch.linalg.vector_norm(slope.flatten(1), dim=1)
    return (norms - 1.0).square().mean()


def lsgan_loss(logits: Tensor, target: Tensor | float) -> Tensor:
    """mean (logits - target)^2 with 1 for real and 0 for fake, or a map of both (Mao et al. 2017, ICCV).

    The critic is given what the images are, the generator 1.
    """
    return (logits - target).square().mean()


def cutmix(real: Tensor, fake: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Real images with a box of the fake ones in each, and where they are real (Yun et al. 2019, ICCV).

    The images are `(b, c, [z,] y, x)`. The box has the image's proportions and spans all slices; its share of
    the area is drawn from Beta(1, 1), which is uniform, and its place among those where it lies within the
    image, so the share holds up to rounding. Returns `(mixed, mask)`, the mask `(b, 1, [1,] y, x)` 1 where
    real and 0 where fake.
    """
    n, (n_y, n_x) = real.shape[0], real.shape[-2:]
    draws = torch.rand(3, n, 1, generator=generator, device=generator.device).to(real.device)
    side = draws[0].sqrt()
    in_rows = _in_box(n_y, side, draws[1])[:, :, None]
    in_columns = _in_box(n_x, side, draws[2])[:, None, :]
    mask = (~(in_rows & in_columns)).to(real.dtype)
    mask = mask.reshape(n, *[1] * (real.dim() - 3), n_y, n_x)
    return mask * real + (1 - mask) * fake, mask


def cutmix_inconsistency(
    mixed_scores: Tensor, real_scores: Tensor, fake_scores: Tensor, mask: Tensor
) -> Tensor:
    """mean (D(mixed) - mix(D(real), D(fake)))^2 over pixels (Schönfeld et al. 2020, CVPR; in DU-GAN).

    A critic of pixels has to score a mixture as it scores the images it is mixed from.
    """
    expected = mask * real_scores + (1 - mask) * fake_scores
    return (mixed_scores - expected).square().mean()


def _in_box(n: int, share: Tensor, place: Tensor) -> Tensor:
    """Which of `n` rows lie in a box as long as `share` of them, `(b, n)`; both arguments are `(b, 1)`."""
    length = torch.round(share * n)
    first = torch.floor(place * (n - length + 1))
    rows = torch.arange(n, device=share.device)
    return (rows >= first) & (rows < first + length)
