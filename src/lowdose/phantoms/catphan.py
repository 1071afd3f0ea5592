"""The Catphan 504 and 600 of The Phantom Laboratory.

Numbers come from the manufacturer's manual (HU ranges: Catphan 503 manual, page 15), from the positions that
pylinac (MIT licence) uses to analyse these phantoms, and, where a comment says *measured*, from the public
Catphan 504 scan that pylinac ships, whose 50 mm square reads 49.96 mm. A comment that says *memory* marks a
number without a citable source.

Left out of the digital twins, because nothing here measures them: the wire ramps, the acrylic spheres, the
beads and the sub-slice targets of CTP515.
"""

from __future__ import annotations

from lowdose.phantoms.layout import Bars, Insert, Layout, Module, Pin, Region, five_regions

_ROD_MM = 12.2
_ROD_DISTANCE_MM = 58.4  # measured on eight rods: 58.3 to 58.5
_PIN_DISTANCE_MM = 35.36  # corners of a square of 50 mm

_RODS: tuple[tuple[str, float, tuple[float, float], float], ...] = (
    ("air", -1000.0, (-1046.0, -986.0), -90.0),
    ("PMP", -196.0, (-220.0, -172.0), -120.0),
    ("LDPE", -104.0, (-121.0, -87.0), 180.0),
    ("polystyrene", -47.0, (-65.0, -29.0), 120.0),
    ("air (2nd)", -1000.0, (-1046.0, -986.0), 90.0),
    ("acrylic", 115.0, (92.0, 137.0), 60.0),
    ("Delrin", 365.0, (344.0, 387.0), 0.0),
    ("Teflon", 1000.0, (941.0, 1060.0), -60.0),
)
"""Material, nominal HU, the manual's range, and the angle in the Catphan 504."""

_SENSITOMETRY_HU = 95.0  # measured, 100 kVp
_RESOLUTION_HU = 85.0  # measured, 100 kVp
_LOW_CONTRAST_HU = 50.0  # measured, 100 kVp
_UNIFORM_HU = 10.0  # the manual: within 2 % of water
_HOUSING_HU = 45.0  # measured, 100 kVp

_BAR_ANGLES = (
    (1, 2, 152.6),
    (2, 3, 128.7),
    (3, 4, 104.8),
    (4, 4, 85.9),
    (5, 4, 67.9),
    (6, 5, 49.0),
    (7, 5, 32.1),
    (8, 5, 15.2),
    (9, 5, 0.2),
    (10, 5, -14.8),
    (11, 5, -29.8),
    (12, 5, -43.8),
    (13, 5, -57.8),
    (14, 5, -70.9),
    (15, 5, -85.0),
    (16, 5, -98.0),
    (17, 5, -111.1),
    (18, 5, -124.2),
    (19, 5, -136.2),
    (20, 5, -149.3),
    (21, 5, -161.3),
)
"""Line pairs per cm, number of bars and angle in the Catphan 504; measured, but the bars from 9 lp/cm on."""
_BAR_DISTANCE_MM = 47.4  # measured
_BAR_LENGTH_MM = 4.6  # measured
_BAR_DEPTH_MM = 2.0  # memory: 2 mm of aluminium
_BAR_HU = 2200.0  # measured 1750 in 2.5 mm slices

_TARGETS = (
    (15.0, -87.4),
    (9.0, -69.1),
    (8.0, -52.7),
    (7.0, -38.5),
    (6.0, -25.1),
    (5.0, -12.9),
    (4.0, -2.4),  # continued from the ones before
    (3.0, 6.8),  # continued
    (2.0, 15.0),  # continued
)
"""Diameter in mm and angle of the 1.0 % targets in the Catphan 504."""
_TARGET_DISTANCE_MM = 50.0
_TARGET_GROUPS = (("1.0 %", 10.0, 0.0), ("0.5 %", 5.0, -120.0), ("0.3 %", 3.0, 120.0))  # turns: memory


def _sensitometry(turn: float, vial: bool) -> Module:
    """CTP404, turned by `turn` degrees against the Catphan 504; `vial`: water in the second air hole."""
    rods = [
        Insert(name, _ROD_DISTANCE_MM, _turned(a, turn), _ROD_MM, hu, band) for name, hu, band, a in _RODS
    ]
    if vial:
        rods[4] = Insert("water", _ROD_DISTANCE_MM, _turned(90.0, turn), _ROD_MM, 0.0, (-7.0, 7.0))
    pins = tuple(
        Pin(name, _PIN_DISTANCE_MM, _turned(angle, turn), 3.0, hu)
        for name, angle, hu in (
            ("Teflon pin", -45.0, 1000.0),
            ("hole 1", 45.0, -1000.0),
            ("hole 2", 135.0, -1000.0),
            ("hole 3", -135.0, -1000.0),
        )
    )
    backgrounds = tuple(
        Region(f"background {number}", _ROD_DISTANCE_MM, _turned(angle, turn), 10.0)
        for number, angle in enumerate((30.0, 150.0, -150.0, -30.0), 1)
    )
    return Module("CTP404", "sensitometry", 0.0, 25.0, _SENSITOMETRY_HU, tuple(rods), pins, (), backgrounds)


def _resolution(z: float, depth: float, sign: int) -> Module:
    """CTP528 with its bars at `z`; with `sign` -1 the groups follow each other the other way round."""
    bars = tuple(
        Bars(
            float(line_pairs),
            n_bars,
            _BAR_DISTANCE_MM,
            sign * angle,
            _BAR_LENGTH_MM,
            _BAR_DEPTH_MM,
            _BAR_HU,
        )
        for line_pairs, n_bars, angle in _BAR_ANGLES
    )
    backgrounds = (Region("background", 0.0, 0.0, 50.0),)
    return Module("CTP528", "resolution", z, depth, _RESOLUTION_HU, bars=bars, backgrounds=backgrounds)


def _low_contrast(z: float, depth: float, turn: float) -> Module:
    """CTP515, turned by `turn` degrees against the Catphan 504."""
    targets = tuple(
        Insert(
            f"{group} {diameter:g} mm",
            _TARGET_DISTANCE_MM,
            _turned(angle + group_turn, turn),
            diameter,
            _LOW_CONTRAST_HU + contrast,
        )
        for group, contrast, group_turn in _TARGET_GROUPS
        for diameter, angle in _TARGETS
    )
    backgrounds = tuple(
        Region(f"background {number}", 36.0, _turned(angle, turn), 12.0)
        for number, angle in enumerate((-90.0, -30.0, 30.0, 90.0, 150.0, -150.0), 1)
    )
    return Module("CTP515", "low contrast", z, depth, _LOW_CONTRAST_HU, targets, (), (), backgrounds)


def _uniform(z: float, depth: float) -> Module:
    return Module("CTP486", "uniformity", z, depth, _UNIFORM_HU, uniform=five_regions(53.0, 20.0))


def _turned(angle: float, turn: float) -> float:
    """`angle` + `turn` in degrees, above -180 and up to 180."""
    return 180.0 - (180.0 - angle - turn) % 360.0


CATPHAN_504 = Layout(
    name="catphan504",
    title="Catphan 504",
    diameter=201.5,  # measured
    bore=151.0,  # measured
    housing_hu=_HOUSING_HU,
    modules=(
        _sensitometry(turn=0.0, vial=False),
        _resolution(z=30.0, depth=35.0, sign=1),
        _low_contrast(z=-30.0, depth=35.0, turn=0.0),
        _uniform(z=-65.0, depth=35.0),
    ),
)

CATPHAN_600 = Layout(
    name="catphan600",
    title="Catphan 600",
    diameter=201.5,
    bore=151.0,
    housing_hu=_HOUSING_HU,
    modules=(
        _sensitometry(turn=180.0, vial=True),
        Module("CTP591", "plain", -31.25, 37.5, _RESOLUTION_HU),
        _resolution(z=-70.0, depth=40.0, sign=-1),
        _low_contrast(z=-110.0, depth=40.0, turn=180.0),
        _uniform(z=-160.0, depth=60.0),
    ),
)
