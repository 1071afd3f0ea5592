"""A critic that gives a whole image one score (CTA-GAN: Lyu et al. 2023, Radiology 309(2))."""

from __future__ import annotations

from torch import Tensor, nn


class WholeCritic(nn.Module):
    """4 x 4 convolutions of `width`, 2, 4 and 8 `width` channels with instance normalisation; scores are
    averaged over the image.

    Takes scaled HU `(b, n_images, y, x)`, gives `(b, 1)`; with `n_images` 2 it judges an image beside the one
    it was made from. 2,762,689 weights as published.
    """

    def __init__(self, *, width: int = 64, n_images: int = 1) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(n_images, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for n, stride in ((width, 2), (2 * width, 2), (4 * width, 1)):
            layers += [
                nn.Conv2d(n, 2 * n, 4, stride=stride, padding=1),
                nn.InstanceNorm2d(2 * n),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.layers(images).mean(dim=(2, 3))
        return scores
