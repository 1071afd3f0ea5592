"""The CT accreditation phantom of the American College of Radiology, Gammex 464.

Four modules of 40 mm depth and 200 mm diameter (ACR, *Instruction manual for testing the ACR CT phantom*).
Positions are those that pylinac (MIT licence) uses to analyse it; the pass bands are the accreditation
programme's. A comment that says *memory* marks a number without a citable source.

Left out of the digital twin, because nothing here measures them: the slice-thickness ramps and the beads.
"""

from __future__ import annotations

from lowdose.phantoms.layout import Bars, Insert, Layout, Module, Region, five_regions

_DEPTH_MM = 40.0
_ROD_DISTANCE_MM = 63.0
_ROD_MM = 25.0  # memory

_SENSITOMETRY = Module(
    "module 1: CT numbers",
    "sensitometry",
    0.0,
    _DEPTH_MM,
    0.0,
    inserts=(  # bands: memory
        Insert("polyethylene", _ROD_DISTANCE_MM, -135.0, _ROD_MM, -95.0, (-107.0, -84.0)),
        Insert("water", _ROD_DISTANCE_MM, 180.0, 50.0, 0.0, (-7.0, 7.0)),
        Insert("acrylic", _ROD_DISTANCE_MM, 135.0, _ROD_MM, 120.0, (110.0, 135.0)),
        Insert("bone", _ROD_DISTANCE_MM, -45.0, _ROD_MM, 910.0, (850.0, 970.0)),
        Insert("air", _ROD_DISTANCE_MM, 45.0, _ROD_MM, -1000.0, (-1005.0, -970.0)),
    ),
    backgrounds=tuple(
        Region(f"background {number}", _ROD_DISTANCE_MM, angle, 20.0)
        for number, angle in enumerate((0.0, 90.0, -90.0), 1)
    ),
)

_LOW_CONTRAST_HU = 90.0
_TARGET_HU = _LOW_CONTRAST_HU + 6.0  # 0.6 %
_TARGET_DISTANCE_MM = 60.0
_TARGET_SETS = ((6.0, -30.0), (5.0, 30.0), (4.0, 90.0), (3.0, 150.0), (2.0, -150.0))
"""Diameter in mm and angle (memory) of the middle of each set of four rods."""


def _set_of_four(diameter: float, angle: float) -> tuple[Insert, ...]:
    """Four rods in a row along the circle, a diameter apart."""
    step = 2 * diameter / _TARGET_DISTANCE_MM * 57.29578
    return tuple(
        Insert(
            f"{diameter:g} mm, {number + 1}",
            _TARGET_DISTANCE_MM,
            angle + (number - 1.5) * step,
            diameter,
            _TARGET_HU,
        )
        for number in range(4)
    )


_LOW_CONTRAST = Module(
    "module 2: low contrast",
    "low contrast",
    40.0,
    _DEPTH_MM,
    _LOW_CONTRAST_HU,
    inserts=(
        Insert("25 mm", _TARGET_DISTANCE_MM, -90.0, 25.0, _TARGET_HU),
        *(rod for diameter, angle in _TARGET_SETS for rod in _set_of_four(diameter, angle)),
    ),
    backgrounds=(Region("background", _TARGET_DISTANCE_MM, -115.0, 12.0),),
)

_UNIFORM = Module(
    "module 3: uniformity", "uniformity", 80.0, _DEPTH_MM, 0.0, uniform=five_regions(66.0, 22.0)
)

_BAR_DISTANCE_MM = 70.0
_BAR_BLOCK_MM = 15.0
_BAR_ANGLES = (
    (4, -135.0),
    (5, 180.0),
    (6, 135.0),
    (7, 90.0),
    (8, 45.0),
    (9, 0.0),
    (10, -45.0),
    (12, -90.0),
)
"""Line pairs per cm and angle of each block of 15 x 15 mm."""

_RESOLUTION = Module(
    "module 4: resolution",
    "resolution",
    120.0,
    _DEPTH_MM,
    0.0,
    bars=tuple(
        Bars(
            float(line_pairs),
            int(_BAR_BLOCK_MM * line_pairs / 10),
            _BAR_DISTANCE_MM,
            angle,
            _BAR_BLOCK_MM,
            38.0,  # memory: nearly the module's depth
            2200.0,  # aluminium; memory
        )
        for line_pairs, angle in _BAR_ANGLES
    ),
    backgrounds=(Region("background", 0.0, 0.0, 50.0),),
)

ACR_464 = Layout(
    name="acr464",
    title="ACR 464",
    diameter=200.0,
    bore=200.0,
    housing_hu=0.0,
    modules=(_SENSITOMETRY, _LOW_CONTRAST, _UNIFORM, _RESOLUTION),
)
