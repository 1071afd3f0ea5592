"""A lesion detector as a folder: `detector.json` and `weights.safetensors`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lowdose.networks.lesion_detector import LesionDetector
from lowdose.provenance import sha256_of_file, written_whole

DETECTOR_CARD = "detector.json"
DETECTOR_WEIGHTS = "weights.safetensors"


class DetectorError(Exception):
    """One sentence: which detector, what is wrong with it, what to do."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DetectorMetrics(_Strict):
    """How it does on patches of patients that training did not see."""

    patients: int
    patches: int
    ap_50: float
    """Average precision at an overlap of one half, 0 to 1."""
    ap_75: float
    sensitivity: float
    """Share of the lesions found at the threshold."""
    false_positives: float
    """Per patch, at the threshold."""


class DetectorCard(_Strict):
    """What a detector finds, on what it was trained, and how well it does."""

    kinds: Annotated[tuple[str, ...], Field(min_length=1)]
    window_hu: tuple[float, float]
    """All that it sees."""
    pixel_mm: tuple[float, float]
    """The smallest and the largest pixels of the scans that it learned from."""
    sizes: dict[str, Any]
    patch: Annotated[int, Field(gt=0)]
    """Pixels along a side of what it was shown at once."""
    training: str
    patients: tuple[str, ...]
    """Whose scans it learned from."""
    shown: str = "the scans as they are, at their own dose; no denoised image"
    threshold: Annotated[float, Field(ge=0, le=1)]
    """Findings with a lower score are left out."""
    metrics: DetectorMetrics | None = None
    weights_sha256: str


def write_detector(detector: LesionDetector, folder: Path, **told: Any) -> DetectorCard:
    """Write the folder and return its card; `told` are the other fields of `DetectorCard`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DETECTOR_CARD).unlink(missing_ok=True)  # it speaks of the weights that are overwritten now
    with written_whole(folder / DETECTOR_WEIGHTS) as temporary:
        save_file({name: value.contiguous() for name, value in detector.state_dict().items()}, temporary)
    card = DetectorCard(weights_sha256=sha256_of_file(folder / DETECTOR_WEIGHTS), **told)
    with written_whole(folder / DETECTOR_CARD) as temporary:
        temporary.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card


def read_detector_card(folder: Path) -> DetectorCard:
    """The card in `folder`; DetectorError if there is none that can be read."""
    path = folder / DETECTOR_CARD
    if not path.is_file():
        raise DetectorError(
            f"{folder}: holds no {DETECTOR_CARD}, so it is no detector; `lowdose train detector` makes one"
        )
    try:
        return DetectorCard.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise DetectorError(f"{path}: cannot be read ({first}); train the detector anew") from None


def new_detector(card: DetectorCard) -> LesionDetector:
    """The untrained network of a card."""
    return LesionDetector(window=card.window_hu, n_kinds=len(card.kinds), **card.sizes)


def load_detector(folder: Path) -> tuple[LesionDetector, DetectorCard]:
    """The detector in `folder` and its card; DetectorError if it is damaged or not one."""
    card, path = read_detector_card(folder), folder / DETECTOR_WEIGHTS
    try:
        if sha256_of_file(path) != card.weights_sha256:
            raise DetectorError(f"{path}: does not match the SHA-256 in {DETECTOR_CARD}; train it anew")
        detector = new_detector(card)
        detector.load_state_dict(load_file(path))
    except (OSError, SafetensorError, TypeError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise DetectorError(f"{path}: cannot be read ({first}); train the detector anew") from None
    detector.eval()
    return detector, card
