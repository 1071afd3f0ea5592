"""What every architecture tells of itself, so that nobody has to ask which one it is."""

from __future__ import annotations

from torch import Tensor, nn


class DenoisingNetwork(nn.Module):
    """A network from scaled HU to scaled HU on the same grid.

    With `dimensions` 2 it takes `(b, 1 + 2 context, y, x)`, a slice with its neighbours, and gives
    `(b, levels, y, x)`; with 3 it takes and gives `(b, 1, z, y, x)`. Subclasses take their sizes as keywords,
    `width` among them where they have one, and set what differs from here.
    """

    dimensions: int = 2
    context: int = 0
    """Neighbouring slices that it is shown on either side."""
    multiple: int = 1
    """The lengths of the spatial axes must be multiples of it."""
    levels: int = 1
    """Images that it gives, each denoised more than the one before; the last is its result."""
    reach: int = 0
    """Voxels along an axis beyond which the input cannot matter; 0 if that has no limit or is not known."""

    def forward(self, image: Tensor) -> Tensor:
        raise NotImplementedError
