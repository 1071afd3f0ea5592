"""MAP-NN: one small network applied again and again (Shan et al. 2019, Nature Machine Intelligence).

Every application removes some more noise, and all images on the way are results: the reader picks the one
denoised as far as the task allows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lowdose.networks.cpce_2d import Cpce2d
from lowdose.networks.network import DenoisingNetwork


class MapNn(DenoisingNetwork):
    """x <- x + f(x), `depth` times with the same f, the CPCE network of `width` channels: 62 016 weights.

    Takes scaled HU `(b, 1, y, x)`, gives `(b, depth, y, x)`: the image after each application, the last one
    the result. As published every image is clipped to 0..1, which is an option, `clip`, because scaled HU
    exceeds that. The last layer of f starts at zero, so the untrained network is the identity.
    """

    def __init__(self, *, width: int = 32, depth: int = 5, clip: bool = False) -> None:
        super().__init__()
        self.levels = depth
        self.clip = clip
        self.block = Cpce2d(width=width)
        self.reach = depth * self.block.reach
        nn.init.zeros_(self.block.deconv[3].weight)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        images = []
        for _ in range(self.levels):
            image = image + self.block(image)
            if self.clip:
                image = image.clamp(0.0, 1.0)
            images.append(image)
        return torch.cat(images, dim=1)
