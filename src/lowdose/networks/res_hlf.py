"""Res-HLF: a noise predictor for a hybrid loss, our reading of a network that is named and not described.

Where it is compared, no layers are given; the likely source is Ma et al. 2020, IEEE Access (noise learning
with a hybrid loss of a least-squares adversarial, an absolute and a structural term). The layers here are
ours: as many as in the networks it is compared with.
"""

from __future__ import annotations

from torch import Tensor, nn

from lowdose.networks.network import DenoisingNetwork


class ResHlf(DenoisingNetwork):
    """Eight 3 x 3 convolutions of `width` channels with ReLU between them; the output is image - noise.

    Takes and gives scaled HU `(b, 1, y, x)`. The last layer starts at zero: the untrained network is the
    identity.
    """

    reach = 8

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in in (1, *[width] * 6):
            layers += [nn.Conv2d(n_in, width, 3, padding=1), nn.ReLU(inplace=True)]
        last = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.noise = nn.Sequential(*layers, last)

    def forward(self, image: Tensor) -> Tensor:
        noise: Tensor = self.noise(image)
        return image - noise
