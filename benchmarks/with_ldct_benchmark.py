"""ldct-benchmark's side of `ldct_benchmark.py`: its networks with random weights, and what they compute.

    PYTHON benchmarks/with_ldct_benchmark.py FOLDER

Leaves NAME.pt, a checkpoint as its training writes it, and NAME.npz: images in HU, what the network makes of
them in its own units, in single and in double precision, and what the package's public `denoise_numpy` makes
of them in HU.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from importlib import import_module
from importlib.metadata import version
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch


def supply_operators() -> torch.library.Library | None:
    """Let torchvision be imported beside a torch for the CPU, for its Python code alone, as long as what is
    returned lives.
    """
    try:
        import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


class FilterByDefinition(torch.nn.Module):
    """What `bilateral_filter_layer.BilateralFilter3d` does, voxel by voxel, by its definition: that package
    builds only beside CUDA. Images are (b, 1, x, y, z).
    """

    def __init__(self, x: float, y: float, z: float, value: float, use_gpu: bool) -> None:  # noqa: ARG002
        super().__init__()
        self.sigma_x, self.sigma_y, self.sigma_z, self.color_sigma = (
            torch.nn.Parameter(torch.tensor(sigma)) for sigma in (x, y, z, value)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        sigmas = [float(s.detach()) for s in (self.sigma_x, self.sigma_y, self.sigma_z)]
        radii = [max(int(np.ceil(np.float32(5) * np.float32(s))) | 1, 5) // 2 for s in sigmas]
        given = image.detach().numpy().astype(np.float64)
        result = np.empty_like(given)
        for b, *here in np.ndindex(given[:, 0].shape):
            home, weights, values = given[(b, 0, *here)], [], []
            for shift in product(*(range(-r, r + 1) for r in radii)):
                there = [place + step for place, step in zip(here, shift, strict=True)]
                if all(0 <= place < n for place, n in zip(there, given.shape[2:], strict=True)):
                    value = given[(b, 0, *there)]
                    steps = (*shift, value - home)
                    widths = (*sigmas, float(self.color_sigma.detach()))
                    exponent = sum((d / s) ** 2 for d, s in zip(steps, widths, strict=True))
                    weights.append(np.exp(-exponent / 2))
                    values.append(value)
            result[(b, 0, *here)] = np.average(values, weights=weights)
        return torch.from_numpy(result).to(image.dtype)


def supply_filter() -> str:
    """Where the bilateral layer comes from."""
    try:
        import_module("bilateral_filter_layer")
    except ImportError:
        stand_in: Any = ModuleType("bilateral_filter_layer")
        stand_in.BilateralFilter3d = FilterByDefinition
        sys.modules["bilateral_filter_layer"] = stand_in
        return "its definition, voxel by voxel"
    return "bilateral_filter_layer"


def randomise(network: torch.nn.Module, spread: float) -> None:
    """No weight and no running statistic is left as it was before training."""
    for weight in network.parameters():
        if weight.ndim == 0:
            weight.data.uniform_(0.4, 1.4)
        else:
            fan_in = weight[0].numel() if weight.ndim > 1 else 100
            weight.data += spread * fan_in**-0.5 * torch.randn_like(weight)
    for value in network.buffers():
        if value.is_floating_point():
            value += 0.3 * torch.rand_like(value)


def main() -> int:
    folder = Path(sys.argv[1])
    operators = supply_operators()
    layer = supply_filter()
    hub = import_module("ldctbench.hub.load_model")
    denoise = import_module("ldctbench.hub.utils").denoise_numpy
    normalize = import_module("ldctbench.evaluate.utils").normalize
    for seed, (name, published) in enumerate(sorted(hub.CHECKPOINTS.items())):
        torch.manual_seed(seed)
        module = import_module(f"ldctbench.methods.{name}.network")
        options = Namespace(**{**published["args"], "cuda": False, "data_norm": published["normalization"]})
        network = getattr(module, published["model_name"])(options, **published["kwargs"]).eval()
        randomise(network, 0.3 if name == "qae" else 1.0)  # products of ten layers soon overflow
        shape = {"transct": (1, 512, 512), "bilateral": (2, 24, 20)}.get(name, (2, 88, 72))
        generator = np.random.default_rng(seed)
        structures = np.kron(generator.uniform(-1000, 1500, (shape[0], 4, 4)), np.ones((128, 128)))
        hu = structures[:, : shape[1], : shape[2]] + 30.0 * generator.standard_normal(shape)
        hu = np.clip(hu, -1024, 3071).astype(np.float32)
        stored = hu + np.float32(1024)
        scaled = normalize(torch.from_numpy(stored), normalization=published["normalization"])
        with torch.no_grad():
            output = network(scaled[:, None])[:, 0].numpy()
        public = denoise(stored, method=network, device=torch.device("cpu")).reshape(shape) - 1024
        state = {"args": options, "iteration": 0, "model_state_dict": network.state_dict()}
        torch.save(state, folder / f"{name}.pt")
        with torch.no_grad():
            double = network.double()(scaled[:, None].double())[:, 0].numpy()
        found = {"hu": hu, "scaled": scaled.numpy(), "output": output, "double": double, "public": public}
        np.savez(folder / f"{name}.npz", **found)
    versions = {"ldct-benchmark": version("ldct-benchmark"), "torch": torch.__version__, "bilateral": layer}
    versions["torchvision"] = version("torchvision") + (", its Python code alone" if operators else "")
    np.savez(folder / "versions.npz", **versions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
