"""Networks that others made: an ONNX file with a small card beside it is a method like any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lowdose.models.card import CARD, ONNX, ModelCard, ModelError, Width, check_consistent
from lowdose.provenance import sha256_of_file, written_whole

CARD_ENDINGS = (".json", ".yaml", ".yml")
"""Of the small card, which has the name of the ONNX file otherwise."""

TWELVE_BITS_HU = (-1200.0, 3071.0)
"""What 12 bits hold, and the noise of air below it: the range of a network whose card states none."""

NOT_STATED = "not stated"

_TRIED_SIDE = 64
"""Pixels along the shorter side of the image that a network is tried on; half of it for volumes."""


class SmallCard(BaseModel):
    """The least that has to be known of a network to use it on CT; see `ModelCard` for the words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,40}$")]
    offset_hu: Annotated[float, Field(allow_inf_nan=False)]
    scale_hu: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """The network sees `(HU - offset_hu) / scale_hu` and gives the same."""
    trained_range_hu: tuple[float, float] = TWELVE_BITS_HU
    dimensions: Literal[2, 3] = 2
    context: Annotated[int, Field(ge=0)] = 0
    levels: Annotated[int, Field(ge=1)] = 1
    multiple: Annotated[int, Field(ge=1)] = 1
    halo: tuple[Width, Width, Width] = (0, 0, 0)
    bytes_per_voxel: Annotated[int, Field(gt=0)] = 800
    dose_gain: Annotated[float, Field(gt=0)] | None = None
    version: str = NOT_STATED
    summary: str = NOT_STATED
    architecture: str = NOT_STATED
    dose_range: str = NOT_STATED
    kernels: str = NOT_STATED
    slice_thickness_mm: str = NOT_STATED
    pixel_size_mm: tuple[float, float] | None = None
    training: str = NOT_STATED
    licence: str = NOT_STATED
    known_limits: tuple[str, ...] = ("made elsewhere: nothing about it was measured here",)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        check_consistent(self)
        return self

    def model_card(self, onnx: Path, sizes: Mapping[str, Any] | None = None) -> ModelCard:
        """The card of the model in `onnx`; what nobody stated stays unsaid."""
        return ModelCard(
            **self.model_dump(),
            sizes=dict(sizes or {}),
            data=(),
            metrics=(),
            onnx_sha256=sha256_of_file(onnx),
        )


def is_onnx_name(path: Path) -> bool:
    """True for *.onnx."""
    return path.suffix.lower() == ".onnx"


def load_foreign(onnx: Path) -> ModelCard:
    """The card of the network in `onnx`, made from the small card beside it. ModelError unless both are
    right and fit each other.
    """
    card = small_card(read_small_card(onnx) or {}, onnx).model_card(onnx)
    check_network(onnx, card)
    return card


def read_small_card(onnx: Path) -> dict[str, Any] | None:
    """What the small card beside `onnx` says, not checked yet; None if there is none."""
    path = next((path for path in map(onnx.with_suffix, CARD_ENDINGS) if path.is_file()), None)
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        first = " ".join(str(error).split())[:120]
        raise ModelError(f"{path}: cannot be read as {path.suffix[1:]} ({first}); correct it") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ModelError(f"{path}: holds no keys with values; {_how_to_write(onnx)}")
    return content


def small_card(content: Mapping[str, Any], onnx: Path) -> SmallCard:
    """`content` checked. ModelError, which says how to write a card, names the first fault."""
    if not onnx.is_file():
        raise ModelError(f"{onnx}: not found; give the ONNX file of a network")
    if not content:
        raise ModelError(f"{onnx}: has no card beside it; {_how_to_write(onnx)}")
    try:
        return SmallCard.model_validate(dict(content))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            fault = f"has an unknown key, {key}; known are {', '.join(SmallCard.model_fields)}"
        elif first["type"] == "missing":
            fault = f"does not say {key}; {_how_to_write(onnx)}"
        else:
            fault = f"has {f'a {key}' if key else 'values'} that cannot be ({first['msg']}); correct it"
        raise ModelError(f"{onnx}: its card {fault}") from None


def check_network(onnx: Path, card: ModelCard) -> None:
    """ModelError unless the network in `onnx` takes and gives images as `card` has it. It is tried on one."""
    from lowdose.models.runtime import NetworkError, shapes_of, tried  # 0.3 s, which lists need not spend

    try:
        shown, given = shapes_of(onnx)
    except NetworkError as error:
        raise ModelError(f"{onnx}: {error}; export it to ONNX again") from None
    n_axes = card.dimensions + 2
    words = "(b, c, y, x)" if card.dimensions == 2 else "(b, 1, z, y, x)"
    if shown is not None and len(shown) != n_axes:
        raise ModelError(
            f"{onnx}: takes arrays of {len(shown)} axes, but {words} is what a network of {card.dimensions} "
            "dimensions takes; set dimensions in its card, or export it with these axes"
        )
    if given is not None and len(given) != n_axes:
        raise ModelError(f"{onnx}: gives arrays of {len(given)} axes and not {words}; export it with these")
    n_channels = 1 + 2 * card.context
    if shown is not None and shown[1] not in (None, n_channels):
        raise ModelError(
            f"{onnx}: takes {shown[1]} channels, but context {card.context} in its card means {n_channels}; "
            "it must be one slice and as many neighbours on either side"
        )
    least = _TRIED_SIDE if card.dimensions == 2 else _TRIED_SIDE // 2
    # An odd number of multiples: a network that needs a larger one must not pass.
    side = (-(-least // card.multiple) | 1) * card.multiple
    shape = (1, n_channels, *(side,) * card.dimensions)
    try:
        result = tried(onnx, shape)
    except NetworkError as error:
        fixed = [n for n in (shown or ())[2:] if n is not None]
        why = f"works on images of {' x '.join(map(str, fixed))} only" if fixed else str(error)
        raise ModelError(
            f"{onnx}: {why}; export it with free axes, or set multiple in its card to what its sides must be "
            "a multiple of"
        ) from None
    expected = (1, card.levels, *shape[2:])
    if result != expected:
        raise ModelError(
            f"{onnx}: makes {result} of an image {shape}, where its card means {expected}; set levels or "
            "multiple in the card, or export it with padding"
        )


def import_onnx(onnx: Path, card: SmallCard, folder: Path) -> ModelCard:
    """Fill `folder`, which exists, with the model in `onnx`; its card comes last. ModelError as
    `load_foreign`.
    """
    shutil.copyfile(onnx, folder / ONNX)
    made = card.model_card(folder / ONNX)
    try:
        check_network(folder / ONNX, made)
    except ModelError as error:
        raise ModelError(str(error).replace(str(folder / ONNX), str(onnx))) from None
    write_card(made, folder)
    return made


def write_card(card: ModelCard, folder: Path) -> None:
    """Write the card of a model folder, whole or not at all."""
    with written_whole(folder / CARD) as temporary:
        temporary.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _how_to_write(onnx: Path) -> str:
    example = json.dumps({"name": "my-network", "offset_hu": 0.0, "scale_hu": 1.0})
    return (
        f"write {onnx.with_suffix('.json').name} as {example}, where the network sees "
        "(HU - offset_hu) / scale_hu"
    )
