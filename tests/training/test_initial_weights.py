from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lowdose.networks.cpce_2d import Cpce2d
from lowdose.networks.cpce_3d import Cpce3d
from lowdose.networks.network import DenoisingNetwork
from lowdose.networks.residual_unet import ResidualUnet
from lowdose.training.export import export_model
from lowdose.training.initial_weights import start_from
from lowdose.training.plan import PlanError
from tests.training.ward import plan


def exported(network: DenoisingNetwork, name: str, sizes: dict, folder: Path) -> Path:
    return export_model(network, plan(network={"name": name, "sizes": sizes}), (), 1, folder / name)


@pytest.fixture
def flat(tmp_path) -> tuple[Cpce2d, Path]:
    torch.manual_seed(0)
    network = Cpce2d(width=4)
    return network, exported(network, "cpce-2d", {"width": 4}, tmp_path)


def test_a_network_starts_as_the_model_is(flat):
    trained, folder = flat
    network = Cpce2d(width=4)
    start_from(network, folder)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), trained.parameters(), strict=True))


def test_a_network_of_three_dimensions_starts_as_that_of_two(flat):
    """It sees neighbours, and at first does not look at them."""
    trained, folder = flat
    network = Cpce3d(width=4, n_slices=5)
    start_from(network, folder)
    slices = torch.randn(2, 5, 24, 24)
    with torch.no_grad():
        assert torch.allclose(network(slices), trained(slices[:, 2:3]), atol=1e-5)


@pytest.mark.parametrize("network", [Cpce2d(width=8), ResidualUnet(width=8), Cpce3d(width=8)])
def test_another_architecture_or_size_is_refused(flat, network):
    with pytest.raises(
        PlanError, match=r"network\.start: .* holds a cpce-2d of {'width': 4}, whose .* not fit"
    ):
        start_from(network, flat[1])


def test_damaged_weights_are_refused(flat):
    file = flat[1] / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(PlanError, match="does not match the SHA-256 on its card"):
        start_from(Cpce2d(width=4), flat[1])


def test_a_folder_that_is_no_model_is_one_sentence(tmp_path):
    with pytest.raises(PlanError, match=r"network\.start: .*: not a model folder"):
        start_from(Cpce2d(width=4), tmp_path)
