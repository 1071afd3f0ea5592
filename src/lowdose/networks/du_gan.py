"""The generator of DU-GAN (Huang et al. 2022, IEEE Trans. Instrum. Meas. 71).

What the authors' code trains: RED-CNN's idea with padded 3 x 3 kernels, twice the layers, a third of the
width and a skip at every layer. ldct-benchmark's "dugan" is the published RED-CNN instead: see
`lowdose.networks.red_cnn`. The authors' last ReLU is left out by default, since scaled HU may be negative.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from lowdose.networks.network import DenoisingNetwork


class DuGan(DenoisingNetwork):
    """`n_layers` convolutions and as many transposed ones, each added to what its mirror image was given.

    Takes and gives scaled HU `(b, 1, y, x)` of any size. 185,569 weights as published.
    """

    def __init__(self, *, width: int = 32, n_layers: int = 11, final_relu: bool = False) -> None:
        super().__init__()
        self.reach = 2 * n_layers
        self.final_relu = final_relu
        widths = [1] + [width] * n_layers
        self.encoder = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 3, padding=1) for a, b in pairwise(reversed(widths))
        )
        for layer in (*self.encoder, *self.decoder):
            # So small that at first nearly nothing is added to the input.
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> Tensor:
        features, given = image, []
        for convolution in self.encoder:
            given.append(features)
            features = torch.relu(convolution(features))
        for convolution in self.decoder:
            features = convolution(features) + given.pop()
            if given or self.final_relu:
                features = torch.relu(features)
        return features
