"""A scanner of one's own, written in YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

from lowdose.physics.beam import NO_BOWTIE, Bowtie
from lowdose.physics.geometry import FULL_TURN, ConeBeam, FanBeam, ParallelBeam
from lowdose.physics.scanner import Scanner, ScannerError, check_geometry
from lowdose.units import WATER_MU_PER_MM


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


_Positive = Annotated[float, pydantic.Field(gt=0)]
_Count = Annotated[int, pydantic.Field(gt=0)]


class _ParallelFile(_Strict):
    kind: Literal["parallel"]
    views: _Count
    channels: _Count
    channel_spacing_mm: _Positive
    channel_shift: float = 0.0

    def geometry(self) -> ParallelBeam:
        return ParallelBeam(self.views, self.channels, self.channel_spacing_mm, self.channel_shift)


class _FanFile(_Strict):
    kind: Literal["fan-arc", "fan-flat"]
    views: _Count
    channels: _Count
    channel_spacing_mm: _Positive
    source_to_axis_mm: _Positive
    source_to_detector_mm: _Positive
    channel_shift: float = 0.0
    scan_degrees: Annotated[float, pydantic.Field(gt=180, le=360)] = 360.0

    def geometry(self) -> FanBeam:
        return FanBeam(
            self.views,
            self.channels,
            self.channel_spacing_mm,
            self.source_to_axis_mm,
            self.source_to_detector_mm,
            "arc" if self.kind == "fan-arc" else "flat",
            self.channel_shift,
            FULL_TURN * self.scan_degrees / 360.0,
        )


class _ConeFile(_Strict):
    kind: Literal["cone"]
    views: _Count
    rows: _Count
    channels: _Count
    row_spacing_mm: _Positive
    channel_spacing_mm: _Positive
    source_to_axis_mm: _Positive
    source_to_detector_mm: _Positive
    channel_shift: float = 0.0
    scan_degrees: Annotated[float, pydantic.Field(gt=180, le=360)] = 360.0

    def geometry(self) -> ConeBeam:
        return ConeBeam(
            self.views,
            self.rows,
            self.channels,
            self.row_spacing_mm,
            self.channel_spacing_mm,
            self.source_to_axis_mm,
            self.source_to_detector_mm,
            self.channel_shift,
            FULL_TURN * self.scan_degrees / 360.0,
        )


class _BowtieFile(_Strict):
    cylinder_mm: _Positive = 300.0
    compensation: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.3


class _ScannerFile(_Strict):
    """A scanner as written in YAML; docs/reference has an example."""

    title: str = "a scanner of one's own"
    geometry: Annotated[_ParallelFile | _FanFile | _ConeFile, pydantic.Field(discriminator="kind")]
    photons: _Positive = 2.0e5
    electronic_photons: Annotated[float, pydantic.Field(ge=0)] = 8.0
    bowtie: _BowtieFile | None = None
    crosstalk: Annotated[float, pydantic.Field(ge=0, le=0.25)] = 0.0
    modulation: Annotated[float, pydantic.Field(ge=0, le=1.5)] = 0.0
    water_mu_per_mm: _Positive = WATER_MU_PER_MM


def load_scanner(path: Path) -> Scanner:
    """A scanner from a YAML file. ScannerError with one sentence if it can't be read or says nonsense."""
    if not path.exists():
        raise ScannerError(f"{path} does not exist; give the name of a known scanner or of a YAML file")
    try:
        written: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ScannerError(f"{path} cannot be read as YAML ({reason}); see lowdose simulate --help") from None
    try:
        told = _ScannerFile.model_validate(written)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        if not isinstance(written, dict):
            raise ScannerError(f"{path}: holds no settings; write a geometry, see the how-to page") from None
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ScannerError(f"{path}: {place}: {first['msg'].lower()}; correct it and try again") from None
    geometry = told.geometry.geometry()
    if not isinstance(geometry, ParallelBeam) and geometry.source_to_detector <= geometry.source_to_axis:
        raise ScannerError(f"{path}: the detector lies before the axis; source_to_detector_mm must be larger")
    try:
        check_geometry(geometry)
    except ScannerError as error:
        raise ScannerError(f"{path}: geometry: {error}") from None
    return Scanner(
        path.stem,
        told.title,
        geometry,
        told.photons,
        told.electronic_photons,
        NO_BOWTIE if told.bowtie is None else Bowtie(told.bowtie.cylinder_mm, told.bowtie.compensation),
        told.crosstalk,
        told.modulation,
        told.water_mu_per_mm,
        (f"The file {path.name}.",),
    )
