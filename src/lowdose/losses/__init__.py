"""Losses on scaled HU, `(b, c, [z,] y, x)`: between images, and of critics."""

from __future__ import annotations

from lowdose.losses.adversarial import (
    cutmix,
    cutmix_inconsistency,
    gradient_penalty,
    lsgan_loss,
    wgan_critic_loss,
    wgan_generator_loss,
)
from lowdose.losses.alignment import absolute_error_within, roughness, warped
from lowdose.losses.image import (
    PIXEL_LOSSES,
    PixelLoss,
    charbonnier,
    feature_distance,
    gradient_difference,
    mean_absolute_error,
    mean_squared_error,
    share_of_noise_left,
    sobel,
    ssim_loss,
)

__all__ = [
    "PIXEL_LOSSES",
    "PixelLoss",
    "absolute_error_within",
    "charbonnier",
    "cutmix",
    "cutmix_inconsistency",
    "feature_distance",
    "gradient_difference",
    "gradient_penalty",
    "lsgan_loss",
    "mean_absolute_error",
    "mean_squared_error",
    "roughness",
    "share_of_noise_left",
    "sobel",
    "ssim_loss",
    "warped",
    "wgan_critic_loss",
    "wgan_generator_loss",
]
