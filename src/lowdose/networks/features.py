"""Encoders whose features perceptual losses compare: our own encoder of CT, and VGG19.

A perceptual loss is the distance between two images in the features of a network that stays as it is
(Johnson et al. 2016, ECCV); low-dose CT took VGG19 for it (Yang et al. 2018, IEEE Trans. Med. Imaging).
"""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.1
"""Of the leaky ReLU of our own encoder; with some slope everywhere, no feature stops teaching."""

VGG19_SOURCE = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class WeightsError(Exception):
    """A file of weights cannot be used; the message names it, what is wrong, and where to get it."""


class CtEncoder(nn.Module):
    """`n_stages` of two 3 x 3 convolutions, halved by averaging between them, `width` channels doubling.

    Takes scaled HU `(b, 1, y, x)`; y and x are multiples of 2^(n_stages - 1) lest the averages lose a rim.
    Gives the features of every stage, finest first: `(b, width 2^s, y / 2^s, x / 2^s)`.
    """

    def __init__(self, *, width: int = 16, n_stages: int = 4) -> None:
        super().__init__()
        widths = [width * 2**stage for stage in range(n_stages)]
        self.stages = nn.ModuleList(
            nn.Sequential(_convolution(n_in, n_out), _convolution(n_out, n_out))
            for n_in, n_out in zip([1, *widths[:-1]], widths, strict=True)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        features = [self.stages[0](image)]
        for stage in self.stages[1:]:
            features.append(stage(functional.avg_pool2d(features[-1], 2)))
        return features


class CtAutoencoder(nn.Module):
    """A `CtEncoder` and a light decoder that paints in what was masked.

    Its training is that of context encoders (Pathak et al. 2016, CVPR) on `with_blocks_masked`. Takes
    and gives scaled HU `(b, 1, y, x)`, y and x multiples of 2^(n_stages - 1). The decoder sees the coarsest
    features alone: with paths beside them, the finer stages could copy what was not masked.
    """

    def __init__(self, *, width: int = 16, n_stages: int = 4) -> None:
        super().__init__()
        self.encoder = CtEncoder(width=width, n_stages=n_stages)
        widths = [width * 2**stage for stage in reversed(range(n_stages))]
        steps: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            steps += [nn.ConvTranspose2d(n_in, n_out, 2, stride=2), _convolution(n_out, n_out)]
        self.decoder = nn.Sequential(*steps, nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, masked: Tensor) -> Tensor:
        image: Tensor = self.decoder(self.encoder(masked)[-1])
        return image


def with_blocks_masked(
    image: Tensor, generator: torch.Generator, *, block: int = 8, share: float = 0.25
) -> tuple[Tensor, Tensor]:
    """Images with random blocks replaced by their mean, and where: `(masked, mask)`, the mask 1 where hidden.

    The blocks are the cells of a grid of `block` pixels, each hidden with the probability `share`; the images
    are `(b, 1, y, x)`. The mean is that of the whole image, so that what is hidden does not stand out in HU.
    """
    n, _, n_y, n_x = image.shape
    cells = torch.rand(n, 1, -(-n_y // block), -(-n_x // block), generator=generator, device=generator.device)
    hidden = (cells < share).to(image.device).repeat_interleave(block, dim=2).repeat_interleave(block, dim=3)
    mask = hidden[..., :n_y, :n_x].to(image.dtype)
    mean = image.mean(dim=(1, 2, 3), keepdim=True)
    return torch.where(mask > 0, mean, image), mask


VGG19_STAGES = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512, 512, 512, 512))
"""Channels of the convolutions of VGG19 (Simonyan and Zisserman 2015), configuration E; pooled in between."""


class Vgg19Features(nn.Module):
    """Features of VGG19 after the convolutions named in `layers`, before their ReLU: "conv1_1" to "conv5_4".

    The weights are named as torchvision names them, `features.N.weight`, and are random until loaded; they
    never learn. Takes scaled HU `(b, 1, y, x)`. `window` is what is shown of it, also in scaled HU: its ends
    become 0 and 1, what lies outside becomes its nearer end, and the three channels are normalised as for
    ImageNet. Layers beyond the last one named are not built. ValueError for unknown names.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, *, window: tuple[float, float], layers: tuple[str, ...] = ("conv5_4",)) -> None:
        super().__init__()
        places = vgg19_layers()
        unknown = sorted(set(layers) - set(places))
        if unknown or not layers:
            raise ValueError(f"layers of VGG19 are conv1_1 to conv5_4, not {', '.join(unknown) or 'none'}")
        self.window = window
        self.wanted = tuple(places[layer] for layer in layers)
        built: list[nn.Module] = []
        n_in = 3
        for stage in VGG19_STAGES:
            for n_out in stage:
                built += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU()]
                n_in = n_out
            built.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*built[: max(self.wanted) + 1])
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(IMAGENET_DEVIATION).reshape(1, 3, 1, 1), persistent=False
        )
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features in the order of `layers`."""
        low, high = self.window
        shown = ((image - low) / (high - low)).clamp(0.0, 1.0)
        values = (shown - self.mean) / self.deviation  # (b, 3, y, x)
        found = {}
        for place, layer in enumerate(self.features):
            values = layer(values)
            if place in self.wanted:
                found[place] = values
        return [found[place] for place in self.wanted]


def vgg19_layers() -> dict[str, int]:
    """Where each convolution stands among the layers: conv1_1 at 0, conv5_4 at 34."""
    places, place = {}, 0
    for stage, widths in enumerate(VGG19_STAGES, start=1):
        for layer in range(1, len(widths) + 1):
            places[f"conv{stage}_{layer}"] = place
            place += 2  # the convolution and its ReLU
        place += 1  # the pooling
    return places


def load_vgg19(
    path: Path, *, window: tuple[float, float], layers: tuple[str, ...] = ("conv5_4",)
) -> Vgg19Features:
    """VGG19 with the weights in a `.safetensors` file or a `.pth` file as PyTorch hosts it.

    A `.pth` file is read as weights alone: no code in it runs. WeightsError if it cannot be used.
    """
    network = Vgg19Features(window=window, layers=layers)
    weights = _read(path)
    expected = network.state_dict()
    for name, value in expected.items():
        if name not in weights:
            raise _unusable(path, f"holds no '{name}'")
        if weights[name].shape != value.shape:
            shape = " x ".join(map(str, weights[name].shape))
            raise _unusable(path, f"holds a '{name}' of {shape} values")
    network.load_state_dict({name: weights[name] for name in expected})
    return network.eval()


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise _unusable(path, "is not there") from None
    except (OSError, RuntimeError, EOFError, ValueError, SafetensorError, pickle.UnpicklingError):
        raise _unusable(path, "cannot be read as weights") from None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise _unusable(path, "holds something else than named weights")
    return weights


def _unusable(path: Path, problem: str) -> WeightsError:
    return WeightsError(f"{path}: {problem}; the weights of VGG19 are at {VGG19_SOURCE}")


def _convolution(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, padding=1), nn.LeakyReLU(SLOPE))
