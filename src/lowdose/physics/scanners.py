"""Scanners by name: geometry, filter and noise of real machines, each with where its numbers are from.

`find_scanner` chooses one by name, from a YAML file, or by what a scan's header says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from lowdose.physics.beam import Bowtie
from lowdose.physics.geometry import ConeBeam, FanBeam, ImageGrid, ParallelBeam
from lowdose.physics.scanner import Scanner, ScannerChoice, ScannerError
from lowdose.physics.scanner_file import load_scanner
from lowdose.scan import Acquisition

AUTO = "auto"

_BODY_BOWTIE = Bowtie(cylinder_mm=300.0, compensation=0.3)
_BOWTIE_SOURCE = (
    "Bow-tie: a body filter that passes 0.6 of the photons at 10 and 0.2 at 20 degrees, about as measured on "
    "clinical scanners (McKenney et al. 2011, Med Phys 38:1406)."
)
_ELECTRONIC_SOURCE = "Electronic noise: of the order of ten photons in energy-integrating detectors."

_SIEMENS = FanBeam(
    n_views=1152,
    n_channels=736,
    channel_spacing=1.2858,
    source_to_axis=595.0,
    source_to_detector=1085.6,
    channel_shift=0.25,
)
_GE = FanBeam(
    n_views=984,
    n_channels=888,
    channel_spacing=1.0239,
    source_to_axis=541.0,
    source_to_detector=949.075,
    channel_shift=0.25,
)
_PHILIPS = FanBeam(
    n_views=1160,
    n_channels=672,
    channel_spacing=1.408,
    source_to_axis=570.0,
    source_to_detector=1040.0,
    channel_shift=0.25,
)

_SCANNERS = (
    Scanner(
        "siemens-as+",
        "Siemens SOMATOM Definition AS+, Flash and their kin",
        _SIEMENS,
        photons=3.0e5,
        electronic=8.0,
        bowtie=_BODY_BOWTIE,
        sources=(
            "Distances, channels and views: TCIA LDCT-and-Projection-data (Moen et al. 2021, Med Phys "
            "48:902).",
            _BOWTIE_SOURCE,
            _ELECTRONIC_SOURCE,
        ),
        models=("somatom", "definition", "sensation", "emotion", "force", "edge", "drive"),
    ),
    Scanner(
        "ge-lightspeed",
        "GE LightSpeed 16, Plus, VCT, Discovery ST",
        _GE,
        photons=3.0e5,
        electronic=8.0,
        bowtie=_BODY_BOWTIE,
        sources=(
            "Distances: DICOM headers of these scanners. Channels and views: as published for the LightSpeed "
            "VCT.",
            _BOWTIE_SOURCE,
            _ELECTRONIC_SOURCE,
        ),
        models=("lightspeed", "discovery st", "optima", "brightspeed"),
    ),
    Scanner(
        "ge-ct750hd",
        "GE Discovery CT750 HD",
        _GE,
        photons=3.0e5,
        electronic=8.0,
        bowtie=_BODY_BOWTIE,
        sources=(
            "As the LightSpeed VCT, whose geometry it shares.",
            _BOWTIE_SOURCE,
            _ELECTRONIC_SOURCE,
        ),
        models=("ct750", "revolution", "discovery ct"),
    ),
    Scanner(
        "philips-brilliance",
        "Philips Brilliance and Ingenuity",
        _PHILIPS,
        photons=3.0e5,
        electronic=8.0,
        bowtie=_BODY_BOWTIE,
        sources=(
            "Distances: DICOM headers of these scanners. Channels: 672 over the 500 mm field of the header; "
            "views: of the order published for the Brilliance.",
            _BOWTIE_SOURCE,
            _ELECTRONIC_SOURCE,
        ),
        models=("brilliance", "ingenuity", "iqon", "incisive"),
    ),
    Scanner(
        "fda-lcd",
        "Fan beam with a flat detector of the FDA's low-contrast phantom simulations",
        FanBeam(1160, 880, 1.0, 595.0, 1085.6, detector="flat", channel_shift=0.25),
        photons=3.0e6,
        electronic=0.0,
        water_mu=0.02059,
        sources=("DIDSR/LCD_CT: geometry, photons and attenuation of its simulated MITA data set.",),
    ),
    Scanner(
        "lodopab",
        "Parallel beam of the LoDoPaB-CT data set",
        ParallelBeam(1000, 513, 367.7 / 513),
        photons=4096.0,
        electronic=0.0,
        water_mu=0.02,
        sources=("Leuschner et al. 2021, Sci Data 8:109.",),
    ),
    Scanner(
        "varian-obi",
        "Varian on-board imager, full-fan head scan",
        ConeBeam(655, 384, 512, 0.776, 0.776, 1000.0, 1500.0),
        photons=1.0e5,
        electronic=10.0,
        sources=("Distances: DICOM headers. Panel: 397 x 298 mm, read out two by two.", _ELECTRONIC_SOURCE),
        models=("obi", "on-board imager"),
    ),
    Scanner(
        "micro-ct",
        "Bench micro-CT for mice, 50 kV",
        ConeBeam(360, 256, 256, 0.3, 0.3, 200.0, 400.0),
        photons=2.0e4,
        electronic=10.0,
        water_mu=0.04,
        sources=(
            "A generic bench with a magnification of two: no maker's data.",
            "Attenuation of water at 28 keV, the effective energy of 50 kV behind 0.8 mm of aluminium.",
            _ELECTRONIC_SOURCE,
        ),
    ),
)

SCANNERS: Mapping[str, Scanner] = {scanner.name: scanner for scanner in _SCANNERS}

_SMALLEST_CLINICAL_FIELD_MM = 100.0
_SAME_DISTANCE = 0.02
_CLINICAL = "siemens-as+"


def scanner_for(acquisition: Acquisition, grid: ImageGrid) -> ScannerChoice:
    """The scanner that a scan's header speaks of, or the nearest that is known, and what was assumed.

    Images of less than 100 mm are taken as specimens and get a parallel beam as fine as their pixels.
    """
    if min(grid.size) < _SMALLEST_CLINICAL_FIELD_MM:
        return _specimen(grid)
    model = (acquisition.model or "").lower()
    known = next((one for one in _SCANNERS if any(_is_word(word, model) for word in one.models)), None)
    axis, detector = acquisition.source_to_axis, acquisition.source_to_detector
    has_distances = axis is not None and detector is not None and detector > 1.2 * axis > 240
    if known is not None and not (has_distances and _differs(known, axis, detector)):
        return ScannerChoice(known, (f"The header says {acquisition.model}: {known.title}.",))
    if axis is not None and detector is not None and has_distances:
        return _by_distances(axis, detector, acquisition, known or SCANNERS[_CLINICAL])
    says = f"says {acquisition.model}, which is not known" if acquisition.model else "names no scanner"
    default = SCANNERS[_CLINICAL]
    return ScannerChoice(
        default, (), (f"The header {says}, and gives no distances: {default.title} is assumed.",)
    )


def _is_word(word: str, model: str) -> bool:
    """Whether `word` stands in `model` by itself: `obi` is no part of `mobile`."""
    return re.search(rf"(?<![a-z]){re.escape(word)}(?![a-z])", model) is not None


def _differs(scanner: Scanner, axis: float | None, detector: float | None) -> bool:
    """Whether a header's distances are not those of a known scanner."""
    plane = scanner.plane
    if axis is None or detector is None or not isinstance(plane, FanBeam):
        return False
    known = np.array([plane.source_to_axis, plane.source_to_detector])
    return bool(np.abs(np.array([axis, detector]) / known - 1).max() > _SAME_DISTANCE)


def find_scanner(wanted: str, acquisition: Acquisition, grid: ImageGrid) -> ScannerChoice:
    """The scanner called `auto`, or by the name of a known one or of a YAML file; ScannerError if none."""
    if wanted.lower() == AUTO:
        return scanner_for(acquisition, grid)
    return ScannerChoice(named_scanner(wanted), (f"The scanner was given: {wanted}.",))


def named_scanner(wanted: str) -> Scanner:
    """A scanner by its name or from a YAML file; ScannerError if there is none."""
    if wanted.lower() in SCANNERS:
        return SCANNERS[wanted.lower()]
    path = Path(wanted)
    if path.suffix.lower() in {".yaml", ".yml"}:
        return load_scanner(path)
    raise ScannerError(
        f"unknown scanner '{wanted}'; it is neither a .yaml file nor one of {', '.join([AUTO, *SCANNERS])}"
    )


def _specimen(grid: ImageGrid) -> ScannerChoice:
    spacing = min(grid.spacing)
    n_channels = math.ceil(2 * grid.radius / spacing) + 2
    scanner = Scanner(
        "specimen",
        "parallel beam for specimens",
        ParallelBeam(720, n_channels, spacing),
        photons=2.0e5,
        electronic=8.0,
    )
    size = " x ".join(f"{side:.3g}" for side in grid.size)
    return ScannerChoice(
        scanner,
        (),
        (f"The image is {size} mm, no clinical field: a parallel beam of its pixels is assumed.",),
    )


def _by_distances(axis: float, detector: float, acquisition: Acquisition, nearest: Scanner) -> ScannerChoice:
    """The arc of `nearest` with the header's distances, stretched to keep the field of view."""
    geometry = nearest.geometry
    if not isinstance(geometry, FanBeam):
        return ScannerChoice(nearest, (f"The header says {acquisition.model}: {nearest.title}.",))
    half_fan = math.asin(math.sin(geometry.fan_angle / 2) * geometry.source_to_axis / axis)
    step = 2 * half_fan / geometry.n_channels
    own = replace(
        geometry,
        source_to_axis=axis,
        source_to_detector=detector,
        channel_spacing=step * detector,
    )
    model = acquisition.model or "no model"
    return ScannerChoice(
        replace(nearest, name="from-header", title=f"fan beam of {axis:g} and {detector:g} mm", geometry=own),
        (f"The header says {model}, source to axis {axis:g} mm and to detector {detector:g} mm.",),
        (
            f"{geometry.n_channels} channels over a 500 mm field and {geometry.n_views} views are assumed, "
            "as of "
            f"{nearest.title}.",
        ),
    )
