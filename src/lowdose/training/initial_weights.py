"""Where a network starts from: the weights of another model."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lowdose.models.card import WEIGHTS, ModelCard, ModelError, load_card
from lowdose.networks import NETWORKS
from lowdose.networks.cpce_2d import Cpce2d
from lowdose.networks.cpce_3d import Cpce3d, inflated
from lowdose.networks.network import DenoisingNetwork
from lowdose.provenance import sha256_of_file
from lowdose.training.plan import PlanError


def start_from(network: DenoisingNetwork, folder: Path) -> None:
    """Give `network` the weights of the model in `folder`; CPCE-3D also takes those of CPCE-2D.

    PlanError if they are damaged or of another architecture.
    """
    try:
        card = load_card(folder)
    except ModelError as error:
        raise PlanError(f"network.start: {error}") from None
    weights = _weights_of(card, folder)
    if isinstance(network, Cpce3d) and NETWORKS.get(card.architecture) is Cpce2d:
        weights = inflated(weights, 1 + 2 * network.context)
    wanted = network.state_dict()
    wrong = [name for name in {**wanted, **weights} if _shape(weights, name) != _shape(wanted, name)]
    if wrong:
        raise PlanError(
            f"network.start: {folder} holds a {card.architecture} of {card.sizes}, whose '{wrong[0]}' does "
            "not fit; give the network the same name and sizes"
        )
    network.load_state_dict(weights)


def _weights_of(card: ModelCard, folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    try:
        if sha256_of_file(path) == card.weights_sha256:
            return load_file(path)
    except (OSError, SafetensorError) as error:
        raise PlanError(f"network.start: {path} cannot be read ({error}); name another model") from None
    raise PlanError(f"network.start: {path} does not match the SHA-256 on its card; export the model again")


def _shape(weights: dict[str, Tensor], name: str) -> torch.Size | None:
    return weights[name].shape if name in weights else None
