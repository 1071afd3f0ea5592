"""The critic of WGAN-VGG (Yang et al. 2018, IEEE Trans. Med. Imaging), and with depth that of SMGAN.

Six convolutions without padding and two dense layers, so it judges patches of one size. No normalisation: a
gradient penalty needs scores that do not depend on the other samples.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.01
"""Of the leaky ReLU."""


class WganCritic(nn.Module):
    """Channels `width`, `width`, 2 `width`, 2 `width`, 4 `width`, 4 `width`, strides 1 and 2 in turn.

    Takes scaled HU `(b, 1, y, x)` with y = x = `patch`, gives scores `(b, 1)`. With `depth` it takes
    `(b, 1, depth, y, x)` through 3 x 3 x 3 kernels; along z they are padded and never stride, because
    SMGAN's three slices would not outlast one of them. ValueError if nothing of the patch is left at the end.
    """

    def __init__(
        self, *, width: int = 64, n_hidden: int = 1024, patch: int = 64, depth: int | None = None
    ) -> None:
        super().__init__()
        side = patch
        for stride in (1, 2) * 3:
            side = (side - 3) // stride + 1
        if side < 1:
            raise ValueError(f"a patch of {patch} pixels is too small for this critic; it needs 29")
        widths = [width, width, 2 * width, 2 * width, 4 * width, 4 * width]
        self.conv = nn.ModuleList(
            _convolution(n_in, n_out, stride, solid=depth is not None)
            for n_in, n_out, stride in zip([1, *widths[:-1]], widths, (1, 2) * 3, strict=True)
        )
        self.hidden = nn.Linear(4 * width * side * side * (depth or 1), n_hidden)
        self.score = nn.Linear(n_hidden, 1)

    def forward(self, image: Tensor) -> Tensor:
        features = image
        for convolve in self.conv:
            features = functional.leaky_relu(convolve(features), SLOPE)
        hidden = functional.leaky_relu(self.hidden(torch.flatten(features, 1)), SLOPE)
        scores: Tensor = self.score(hidden)
        return scores


def _convolution(n_in: int, n_out: int, stride: int, *, solid: bool) -> nn.Module:
    if solid:
        return nn.Conv3d(n_in, n_out, 3, stride=(1, stride, stride), padding=(1, 0, 0))
    return nn.Conv2d(n_in, n_out, 3, stride=stride)
