"""TransCT, a transformer over two frequency bands (Zhang et al. 2021, MICCAI).

A Gaussian splits the slice. Convolutions and an encoder with attention read the low band; the high band, in
patches of 16 x 16 pixels, asks that memory for what belongs to it. As in the authors' code the tokens are
positions and none is told where it lies, so any matrix will do; theirs has one set of weights for queries and
keys and a ReLU at the end, which scaled HU do not allow. ldct-benchmark made the 256 channels the tokens and
positions their features: `tokens="channels"` computes what its checkpoints do, at one matrix.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowdose.networks.network import DenoisingNetwork

_PATCH = 16
_CHANNELS = _PATCH**2  # of a patch, and so of everything that is added to it
_N_HEADS = 8


class TransCt(DenoisingNetwork):
    """Three layers of attention over the low band and three over the high band.

    Takes and gives scaled HU `(b, 1, y, x)`; y and x must be multiples of 16. With `tokens="channels"` both
    must be `matrix`, a multiple of 128. `width` is that of the middle layer after each attention; the patches
    fix all others. Memory grows with the square of the number of pixels.
    """

    multiple = _PATCH

    def __init__(
        self,
        *,
        width: int = 2048,
        tokens: Literal["positions", "channels"] = "positions",
        matrix: int = 512,
    ) -> None:
        super().__init__()
        if tokens not in ("positions", "channels"):
            raise ValueError(f"tokens is {tokens!r}; it must be 'positions' or 'channels'")
        self.of_channels = tokens == "channels"
        size = memory_size = _CHANNELS
        if self.of_channels:
            self.multiple = matrix
            size, memory_size = (matrix // 16) ** 2, (matrix // 32) ** 2
        widening = width / _CHANNELS
        self.low_quarter = nn.Sequential(_halve(1, 16), _halve(16, 32))
        self.low_eighth = _halve(32, 64)
        self.low_sixteenth = _halve(64, _CHANNELS)
        self.low_tokens = nn.Sequential(_halve(32, 64), _halve(64, 128), _halve(128, _CHANNELS))
        self.encoder = nn.ModuleList(_Layer(memory_size, None, widening, self.of_channels) for _ in range(3))
        self.high_tokens = nn.Sequential(*(_keep(_CHANNELS) for _ in range(3)))
        self.decoder = nn.ModuleList(_Layer(size, memory_size, widening, self.of_channels) for _ in range(3))
        self.sixteenth = nn.Sequential(_keep(_CHANNELS), _keep(_CHANNELS))
        self.eighth = nn.Sequential(_keep(64), _keep(64))

    def forward(self, image: Tensor) -> Tensor:
        if self.of_channels:
            self._check_matrix(image)
        low = _blurred(image)
        quarter = self.low_quarter(low)
        eighth = self.low_eighth(quarter)
        memory = self._tokens(self.low_tokens(quarter))
        for layer in self.encoder:
            memory = layer(memory, memory)
        high = self.high_tokens(functional.pixel_unshuffle(image - low, _PATCH))  # (b, 256, y/16, x/16)
        tokens = self._tokens(high)
        for layer in self.decoder:
            tokens = layer(tokens, memory)
        attended = tokens if self.of_channels else tokens.transpose(1, 2)
        features = attended.reshape(high.shape) + self.low_sixteenth(eighth)
        features = _depth_to_space(features + self.sixteenth(features)) + eighth
        return functional.pixel_shuffle(features + self.eighth(features), 8)

    def _check_matrix(self, image: Tensor) -> None:
        n_y, n_x = image.shape[2:]
        if not torch.onnx.is_in_onnx_export() and (n_y, n_x) != (self.multiple, self.multiple):
            raise ValueError(
                f"channels as tokens need {self.multiple} x {self.multiple} pixels, not {n_y} x {n_x}"
            )

    def _tokens(self, features: Tensor) -> Tensor:
        flat = features.flatten(2)  # (b, channels, positions)
        return flat if self.of_channels else flat.transpose(1, 2)


class _Layer(nn.Module):
    """Attention of the tokens among themselves, then to the memory where there is one, then a pair of
    layers with a wide middle."""

    def __init__(self, size: int, memory_size: int | None, widening: float, activated: bool) -> None:
        super().__init__()
        self.to_itself = _Attention(size, size)
        self.to_memory = None if memory_size is None else _Attention(size, memory_size)
        middle = round(widening * size)
        self.feed_forward = nn.Sequential(nn.Linear(size, middle), nn.LeakyReLU(0.2), nn.Linear(middle, size))
        if activated:  # ldct-benchmark alone does so
            self.feed_forward.append(nn.LeakyReLU(0.2))

    def forward(self, tokens: Tensor, memory: Tensor) -> Tensor:
        tokens = tokens + self.to_itself(tokens, tokens)
        if self.to_memory is not None:
            tokens = tokens + self.to_memory(tokens, memory)
        change: Tensor = self.feed_forward(tokens)
        return tokens + change


class _Attention(nn.Module):
    """What `nn.MultiheadAttention` computes; that one exports with a fixed number of tokens."""

    def __init__(self, size: int, memory_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(size, size)
        self.key, self.value = nn.Linear(memory_size, size), nn.Linear(memory_size, size)
        self.output = nn.Linear(size, size)

    def forward(self, tokens: Tensor, memory: Tensor) -> Tensor:
        query, key, value = (  # (b, heads, tokens, size / heads) each
            torch.unflatten(projected, 2, (_N_HEADS, -1)).transpose(1, 2)
            for projected in (self.query(tokens), self.key(memory), self.value(memory))
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        attended: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return attended


def _blurred(image: Tensor) -> Tensor:
    """By a Gaussian of 1.5 pixels in a window of 11; the kernel is as precise as the image."""
    line = torch.exp(-0.5 * (torch.arange(-5, 6, dtype=image.dtype, device=image.device) / 1.5) ** 2)
    line = line / line.sum()
    padded = functional.pad(image, (5, 5, 5, 5), mode="reflect")
    return functional.conv2d(padded, torch.outer(line, line)[None, None])


def _halve(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, 5, stride=2, padding=2), nn.LeakyReLU(0.2))


def _keep(n: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n, n, 3, padding=1), nn.LeakyReLU(0.2))


def _depth_to_space(features: Tensor) -> Tensor:
    """To 2 x 2 pixels, in TensorFlow's order of channels: those of one pixel lie together."""
    by_pixel = torch.unflatten(features, 1, (4, -1)).transpose(1, 2).flatten(1, 2)
    return functional.pixel_shuffle(by_pixel, 2)
