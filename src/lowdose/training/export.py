"""A trained network as a model folder: `model.onnx`, `weights.safetensors`, `card.json`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from lowdose.models.card import CARD, ONNX, WEIGHTS, HuScaling, Metric, ModelCard, TrainingData
from lowdose.models.runtime import OpenVinoNetwork
from lowdose.models.tiles import narrowest_halo
from lowdose.networks.network import DenoisingNetwork
from lowdose.provenance import sha256_of_file, written_whole
from lowdose.training.plan import TrainingPlan

PARITY_HU = 0.01
"""The largest difference allowed between PyTorch and the exported network, on noise of 50 HU."""

_LEAST_HALVED = 256
"""Numbers in a weight from which on it is stored as float16, where that is wanted."""
_BYTES_PER_ACTIVATION = 4
_ACTIVATIONS_HELD = 1.5
"""Of the largest number of activations that one layer takes and gives, what the inference engine holds."""

_ORGANS_HU = (-1000.0, -100.0, 50.0, 1000.0)
_NOISE_HU = 100.0


class ParityError(Exception):
    """The exported network does not compute what the trained one does."""


def export_model(
    network: DenoisingNetwork,
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
    stored = torch.float16 if plan.stored_as == "float16" else torch.float32
    weights = {name: _rounded(value, stored) for name, value in network.state_dict().items()}
    network.load_state_dict(weights)
    write_onnx(network, folder / ONNX, half=stored is torch.float16)
    with written_whole(folder / WEIGHTS) as temporary:
        save_file(weights, temporary)
    difference = parity(network, folder / ONNX, plan.scale_hu)
    if not difference <= PARITY_HU:
        raise ParityError(f"{folder}: the exported network is up to {difference:.3g} HU from the trained one")
    card = _card(network, plan, data, step, folder).model_copy(
        update={"metrics": tuple(metrics), "pixel_size_mm": pixel_size_mm}
    )
    with written_whole(folder / CARD) as temporary:
        temporary.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return folder


def parity(network: DenoisingNetwork, onnx_file: Path, scale_hu: float) -> float:
    """Largest difference in HU between PyTorch and OpenVINO on random images of two odd sizes; NaN if
    either gives one.
    """
    exported = OpenVinoNetwork(onnx_file)
    generator = np.random.default_rng(0)
    differences = []
    for multiples in ((2, 3, 4), (3, 5, 3)):
        shape = _example_shape(network, multiples)
        image = (generator.standard_normal(shape) * 50 / scale_hu).astype(np.float32)
        with torch.no_grad():
            expected = network(torch.from_numpy(image)).numpy()
        differences.append(np.abs(exported(image) - expected).max() * scale_hu)
    return float(np.max(differences))


def _example_shape(network: DenoisingNetwork, multiples: tuple[int, int, int]) -> tuple[int, ...]:
    """Of a small image: about 16 voxels along an axis, times `multiples`, as the network takes it."""
    step = max(1, 16 // network.multiple) * network.multiple
    z, y, x = (step * n for n in multiples)
    return (1, 1, z, y, x) if network.dimensions == 3 else (1, 1 + 2 * network.context, y, x)


def _rounded(value: Tensor, stored: torch.dtype) -> Tensor:
    """As it is stored; counters stay whole numbers."""
    return value.contiguous().to(stored) if value.is_floating_point() else value.contiguous()


def write_onnx(network: DenoisingNetwork, path: Path, *, half: bool = False) -> None:
    """The network for images of every size, whole or not at all; with `half` its weights as float16, which
    they must be already.
    """
    axes = {0: "b", 2: "z", 3: "y", 4: "x"} if network.dimensions == 3 else {0: "b", 2: "y", 3: "x"}
    with written_whole(path) as temporary, warnings.catch_warnings():
        # The exporter of traced graphs warns of its own future; the exported file is checked against PyTorch.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        torch.onnx.export(
            network,
            (torch.zeros(_example_shape(network, (2, 3, 4))),),
            str(temporary),
            dynamo=False,
            opset_version=17,
            input_names=["scaled_hu"],
            output_names=["denoised"],
            dynamic_axes={"scaled_hu": axes, "denoised": axes},
        )
        if half:
            onnx.save(_with_half_weights(onnx.load(temporary)), temporary)
        onnx.checker.check_model(str(temporary))


def _with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same function: large weights are stored as float16 and cast when the network is loaded."""
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= _LEAST_HALVED:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def bytes_per_voxel(network: DenoisingNetwork) -> int:
    """The memory that inference takes for each voxel it is shown, from the largest layer."""
    largest = 0

    def look(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal largest
        largest = max(largest, output.numel() + sum(one.numel() for one in inputs))

    hooks = [one.register_forward_hook(look) for one in network.modules() if not list(one.children())]
    example = torch.zeros(_example_shape(network, (2, 2, 2)))
    with torch.no_grad():
        network(example)
    for hook in hooks:
        hook.remove()
    return round(_ACTIVATIONS_HELD * _BYTES_PER_ACTIVATION * largest / example.numel()) + 1


def halo_of(network: DenoisingNetwork, scaling: HuScaling) -> tuple[int, int, int]:
    """How far along z, y, x what a 3-D network gives depends on its input, to a tenth of a HU.

    Measured on a volume of organs, air and bone in correlated noise of 100 HU, cut in two.
    """
    multiple = network.multiple
    side = 2 * (-(-network.reach // multiple) + 1) * multiple
    generator = np.random.default_rng(0)
    organs = gaussian_filter(generator.standard_normal((side,) * 3), 4.0)
    organs = np.digitize(organs, np.quantile(organs, [0.2, 0.5, 0.9]))
    noise = gaussian_filter(generator.standard_normal((side,) * 3), 0.7)
    volume = np.array(_ORGANS_HU)[organs] + _NOISE_HU / noise.std() * noise

    def compute(hu: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            output = network(torch.from_numpy(scaling.scaled(hu))[None, None])
        return scaling.unscaled(output[0, 0].numpy())

    return narrowest_halo(compute, volume.astype(np.float32), multiple)


def _card(
    network: DenoisingNetwork, plan: TrainingPlan, data: Sequence[TrainingData], step: int, folder: Path
) -> ModelCard:
    scaling = HuScaling(plan.offset_hu, plan.scale_hu)
    return ModelCard(
        name=plan.name,
        version=plan.version,
        summary=plan.summary,
        architecture=plan.network.name,
        sizes=dict(plan.network.sizes),
        offset_hu=plan.offset_hu,
        scale_hu=plan.scale_hu,
        trained_range_hu=plan.trained_range_hu,
        dimensions=3 if network.dimensions == 3 else 2,
        context=network.context,
        levels=network.levels,
        multiple=network.multiple,
        halo=halo_of(network, scaling) if network.dimensions == 3 else (0, 0, 0),
        bytes_per_voxel=bytes_per_voxel(network),
        dose_gain=plan.dose_gain,
        dose_range=_dose_range(plan),
        kernels=_kernels(plan),
        slice_thickness_mm="that of the training scans"
        + (", and means of two neighbours" if plan.drawing.averaged else ""),
        not_trained_on=plan.not_trained_on,
        training=_training(plan, step),
        data=tuple(data),
        metrics=(),
        known_limits=plan.known_limits,
        onnx_sha256=sha256_of_file(folder / ONNX),
        weights_sha256=sha256_of_file(folder / WEIGHTS),
    )


def _dose_range(plan: TrainingPlan) -> str:
    if plan.noise_model is not None:
        return (
            "inputs as noisy as the low-dose scans that the noise was learned from, targets at "
            f"{plan.dose_gain:g} times their dose"
        )
    if plan.manifest is not None:
        return "as the scans of the manifest were taken"
    lowest = 100 * plan.drawing.lowest_target_dose
    return f"inputs at 1/{plan.dose_gain:g} of {lowest:g} to 100 % of the training scans' own dose"


def _kernels(plan: TrainingPlan) -> str:
    if plan.noise_model is not None:
        return "noise of the kernel that it was learned from, on anatomy by the kernels of the training scans"
    changed = ", smoothed by up to 1.1 px or sharpened at random" if plan.drawing.kernels else ""
    return f"the kernels of the training scans{changed}"


def _training(plan: TrainingPlan, step: int) -> str:
    """How the network was trained, in one sentence."""
    patch = " x ".join(str(n) for n in plan.patch if n > 1)
    terms = [f"{weight:g} x {name}" for name, weight in plan.losses.items()]
    if plan.perceptual is not None:
        terms.append(f"{plan.perceptual.weight:g} x distance of features ({plan.perceptual.features})")
    if plan.adversarial is not None:
        critics = " and ".join(f"{one.name} on the {one.shown}" for one in plan.adversarial.critics)
        terms.append(f"critics ({plan.adversarial.kind}: {critics})")
    pairs = f"the input is the target at 1/{plan.dose_gain:g} of its dose, with its own noise spectrum"
    if plan.noise_model is not None:
        pairs = f"the input is the target at 1/{plan.dose_gain:g} of its dose, with noise that was learned"
    elif plan.manifest is not None:
        pairs = "pairs, or scans with their own noise added, as the manifest says"
    chosen = {
        "error": "those with the least validation error",
        "ssim": "those with the highest validation SSIM",
        "last": "the last",
    }[plan.schedule.selection]
    return (
        f"{step} steps of {plan.schedule.batch_size} patches of {patch} voxels; {pairs}; the loss is "
        f"{' + '.join(terms)}; averaged weights, {chosen}"
    )
