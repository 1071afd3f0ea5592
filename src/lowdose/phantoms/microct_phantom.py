"""A test object for micro-CT of mice, 28 mm wide: rods of several materials, a uniform part, and bars.

A generic layout, no maker's, as thick as a mouse; HU are those of a 50 kV beam, as of the digital mouse. The
13 mm around z = 0 show all three sections, so that one scan with a low panel is enough; the object goes on
beyond them and has no end in the beam.
"""

from __future__ import annotations

from lowdose.phantoms.layout import Bars, Insert, Layout, Module, Region, five_regions

_BODY_HU = 50.0
_ROD_MM, _ROD_DISTANCE_MM = 3.0, 8.5
_RODS = (
    ("iodine 1", 150.0, 0.0),
    ("bone", 1050.0, 45.0),
    ("water", 0.0, 90.0),
    ("iodine 2", 250.0, 135.0),
    ("fat", -110.0, 180.0),
    ("iodine 4", 450.0, -135.0),
    ("lesion", 80.0, -90.0),
    ("air", -1000.0, -45.0),
)
"""Name, HU and angle; soft tissue is what lies around them."""
_BAR_HU, _BAR_DISTANCE_MM, _BAR_LENGTH_MM, _N_BARS = 1050.0, 7.2, 1.6, 4
_BAR_GROUPS = ((10.0, 0.0), (15.0, 90.0), (20.0, 180.0), (25.0, -90.0))
"""Line pairs per cm and angle."""

_INSERTS = Module(
    "rods",
    "sensitometry",
    -5.2,
    8.0,
    _BODY_HU,
    inserts=tuple(Insert(name, _ROD_DISTANCE_MM, angle, _ROD_MM, hu) for name, hu, angle in _RODS),
    backgrounds=(Region("background", 0.0, 0.0, 8.0),),
)
_UNIFORM = Module("uniform", "uniformity", 0.8, 4.0, _BODY_HU, uniform=five_regions(8.0, 4.0))
_BARS = Module(
    "bars",
    "resolution",
    6.8,
    8.0,
    _BODY_HU,
    bars=tuple(
        Bars(line_pairs, _N_BARS, _BAR_DISTANCE_MM, angle, _BAR_LENGTH_MM, 8.0, _BAR_HU)
        for line_pairs, angle in _BAR_GROUPS
    ),
    backgrounds=(Region("background", 0.0, 0.0, 6.0),),
)

MICRO_CT = Layout(
    name="micro-ct-phantom",
    title="micro-CT phantom",
    diameter=28.0,
    bore=28.0,
    housing_hu=_BODY_HU,
    modules=(_INSERTS, _UNIFORM, _BARS),
)
