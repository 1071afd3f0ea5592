"""Trainable bilateral filters (Wagner et al. 2022, Med. Phys. 49, 5107).

Three filters one after the other, each with four weights: the standard deviations of its Gaussian along z, y
and x and over values. The authors' layers build only beside CUDA and take their window, 5 standard deviations
and at least 5 voxels, from the weights while they are trained; here it is plain arithmetic with windows that
stay as they are given, so that gradients have no jumps and the exported network is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowdose.networks.network import DenoisingNetwork


class Bilateral(DenoisingNetwork):
    """One filter for each of `radii`, the voxels along z, y and x that its window has on either side.

    Takes scaled HU `(b, 1 + 2 context, y, x)` of any size, gives the middle slice `(b, 1, y, x)`. Without
    neighbours, the standard deviation along z has no effect. `sigma_voxels` and `sigma_value`, the latter in
    scaled HU, are what training starts from. 12 weights.
    """

    def __init__(
        self,
        *,
        context: int = 0,
        radii: Sequence[Sequence[int]] = ((2, 2, 2), (2, 2, 2), (2, 2, 2)),
        sigma_voxels: float = 0.5,
        sigma_value: float = 0.01,
    ) -> None:
        super().__init__()
        self.context = context
        self.reach = sum(max(radius[1:]) for radius in radii)
        self.filters = nn.Sequential(
            *(_Filter(1 + 2 * context, radius, sigma_voxels, sigma_value) for radius in radii)
        )

    def forward(self, image: Tensor) -> Tensor:
        filtered: Tensor = self.filters(image)
        return filtered[:, self.context : self.context + 1]


class _Filter(nn.Module):
    """From `(b, z, y, x)` to the same; what lies outside has no weight."""

    def __init__(self, n_z: int, radius: Sequence[int], sigma_voxels: float, sigma_value: float) -> None:
        super().__init__()
        self.n_z = n_z
        self.radius = (min(radius[0], n_z - 1), radius[1], radius[2])
        self.sigma_z, self.sigma_y, self.sigma_x = (
            nn.Parameter(torch.tensor(float(sigma_voxels))) for _ in range(3)
        )
        self.sigma_value = nn.Parameter(torch.tensor(float(sigma_value)))

    def forward(self, volume: Tensor) -> Tensor:
        neighbours = self._in_plane(volume)  # (b, z, k, y, x)
        inside = self._in_plane(torch.ones_like(volume[:1, :1]))
        r_z, r_y, r_x = self.radius
        y, x = torch.meshgrid(_places(r_y, self.sigma_y), _places(r_x, self.sigma_x), indexing="ij")
        in_plane = (y**2 + x**2).reshape(-1, 1, 1)
        slices = []
        for z in range(self.n_z):  # by slice, since all neighbours at once would take too much memory
            first, end = max(0, z - r_z), min(self.n_z, z + r_z + 1)
            near = neighbours[:, first:end]
            along_z = _places(r_z, self.sigma_z)[first - z + r_z : end - z + r_z] ** 2
            over_values = ((near - volume[:, z, None, None]) / self.sigma_value) ** 2
            exponent = over_values + in_plane + along_z.reshape(-1, 1, 1, 1)
            weight = inside * torch.exp(-exponent / 2)
            slices.append((weight * near).sum((1, 2)) / weight.sum((1, 2)))
        return torch.stack(slices, dim=1)

    def _in_plane(self, volume: Tensor) -> Tensor:
        """Every pixel's neighbours in its slice, along a new axis; zero outside."""
        _, r_y, r_x = self.radius
        padded = functional.pad(volume, (r_x, r_x, r_y, r_y))
        n_y, n_x = volume.shape[2:]
        shifts = product(range(2 * r_y + 1), range(2 * r_x + 1))
        return torch.stack([padded[:, :, y : y + n_y, x : x + n_x] for y, x in shifts], dim=2)


def _places(radius: int, sigma: Tensor) -> Tensor:
    """Distances in standard deviations, across a window."""
    return torch.arange(-radius, radius + 1, device=sigma.device) / sigma
