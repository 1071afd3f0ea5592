"""Small networks made with torch, as ONNX files and as model folders."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lowdose.provenance import sha256_of_file


class SmallVolumeNetwork(nn.Module):
    """Two convolutions of 3 cubed around a level at half the grid: an output voxel sees 5 voxels around."""

    multiple, reach = 2, 5

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Conv3d(1, 4, 3, padding=1)
        self.pooled = nn.Conv3d(4, 4, 3, padding=1)
        self.last = nn.Conv3d(4, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        fine = torch.relu(self.first(image))
        coarse = torch.relu(self.pooled(nn.functional.max_pool3d(fine, 2)))
        whole = fine + nn.functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        return image + self.last(whole)


class Channels(nn.Module):
    """Each of `n_out` images is a fixed sum of what is shown: `image[j] = sum_i weights[j][i] shown[i]`."""

    def __init__(self, weights: list[list[float]]) -> None:
        super().__init__()
        self.mix = nn.Conv2d(len(weights[0]), len(weights), 1, bias=False)
        with torch.no_grad():
            self.mix.weight.copy_(torch.tensor(weights)[:, :, None, None])

    def forward(self, image: Tensor) -> Tensor:
        mixed: Tensor = self.mix(image)
        return mixed


def write_onnx(network: nn.Module, path: Path, *shape: int, fixed: bool = False) -> Path:
    """`network` as ONNX for inputs of `shape`, whose axes but the channels may be of any length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    free = {axis: f"axis{axis}" for axis in range(len(shape)) if axis != 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the exporter warns of its own future
        torch.onnx.export(
            network.eval(),
            (torch.zeros(*shape),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["shown"],
            output_names=["denoised"],
            dynamic_axes=None if fixed else {"shown": free, "denoised": free},
        )
    return path


def write_model(folder: Path, network: nn.Module, *shape: int, **card: Any) -> Path:
    """A model folder around `network`, whose card says `card` and the shortest of everything else."""
    onnx = write_onnx(network, folder / "model.onnx", *shape)
    content = {
        **dict.fromkeys(("summary", "architecture", "dose_range", "kernels", "training"), "as tested"),
        **{"name": "small", "version": "1", "sizes": {}, "slice_thickness_mm": "any", "dose_gain": 4.0},
        **{"offset_hu": 0.0, "scale_hu": 100.0, "trained_range_hu": [-1200.0, 3071.0]},
        **{"data": [], "metrics": [], "known_limits": [], "onnx_sha256": sha256_of_file(onnx)},
        **card,
    }
    (folder / "card.json").write_text(json.dumps(content), encoding="utf-8")
    return folder
