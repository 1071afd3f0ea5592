"""CNN-10 (Chen et al. 2017, Biomed. Opt. Express 8, 679).

Three layers, whatever its name says. As in ldct-benchmark the convolutions keep the matrix; nothing is
added to the input, so it has to learn the whole image.
"""

from __future__ import annotations

from torch import Tensor, nn

from lowdose.networks.network import DenoisingNetwork


class Cnn10(DenoisingNetwork):
    """Kernels of 9, 3 and 5 pixels with `width`, `width / 2` and 1 channels.

    Takes and gives scaled HU `(b, 1, y, x)` of any size. 24,513 weights at the published width.
    """

    reach = 4 + 1 + 2

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 9, padding=4),
            nn.ReLU(),
            nn.Conv2d(width, width // 2, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width // 2, 1, 5, padding=2),
        )

    def forward(self, image: Tensor) -> Tensor:
        denoised: Tensor = self.layers(image)
        return denoised
