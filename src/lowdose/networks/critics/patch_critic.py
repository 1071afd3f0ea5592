"""A critic of patches (Isola et al. 2017, CVPR: PatchGAN): a score for every 70 x 70 pixels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchCritic(nn.Module):
    """4 x 4 convolutions: `n_strided` of stride 2, from `width` channels doubling up to 8 `width`, two of
    stride 1.

    Takes scaled HU `(b, 1, y, x)`, gives scores `(b, 1, y', x')`, one for each place. With three strided
    layers a score sees 70 x 70 pixels. There is no batch normalisation, which the publication has; with
    `spectral` the layers are spectrally normalised instead (Miyato et al. 2018, ICLR).
    """

    def __init__(self, *, width: int = 64, n_strided: int = 3, spectral: bool = False) -> None:
        super().__init__()
        widths = [width * min(2**layer, 8) for layer in range(n_strided + 1)]
        strides = [2] * n_strided + [1]
        layers: list[nn.Module] = []
        for n_in, n_out, stride in zip([1, *widths[:-1]], widths, strides, strict=True):
            convolution = nn.Conv2d(n_in, n_out, 4, stride=stride, padding=1)
            layers += [spectral_norm(convolution) if spectral else convolution, nn.LeakyReLU(0.2)]
        score = nn.Conv2d(widths[-1], 1, 4, padding=1)
        self.layers = nn.Sequential(*layers, spectral_norm(score) if spectral else score)

    def forward(self, image: Tensor) -> Tensor:
        scores: Tensor = self.layers(image)
        return scores
