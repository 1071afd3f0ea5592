"""What every network does, whichever it is: a new one is one file, one line of NETWORKS, and tested here."""

from __future__ import annotations

import inspect
import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lowdose.networks import NETWORKS
from lowdose.networks.network import DenoisingNetwork

PUBLISHED = {
    "bilateral": 12,
    "cnn-10": 24_513,
    "cpce-2d": 62_016,
    "cpce-3d": 62_592,  # of three slices
    "du-gan": 185_569,
    "map-nn": 62_016,
    "q-ae": 49_818,
    "red-cnn": 1_848_865,
    "resnet": 1_843_329,
    "ssms": 111_969,
    "transct": 12_655_936 + 9 * (256 * 256 + 256),  # keys have weights of their own
    "wgan-vgg": 56_097,
}
"""Weights of the published sizes, counted by hand from their layers."""


@pytest.fixture(autouse=True)
def _one_thread():
    """Networks as small as these only wait for more."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


every_network = pytest.mark.parametrize("name", NETWORKS)


def small(name: str) -> DenoisingNetwork:
    """The network narrow and, where that is an option, with neighbouring slices; untrained."""
    torch.manual_seed(0)
    taken = inspect.signature(NETWORKS[name]).parameters
    return NETWORKS[name](**{key: n for key, n in {"width": 8, "context": 1}.items() if key in taken})


def with_trained_look(network: DenoisingNetwork) -> DenoisingNetwork:
    """No layer is zero or otherwise special, as some are before training."""
    for weight in network.parameters():
        if weight.ndim:
            fan_in = weight[0].numel() if weight.ndim > 1 else 100
            weight.data += 0.3 * fan_in**-0.5 * torch.randn_like(weight)
    for value in network.buffers():
        if value.is_floating_point() and value.ndim == 1:  # running means and variances
            value += 0.2 * torch.rand_like(value)
    return network.eval()


@cache
def trained(name: str) -> DenoisingNetwork:
    return with_trained_look(small(name)).requires_grad_(False)


def length(network: DenoisingNetwork, at_least: int) -> int:
    """The smallest odd multiple of what the network needs."""
    n = -(-at_least // network.multiple)
    return network.multiple * (n + 1 - n % 2)


def noise(network: DenoisingNetwork, x: int = 30, y: int = 22, batch: int = 2) -> Tensor:
    """As the network takes it; volumes are as deep as they need to be."""
    generator = torch.Generator().manual_seed(1)
    channels = (1 + 2 * network.context,) if network.dimensions == 2 else (1, length(network, 5))
    n_y, n_x = length(network, y), length(network, max(x, y + 2 * network.multiple))
    return torch.randn(batch, *channels, n_y, n_x, generator=generator)


@every_network
def test_the_grid_stays_and_every_level_is_given(name):
    network = trained(name)
    image = noise(network)
    assert network(image).shape == (2, network.levels, *image.shape[2:])


@every_network
def test_every_weight_learns(name):
    network = with_trained_look(small(name))
    (network(noise(network)) * noise(network)[:, :1]).sum().backward()
    for label, weight in network.named_parameters():
        assert weight.grad is not None, label
        assert torch.isfinite(weight.grad).all(), label
        assert weight.grad.abs().max() > 0, label


@every_network
def test_nothing_comes_from_beyond_the_reach(name):
    """A pixel that is not a number spoils all that it touches, and nothing else."""
    network = trained(name)
    if not network.reach:
        pytest.skip("sees everything")
    image = noise(network, network.reach + 30, batch=1)
    image[..., 0] = torch.nan
    for given, axis in ((image, -1), (image.transpose(-1, -2), -2)):
        spoilt = network(given).transpose(axis, -1).isnan()
        assert spoilt[..., 0].all()
        assert not spoilt[..., network.reach + 1 :].any()


@every_network
def test_a_shift_by_the_multiple_shifts_the_result(name):
    network = with_trained_look(small(name)).double().requires_grad_(False)
    if not network.reach:
        pytest.skip("sees the borders from everywhere")
    image = noise(network, 2 * network.reach + 2 * network.multiple + 5, batch=1).double()
    inner = slice(network.reach + network.multiple, -network.reach or None)
    for given, axis in ((image, -1), (image.transpose(-1, -2), -2)):
        shifted = network(given.roll(network.multiple, axis)).transpose(axis, -1)
        expected = network(given).roll(network.multiple, axis).transpose(axis, -1)
        assert torch.allclose(shifted[..., inner], expected[..., inner], rtol=1e-9, atol=1e-9)


@every_network
def test_images_of_a_batch_ignore_each_other(name):
    network = trained(name)
    image = noise(network)
    alone = network(image[1:])
    image[0] = torch.nan
    assert torch.allclose(network(image)[1:], alone, rtol=1e-4, atol=1e-5)


@every_network
def test_weights_survive_a_file_to_the_bit_and_give_the_same(name, tmp_path):
    network, again = trained(name), small(name).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    image = noise(network)
    expected = network(image)
    weights = again.state_dict()
    assert all(torch.equal(weights[key], value) for key, value in network.state_dict().items())
    # Where numbers lie in memory decides in which order they are added, and so how sums are rounded.
    for one in (again, network):
        assert torch.allclose(one(image), expected, rtol=1e-5, atol=1e-6)


@every_network
def test_the_exported_network_computes_the_same_at_other_sizes(name, tmp_path):
    network, path = trained(name), tmp_path / "model.onnx"
    export(network, path)
    exported = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    image = noise(network, 40, 30)
    (denoised,) = exported.run(None, {"scaled_hu": image.numpy()})
    expected = network(image).numpy()
    assert np.abs(denoised - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())


def export(network: DenoisingNetwork, path: Path) -> None:
    names = ("y", "x") if network.dimensions == 2 else ("z", "y", "x")
    axes = {0: "b"} | dict(enumerate(names, start=2))
    with warnings.catch_warnings():
        # The exporter of traced graphs warns of its own future, and of padding that it does not simplify.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        torch.onnx.export(
            network,
            (noise(network, batch=1),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["scaled_hu"],
            output_names=["denoised"],
            dynamic_axes={"scaled_hu": axes, "denoised": axes},
        )


@every_network
def test_a_few_steps_lower_the_loss(name):
    network = small(name).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    noisy = noise(network)
    x = torch.linspace(0, 6, noisy.shape[-1])
    clean = torch.sin(x).expand_as(noisy)
    noisy = clean + 0.3 * noisy
    middle = slice(network.context, network.context + 1)
    losses = []
    for _ in range(6):
        loss = torch.mean((network(noisy)[:, -1:] - clean[:, middle]) ** 2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


@every_network
def test_it_is_described_and_takes_its_sizes_by_name(name):
    kind = NETWORKS[name]
    assert kind.__doc__
    assert sys.modules[kind.__module__].__doc__
    for size in inspect.signature(kind).parameters.values():
        assert size.kind is size.KEYWORD_ONLY
        assert size.default is not size.empty


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_are_as_published(name):
    assert sum(weight.numel() for weight in NETWORKS[name]().parameters()) == PUBLISHED[name]
