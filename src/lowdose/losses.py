"""Losses on scaled HU, `(b, c, y, x)`."""

from __future__ import annotations

import torch
from torch import Tensor


def share_of_noise_left(output: Tensor, noisy: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of `output` over that of `noisy`, patch by patch, then averaged.

    Quiet and noisy scans weigh alike, and the conditional mean stays the minimiser, so it adds no bias in HU.
    """
    added = (noisy - target).square().mean(dim=(1, 2, 3))
    left = (output - target).square().mean(dim=(1, 2, 3))
    return torch.mean(left / added.clamp_min(torch.finfo(added.dtype).eps))
