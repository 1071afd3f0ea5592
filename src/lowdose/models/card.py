"""What a model is: its card, the folder that holds it, and how HU become what its network sees."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lowdose.provenance import sha256_of_file
from lowdose.scan import Scan

CARD = "card.json"
ONNX = "model.onnx"
WEIGHTS = "weights.safetensors"

PIXEL_SIZE_MARGIN = 1.4
"""How far beyond the trained pixel sizes a scan may lie before a user is told."""

_BUNDLED = Path(__file__).parent / "bundled"


class ModelError(Exception):
    """One sentence: which model folder, what is wrong with it, what to do."""


@dataclass(frozen=True)
class HuScaling:
    """HU to network units and back: `(hu - offset) / scale`."""

    offset: float
    scale: float

    def scaled(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        values = hu - np.float32(self.offset)
        values /= np.float32(self.scale)
        return values

    def unscaled(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        hu = values * np.float32(self.scale)
        hu += np.float32(self.offset)
        return hu


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainingData(_Strict):
    """One source of training or validation data."""

    name: str
    use: str
    """training or validation"""
    patients: int
    slices: int
    licence: str
    citation: str


class Metric(_Strict):
    """A number with what it takes to understand it."""

    name: str
    value: float
    unit: str
    interval: tuple[float, float] | None = None
    protocol: str


class ModelCard(_Strict):
    """Everything a user must know of a model before trusting it; `card.json`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,40}$")]
    version: str
    summary: str
    architecture: str
    sizes: dict[str, Any]
    offset_hu: float
    scale_hu: float
    trained_range_hu: tuple[float, float]
    """Pixels outside are passed through unchanged."""
    multiple: int = 1
    """Rows and columns must be a multiple of it; slices are padded and cropped."""
    dose_gain: float
    """The output is the scan at this many times its dose."""
    dose_range: str
    kernels: str
    slice_thickness_mm: str
    pixel_size_mm: tuple[float, float] | None = None
    """Smallest and largest of the training scans."""
    not_trained_on: tuple[str, ...] = ()
    """Words of BodyPartExamined for which the network has seen nothing."""
    training: str
    data: tuple[TrainingData, ...]
    metrics: tuple[Metric, ...]
    known_limits: tuple[str, ...]
    onnx_sha256: str
    weights_sha256: str
    licence: str = "Apache-2.0"

    @property
    def scaling(self) -> HuScaling:
        return HuScaling(self.offset_hu, self.scale_hu)

    def cautions(self, scan: Scan) -> tuple[str, ...]:
        """Sentences on what in `scan` the network was not trained for; empty for a scan of the usual kind."""
        found = []
        part = (scan.acquisition.body_part or "").upper()
        if any(word in part for word in self.not_trained_on):
            found.append(
                f"the header says {part}, which {self.name} was not trained on: compare with the original"
            )
        if self.pixel_size_mm is not None:
            smallest, largest = self.pixel_size_mm
            pixel = max(scan.spacing[1:]), min(scan.spacing[1:])
            if pixel[0] > largest * PIXEL_SIZE_MARGIN or pixel[1] < smallest / PIXEL_SIZE_MARGIN:
                found.append(
                    f"pixels of {pixel[1]:.3g} mm are far from the {smallest:.2g} to {largest:.2g} mm that "
                    f"{self.name} was trained on: compare with the original"
                )
        return tuple(found)

    @property
    def digest(self) -> str:
        """The first twelve digits of the network's SHA-256, to name it in derived images."""
        return self.onnx_sha256[:12]


def bundled_models() -> dict[str, Path]:
    """The folders of the models that come with the package, by name."""
    return {folder.name: folder for folder in sorted(_BUNDLED.iterdir()) if (folder / CARD).is_file()}


def load_card(folder: Path) -> ModelCard:
    """The card of the model in `folder`, checked: ModelError if it or the network it speaks of is not
    right.
    """
    path = folder / CARD
    if not path.is_file():
        raise ModelError(
            f"{folder}: not a model folder, it has no {CARD}; give a folder that `lowdose train` wrote"
        )
    try:
        card = ModelCard.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, ValueError) as error:
        first = str(error).splitlines()
        raise ModelError(
            f"{path}: not a valid model card ({' '.join(first[:3])}); export the model again"
        ) from None
    network = folder / ONNX
    if not network.is_file():
        raise ModelError(f"{folder}: {ONNX} is missing; export the model again")
    if sha256_of_file(network) != card.onnx_sha256:
        raise ModelError(
            f"{network}: does not match the SHA-256 on its card; fetch or export the model again"
        )
    return card
