"""CPCE on several slices: the middle one denoised with the help of its neighbours (Shan et al. 2018).

`cpce_2d.py` whose first convolutions are 3 x 3 x 3 and lose two slices each, until one is left. A trained 2-D
network can be its start: the 2-D kernels go into the middle plane of the 3-D ones, with zeros beside them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lowdose.networks.network import DenoisingNetwork


class Cpce3d(DenoisingNetwork):
    """`n_slices` of 3, 5, 7 or 9 in, the middle one out; 62 592 to 117 888 weights at the published width.

    Takes scaled HU `(b, n_slices, y, x)`, gives `(b, 1, y, x)`. The publication ends in a ReLU: `final_relu`.
    ValueError for another number of slices.
    """

    reach = 8

    def __init__(self, *, width: int = 32, n_slices: int = 3, final_relu: bool = False) -> None:
        super().__init__()
        if n_slices not in (3, 5, 7, 9):
            raise ValueError(f"CPCE-3D takes 3, 5, 7 or 9 slices, not {n_slices}")
        self.context = n_slices // 2
        self.final_relu = final_relu
        self.conv = nn.ModuleList(
            nn.Conv3d(1 if layer == 0 else width, width, (_depth(layer, n_slices), 3, 3), bias=False)
            for layer in range(4)
        )
        self.deconv = nn.ModuleList(
            nn.ConvTranspose2d(width, n, 3, bias=False) for n in (width, width, width, 1)
        )
        self.merge = nn.ModuleList(nn.Conv2d(2 * width, width, 1, bias=False) for _ in range(3))

    def forward(self, image: Tensor) -> Tensor:
        features = image[:, None]  # (b, 1, z, y, x)
        conveyed = []
        for convolve in self.conv:
            features = torch.relu(convolve(features))
            conveyed.append(features[:, :, features.shape[2] // 2])  # the middle slice
        flat = conveyed.pop()
        for widen, merge in zip(self.deconv[:3], self.merge, strict=True):
            widened = torch.relu(widen(flat))
            flat = torch.relu(merge(torch.cat([widened, conveyed.pop()], dim=1)))
        result: Tensor = self.deconv[3](flat)
        return torch.relu(result) if self.final_relu else result


def inflated(cpce_2d_state_dict: Mapping[str, Tensor], n_slices: int) -> dict[str, Tensor]:
    """The weights of a `Cpce3d` that computes on its middle slice what the given `Cpce2d` does.

    The 2-D kernels are the middle planes of the 3-D ones; the planes beside them are zero and learn from
    there (Shan et al. 2018, transfer from 2-D).
    """
    weights = dict(cpce_2d_state_dict)
    for layer in range(4):
        name = f"conv.{layer}.weight"
        plane = weights[name]  # (out, in, 3, 3)
        depth = _depth(layer, n_slices)
        kernel = plane.new_zeros(*plane.shape[:2], depth, 3, 3)
        kernel[:, :, depth // 2] = plane
        weights[name] = kernel
    return weights


def _depth(layer: int, n_slices: int) -> int:
    """Slices that the kernel of a convolution spans: 3 until one slice is left."""
    return 3 if layer < n_slices // 2 else 1
