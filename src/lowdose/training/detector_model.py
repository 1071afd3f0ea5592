"""A lesion detector as a folder: `detector.json` and `weights.safetensors`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from lowdose.networks.lesion_detector import LesionDetector
from lowdose.training.carded_weights import CardedError, read_card, read_weights, write_card, write_weights

DETECTOR_CARD = "detector.json"


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
    card = DetectorCard(weights_sha256=write_weights(detector, folder, DETECTOR_CARD), **told)
    write_card(card, folder / DETECTOR_CARD)
    return card


def load_detector(folder: Path) -> tuple[LesionDetector, DetectorCard]:
    """The detector in `folder` and its card; DetectorError if it is damaged or not one."""
    path = folder / DETECTOR_CARD
    if not path.is_file():
        raise DetectorError(
            f"{folder}: holds no {DETECTOR_CARD}, so it is no detector; `lowdose train detector` makes one"
        )
    try:
        card = read_card(path, DetectorCard)
        detector = LesionDetector(window=card.window_hu, n_kinds=len(card.kinds), **card.sizes)
        detector.load_state_dict(read_weights(folder, card.weights_sha256, DETECTOR_CARD))
    except CardedError as error:
        raise DetectorError(f"{error}; train the detector anew") from None
    except (TypeError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise DetectorError(f"{path}: its sizes do not fit ({first}); train the detector anew") from None
    detector.eval()
    return detector, card
