from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from lowdose.denoising import MethodError, check_method, denoise, make_denoiser
from lowdose.models.card import ModelError, load_card
from lowdose.models.denoiser import DenoisingError, ModelDenoiser
from lowdose.models.foreign import import_onnx, load_foreign, read_small_card, small_card
from lowdose.scan import Scan
from tests.models.onnx_factory import Channels, SmallVolumeNetwork, write_onnx

CARD = {"name": "theirs", "offset_hu": -500.0, "scale_hu": 200.0}


@pytest.fixture
def halving(tmp_path) -> Path:
    """A network that halves what it sees."""
    onnx = write_onnx(Channels([[0.5]]), tmp_path / "net.onnx", 1, 1, 8, 8)
    (tmp_path / "net.json").write_text(json.dumps(CARD))
    return onnx


def scan() -> Scan:
    return Scan.from_array(np.random.default_rng(0).normal(0, 300, (3, 21, 34)))


@pytest.mark.parametrize("ending", [".json", ".yaml", ".yml"])
def test_an_onnx_file_with_a_small_card_is_a_method(halving, ending):
    """It sees (HU + 500) / 200 and halves it: HU / 2 - 250, in the range that it is used in."""
    content = halving.with_suffix(".json").read_text()
    halving.with_suffix(".json").unlink()
    halving.with_suffix(ending).write_text(content if ending == ".json" else yaml.safe_dump(CARD))
    hu = scan().hu
    expected = np.where((hu < -1200) | (hu > 3071), hu, hu / 2 - 250)
    assert denoise(scan(), make_denoiser(str(halving), scan())).hu == pytest.approx(expected, abs=1e-2)


def test_what_its_makers_did_not_say_is_not_stated(halving):
    card = load_foreign(halving)
    assert card.training == card.licence == card.kernels == "not stated"
    assert (card.dose_gain, card.data, card.metrics, card.weights_sha256) == (None, (), (), None)
    assert "nothing about it was measured here" in card.known_limits[0]


def test_a_volume_network_and_one_with_neighbours_are_methods_too(tmp_path):
    network = SmallVolumeNetwork()
    volume = write_onnx(network, tmp_path / "v.onnx", 1, 1, 8, 8, 8)
    (tmp_path / "v.yaml").write_text(
        yaml.safe_dump({**CARD, "dimensions": 3, "multiple": 2, "halo": [5, 5, 5]})
    )
    hu = np.random.default_rng(0).normal(0, 100, (6, 20, 30)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy((hu + 500) / 200)[None, None])[0, 0].numpy() * 200 - 500
    assert denoise(Scan.from_array(hu), ModelDenoiser(volume)).hu == pytest.approx(expected, abs=1e-2)
    check_method(str(volume), {"memory_mb": 300.0})
    assert make_denoiser(str(volume), scan(), {"memory_mb": 300.0}).memory_mb == 300.0  # type: ignore[attr-defined]
    with pytest.raises(MethodError, match=r"has no setting noise; it has memory_mb"):
        check_method(str(volume), {"noise": 3.0})
    with pytest.raises(MethodError, match="memory_mb is -1"):
        check_method(str(volume), {"memory_mb": -1})

    above = write_onnx(Channels([[1.0, 0.0, 0.0]]), tmp_path / "n.onnx", 1, 3, 8, 8)
    (tmp_path / "n.json").write_text(json.dumps({**CARD, "context": 1}))
    shifted = denoise(Scan.from_array(hu), ModelDenoiser(above)).hu
    assert shifted == pytest.approx(hu[[0, 0, 1, 2, 3, 4]], abs=1e-3)


class Pooled(nn.Module):
    """Gives an image of half the size."""

    def forward(self, image):
        return nn.functional.avg_pool2d(image, 2)


class Flat(nn.Module):
    """Gives one number for an image."""

    def forward(self, image):
        return image.mean(dim=(2, 3))


class Two(nn.Module):
    """Takes two images."""

    def forward(self, image):
        return image, image


@pytest.mark.parametrize(
    ("network", "shape", "change", "sentence"),
    [
        (
            Channels([[1.0, 0.0, 0.0]]),
            (1, 3, 8, 8),
            {},
            "takes 3 channels, but context 0 in its card means 1",
        ),
        (
            Channels([[1.0]]),
            (1, 1, 8, 8),
            {"context": 2},
            "takes 1 channels, but context 2 in its card means 5",
        ),
        (Channels([[1.0]]), (1, 1, 8, 8), {"dimensions": 3}, "takes arrays of 4 axes, but (b, 1, z, y, x)"),
        (SmallVolumeNetwork(), (1, 1, 8, 8, 8), {}, "takes arrays of 5 axes, but (b, c, y, x)"),
        (
            Channels([[1.0], [1.0]]),
            (1, 1, 8, 8),
            {},
            "makes (1, 2, 65, 65) of an image (1, 1, 65, 65), where its",
        ),
        (Pooled(), (1, 1, 8, 8), {}, "makes (1, 1, 32, 32) of an image"),
        (Flat(), (1, 1, 8, 8), {}, "gives arrays of 2 axes"),
        (Two(), (1, 1, 8, 8), {}, "has 1 inputs and 2 outputs"),
    ],
)
def test_a_network_that_does_not_fit_its_card_is_one_sentence(tmp_path, network, shape, change, sentence):
    onnx = write_onnx(network, tmp_path / "net.onnx", *shape)
    (tmp_path / "net.json").write_text(json.dumps(CARD | change))
    with pytest.raises(ModelError) as caught:
        load_foreign(onnx)
    assert str(caught.value).startswith(f"{onnx}: {sentence}")
    assert "; " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_network_is_one_sentence(halving):
    halving.write_bytes(b"\x08nonsense")
    with pytest.raises(ModelError, match="cannot be read as an ONNX network"):
        load_foreign(halving)


def test_a_network_for_one_size_says_so_or_is_used_at_it(tmp_path):
    """Many are exported for the matrix of their training; a reshape to it can't be undone."""

    class Fixed(nn.Module):
        def forward(self, image):
            return image.reshape(1, 1, 4, 4, 48, 48).reshape(1, 1, 192, 192)

    onnx = write_onnx(Fixed(), tmp_path / "net.onnx", 1, 1, 192, 192, fixed=True)
    (tmp_path / "net.json").write_text(json.dumps(CARD))
    with pytest.raises(ModelError, match=r"works on images of 192 x 192 only"):
        load_foreign(onnx)
    (tmp_path / "net.json").write_text(json.dumps({**CARD, "multiple": 192}))
    hu = scan().hu
    assert denoise(scan(), ModelDenoiser(onnx)).hu == pytest.approx(hu, abs=1e-3)
    larger = Scan.from_array(np.zeros((1, 193, 20)))
    with pytest.raises(DenoisingError, match="theirs cannot compute images of 384 x 192"):
        denoise(larger, ModelDenoiser(onnx)).read(0)


def test_a_missing_card_says_how_to_write_one(halving):
    halving.with_suffix(".json").unlink()
    with pytest.raises(ModelError) as caught:
        load_foreign(halving)
    told = str(caught.value)
    assert told.startswith(f"{halving}: has no card beside it; write net.json as ")
    example = json.loads(told[told.index("{") : told.index("}") + 1])
    halving.with_suffix(".json").write_text(json.dumps(example))
    assert load_foreign(halving).name == "my-network"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({**CARD, "ofset": 1}, "has an unknown key, ofset; known are name, offset_hu, scale_hu,"),
        ({"name": "a", "offset_hu": 0}, "does not say scale_hu; write net.json as"),
        ({**CARD, "scale_hu": 0}, "has a scale_hu that cannot be"),
        ({**CARD, "scale_hu": float("nan")}, "has a scale_hu that cannot be"),
        ({**CARD, "name": "No spaces"}, "has a name that cannot be"),
        (
            {**CARD, "dimensions": 3, "context": 1},
            "a network of three dimensions has neither context nor levels",
        ),
        ({**CARD, "trained_range_hu": [100, -100]}, "trained_range_hu"),
    ],
)
def test_a_wrong_card_is_one_sentence(halving, content, sentence):
    halving.with_suffix(".json").write_text(json.dumps(content))
    with pytest.raises(ModelError) as caught:
        load_foreign(halving)
    assert str(caught.value).startswith(f"{halving}: its card ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ending", "text"), [(".json", "{"), (".yaml", "a: [1"), (".json", "[1]"), (".yaml", "- a")]
)
def test_a_card_that_is_no_card_is_one_sentence(halving, ending, text):
    halving.with_suffix(".json").unlink()
    halving.with_suffix(ending).write_text(text)
    with pytest.raises(ModelError) as caught:
        load_foreign(halving)
    assert str(caught.value).startswith(str(halving.with_suffix(ending)))
    assert "\n" not in str(caught.value)


def test_an_imported_model_is_the_network_and_a_whole_card(halving, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    import_onnx(halving, small_card(read_small_card(halving) or {}, halving), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "model.onnx"]
    assert load_card(folder) == load_foreign(halving)
    expected = denoise(scan(), ModelDenoiser(halving)).hu
    assert denoise(scan(), ModelDenoiser(folder)).hu.tobytes() == expected.tobytes()


def test_a_network_that_does_not_fit_is_not_imported(tmp_path):
    onnx = write_onnx(Pooled(), tmp_path / "net.onnx", 1, 1, 8, 8)
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(ModelError) as caught:
        import_onnx(onnx, small_card(CARD, onnx), folder)
    assert str(caught.value).startswith(f"{onnx}: makes")
    assert not (folder / "card.json").exists()
