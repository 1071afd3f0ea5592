"""Q-AE, a quadratic autoencoder (Fan et al. 2020, IEEE Trans. Med. Imaging 39, 2035).

Its neuron is quadratic in its inputs: (w_r x + b_r) (w_g x + b_g) + w_b x^2 + b_b. The paper draws w_g at
random, with which ldct-benchmark saw training diverge; the authors' code starts it at zero, and so do we: at
first the network is linear between its ReLUs. As in ldct-benchmark no ReLU follows the last layer, since
scaled HU may be negative.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lowdose.networks.network import DenoisingNetwork


class QuadraticAutoencoder(DenoisingNetwork):
    """Five quadratic convolutions and five transposed ones of 3 x 3 pixels and `width` channels.

    Takes and gives scaled HU `(b, 1, y, x)`. 49,818 weights at the published width.
    """

    reach = 10

    def __init__(self, *, width: int = 15) -> None:
        super().__init__()
        # Only the innermost layer and its mirror image have no padding.
        self.encoder = nn.ModuleList(
            _Quadratic(nn.Conv2d, 1 if i == 0 else width, width, int(i < 4)) for i in range(5)
        )
        self.decoder = nn.ModuleList(
            _Quadratic(nn.ConvTranspose2d, width, 1 if i == 4 else width, int(i > 0)) for i in range(5)
        )

    def forward(self, image: Tensor) -> Tensor:
        features, encoded = image, []
        for layer in self.encoder:
            features = torch.relu(layer(features))
            encoded.append(features)
        skips = {0: encoded[3], 2: encoded[1], 4: image}
        for i, layer in enumerate(self.decoder):
            features = layer(features)
            if i in skips:
                features = features + skips[i]
            if i < 4:
                features = torch.relu(features)
        return features


class _Quadratic(nn.Module):
    """A layer of quadratic neurons."""

    def __init__(
        self, kind: type[nn.Conv2d] | type[nn.ConvTranspose2d], n_in: int, n_out: int, padding: int
    ) -> None:
        super().__init__()
        self.linear, self.gate, self.square = (kind(n_in, n_out, 3, padding=padding) for _ in range(3))
        nn.init.trunc_normal_(self.linear.weight, std=0.1, a=-0.2, b=0.2)
        for layer, bias in ((self.linear, 0.0), (self.gate, 1.0), (self.square, 0.0)):
            nn.init.constant_(layer.bias, bias)  # type: ignore[arg-type]
        for layer in (self.gate, self.square):
            nn.init.zeros_(layer.weight)

    def forward(self, features: Tensor) -> Tensor:
        quadratic: Tensor = self.linear(features) * self.gate(features) + self.square(features * features)
        return quadratic
