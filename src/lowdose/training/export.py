"""A trained network as a model folder: `model.onnx`, `weights.safetensors`, `card.json`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors.torch import save_file
from torch import nn

from lowdose.models.card import CARD, ONNX, WEIGHTS, Metric, ModelCard, TrainingData
from lowdose.models.runtime import OpenVinoNetwork
from lowdose.provenance import sha256_of_file, written_whole
from lowdose.training.plan import TrainingPlan

PARITY_HU = 0.01
"""The largest difference allowed between PyTorch and the exported network, on noise of 50 HU."""

_MULTIPLE = 8

TRAINED_RANGE_HU = (-1200.0, 3071.0)
"""What 12 bits hold, and the noise of air below it."""


class ParityError(Exception):
    """The exported network does not compute what the trained one does."""


def export_model(
    network: nn.Module,
    plan: TrainingPlan,
    data: Sequence[TrainingData],
    step: int,
    folder: Path,
    metrics: Sequence[Metric] = (),
    pixel_size_mm: tuple[float, float] | None = None,
) -> Path:
    """Write `network` as a model folder and return the folder. ParityError if OpenVINO disagrees with
    PyTorch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).unlink(missing_ok=True)  # a folder with a card is one that was checked
    network = network.eval()
    with written_whole(folder / ONNX) as temporary:
        _write_onnx(network, temporary)
    with written_whole(folder / WEIGHTS) as temporary:
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, temporary)
    difference = parity(network, folder / ONNX, plan.scale_hu)
    if not difference <= PARITY_HU:
        raise ParityError(f"{folder}: the exported network is up to {difference:.3g} HU from the trained one")
    card = _card(plan, data, step, folder).model_copy(
        update={"metrics": tuple(metrics), "pixel_size_mm": pixel_size_mm}
    )
    with written_whole(folder / CARD) as temporary:
        temporary.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return folder


def parity(network: nn.Module, onnx_file: Path, scale_hu: float) -> float:
    """Largest difference in HU between PyTorch and OpenVINO on random images of two odd sizes; NaN if
    either gives one.
    """
    exported = OpenVinoNetwork(onnx_file)
    generator = np.random.default_rng(0)
    differences = []
    for shape in ((1, 1, 64, 64), (1, 1, 136, 88)):
        image = (generator.standard_normal(shape) * 50 / scale_hu).astype(np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(image)).numpy()
        differences.append(np.abs(exported(image) - expected).max() * scale_hu)
    return float(np.max(differences))


def _write_onnx(network: nn.Module, path: Path) -> None:
    example = torch.zeros(1, 1, 64, 64)
    with warnings.catch_warnings():
        # The exporter of traced graphs warns of its own future; the exported file is checked against PyTorch.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (example,),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["scaled_hu"],
            output_names=["denoised"],
            dynamic_axes={"scaled_hu": {0: "b", 2: "y", 3: "x"}, "denoised": {0: "b", 2: "y", 3: "x"}},
        )
    onnx.checker.check_model(str(path))


def _card(plan: TrainingPlan, data: Sequence[TrainingData], step: int, folder: Path) -> ModelCard:
    gain = plan.dose_gain
    return ModelCard(
        name=plan.name,
        version=plan.version,
        summary=plan.summary,
        architecture=plan.network.name,
        sizes=dict(plan.network.sizes),
        offset_hu=plan.offset_hu,
        scale_hu=plan.scale_hu,
        trained_range_hu=TRAINED_RANGE_HU,
        multiple=_MULTIPLE,
        dose_gain=gain,
        dose_range=f"inputs at 1/{gain:g} of 30 to 100 % of the training scans' own dose",
        kernels="the kernels of the training scans, smoothed by up to 1.1 px or sharpened at random",
        slice_thickness_mm="that of the training scans, and means of two neighbours",
        not_trained_on=plan.not_trained_on,
        training=(
            f"{step} steps of {plan.schedule.batch_size} patches of {plan.patch} px; the input is the target "
            f"at 1/{gain:g} of its dose, with its own noise spectrum; the loss is the squared error as a "
            "share of the noise added"
        ),
        data=tuple(data),
        metrics=(),
        known_limits=plan.known_limits,
        onnx_sha256=sha256_of_file(folder / ONNX),
        weights_sha256=sha256_of_file(folder / WEIGHTS),
    )
