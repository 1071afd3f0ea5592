"""A trained network with its card, ready to denoise: slice by slice, or tile by tile along three axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lowdose.models.card import ONNX, ModelCard, load_card
from lowdose.models.foreign import is_onnx_name, load_foreign
from lowdose.models.tiles import Demand, Span, Tiling, best_tiling, tiled
from lowdose.provenance import Step
from lowdose.scan import Scan

Images = NDArray[np.float32]

N_STREAMS = 2
"""Slices that a network computes side by side: so reading and writing delay one of them, never all cores."""

MEMORY_MB = 1500.0
"""What a network that looks along three axes may take for its tiles and for the slices at hand."""


class DenoisingError(RuntimeError):
    """A denoiser gave values that must not become an image."""


class ModelDenoiser:
    """A trained network with its card, run by OpenVINO. Values outside the trained range pass through.

    A `Denoiser`, or a `SlabDenoiser` where the card says three dimensions: then it works tile by tile within
    `memory_mb`, and what comes out does not depend on the tiles.
    """

    def __init__(self, place: Path, *, n_streams: int = N_STREAMS, memory_mb: float = MEMORY_MB) -> None:
        """From a model folder, or from an ONNX file with a small card beside it."""
        from lowdose.models.runtime import OpenVinoNetwork  # 0.3 s, which filters and --help need not spend

        self.card: ModelCard = model_card(place)
        # A tile is large enough to keep all cores busy, and two of them at once would need twice the memory.
        self.n_streams = n_streams if self.card.dimensions == 2 else 1
        self.memory_mb = memory_mb
        self._network = OpenVinoNetwork(
            place if is_onnx_name(place) else place / ONNX, n_streams=self.n_streams
        )
        self._demand = Demand(self.card.halo, self.card.multiple, self.card.bytes_per_voxel)

    @property
    def context(self) -> int:
        return self.card.context

    def slabs(self, shape: tuple[int, int, int]) -> tuple[Span, ...] | None:
        if self.card.dimensions == 2:
            return None
        return self._demand.spans(shape[0], self.tiling(shape).extents[0], axis=0)

    def tiling(self, shape: tuple[int, int, int], *, whole_z: bool = False) -> Tiling:
        """The tiles that a scan of `shape` is cut into where the network looks along three axes."""
        return best_tiling(shape, self._demand, int(self.memory_mb * 1e6), whole_z=whole_z)

    def __call__(self, hu: Images) -> Images:
        """As a `Denoiser`; where the network looks along three axes, `(b, z, y, x)` to the same shape."""
        if self.card.dimensions == 3:
            return np.stack([self.of_slab(volume, slice(None)) for volume in hu])
        return self._passing(hu[:, self.context : self.context + 1], self._on_slices(hu))

    def of_slab(self, hu: Images, kept: slice) -> Images:
        n_z, n_y, n_x = hu.shape
        tiling = self.tiling((n_z, n_y, n_x), whole_z=True)
        output = tiled(hu, tiling, self._demand, self._on_tile, kept)
        for original, slice_ in zip(hu[kept], output, strict=True):
            self._passing(original, slice_)
        return output

    def _passing(self, hu: Images, output: Images) -> Images:
        """`output` with the values of `hu` where these lie outside the trained range."""
        lowest, highest = self.card.trained_range_hu
        outside = (hu < lowest) | (hu > highest)
        if outside.any():
            np.copyto(output, hu, where=outside)
        return output

    def _on_slices(self, hu: Images) -> Images:
        n_y, n_x = hu.shape[2:]
        margin = [(0, 0), (0, 0), *((0, -n % self.card.multiple) for n in (n_y, n_x))]
        if any(after for _, after in margin):
            hu = np.pad(hu, margin, mode="edge")
        return self._computed(hu)[:, :, :n_y, :n_x]

    def _on_tile(self, hu: Images) -> Images:
        denoised: Images = self._computed(hu[None, None])[0, 0]
        return denoised

    def _computed(self, hu: Images) -> Images:
        lowest, highest = self.card.trained_range_hu
        scaling = self.card.scaling
        shown = scaling.scaled(np.clip(hu, lowest, highest))
        try:
            output = scaling.unscaled(self._network(shown))
        except RuntimeError as error:
            sides = " x ".join(map(str, hu.shape[2:]))
            raise DenoisingError(
                f"{self.card.name} cannot compute images of {sides}; use another method"
            ) from error
        np.clip(output, lowest, highest, out=output)
        return output

    def describe(self) -> Step:
        card = self.card
        gain = {} if card.dose_gain is None else {"dose_gain": card.dose_gain}
        return Step(card.name, {"version": card.version, "network": card.digest, **gain})

    def cautions(self, scan: Scan) -> tuple[str, ...]:
        """Sentences that a user should see before trusting what this makes of `scan`."""
        needed = self.tiling(scan.shape).n_bytes / 1e6 if self.card.dimensions == 3 else 0.0
        if needed <= self.memory_mb:
            return self.card.cautions(scan)
        more = f"{self.card.name} needs about {needed:.0f} MB for slices of this size, more than usual"
        return (*self.card.cautions(scan), more)


def model_card(place: Path) -> ModelCard:
    """The card of the model in a folder or an ONNX file; ModelError if it has none or does not fit it."""
    return load_foreign(place) if is_onnx_name(place) else load_card(place)
