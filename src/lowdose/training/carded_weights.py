"""Weights with a card beside them that says what they are and what their SHA-256 is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lowdose.provenance import sha256_of_file, written_whole

WEIGHTS = "weights.safetensors"

Card = TypeVar("Card", bound=BaseModel)


class CardedError(Exception):
    """One sentence: which file, what is wrong with it."""


def write_weights(network: nn.Module, folder: Path, card_name: str) -> str:
    """Write the weights of `network` into `folder` and return their digest; a card of older ones goes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / card_name).unlink(missing_ok=True)  # it speaks of the weights that are overwritten now
    with written_whole(folder / WEIGHTS) as temporary:
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, temporary)
    return sha256_of_file(folder / WEIGHTS)


def write_card(card: BaseModel, path: Path) -> None:
    """As JSON, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_card(path: Path, kind: type[Card]) -> Card:
    """CardedError if it cannot be read."""
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise CardedError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None


def read_weights(folder: Path, sha256: str, card_name: str) -> dict[str, Tensor]:
    """CardedError if they are not there or not those of the card."""
    path = folder / WEIGHTS
    try:
        if sha256_of_file(path) != sha256:
            raise CardedError(f"{path}: does not match the SHA-256 in {card_name}")
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CardedError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None
