"""A cylinder of water, of any diameter."""

from __future__ import annotations

from lowdose.phantoms.layout import Layout, Module, five_regions


def water_layout(diameter: float = 200.0, depth: float = 100.0) -> Layout:
    """A uniform cylinder; both sizes in mm.

    Uniformity is measured at two thirds of the radius, in regions of a tenth of the diameter.
    """
    if not (diameter > 0 and depth > 0):
        raise ValueError(f"a water cylinder of {diameter:g} mm diameter and {depth:g} mm depth can't be made")
    module = Module(
        "water",
        "uniformity",
        0.0,
        depth,
        0.0,
        uniform=five_regions(diameter / 3, diameter / 10),
    )
    return Layout("water", "water cylinder", diameter, diameter, 0.0, (module,))
