"""The low-contrast body phantom MITA CCT189: four faint rods in a cylinder of 200 mm.

Rods and positions after the phantom definition `CCT189_obj` of the FDA's LCD_CT toolbox (CC0).
"""

from __future__ import annotations

from lowdose.phantoms.layout import Insert, Layout, Module, Region, five_regions

_DIAMETER_MM = 200.0
_ROD_DISTANCE_MM = 40.0
_RODS = ((3.0, 14.0, -45.0), (5.0, 7.0, -135.0), (7.0, 5.0, 135.0), (10.0, 3.0, 45.0))
"""Diameter in mm, contrast in HU, angle."""


def mita_layout(*, rods: bool = True, depth: float = 40.0) -> Layout:
    """The CCT189 with its rods or, for images without signal, without them; `depth` in mm."""
    inserts = tuple(
        Insert(f"{diameter:g} mm, {hu:g} HU", _ROD_DISTANCE_MM, angle, diameter, hu)
        for diameter, hu, angle in _RODS
    )
    backgrounds = tuple(
        Region(f"background {number}", _ROD_DISTANCE_MM, angle, 20.0)
        for number, angle in enumerate((0.0, 90.0, 180.0, -90.0), 1)
    )
    module = Module(
        "disk",
        "low contrast" if rods else "uniformity",
        0.0,
        depth,
        0.0,
        inserts=inserts if rods else (),
        backgrounds=backgrounds,
        uniform=five_regions(66.0, 20.0),
    )
    name, title = ("mita", "MITA CCT189") if rods else ("mita-uniform", "MITA CCT189 without rods")
    return Layout(name, title, _DIAMETER_MM, _DIAMETER_MM, 0.0, (module,))


MITA = mita_layout()
