"""What an input has that its denoised image lacks, as a few numbers: a conditional variational autoencoder.

Eulig et al. 2025: the encoder sees an input and its denoised image and gives latents, the decoder makes an
input of latents and the denoised image, and a critic that also sees the denoised image tells real inputs from
made ones. The decoder is that of BigGAN (Brock et al. 2019, ICLR). The small profile leaves out what keeps
small differences from being learned: normalisation, and bounds on the slope of every layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

LOG_VARIANCE = (-30.0, 10.0)
"""What the logarithm of a latent's variance is clamped to."""
_SLOPE = 0.2
_FIRST_LOG_VARIANCE = -5.0
_NARROWEST = 12
"""Channels of a ResNet: with 8, oneDNN's 1 x 1 convolutions of stride 2 write beyond their memory."""
_GAIN = 10.0
"""Differences of input and denoised image are noise, some hundredths of what images are scaled by."""


@dataclass(frozen=True)
class RepresentationSizes:
    """Of encoder, decoder and critic; the defaults are a small profile that two cores train in an hour."""

    side: int = 64
    """Pixels along a patch; `first` times a power of 2."""
    first: int = 8
    """Pixels along what the decoder begins with."""
    latents: int = 256
    spatial: bool = True
    """Whether latents have places: as many for each pixel that the decoder begins with."""
    code: int = 0
    """Latents without a place that condition each block; what is left becomes the first image."""
    encoder_layers: tuple[int, ...] = ()
    """Blocks of each stage of a ResNet; without any, plain convolutions that halve the side."""
    encoder_width: int = 24
    bottleneck: bool = False
    """Blocks of ResNet-50 and not of ResNet-18."""
    decoder_width: int = 16
    class_hidden: tuple[int, ...] = ()
    """Widths of the layers that give a soft choice of a class from the latents."""
    classes: int = 0
    """Without them there is no such choice."""
    embedding: int = 0
    """Of the class, for each block of the decoder."""
    attention: bool = False
    """Self-attention before the last block."""
    critic_width: int = 12
    as_published: bool = False
    """Normalised by batches, and by the largest singular value of every layer of the decoder."""
    noise: bool = True
    """Whether the decoder is given white noise at each block, to make texture of."""
    residual: bool = True
    """Whether encoder and decoder deal with the difference of input and denoised image."""

    @property
    def n_blocks(self) -> int:
        """Of the decoder, each of which doubles the side."""
        return (self.side // self.first).bit_length() - 1

    def __post_init__(self) -> None:
        if self.side != self.first * 2**self.n_blocks or self.n_blocks < 1:
            raise ValueError(
                f"patches of {self.side} pixels cannot be made by doubling {self.first}; take 64 or 128"
            )
        if self.encoder_layers and self.encoder_width < _NARROWEST:
            raise ValueError(f"an encoder {self.encoder_width} wide is too narrow; give {_NARROWEST} or more")
        if self.spatial and (self.code or self.latents % self.first**2):
            raise ValueError(
                f"{self.latents} latents, {self.code} of them for each block, cannot all have places; give a "
                f"multiple of {self.first**2} and no code"
            )
        if self.latents <= self.code * self.n_blocks:
            raise ValueError(
                f"{self.n_blocks} blocks with {self.code} latents each leave none of {self.latents} to begin "
                "with"
            )

    @property
    def n_cell(self) -> int:
        """Latents of each place; 0 where they have none."""
        return self.latents // self.first**2 if self.spatial else 0


SMALL = RepresentationSizes()
PUBLISHED = RepresentationSizes(
    side=128, first=4, latents=256, spatial=False, code=20, encoder_layers=(3, 4, 6, 3),
    encoder_width=64, bottleneck=True, decoder_width=96, class_hidden=(2000, 2000, 2000), classes=1000,
    embedding=128, attention=True, critic_width=64, as_published=True, noise=False, residual=False,
)  # fmt: skip
"""As the authors' public configuration, but for the start: their encoder has seen ImageNet, ours nothing."""


class Encoder(nn.Module):
    """Input and denoised image `(b, 1, y, x)` to mean and log variance of latents, `(b, latents)` each."""

    def __init__(self, sizes: RepresentationSizes) -> None:
        super().__init__()
        self.residual = sizes.residual
        self.trunk, n_features = _resnet(sizes) if sizes.encoder_layers else _halvings(sizes)
        n_given = sizes.n_cell if sizes.spatial else sizes.latents
        last = nn.Conv2d(n_features, 2 * n_given, 1)
        assert last.bias is not None
        with torch.no_grad():  # latents that begin as noise are never looked at
            last.bias[n_given:] = _FIRST_LOG_VARIANCE
        pooling = nn.AdaptiveAvgPool2d(sizes.first if sizes.spatial else 1)
        self.last = nn.Sequential(pooling, last, nn.Flatten())

    def forward(self, image: Tensor, denoised: Tensor) -> tuple[Tensor, Tensor]:
        shown = _GAIN * (image - denoised) if self.residual else image
        mean, log_variance = self.last(self.trunk(torch.cat([shown, denoised], dim=1))).chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE)


class Decoder(nn.Module):
    """Latents `(b, latents)` and denoised image `(b, 1, y, x)` to an input `(b, 1, y, x)`."""

    def __init__(self, sizes: RepresentationSizes) -> None:
        super().__init__()
        self.sizes = sizes
        n_blocks = sizes.n_blocks
        widths = [sizes.decoder_width * factor for factor in _widths(n_blocks)]
        self.n_first = sizes.latents - sizes.code * n_blocks
        self.first: nn.Module = (
            nn.Conv2d(sizes.n_cell, widths[0], 3, padding=1)
            if sizes.spatial
            else _bounded(nn.Linear(self.n_first, widths[0] * sizes.first**2), sizes)
        )
        self.classes = _classifier(sizes) if sizes.classes else None
        n_code = (sizes.n_cell or sizes.code) + sizes.embedding
        self.blocks = nn.ModuleList(
            _Block(n_in + 1, n_out, n_code, sizes) for n_in, n_out in pairwise(widths)
        )
        self.attention = _Attention(widths[-2]) if sizes.attention else None
        self.last_norm = ActNorm(widths[-1]) if sizes.as_published else nn.Identity()
        self.last = nn.Conv2d(widths[-1] + 1, 1, 3, padding=1)

    def forward(self, latents: Tensor, denoised: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """White noise, where the sizes have it, comes from `generator`; without one there is none."""
        shared = [] if self.classes is None else [self.classes(latents)]
        side = self.sizes.first
        if self.sizes.spatial:
            cells = latents.reshape(len(latents), self.sizes.n_cell, side, side)
            features, codes = self.first(cells), [cells.mean(dim=(2, 3))] * self.sizes.n_blocks
        else:
            features = self.first(latents[:, : self.n_first]).reshape(len(latents), -1, side, side)
            codes = list(latents[:, self.n_first :].chunk(self.sizes.n_blocks, dim=1))
        for number, (block, code) in enumerate(zip(self.blocks, codes, strict=True)):
            if self.attention is not None and number == len(self.blocks) - 1:
                features = self.attention(features)
            shown = torch.cat([features, _shrunk(denoised, features.shape[-1])], dim=1)
            features = block(shown, torch.cat([code, *shared], dim=1), generator)
        features = functional.relu(self.last_norm(features))
        image: Tensor = self.last(torch.cat([features, denoised], dim=1))
        return denoised + image / _GAIN if self.sizes.residual else image


class Critic(nn.Module):
    """An input, real or made, and its denoised image `(b, 1, y, x)` to a score `(b, 1)`."""

    def __init__(self, sizes: RepresentationSizes) -> None:
        super().__init__()
        widths = [sizes.critic_width * factor for factor in (1, 2, 4, 8, 8)][: sizes.n_blocks]
        steps: list[nn.Module] = [nn.Conv2d(2, widths[0], 4, 2, 1), nn.LeakyReLU(_SLOPE)]
        for n_in, n_out in pairwise(widths):
            steps += [nn.Conv2d(n_in, n_out, 4, 2, 1), nn.InstanceNorm2d(n_out, affine=True)]
            steps.append(nn.LeakyReLU(_SLOPE))
        left = sizes.side // 2 ** len(widths)
        steps += [
            nn.Conv2d(widths[-1], widths[-1], 3, padding=1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(widths[-1], 1, 1),
        ]
        steps += [nn.Flatten(), nn.Linear(left**2, 1)]
        self.layers = nn.Sequential(*steps)

    def forward(self, image: Tensor, denoised: Tensor) -> Tensor:
        score: Tensor = self.layers(torch.cat([image, denoised], dim=1))
        return score


class Representation(nn.Module):
    """Encoder and decoder, which learn together; the critic is needed for their training alone."""

    def __init__(self, sizes: RepresentationSizes = SMALL) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder, self.decoder = Encoder(sizes), Decoder(sizes)

    def encode(self, image: Tensor, denoised: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the latents, `(b, latents)` each."""
        found: tuple[Tensor, Tensor] = self.encoder(image, denoised)
        return found

    def decode(self, latents: Tensor, denoised: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """An input `(b, 1, y, x)`; with white noise of `generator`, or without."""
        image: Tensor = self.decoder(latents, denoised, generator)
        return image

    def forward(self, image: Tensor, denoised: Tensor) -> Tensor:
        """The input again, from the mean of its latents and without white noise."""
        mean, _ = self.encode(image, denoised)
        return self.decode(mean, denoised)


class ActNorm(nn.Module):
    """A scale and a shift for each channel, which start so that the first batch has unit variance.

    Kingma and Dhariwal 2018, NeurIPS.
    """

    known: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, width, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.register_buffer("known", torch.tensor(False))

    def forward(self, features: Tensor) -> Tensor:
        if self.training and not self.known:
            with torch.no_grad():
                self.scale.copy_(1 / features.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-6))
                self.shift.copy_(-(features * self.scale).mean(dim=(0, 2, 3), keepdim=True))
                self.known.fill_(True)
        return features * self.scale + self.shift


def _widths(n_blocks: int) -> list[int]:
    """Channels in units of the width: 16, 16, 8, 4, 2, 1 for five blocks, as BigGAN for 128 pixels."""
    halved = [2**exponent for exponent in range(n_blocks)][::-1]
    return [halved[0], *halved]


def _classifier(sizes: RepresentationSizes) -> nn.Sequential:
    steps: list[nn.Module] = []
    n_in = sizes.latents
    for width in sizes.class_hidden:
        steps += [nn.Linear(n_in, width), nn.LeakyReLU(0.01)]
        n_in = width
    steps += [nn.Linear(n_in, sizes.classes), nn.Softmax(dim=1)]
    return nn.Sequential(*steps, nn.Linear(sizes.classes, sizes.embedding, bias=False))


def _shrunk(image: Tensor, side: int) -> Tensor:
    """The nearest pixels of `image`, `side` along y and x."""
    return image if image.shape[-1] == side else functional.interpolate(image, (side, side), mode="nearest")


def _bounded(layer: nn.Module, sizes: RepresentationSizes) -> nn.Module:
    """`layer`, by its largest singular value where the sizes want that."""
    return spectral_norm(layer) if sizes.as_published else layer


def _resnet(sizes: RepresentationSizes) -> tuple[nn.Module, int]:
    """A ResNet without its head, and the channels that it gives."""
    widths = [sizes.encoder_width * 2**stage for stage in range(4)]
    trunk = ResNet(
        "bottleneck" if sizes.bottleneck else "basic", list(sizes.encoder_layers), widths, spatial_dims=2,
        n_input_channels=2, conv1_t_size=7, conv1_t_stride=1 if sizes.spatial else 2,
        no_max_pool=sizes.spatial, feed_forward=False, bias_downsample=False, norm="batch",
    )  # fmt: skip
    first = [trunk.conv1, trunk.bn1, trunk.act, *([] if sizes.spatial else [trunk.maxpool])]
    stages = [trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4]
    return nn.Sequential(*first, *stages), widths[-1] * (4 if sizes.bottleneck else 1)


def _halvings(sizes: RepresentationSizes) -> tuple[nn.Module, int]:
    """Convolutions down to the side that the decoder begins with, and the channels that they give."""
    widths = [min(2**stage, 3) * sizes.encoder_width for stage in range(sizes.n_blocks)]
    steps: list[nn.Module] = [nn.Conv2d(2, widths[0], 5, 2, 2), nn.SiLU()]
    for n_in, n_out in pairwise(widths):
        steps += [nn.Conv2d(n_in, n_out, 3, 2, 1), nn.SiLU()]
    steps += [nn.Conv2d(widths[-1], widths[-1], 3, padding=1), nn.SiLU()]
    return nn.Sequential(*steps), widths[-1]


class _Conditioned(nn.Module):
    """A scale and a shift that follow a code, after normalisation where the sizes have it."""

    def __init__(self, n_channels: int, n_code: int, sizes: RepresentationSizes) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(n_channels, affine=False) if sizes.as_published else nn.Identity()
        self.scale, self.shift = (
            _bounded(nn.Linear(n_code, n_channels, bias=False), sizes) for _ in range(2)
        )

    def forward(self, features: Tensor, code: Tensor) -> Tensor:
        scale, shift = (layer(code)[:, :, None, None] for layer in (self.scale, self.shift))
        normed: Tensor = self.norm(features) * (1 + scale) + shift
        return normed


class _Block(nn.Module):
    """BigGAN's residual block, which doubles the side."""

    def __init__(self, n_in: int, n_out: int, n_code: int, sizes: RepresentationSizes) -> None:
        super().__init__()
        self.noise = nn.Parameter(torch.zeros(1, n_out, 1, 1)) if sizes.noise else None
        self.first_norm = _Conditioned(n_in, n_code, sizes)
        self.second_norm = _Conditioned(n_out, n_code, sizes)
        self.first = _bounded(nn.Conv2d(n_in, n_out, 3, padding=1), sizes)
        self.second = _bounded(nn.Conv2d(n_out, n_out, 3, padding=1), sizes)
        self.beside = _bounded(nn.Conv2d(n_in, n_out, 1), sizes)

    def forward(self, features: Tensor, code: Tensor, generator: torch.Generator | None) -> Tensor:
        change = functional.relu(self.first_norm(features, code))
        change = self.first(functional.interpolate(change, scale_factor=2.0, mode="nearest"))
        if self.noise is not None and generator is not None:
            n, _, n_y, n_x = change.shape
            white = torch.randn(n, 1, n_y, n_x, generator=generator)
            change = change + self.noise * white.to(change.device)
        change = self.second(functional.relu(self.second_norm(change, code)))
        beside = functional.interpolate(self.beside(features), scale_factor=2.0, mode="nearest")
        together: Tensor = change + beside
        return together


class _Attention(nn.Module):
    """Self-attention as in SAGAN (Zhang et al. 2019, ICML), from nothing at the start."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.asked, self.offered = (spectral_norm(nn.Conv2d(n, n // 8, 1, bias=False)) for _ in range(2))
        self.value = spectral_norm(nn.Conv2d(n, n // 2, 1, bias=False))
        self.given = spectral_norm(nn.Conv2d(n // 2, n, 1, bias=False))
        self.share = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        n_b, _, n_y, n_x = features.shape
        asked = self.asked(features).flatten(2)
        offered, value = (
            functional.max_pool2d(layer(features), 2).flatten(2) for layer in (self.offered, self.value)
        )
        weights = torch.softmax(asked.transpose(1, 2) @ offered, dim=-1)  # (b, places, places / 4)
        found = (value @ weights.transpose(1, 2)).reshape(n_b, -1, n_y, n_x)
        together: Tensor = features + self.share * self.given(found)
        return together
