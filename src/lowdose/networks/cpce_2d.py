"""CPCE: a conveying-path convolutional encoder-decoder (Shan et al. 2018, IEEE Trans. Med. Imaging).

Four convolutions without padding, four transposed ones that give the lost rim back, and paths that carry the
features of the first half to the second. Nothing in it has a bias.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lowdose.networks.network import DenoisingNetwork


class Cpce2d(DenoisingNetwork):
    """Four 3 x 3 convolutions and four transposed ones of `width` channels, 62 016 weights as published.

    Takes and gives scaled HU `(b, 1, y, x)` with y and x of 9 at least. The publication ends in a ReLU, which
    suits values from 0 to 1 and cuts off everything below 0; scaled HU can be negative, so `final_relu` is
    off by default.
    """

    reach = 8

    def __init__(self, *, width: int = 32, final_relu: bool = False) -> None:
        super().__init__()
        self.final_relu = final_relu
        self.conv = nn.ModuleList(nn.Conv2d(n, width, 3, bias=False) for n in (1, width, width, width))
        self.deconv = nn.ModuleList(
            nn.ConvTranspose2d(width, n, 3, bias=False) for n in (width, width, width, 1)
        )
        self.merge = nn.ModuleList(nn.Conv2d(2 * width, width, 1, bias=False) for _ in range(3))

    def forward(self, image: Tensor) -> Tensor:
        conveyed = [torch.relu(self.conv[0](image))]  # each 2 pixels shorter than the one before
        for convolve in self.conv[1:]:
            conveyed.append(torch.relu(convolve(conveyed[-1])))
        features = conveyed.pop()
        for widen, merge in zip(self.deconv[:3], self.merge, strict=True):
            widened = torch.relu(widen(features))
            features = torch.relu(merge(torch.cat([widened, conveyed.pop()], dim=1)))
        result: Tensor = self.deconv[3](features)
        return torch.relu(result) if self.final_relu else result
