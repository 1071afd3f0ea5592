"""RED-CNN, a residual encoder-decoder (Chen et al. 2017, IEEE Trans. Med. Imaging 36, 2524).

Convolutions without padding shrink the image by four pixels each, transposed ones grow it back. The paper
ends in a ReLU, which cuts off what is negative; scaled HU may be negative, so by default it is left out, as
in ldct-benchmark.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lowdose.networks.network import DenoisingNetwork


class RedCnn(DenoisingNetwork):
    """Five convolutions and five transposed ones, all of 5 x 5 pixels and `width` channels.

    Takes and gives scaled HU `(b, 1, y, x)`, y and x at least 21. `final_relu` makes the result positive.
    1,848,865 weights at the published width.
    """

    reach = 10 * 2

    def __init__(self, *, width: int = 96, final_relu: bool = False) -> None:
        super().__init__()
        self.final_relu = final_relu
        self.encoder = nn.ModuleList(nn.Conv2d(1 if i == 0 else width, width, 5) for i in range(5))
        self.decoder = nn.ModuleList(nn.ConvTranspose2d(width, 1 if i == 4 else width, 5) for i in range(5))

    def forward(self, image: Tensor) -> Tensor:
        features, encoded = image, []
        for convolution in self.encoder:
            features = torch.relu(convolution(features))
            encoded.append(features)
        skips = {0: encoded[3], 2: encoded[1], 4: image}  # added before the ReLU of these layers
        for i, convolution in enumerate(self.decoder):
            features = convolution(features)
            if i in skips:
                features = features + skips[i]
            if i < 4 or self.final_relu:
                features = torch.relu(features)
        return features
