"""Critics: networks that tell denoised images from real ones; one a file, keyword sizes.

All take scaled HU `(b, 1, y, x)`. `unet-critic` gives two logits, the others one tensor of scores.
"""

from __future__ import annotations

from torch import nn

from lowdose.networks.critics.patch_critic import PatchCritic
from lowdose.networks.critics.unet_critic import UnetCritic
from lowdose.networks.critics.wgan_critic import WganCritic
from lowdose.networks.critics.whole_critic import WholeCritic

CRITICS: dict[str, type[nn.Module]] = {
    "wgan-critic": WganCritic,
    "patch-critic": PatchCritic,
    "unet-critic": UnetCritic,
    "whole-critic": WholeCritic,
}
"""Every critic by its name: the one place where names become classes."""
