"""Networks that others trained: checkpoints of ldct-benchmark (Eulig et al. 2024, Med. Phys. 51, 8776).

Only weights are read; a file that asks for code to be run is refused. Every weight must find its place, so
that what is returned computes the function that was trained. HU are scaled as in that package's training,
v = HU + 1024 and (v - mean) / std or v / 4095. Its public `denormalize` adds the standard deviation in place
of the mean, 20.7 HU too much; we don't.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lowdose.models.card import HuScaling
from lowdose.networks import NETWORKS
from lowdose.networks.network import DenoisingNetwork

State = Mapping[str, Tensor]

SCALINGS = {
    "meanstd": HuScaling(481.45419786099086 - 1024.0, 502.18507379395044),
    "minmax": HuScaling(-1024.0, 4095.0),
}
"""By the name that ldct-benchmark gives them; all of its published networks have the first."""


class ForeignWeightsError(Exception):
    """One sentence: which file, and why its weights cannot be used."""


@dataclass(frozen=True)
class _Foreign:
    """One of their networks: ours that computes the same, what its weights are called, and its sizes."""

    ours: str
    renamed: Mapping[str, str]
    """Parts of their names and of ours; all are replaced at once."""
    sizes: Callable[[State], dict[str, Any]]
    """From the weights under our names."""


def load_ldct_benchmark(path: Path, name: str) -> tuple[DenoisingNetwork, HuScaling, dict[str, Any]]:
    """The network, in eval mode, that the checkpoint at `path` holds, with its HU scaling and sizes.

    `name` is theirs, a key of LDCT_BENCHMARK. ForeignWeightsError if the file cannot be read without
    running code, or does not hold exactly the weights of that network.
    """
    foreign = LDCT_BENCHMARK.get(name)
    if foreign is None:
        raise ForeignWeightsError(f"{name} is none of ldct-benchmark's networks: {', '.join(LDCT_BENCHMARK)}")
    content = _content(path)
    given = _state(content, path)
    try:
        state = _renamed(given, foreign.renamed)
        sizes = foreign.sizes(state)
        network = NETWORKS[foreign.ours](**sizes)
    except (KeyError, IndexError, ValueError, RuntimeError, OverflowError) as error:
        raise _other_architecture(path, name, f"they tell of no sizes ({error})") from error
    needed = network.state_dict()
    if missing := needed.keys() - state.keys():
        raise _other_architecture(path, name, f"{len(missing)} are missing, among them {min(missing)}")
    if surplus := state.keys() - needed.keys():
        raise _other_architecture(path, name, f"{len(surplus)} have no place, among them {min(surplus)}")
    for key, value in needed.items():
        if value.shape != state[key].shape:
            shapes = f"{tuple(state[key].shape)} and not {tuple(value.shape)}"
            raise _other_architecture(path, name, f"the shape of {key} is {shapes}")
    network.load_state_dict(state)
    return network.eval(), _scaling(content, path), sizes


def _content(path: Path) -> Any:
    try:
        # Their training stores its options beside the weights: a Namespace is data, and runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ForeignWeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a damaged or hostile file fails in any way
        raise ForeignWeightsError(
            f"{path}: not a PyTorch checkpoint that holds weights alone, and nothing else is loaded from it"
        ) from error


def _state(content: Any, path: Path) -> dict[str, Tensor]:
    """The weights by name, wherever in the file they are."""
    if isinstance(content, Mapping):
        for state in (content.get("model_state_dict"), content.get("state_dict"), content):
            if isinstance(state, Mapping) and state and all(isinstance(v, Tensor) for v in state.values()):
                return {str(key): value for key, value in state.items()}
    raise ForeignWeightsError(
        f"{path}: holds no weights, neither as its content nor as model_state_dict or state_dict"
    )


def _renamed(state: State, parts: Mapping[str, str]) -> dict[str, Tensor]:
    """Under our names; the projections that `nn.MultiheadAttention` keeps in one are taken apart."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if parts:
            pattern = "|".join(re.escape(part) for part in parts)
            key = re.sub(pattern, lambda found: parts[found[0]], key)
        name, joint, kind = key.rpartition("in_proj_")
        if joint:
            for layer, third in zip(("query", "key", "value"), value.chunk(3), strict=False):
                renamed[f"{name}{layer}.{kind}"] = third
        else:
            renamed[key] = value
    return renamed


def _scaling(content: Any, path: Path) -> HuScaling:
    options = content.get("args")
    name = getattr(options, "data_norm", "meanstd")
    if name not in SCALINGS:
        raise ForeignWeightsError(f"{path}: its HU are scaled by {name}, which is not known here")
    return SCALINGS[name]


def _other_architecture(path: Path, name: str, why: str) -> ForeignWeightsError:
    return ForeignWeightsError(f"{path}: these are not the weights of ldct-benchmark's {name}: {why}")


def _width(layer: str) -> Callable[[State], dict[str, Any]]:
    return lambda state: {"width": state[f"{layer}.weight"].shape[0]}


def _resnet_sizes(state: State) -> dict[str, Any]:
    blocks = {key.split(".")[1] for key in state if key.startswith("blocks.")}
    return {"width": state["first.weight"].shape[0], "n_blocks": len(blocks)}


def _transct_sizes(state: State) -> dict[str, Any]:
    n_patches = state["decoder.0.to_itself.query.weight"].shape[0]
    return {"tokens": "channels", "matrix": 16 * math.isqrt(n_patches)}


def _bilateral_sizes(state: State) -> dict[str, Any]:
    """Their windows: 5 standard deviations rounded up to an odd number, and at least 5."""
    n_filters = len({key.split(".")[1] for key in state})
    radii = [
        [max(math.ceil((5.0 * state[f"filters.{i}.sigma_{axis}"]).item()) | 1, 5) // 2 for axis in "zyx"]
        for i in range(n_filters)
    ]
    return {"radii": radii}


_RED_CNN = _Foreign(
    "red-cnn",
    {
        **{f"conv{i + 1}.": f"encoder.{i}." for i in range(5)},
        **{f"tconv{i + 1}.": f"decoder.{i}." for i in range(5)},
    },
    _width("encoder.0"),
)

LDCT_BENCHMARK: dict[str, _Foreign] = {
    "cnn10": _Foreign("cnn-10", {}, _width("layers.0")),
    "redcnn": _RED_CNN,
    "wganvgg": _Foreign("wgan-vgg", {"net.": "layers."}, _width("layers.0")),
    "resnet": _Foreign("resnet", {"in_conv.": "first.", "out_conv.": "last."}, _resnet_sizes),
    "qae": _Foreign(
        "q-ae",
        {
            "W_r": "linear.weight",
            "b_r": "linear.bias",
            "W_g": "gate.weight",
            "b_g": "gate.bias",
            "W_b": "square.weight",
            "b_b": "square.bias",
        },
        _width("encoder.0.linear"),
    ),
    "dugan": _RED_CNN,  # theirs has RED-CNN for its generator
    "transct": _Foreign(
        "transct",
        {
            "conv_encoder_lf.base_encoder.0.": "low_quarter.0.0.",
            "conv_encoder_lf.base_encoder.2.": "low_quarter.1.0.",
            "conv_encoder_lf.lc1.": "low_eighth.",
            "conv_encoder_lf.lc2.": "low_sixteenth.",
            "conv_encoder_lf.transformer_endoder.0.": "low_tokens.0.0.",
            "conv_encoder_lf.transformer_endoder.2.": "low_tokens.1.0.",
            "conv_encoder_lf.transformer_endoder.4.": "low_tokens.2.0.",
            "conv_encoder_hf.0.": "high_tokens.0.0.",
            "conv_encoder_hf.2.": "high_tokens.1.0.",
            "conv_encoder_hf.4.": "high_tokens.2.0.",
            "combine.block1.0.": "sixteenth.0.0.",
            "combine.block1.2.": "sixteenth.1.0.",
            "combine.block2.0.": "eighth.0.0.",
            "combine.block2.2.": "eighth.1.0.",
            "memory.": "encoder.",
            "mha.": "to_itself.",
            "mha1.": "to_itself.",
            "mha2.": "to_memory.",
            "q_proj_weight": "query.weight",
            "k_proj_weight": "key.weight",
            "v_proj_weight": "value.weight",
            "out_proj.": "output.",
            "ff.": "feed_forward.",
        },
        _transct_sizes,
    ),
    # Their x is the first axis of the image, rows, and ours is the last.
    "bilateral": _Foreign(
        "bilateral",
        {"sigma_x": "sigma_y", "sigma_y": "sigma_x", "color_sigma": "sigma_value"},
        _bilateral_sizes,
    ),
}
"""Their networks by their names for them."""
