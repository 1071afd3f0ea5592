"""Lesions put into a real scan through its projections, so that they look as its scanner would show them.

Projection and filtered back projection are linear: the lesion alone is projected and reconstructed with the
kernel that was measured on the scan, and the result is added to the image. Nothing else of the scan changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lowdose.lesions import Box, Lesion, LesionError
from lowdose.physics.dose import DoseSimulator
from lowdose.physics.lesion_model import LesionModel
from lowdose.physics.projector import Projector
from lowdose.physics.reconstruction import fbp
from lowdose.provenance import Step
from lowdose.scan import Scan, Slice
from lowdose.units import mu_difference_to_hu


def slice_thickness(scan: Scan) -> float:
    """mm that a slice averages over: what the header says, else the distance of the slices."""
    return scan.acquisition.slice_thickness or scan.spacing[0]


def with_lesions(
    simulator: DoseSimulator, models: Sequence[LesionModel]
) -> tuple[DoseSimulator, tuple[Lesion, ...]]:
    """The scan of `simulator` with the lesions in it, ready to be simulated at lower doses, and their boxes.

    A box lies around where a slice gets at least half of a lesion's contrast, before any blur by the scanner.
    Without lesions every slice is the scan's own, to the bit; so is padding. LesionError for a lesion that no
    slice shows.
    """
    scan = simulator.scan
    lesions = tuple(_lesion(scan, model) for model in models)

    def read(z: int) -> Slice:
        slice_ = scan.read(z)
        added = _ideal(scan, models, z)
        if not added.any():
            return slice_
        seen = as_reconstructed(simulator, added)
        return Slice(np.where(slice_.padding, slice_.hu, slice_.hu + seen), slice_.padding)

    inserted = scan.with_slices(read, _step(models))
    return simulator.of(inserted), lesions


def as_reconstructed(simulator: DoseSimulator, added: NDArray[np.float32]) -> NDArray[np.float32]:
    """`added` `[y, x]` in HU as the scanner shows it: projected, and reconstructed with the scan's kernel."""
    scanner, grid = simulator.scanner, simulator.grid
    sinogram = Projector(grid, scanner.plane)(added * np.float32(scanner.water_mu / 1000))
    image = fbp(scanner.plane, grid, sinogram, simulator.calibration.kernel)
    return mu_difference_to_hu(image, scanner.water_mu)


def _ideal(scan: Scan, models: Sequence[LesionModel], z: int) -> NDArray[np.float32]:
    """What the lesions add to slice `z`, float32 `[y, x]` in HU, as a perfect scanner would show it."""
    added = np.zeros(scan.shape[1:], np.float32)
    thickness, spacing = slice_thickness(scan), scan.spacing
    for model in models:
        if abs(z * spacing[0] - model.centre[0]) > model.reach + thickness / 2:
            continue
        rows, columns = model.pixels(spacing[1:], scan.shape[1:])
        added[rows, columns] += model.slab(z * spacing[0], thickness, spacing[1:], rows, columns)
    return added


def _lesion(scan: Scan, model: LesionModel) -> Lesion:
    boxes: dict[int, tuple[Box, ...]] = {}
    reach = model.reach + slice_thickness(scan) / 2
    first = max(0, int(np.floor((model.centre[0] - reach) / scan.spacing[0])))
    last = min(len(scan) - 1, int(np.ceil((model.centre[0] + reach) / scan.spacing[0])))
    for z in range(first, last + 1):
        box = model.box(z * scan.spacing[0], slice_thickness(scan), scan.spacing[1:], scan.shape[1:])
        if box is not None:
            boxes[z] = (box,)
    if not boxes:
        raise LesionError(
            f"{scan.name}: no slice shows half of the contrast of a {model.kind} of "
            f"{2 * max(model.radii):.0f} mm at {model.centre[0]:.0f} mm; place it within the scan or take a "
            "larger one"
        )
    return Lesion(model.kind, boxes)


def _step(models: Sequence[LesionModel]) -> Step:
    return Step(
        "insert-lesions",
        {
            "lesions": [
                {
                    "kind": model.kind,
                    "centre_mm": [round(value, 2) for value in model.centre],
                    "radii_mm": [round(value, 2) for value in model.radii],
                    "contrast_hu": round(model.contrast, 1),
                    "margin_mm": round(model.margin, 2),
                    "texture_hu": round(model.texture, 1),
                    "bumps": len(model.bumps),
                }
                for model in models
            ]
        },
    )
