from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file
from torch import nn

from lowdose.denoising import denoise
from lowdose.models.card import Metric, TrainingData, load_card
from lowdose.models.denoiser import ModelDenoiser
from lowdose.models.runtime import OpenVinoNetwork
from lowdose.networks.cpce_3d import Cpce3d
from lowdose.networks.map_nn import MapNn
from lowdose.networks.residual_unet import ResidualUnet
from lowdose.networks.unet_3d import Unet3d
from lowdose.provenance import sha256_of_file
from lowdose.scan import Scan
from lowdose.training import export
from lowdose.training.export import PARITY_HU, ParityError, export_model, parity
from lowdose.training.plan import TrainingPlan

SCALE_HU = 400.0

PLAN = TrainingPlan.model_validate(
    {
        "name": "tiny",
        "version": "0.1",
        "summary": "A test.",
        "known_limits": ["It knows nothing."],
        "network": {"name": "residual-unet", "sizes": {"width": 8, "blocks": [1, 1, 1]}},
        "offset_hu": 40.0,
        "scale_hu": SCALE_HU,
        "dose_gain": 3.0,
        "patch": 32,
        "schedule": {"n_steps": 7, "batch_size": 2},
        "sources": [{"name": "a", "path": "a", "licence": "CC0", "citation": "in-house"}],
    }
)

DATA = (TrainingData(name="a", use="training", patients=2, slices=9, licence="CC0", citation="in-house"),)


def network(seed: int = 0) -> ResidualUnet:
    """A network that does something: the last layer of a new one is zero."""
    torch.manual_seed(seed)
    made = ResidualUnet(width=8, blocks=(1, 1, 1)).eval()
    nn.init.normal_(made.tail[0].weight, std=0.05)
    return made


@pytest.fixture(scope="module")
def trained() -> ResidualUnet:
    return network()


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory) -> Path:
    metric = Metric(name="RMSE", value=10.5, unit="HU", interval=(9.0, 12.0), protocol="by hand")
    return export_model(trained, PLAN, DATA, 7, tmp_path_factory.mktemp("run") / "tiny", [metric])


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (3, 1, 40, 72), (1, 1, 8, 8), (2, 1, 200, 136)])
def test_pytorch_openvino_and_onnx_runtime_agree(trained, folder, shape):
    """In any batch and size, not only in those that were exported."""
    image = np.random.default_rng(1).normal(0, 100 / SCALE_HU, shape).astype(np.float32)
    with torch.no_grad():
        expected = trained(torch.from_numpy(image)).numpy()
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (by_onnxruntime,) = session.run(["denoised"], {"scaled_hu": image})
    by_openvino = OpenVinoNetwork(folder / "model.onnx")(image)
    assert np.abs(expected - image).max() * SCALE_HU > 1.0
    assert np.abs(by_onnxruntime - expected).max() * SCALE_HU < PARITY_HU
    assert np.abs(by_openvino - expected).max() * SCALE_HU < PARITY_HU


def test_the_weights_are_those_of_the_network(trained, folder):
    weights = load_file(folder / "weights.safetensors")
    assert weights.keys() == trained.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in trained.state_dict().items())
    again = ResidualUnet(width=8, blocks=(1, 1, 1))
    again.load_state_dict(weights)
    image = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(again.eval()(image), trained(image))


def test_the_card_says_what_was_done(folder):
    card = load_card(folder)
    assert (card.name, card.version, card.architecture) == ("tiny", "0.1", "residual-unet")
    assert card.sizes == {"width": 8, "blocks": [1, 1, 1]}
    assert (card.offset_hu, card.scale_hu, card.dose_gain, card.multiple) == (40.0, SCALE_HU, 3.0, 8)
    assert card.training.startswith("7 steps of 2 patches of 32 x 32 voxels; the input is the target at 1/3")
    assert (card.data, card.known_limits) == (DATA, ("It knows nothing.",))
    assert card.metrics[0].interval == (9.0, 12.0)
    assert card.onnx_sha256 == sha256_of_file(folder / "model.onnx")
    assert card.weights_sha256 == sha256_of_file(folder / "weights.safetensors")
    assert {file.name for file in folder.iterdir()} == {"model.onnx", "weights.safetensors", "card.json"}


def test_the_folder_denoises_as_the_network_does(trained, folder):
    """HU in, HU out: the scaling of the card is applied once each way."""
    hu = np.random.default_rng(2).normal(60, 80, (1, 1, 48, 48)).astype(np.float32)
    with torch.no_grad():
        expected = trained(torch.from_numpy((hu - 40) / SCALE_HU)).numpy() * SCALE_HU + 40
    assert np.abs(ModelDenoiser(folder)(hu) - expected).max() < PARITY_HU


def test_a_file_of_other_weights_is_told_apart(folder):
    assert parity(network(), folder / "model.onnx", SCALE_HU) < PARITY_HU
    assert parity(network(seed=1), folder / "model.onnx", SCALE_HU) > 1.0


def test_a_network_that_was_exported_wrongly_never_gets_a_card(tmp_path, monkeypatch):
    """Half a percent on one layer's weights is enough."""
    right = export.write_onnx

    def wrong(network: nn.Module, path: Path, *, half: bool) -> None:
        right(network, path, half=half)
        model = onnx.load(path)
        tensor = next(item for item in model.graph.initializer if item.name == "tail.0.weight")
        values = numpy_helper.to_array(tensor) * np.float32(1.005)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        onnx.save(model, path)

    monkeypatch.setattr(export, "write_onnx", wrong)
    with pytest.raises(ParityError, match=r"exported network is up to .* HU from the trained one"):
        export_model(network(), PLAN, DATA, 7, tmp_path / "tiny")
    assert not (tmp_path / "tiny" / "card.json").exists()


def test_values_that_are_no_numbers_are_no_parity(tmp_path):
    """NaN is larger than no limit, and yet it is wrong."""
    broken = network()
    with torch.no_grad():
        broken.tail[0].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(ParityError):
        export_model(broken, PLAN, DATA, 7, tmp_path / "tiny")
    assert not (tmp_path / "tiny" / "card.json").exists()


def test_a_network_of_volumes_says_how_far_it_sees(tmp_path):
    """Tiles with that halo fit together, whatever their size."""
    torch.manual_seed(0)
    made = Unet3d(width=4, n_levels=2)
    nn.init.normal_(made.head.weight, std=0.3)
    choice = {"network": {"name": "unet-3d", "sizes": {"width": 4, "n_levels": 2}}, "patch": [16, 32, 32]}
    plan = TrainingPlan.model_validate(PLAN.model_dump() | choice)
    folder = export_model(made, plan, DATA, 7, tmp_path / "solid")
    card = load_card(folder)
    assert (card.dimensions, card.multiple, card.context, card.levels) == (3, 2, 0, 1)
    assert 2 <= min(card.halo) <= max(card.halo) <= made.reach + 2
    hu = np.random.default_rng(0).normal(50, 150, (37, 50, 61)).astype(np.float32)
    scan = Scan.from_array(hu, spacing=(1, 1, 1))
    whole, tiled = (denoise(scan, ModelDenoiser(folder, memory_mb=memory)).hu for memory in (1500.0, 3.0))
    assert np.abs(whole - hu).max() > 10
    assert np.abs(whole - tiled).max() < 0.5


def test_levels_and_neighbours_are_on_the_card(tmp_path):
    made = MapNn(width=4, depth=3)
    choice = {"network": {"name": "map-nn", "sizes": {"width": 4, "depth": 3}}}
    plan = TrainingPlan.model_validate(PLAN.model_dump() | choice)
    assert load_card(export_model(made, plan, DATA, 7, tmp_path / "levels")).levels == 3
    made = Cpce3d(width=4, n_slices=5)
    choice = {"network": {"name": "cpce-3d", "sizes": {"width": 4, "n_slices": 5}}}
    plan = TrainingPlan.model_validate(PLAN.model_dump() | choice)
    assert load_card(export_model(made, plan, DATA, 7, tmp_path / "neighbours")).context == 2


def test_weights_can_be_stored_in_half_the_bytes(tmp_path):
    """They are rounded first, so that the network, its file and what was measured of it are one."""
    plans = {kind: PLAN.model_copy(update={"stored_as": kind}) for kind in ("float32", "float16")}
    made = {kind: network() for kind in plans}
    folders = {kind: export_model(made[kind], plan, DATA, 7, tmp_path / kind) for kind, plan in plans.items()}
    for file in ("model.onnx", "weights.safetensors"):
        sizes = {kind: (folder / file).stat().st_size for kind, folder in folders.items()}
        assert sizes["float16"] < 0.65 * sizes["float32"]
    hu = np.random.default_rng(2).normal(60, 80, (1, 1, 48, 48)).astype(np.float32)
    with torch.no_grad():
        expected = made["float16"](torch.from_numpy((hu - 40) / SCALE_HU)).numpy() * SCALE_HU + 40
    denoised = {kind: ModelDenoiser(folder)(hu) for kind, folder in folders.items()}
    assert np.abs(denoised["float16"] - expected).max() < PARITY_HU
    assert 0 < np.abs(denoised["float16"] - denoised["float32"]).max() < 1.0
    weights = load_file(folders["float16"] / "weights.safetensors")
    again = ResidualUnet(width=8, blocks=(1, 1, 1))
    again.load_state_dict(weights)
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), made["float16"].parameters(), strict=True)
    )
