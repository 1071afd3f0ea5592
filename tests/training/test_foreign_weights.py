from __future__ import annotations

import argparse
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from lowdose.networks.bilateral import Bilateral
from lowdose.networks.red_cnn import RedCnn
from lowdose.training.foreign_weights import (
    LDCT_BENCHMARK,
    SCALINGS,
    ForeignWeightsError,
    load_ldct_benchmark,
)


def convolutions(*widths: tuple[int, int, int]) -> nn.Sequential:
    """Layers of (channels in, channels out, kernel), with something without weights after each."""
    return nn.Sequential(*(layer for width in widths for layer in (nn.Conv2d(*width), nn.ReLU())))


def quadratic(n_out: int, *channels: int) -> nn.ParameterDict:
    """`channels` in the order of the kernel's axes."""
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("W_r", "W_g", "W_b"), (*channels, 3, 3))
    shapes |= dict.fromkeys(("b_r", "b_g", "b_b"), (n_out,))
    return nn.ParameterDict({name: torch.randn(shape) for name, shape in shapes.items()})


def red_cnn() -> nn.ModuleDict:
    layers: dict[str, nn.Module] = {f"conv{i}": nn.Conv2d(1 if i == 1 else 4, 4, 5) for i in range(1, 6)}
    layers |= {f"tconv{i}": nn.ConvTranspose2d(4, 1 if i == 5 else 4, 5) for i in range(1, 6)}
    return nn.ModuleDict(layers)


def resnet() -> nn.ModuleDict:
    def block() -> nn.ModuleDict:
        layers = [nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8)]
        layers += [nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1)]
        return nn.ModuleDict({"layers": nn.Sequential(*layers)})

    blocks = nn.ModuleList(block() for _ in range(11))
    return nn.ModuleDict({"in_conv": nn.Conv2d(1, 8, 9), "blocks": blocks, "out_conv": nn.Conv2d(8, 1, 3)})


def transct() -> nn.ModuleDict:
    """At 128 x 128 pixels: 64 patches, and 16 places in the memory."""

    def feed_forward(n: int) -> nn.Sequential:
        return nn.Sequential(nn.Linear(n, 8 * n), nn.LeakyReLU(0.2), nn.Linear(8 * n, n), nn.LeakyReLU(0.2))

    def encoder() -> nn.ModuleDict:
        return nn.ModuleDict({"mha": nn.MultiheadAttention(16, 8, batch_first=True), "ff": feed_forward(16)})

    def decoder() -> nn.ModuleDict:
        return nn.ModuleDict(
            {
                "mha1": nn.MultiheadAttention(64, 8, batch_first=True),
                "mha2": nn.MultiheadAttention(64, 8, kdim=16, vdim=16, batch_first=True),
                "ff": feed_forward(64),
            }
        )

    low = {
        "base_encoder": convolutions((1, 16, 5), (16, 32, 5)),
        "lc1": convolutions((32, 64, 5)),
        "lc2": convolutions((64, 256, 5)),
        "transformer_endoder": convolutions((32, 64, 5), (64, 128, 5), (128, 256, 5)),
    }
    combine = {
        "block1": convolutions((256, 256, 3), (256, 256, 3)),
        "block2": convolutions((64, 64, 3), (64, 64, 3)),
    }
    return nn.ModuleDict(
        {
            "conv_encoder_lf": nn.ModuleDict(low),
            "conv_encoder_hf": convolutions(*[(256, 256, 3)] * 3),
            "memory": nn.Sequential(*(encoder() for _ in range(3))),
            "decoder": nn.ModuleList(decoder() for _ in range(3)),
            "combine": nn.ModuleDict(combine),
        }
    )


def bilateral() -> nn.ModuleDict:
    names = ("sigma_x", "sigma_y", "sigma_z", "color_sigma")
    deviations = ((1.21, 0.5, 0.1, 0.9), (0.4, 2.0, 0.1, 0.3), (1.0, 1.0, 3.0, 0.5))
    filters = (
        nn.ParameterDict({name: torch.tensor(value) for name, value in zip(names, values, strict=True)})
        for values in deviations
    )
    return nn.ModuleDict({"filters": nn.ModuleList(filters)})


THEIRS = {
    "cnn10": (
        lambda: nn.ModuleDict({"layers": convolutions((1, 8, 9), (8, 4, 3), (4, 1, 5))}),
        {"width": 8},
    ),
    "redcnn": (red_cnn, {"width": 4}),
    "wganvgg": (
        lambda: nn.ModuleDict({"net": convolutions((1, 4, 3), *[(4, 4, 3)] * 6, (4, 1, 3))}),
        {"width": 4},
    ),
    "resnet": (resnet, {"width": 8, "n_blocks": 11}),
    "qae": (
        lambda: nn.ModuleDict(
            {
                "encoder": nn.ModuleList(quadratic(3, 3, 1 if i == 0 else 3) for i in range(5)),
                "decoder": nn.ModuleList(quadratic(n, 3, n) for n in (3, 3, 3, 3, 1)),
            }
        ),
        {"width": 3},
    ),
    "dugan": (red_cnn, {"width": 4}),
    "transct": (transct, {"tokens": "channels", "matrix": 128}),
    # A window is 5 deviations rounded up to an odd number, at least 5: theirs of 1.21 is 7, along rows.
    "bilateral": (bilateral, {"radii": [[2, 3, 2], [2, 2, 5], [7, 2, 2]]}),
}
"""Modules whose weights have the names and shapes of theirs, and what ours must be built with."""


def weights(name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return THEIRS[name][0]().state_dict()


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("name", THEIRS)
def test_every_weight_finds_a_place_of_its_own(name, tmp_path):
    theirs = weights(name)
    network, scaling, sizes = load_ldct_benchmark(
        saved(tmp_path / "best.pt", {"model_state_dict": theirs, "iteration": 5}), name
    )
    ours = list(network.state_dict().values())
    for key, value in theirs.items():
        thirds = value.chunk(3) if "in_proj_" in key else (value,)
        assert all(any(torch.equal(third, own) for own in ours) for third in thirds), key
    assert sum(v.numel() for v in theirs.values()) == sum(v.numel() for v in ours)
    assert sizes == THEIRS[name][1]
    assert scaling == SCALINGS["meanstd"]
    assert not network.training


def test_all_of_their_networks_are_here():
    assert set(THEIRS) == set(LDCT_BENCHMARK)


def test_red_cnn_computes_what_theirs_does(tmp_path):
    theirs = red_cnn()
    network, _, _ = load_ldct_benchmark(saved(tmp_path / "x.pt", theirs.state_dict()), "dugan")
    image = features = torch.randn(1, 1, 32, 33)
    kept = []
    for i in range(1, 6):
        features = torch.relu(theirs[f"conv{i}"](features))
        kept.append(features)
    features = torch.relu(theirs["tconv1"](features) + kept[3])
    features = torch.relu(theirs["tconv2"](features))
    features = torch.relu(theirs["tconv3"](features) + kept[1])
    features = torch.relu(theirs["tconv4"](features))
    assert isinstance(network, RedCnn)
    assert torch.allclose(network(image), theirs["tconv5"](features) + image, atol=1e-6)


def test_attention_computes_what_theirs_does(tmp_path):
    theirs = transct()
    for layer in (*theirs["memory"], *theirs["decoder"]):
        for name, value in layer.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(value, std=0.1)
    network, _, _ = load_ldct_benchmark(saved(tmp_path / "x.pt", theirs.state_dict()), "transct")
    memory, tokens = torch.randn(2, 3, 16), torch.randn(2, 3, 64)
    encoder, decoder = theirs["memory"][1], theirs["decoder"][2]
    expected = memory + encoder["mha"](memory, memory, memory)[0]
    expected = expected + encoder["ff"](expected)
    assert torch.allclose(network.encoder[1](memory, memory), expected, atol=1e-6)
    expected = tokens + decoder["mha1"](tokens, tokens, tokens)[0]
    expected = expected + decoder["mha2"](expected, memory, memory)[0]
    expected = expected + decoder["ff"](expected)
    assert torch.allclose(network.decoder[2](tokens, memory), expected, atol=1e-6)


def test_their_first_axis_is_rows(tmp_path):
    """Their x is the first axis of the image: with a wide sigma_x alone, columns are smoothed."""
    theirs = bilateral().state_dict()
    for key, value in theirs.items():
        value.fill_({"sigma_x": 1.0, "color_sigma": 100.0}.get(key.split(".")[-1], 0.01))
    network, _, _ = load_ldct_benchmark(saved(tmp_path / "x.pt", theirs), "bilateral")
    impulse = torch.zeros(1, 1, 15, 15)
    impulse[0, 0, 7, 7] = 1.0
    smoothed = network(impulse)[0, 0]
    assert isinstance(network, Bilateral)
    assert (smoothed > 1e-4).any(dim=0).sum() == 1
    assert (smoothed > 1e-4).any(dim=1).sum() > 5


def test_hu_become_what_their_data_set_makes_of_them():
    """Stored values are HU + 1024; their mean is 481.454 and their standard deviation 502.185."""
    hu = torch.tensor([-1024.0, -1000.0, 0.0, 3071.0]).numpy()
    stored = hu + 1024.0
    for name, scaled in (("meanstd", (stored - 481.454) / 502.185), ("minmax", stored / 4095.0)):
        given = SCALINGS[name].scaled(hu)
        assert given == pytest.approx(scaled, abs=1e-5)
        assert SCALINGS[name].unscaled(given) == pytest.approx(hu, abs=1e-3)


def test_options_beside_the_weights_say_how_hu_were_scaled(tmp_path):
    def load(**options):
        content = {"args": argparse.Namespace(**options), "model_state_dict": weights("cnn10")}
        return load_ldct_benchmark(saved(tmp_path / "x.pt", content), "cnn10")[1]

    assert load(data_norm="minmax") == SCALINGS["minmax"]
    assert load(lr=1e-4) == SCALINGS["meanstd"]
    with pytest.raises(ForeignWeightsError, match="its HU are scaled by robust, which is not known here"):
        load(data_norm="robust")


class Greeting:
    """What unpickling must not make."""

    def __reduce__(self):
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: torch.save({"model_state_dict": Greeting()}, path),
        lambda path: path.write_bytes(pickle.dumps(Greeting())),
        lambda path: path.write_bytes(b"not a checkpoint"),
        lambda path: path.write_bytes(b""),
    ],
)
def test_a_file_that_is_more_than_weights_is_refused(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.pt"
    write(path)
    with pytest.raises(ForeignWeightsError, match=re.escape(f"{path}: not a PyTorch checkpoint that holds")):
        load_ldct_benchmark(path, "cnn10")
    assert not Path("ran").exists()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ForeignWeightsError, match=r"none\.pt: cannot be read"):
        load_ldct_benchmark(tmp_path / "none.pt", "cnn10")


@pytest.mark.parametrize("content", [{}, {"iteration": 3}, [torch.zeros(1)], {"model_state_dict": {"a": 1}}])
def test_a_checkpoint_without_weights(content, tmp_path):
    with pytest.raises(ForeignWeightsError, match="holds no weights"):
        load_ldct_benchmark(saved(tmp_path / "x.pt", content), "cnn10")


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("other", ["redcnn", "wganvgg", "bilateral"])
def test_weights_of_another_network(name, other, tmp_path):
    if {name, other} <= {"redcnn", "dugan"} or name == other:
        pytest.skip("the same architecture")
    path = saved(tmp_path / "x.pt", weights(other))
    with pytest.raises(ForeignWeightsError, match=f"not the weights of ldct-benchmark's {name}: "):
        load_ldct_benchmark(path, name)


def test_missing_surplus_and_misshapen_weights_are_named(tmp_path):
    theirs = weights("cnn10")
    del theirs["layers.4.bias"]
    with pytest.raises(ForeignWeightsError, match=r"1 are missing, among them layers\.4\.bias"):
        load_ldct_benchmark(saved(tmp_path / "x.pt", theirs), "cnn10")
    theirs = weights("cnn10") | {"layers.6.bias": torch.zeros(1)}
    with pytest.raises(ForeignWeightsError, match=r"1 have no place, among them layers\.6\.bias"):
        load_ldct_benchmark(saved(tmp_path / "x.pt", theirs), "cnn10")
    theirs = weights("cnn10") | {"layers.2.weight": torch.zeros(4, 8, 5, 5)}
    message = re.escape("the shape of layers.2.weight is (4, 8, 5, 5) and not (4, 8, 3, 3)")
    with pytest.raises(ForeignWeightsError, match=message):
        load_ldct_benchmark(saved(tmp_path / "x.pt", theirs), "cnn10")


def test_a_name_that_is_not_theirs(tmp_path):
    with pytest.raises(ForeignWeightsError, match="red-cnn is none of ldct-benchmark's networks: cnn10, red"):
        load_ldct_benchmark(tmp_path / "x.pt", "red-cnn")
