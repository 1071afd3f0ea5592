"""Distances of features for perceptual losses: our own encoder of CT, or VGG19 from a local file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file
from torch import Tensor, nn

from lowdose.losses import feature_distance
from lowdose.models.card import HuScaling, TrainingData
from lowdose.networks.features import CtEncoder, WeightsError, load_vgg19
from lowdose.provenance import sha256_of_file
from lowdose.training.objective import FeatureDistance
from lowdose.training.plan import PlanError

CT_ENCODER = "ct-encoder"
"""The encoder that comes with lowdose."""

FOLDER = Path(__file__).parent / "ct_encoder"
ENCODER_CARD, ENCODER_WEIGHTS = "card.json", "weights.safetensors"

VGG_WINDOW_HU = (-1024.0, 3072.0)
"""What VGG19 is shown as black to white: all of a 12-bit image, as in WGAN-VGG."""


class EncoderCard(BaseModel):
    """What the encoder of CT is: how it was trained, on what, and how its features weigh."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    summary: str
    sizes: dict[str, Any]
    offset_hu: float
    scale_hu: float
    stage_weights: tuple[float, ...]
    """One over the variance of each stage's features on held-out scans, shared evenly: a distance of one is
    that of unlike images."""
    training: str
    data: tuple[TrainingData, ...]
    known_limits: tuple[str, ...]
    weights_sha256: str
    licence: str = "Apache-2.0"


class _Distance:
    """Compares images, slice by slice, by what an encoder finds in them."""

    def __init__(
        self, encoder: nn.Module, weights: Sequence[float], shown: Callable[[Tensor], Tensor]
    ) -> None:
        self._encoder, self._weights, self._shown = encoder.eval().requires_grad_(False), weights, shown

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        self._encoder.to(output.device)
        ours, theirs = (
            self._encoder(self._shown(image.reshape(-1, 1, *image.shape[-2:]))) for image in (output, target)
        )
        return feature_distance(ours, theirs, self._weights)


def feature_distance_of(features: str, scaling: HuScaling) -> FeatureDistance:
    """The distance called `ct-encoder`, or that of VGG19 with the weights in a file; PlanError if there is
    none. `scaling` is that of the images it will be given.
    """
    if features != CT_ENCODER:
        low, high = ((hu - scaling.offset) / scaling.scale for hu in VGG_WINDOW_HU)
        try:
            return _Distance(load_vgg19(Path(features), window=(low, high)), (1.0,), lambda image: image)
        except WeightsError as error:
            raise PlanError(f"perceptual.features: {error}; or name {CT_ENCODER}") from None
    encoder, card = load_ct_encoder()
    gain = scaling.scale / card.scale_hu
    shift = (scaling.offset - card.offset_hu) / card.scale_hu
    return _Distance(encoder, card.stage_weights, lambda image: gain * image + shift)


def load_ct_encoder(folder: Path = FOLDER) -> tuple[CtEncoder, EncoderCard]:
    """The encoder of CT and its card; PlanError if its weights are not those of the card."""
    card = EncoderCard.model_validate(json.loads((folder / ENCODER_CARD).read_text(encoding="utf-8")))
    if sha256_of_file(folder / ENCODER_WEIGHTS) != card.weights_sha256:
        raise PlanError(f"{folder}: its weights do not match the SHA-256 on its card; install lowdose again")
    encoder = CtEncoder(**card.sizes)
    encoder.load_state_dict(load_file(folder / ENCODER_WEIGHTS))
    return encoder, card
