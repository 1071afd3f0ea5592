"""The generator of WGAN-VGG (Yang et al. 2018, IEEE Trans. Med. Imaging 37, 1348).

Eight layers without a skip; what is particular to the method is in its losses. As in ldct-benchmark no ReLU
follows the last layer, since scaled HU may be negative.
"""

from __future__ import annotations

from torch import Tensor, nn

from lowdose.networks.network import DenoisingNetwork


class WganVgg(DenoisingNetwork):
    """Eight convolutions of 3 x 3 pixels with `width` channels, ReLU between them.

    Takes and gives scaled HU `(b, 1, y, x)` of any size. 56,097 weights at the published width.
    """

    reach = 8

    def __init__(self, *, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU())
        for _ in range(6):
            self.layers.extend([nn.Conv2d(width, width, 3, padding=1), nn.ReLU()])
        self.layers.append(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        denoised: Tensor = self.layers(image)
        return denoised
