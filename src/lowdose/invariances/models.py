"""Representations and flows as folders: a card in JSON and `weights.safetensors`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from lowdose.invariances.flow import ConditionalFlow, FlowSizes
from lowdose.invariances.representation import Representation, RepresentationSizes
from lowdose.invariances.sampling import Learned
from lowdose.models.card import INVARIANCES, bundled_models
from lowdose.training.carded_weights import (
    WEIGHTS,
    CardedError,
    read_card,
    read_weights,
    write_card,
    write_weights,
)

REPRESENTATION_CARD, FLOW_CARD = "representation.json", "flow.json"
SHARED = "representation"
"""The folder of the representation within that of a flow."""
_CARRIES = "ct-default"

Card = TypeVar("Card", bound=BaseModel)


class InvarianceError(Exception):
    """One sentence: which representation or flow, what is wrong with it, what to do."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RepresentationCard(_Strict):
    """What a representation is, and what it learned from."""

    sizes: dict[str, Any]
    sigma_px: Annotated[float, Field(gt=0)]
    """Of the smoothing that leaves structure."""
    pixel_mm: tuple[float, float]
    """The smallest and the largest pixels of the scans that it learned from."""
    dose: float
    """Fraction of their dose at which it saw them."""
    scans: tuple[str, ...]
    methods: tuple[str, ...]
    """Whose images it was conditioned on."""
    training: str
    error: float | None
    """Root mean square of the structure it misses of patches held back, in standard deviations of noise."""
    nats: float | None
    """What its latents tell of an input, over all methods: next to nothing if they have collapsed."""
    weights_sha256: str


class FlowCard(_Strict):
    """Whose invariances a flow knows, and how well."""

    sizes: dict[str, Any]
    method: str
    method_digest: str | None
    """The first digits of the network's SHA-256; None for methods without weights."""
    scans: tuple[str, ...]
    training: str
    representation_sha256: str
    weights_sha256: str


def write_representation(network: Representation, folder: Path, **told: Any) -> RepresentationCard:
    """Write the folder and return its card; `told` are the other fields of `RepresentationCard`."""
    digest = write_weights(network, folder, REPRESENTATION_CARD)
    card = RepresentationCard(sizes=asdict(network.sizes), weights_sha256=digest, **told)
    write_card(card, folder / REPRESENTATION_CARD)
    return card


def load_representation(folder: Path) -> tuple[Representation, RepresentationCard]:
    """The representation in `folder` and its card; InvarianceError if it is damaged or not one."""
    card = _card(folder, REPRESENTATION_CARD, RepresentationCard)
    with _damage_told(folder):
        network = Representation(RepresentationSizes(**_tuples(card.sizes)))
        network.load_state_dict(read_weights(folder, card.weights_sha256, REPRESENTATION_CARD))
    network.eval().requires_grad_(False)
    return network, card


def write_flow(network: ConditionalFlow, folder: Path, **told: Any) -> FlowCard:
    """Write the folder and return its card; `told` are the other fields of `FlowCard`."""
    digest = write_weights(network, folder, FLOW_CARD)
    card = FlowCard(sizes=asdict(network.sizes), weights_sha256=digest, **told)
    write_card(card, folder / FLOW_CARD)
    return card


def load_flow(folder: Path) -> tuple[ConditionalFlow, FlowCard]:
    """The flow in `folder` and its card; InvarianceError if it is damaged or not one."""
    card = _card(folder, FLOW_CARD, FlowCard)
    with _damage_told(folder):
        network = ConditionalFlow(FlowSizes(**_tuples(card.sizes)))
        network.load_state_dict(read_weights(folder, card.weights_sha256, FLOW_CARD))
    network.eval().requires_grad_(False)
    return network, card


def load_learned(folder: Path) -> tuple[Learned, FlowCard, RepresentationCard]:
    """What was learned of one method: the flow in `folder`, and the representation in it.

    InvarianceError if either is damaged, or the two do not belong together.
    """
    flow, card = load_flow(folder)
    representation, told = load_representation(folder / SHARED)
    if told.weights_sha256 != card.representation_sha256:
        raise InvarianceError(
            f"{folder}: was learned with another representation than its own; train it anew"
        )
    return Learned(representation, flow, told.nats, told.pixel_mm), card, told


def bundled_representation() -> Path:
    """The one that comes with `ct-default`."""
    return bundled_models()[_CARRIES] / INVARIANCES / SHARED


def copied(representation: Path, place: Path) -> Path:
    """`place`, with the files of `representation` in it; InvarianceError if they cannot be used."""
    load_representation(representation)
    place.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS, REPRESENTATION_CARD):
        shutil.copyfile(representation / name, place / name)
    return place


def _card(folder: Path, name: str, kind: type[Card]) -> Card:
    if not (folder / name).is_file():
        raise InvarianceError(f"{folder}: holds no {name}; `lowdose train invariances` makes such folders")
    with _damage_told(folder):
        return read_card(folder / name, kind)


@contextmanager
def _damage_told(folder: Path) -> Iterator[None]:
    """InvarianceError for whatever keeps what is in `folder` from being read."""
    try:
        yield
    except (CardedError, TypeError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise InvarianceError(f"{folder}: cannot be used ({first}); train it anew") from None


def _tuples(sizes: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in sizes.items()}
