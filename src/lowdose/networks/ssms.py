"""SSMS: the generator of the structurally sensitive multi-scale network (You et al. 2018, IEEE Access).

Known as SMGAN: eight convolutions that see flat and solid neighbourhoods in turn, trained on SSIM, the
absolute error and a Wasserstein critic.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowdose.networks.network import DenoisingNetwork


class Ssms(DenoisingNetwork):
    """Eight convolutions without padding: the odd ones 1 x 3 x 3, the even ones 3 x 3 x 3 (z, y, x).

    Seven have `width` channels and a ReLU, the last has one channel. As published they take 80 x 80 x 11
    voxels to 64 x 64 x 3; here the input is first extended by the 8 pixels and 4 slices that they lose on
    either side, with copies of its rim, so scaled HU `(b, 1, z, y, x)` keeps its size.
    """

    dimensions = 3
    reach = 8

    def __init__(self, *, width: int = 32) -> None:
        super().__init__()
        n_channels = [1, *[width] * 7, 1]
        self.conv = nn.ModuleList(
            nn.Conv3d(n_channels[layer], n_channels[layer + 1], (3 if layer % 2 else 1, 3, 3))
            for layer in range(8)
        )

    def forward(self, image: Tensor) -> Tensor:
        features = functional.pad(image, (8, 8, 8, 8, 4, 4), mode="replicate")
        for convolve in self.conv[:7]:
            features = torch.relu(convolve(features))
        result: Tensor = self.conv[7](features)
        return result
