"""What a model is: its card, the folder that holds it, and how HU become what its network sees."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lowdose.provenance import sha256_of_file
from lowdose.scan import Scan

CARD = "card.json"
ONNX = "model.onnx"
WEIGHTS = "weights.safetensors"
INVARIANCES = "invariances"
"""The folder beside a model with what was learned of its invariances, if anything was."""
MODEL_NAME = r"^[a-z0-9][a-z0-9._-]{0,40}$"

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


Width = Annotated[int, Field(ge=0)]


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

    name: Annotated[str, Field(pattern=MODEL_NAME)]
    version: str
    summary: str
    architecture: str
    sizes: dict[str, Any]
    offset_hu: float
    scale_hu: float
    trained_range_hu: tuple[float, float]
    """Pixels outside are passed through unchanged."""
    dimensions: Literal[2, 3] = 2
    """With 2 the network sees `(b, 1 + 2 context, y, x)`, with 3 `(b, 1, z, y, x)`."""
    context: Annotated[int, Field(ge=0)] = 0
    """Neighbouring slices that it is shown on either side."""
    levels: Annotated[int, Field(ge=1)] = 1
    """Images that it gives, each denoised more than the one before; the last is its result."""
    multiple: Annotated[int, Field(ge=1)] = 1
    """The lengths of the axes it looks along must be multiples of it; images are padded and cropped."""
    halo: tuple[Width, Width, Width] = (0, 0, 0)
    """With three dimensions: voxels along z, y, x beyond a tile that its values depend on."""
    bytes_per_voxel: Annotated[int, Field(gt=0)] = 800
    """With three dimensions: the memory that it takes to compute, for each voxel that it is shown."""
    dose_gain: float | None
    """The output is the scan at this many times its dose; None where its makers do not say."""
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
    ignores: tuple[str, ...] = ()
    """What `lowdose explain` found of it, a line for each scan; empty where nobody has looked."""
    onnx_sha256: str
    weights_sha256: str | None = None
    """Of the weights for training on; None for a network that came as ONNX."""
    licence: str = "Apache-2.0"

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        check_consistent(self)
        return self

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


class Shown(Protocol):
    """What a card says of the images that a network is shown."""

    @property
    def trained_range_hu(self) -> tuple[float, float]: ...
    @property
    def dimensions(self) -> int: ...
    @property
    def context(self) -> int: ...
    @property
    def levels(self) -> int: ...


def check_consistent(card: Shown) -> None:
    """ValueError if what a card says cannot be said of one network."""
    lowest, highest = card.trained_range_hu
    if not lowest < highest:
        raise ValueError(f"trained_range_hu {lowest:g} to {highest:g} holds no values")
    if card.dimensions == 3 and (card.context or card.levels > 1):
        raise ValueError("a network of three dimensions has neither context nor levels")


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
