"""Losses between images that do not quite lie on each other, and of what moves one onto the other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample


def warped(image: Tensor, displacement: Tensor) -> Tensor:
    """The image `(b, c, y, x)` as it is at `place + displacement`, `(b, 2, y, x)` along y and x in pixels.

    Bilinear; beyond the border the image goes on as it ends. MONAI's `Warp` gives the same, but takes seconds
    to import and warns of the kernels that it was not built with.
    """
    n_y, n_x = image.shape[-2:]
    y = torch.arange(n_y, device=image.device)[:, None] + displacement[:, 0]
    x = torch.arange(n_x, device=image.device) + displacement[:, 1]
    places = torch.stack((2 * x / max(n_x - 1, 1) - 1, 2 * y / max(n_y - 1, 1) - 1), dim=-1)
    return grid_sample(image, places, mode="bilinear", padding_mode="border", align_corners=True)


def roughness(displacement: Tensor) -> Tensor:
    """mean (d/dy)^2 + mean (d/dx)^2 of a displacement `(b, 2, y, x)` in pixels, by forward differences.

    The smoothness term of CTA-GAN (Lyu et al. 2023) and of Reg-GAN (Kong et al. 2021).
    """
    along_y, along_x = displacement.diff(dim=-2), displacement.diff(dim=-1)
    return along_y.square().mean() + along_x.square().mean()


def absolute_error_within(comparison: Tensor, target: Tensor, within: Tensor) -> Tensor:
    """Mean absolute error over the pixels of `within` `(b, 1, y, x)` alone; zero where there are none."""
    difference = torch.where(within, (comparison - target).abs(), 0.0)
    return difference.sum() / within.sum().clamp_min(1)
