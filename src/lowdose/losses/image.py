"""Losses between images in scaled HU, `(b, c, [z,] y, x)`; volumes are seen slice by slice where it matters.

All are means over pixels and samples, zero for equal images, and differentiable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

PixelLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`(output, noisy, target)` to a number."""

AIR = -2.0
"""-1000 HU at the scaling `(HU - 0) / 500` that training has unless told otherwise."""


def share_of_noise_left(output: Tensor, noisy: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of `output` over that of `noisy`, patch by patch, then averaged.

    Quiet and noisy scans weigh alike, and the conditional mean stays the minimiser, so it adds no bias in HU.
    """
    added = (noisy - target).square().flatten(1).mean(dim=1)
    left = (output - target).square().flatten(1).mean(dim=1)
    return torch.mean(left / added.clamp_min(torch.finfo(added.dtype).eps))


def mean_squared_error(output: Tensor, target: Tensor) -> Tensor:
    """mean (output - target)^2; its minimiser is the conditional mean of the target."""
    return (output - target).square().mean()


def mean_absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """mean |output - target|; its minimiser is the conditional median of the target.

    With noise that is not symmetric, as at very few photons, the median is not the mean: a bias in HU.
    """
    return (output - target).abs().mean()


def charbonnier(output: Tensor, target: Tensor, *, epsilon: float = 1e-3) -> Tensor:
    """mean sqrt(d^2 + epsilon^2) - epsilon with d = output - target (Charbonnier et al. 1994, ICIP).

    Squared error below `epsilon`, absolute error above. The constant is taken off, so equal images cost
    nothing.
    """
    return torch.sqrt((output - target).square() + epsilon**2).mean() - epsilon


def ssim_loss(output: Tensor, target: Tensor, *, data_range: float, lowest: float = AIR) -> Tensor:
    """1 - SSIM (Wang et al. 2004, IEEE Trans. Image Process.), the mean over where the window fits.

    Gaussian window of 11 x 11 pixels with sigma 1.5, C1 = (0.01 data_range)^2, C2 = (0.03 data_range)^2,
    biased variances. `lowest` is taken off both images first, because the luminance term means nothing for
    values around zero, and water is at zero. Both are in scaled HU. Images are 11 x 11 at least.
    """
    a, b = _slices(output), _slices(target)
    window = _gaussian_window(a)
    maps = torch.cat([a, b, a * a, b * b, a * b], dim=1)
    maps = functional.conv2d(maps, window.reshape(1, 1, 11, 1).expand(5, -1, -1, -1), groups=5)
    maps = functional.conv2d(maps, window.reshape(1, 1, 1, 11).expand(5, -1, -1, -1), groups=5)
    mean_a, mean_b, square_a, square_b, product = maps.unbind(dim=1)
    variance_a = (square_a - mean_a * mean_a).clamp_min(0.0)  # rounding can take it below zero
    variance_b = (square_b - mean_b * mean_b).clamp_min(0.0)
    covariance = product - mean_a * mean_b
    mean_a, mean_b = mean_a - lowest, mean_b - lowest
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return 1.0 - (luminance * structure).mean()


def gradient_difference(output: Tensor, target: Tensor, *, squared: bool = False) -> Tensor:
    """Mean |S (output - target)|, or its square, with the two Sobel operators S, where they fit.

    The absolute one is in DU-GAN (Huang et al. 2022), the squared one in MAP-NN (Shan et al. 2019). The
    kernels are not normalised: a ramp of one a pixel has a derivative of 8.
    """
    edges = _derivatives(_slices(output - target))
    return edges.square().mean() if squared else edges.abs().mean()


def sobel(image: Tensor) -> Tensor:
    """sqrt(gx^2 + gy^2) of the two Sobel derivatives of every slice; what DU-GAN's second critic is shown.

    Not normalised, as in `gradient_difference`. The rim is continued by copies of itself, so the size stays.
    """
    edges = _derivatives(functional.pad(_slices(image), (1, 1, 1, 1), mode="replicate"))
    squared = edges.square().sum(dim=1, keepdim=True)
    tiny = 1e-12  # the root has no slope at zero
    return torch.sqrt(squared + tiny).reshape(image.shape)


def feature_distance(
    features_a: Sequence[Tensor], features_b: Sequence[Tensor], weights: Sequence[float]
) -> Tensor:
    """sum_s weights[s] mean (a_s - b_s)^2 over the stages s of an encoder (Johnson et al. 2016, ECCV).

    ValueError if there are not as many weights as stages.
    """
    stages = zip(weights, features_a, features_b, strict=True)
    return torch.stack([weight * mean_squared_error(a, b) for weight, a, b in stages]).sum()


def _slices(image: Tensor) -> Tensor:
    """`(b, c, [z,] y, x)` as `(n, 1, y, x)`."""
    return image.reshape(-1, 1, *image.shape[-2:])


def _gaussian_window(image: Tensor) -> Tensor:
    """`(11,)`, sum 1"""
    offsets = torch.arange(-5, 6, dtype=image.dtype, device=image.device)
    window = torch.exp(-0.5 * (offsets / 1.5).square())
    return window / window.sum()


def _derivatives(slices: Tensor) -> Tensor:
    """Sobel derivatives along x and y, `(n, 2, y - 2, x - 2)`."""
    along_x = slices.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    return functional.conv2d(slices, torch.stack([along_x, along_x.T])[:, None])


def _without_input(loss: Callable[[Tensor, Tensor], Tensor]) -> PixelLoss:
    def of_output_and_target(output: Tensor, _noisy: Tensor, target: Tensor) -> Tensor:
        return loss(output, target)

    return of_output_and_target


PIXEL_LOSSES: dict[str, PixelLoss] = {
    "share-of-noise-left": share_of_noise_left,
    "mse": _without_input(mean_squared_error),
    "l1": _without_input(mean_absolute_error),
    "charbonnier": _without_input(charbonnier),
    "ssim": _without_input(lambda output, target: ssim_loss(output, target, data_range=4.0)),
    "gradient": _without_input(gradient_difference),
    "gradient-l2": _without_input(lambda output, target: gradient_difference(output, target, squared=True)),
}
"""Every loss between images by its name. The data range of `ssim` is 2000 HU at the scale of 500."""
