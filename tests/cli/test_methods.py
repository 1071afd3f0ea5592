from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from lowdose.denoising import METHOD_SUMMARIES, check_method
from lowdose.models.card import bundled_models, load_card
from tests.cli.runner import lowdose


def test_every_method_has_its_line():
    outcome = lowdose("methods")
    assert outcome.status == 0
    names = [line.split()[0] for line in outcome.out.splitlines()]
    assert names == [*bundled_models(), *METHOD_SUMMARIES]
    for name in names:
        check_method(name, {})
    assert all(summary in outcome.out for summary in METHOD_SUMMARIES.values())


def test_the_list_as_json():
    listed = lowdose("methods", "--json").json
    assert listed["models"].keys() == bundled_models().keys()
    assert listed["without_weights"] == dict(METHOD_SUMMARIES)


@pytest.mark.parametrize("name", METHOD_SUMMARIES)
def test_a_method_without_weights_has_a_sentence(name):
    assert lowdose("methods", name).out == f"{name}: {METHOD_SUMMARIES[name]}\n"
    assert lowdose("methods", name, "--json").json == {"name": name, "summary": METHOD_SUMMARIES[name]}


@pytest.mark.parametrize("name", bundled_models())
def test_the_card_of_a_model_by_name_and_by_folder(name):
    card = load_card(bundled_models()[name])
    outcome = lowdose("methods", name)
    assert outcome.status == 0
    for fact in (card.summary, card.training, card.onnx_sha256, *card.known_limits):
        assert fact in outcome.out
    for item in card.data:
        assert item.citation in outcome.out
        assert item.licence in outcome.out
    assert lowdose("methods", bundled_models()[name]).out == outcome.out
    assert lowdose("methods", name, "--json").json == card.model_dump(mode="json")


def test_a_number_is_shown_with_its_interval_and_protocol(tmp_path):
    model = shutil.copytree(bundled_models()["ct-default"], tmp_path / "model")
    metric = {"name": "RMSE", "value": 12.25, "unit": "HU", "interval": [11.5, 13], "protocol": "by hand"}
    card = json.loads((model / "card.json").read_text()) | {"metrics": [metric]}
    (model / "card.json").write_text(json.dumps(card))
    assert "    RMSE: 12.25 HU (11.5 to 13); by hand\n" in lowdose("methods", model).out


def test_what_is_not_there_is_wrong_use(tmp_path):
    for words in (["magic"], [tmp_path], ["magic", "--json"]):
        outcome = lowdose("methods", *words)
        assert (outcome.status, outcome.out) == (2, "")
        assert outcome.error.startswith("unknown method")
        assert "ct-default" in outcome.error


def test_a_damaged_model_is_one_sentence(tmp_path, monkeypatch):
    model = shutil.copytree(bundled_models()["ct-default"], tmp_path / "model")
    (model / "model.onnx").write_bytes(b"")
    outcome = lowdose("methods", model)
    assert outcome.status == 2
    assert "does not match the SHA-256 on its card" in outcome.error
    monkeypatch.setattr("lowdose.models.card.bundled_models", lambda: {"model": model})
    outcome = lowdose("methods")
    assert (outcome.status, outcome.out) == (1, "")
    assert "does not match the SHA-256 on its card" in outcome.error


@pytest.fixture
def onnx(tmp_path):
    """The shipped network as somebody else's."""
    path = tmp_path / "in" / "their net.onnx"
    path.parent.mkdir()
    shutil.copy(bundled_models()["ct-default"] / "model.onnx", path)
    return path


CARD = {"name": "theirs", "offset_hu": 0.0, "scale_hu": 500.0, "multiple": 8}


def test_an_onnx_file_is_imported_and_shown(onnx, tmp_path):
    onnx.with_suffix(".json").write_text(json.dumps(CARD))
    outcome = lowdose("methods", "import", onnx, "--out", tmp_path / "model")
    assert outcome.status == 0
    assert outcome.err.strip().endswith(f"lowdose denoise INPUT OUTPUT --method {tmp_path / 'model'}")
    card = load_card(tmp_path / "model")
    assert (card.name, card.scale_hu, card.multiple, card.dose_gain) == ("theirs", 500.0, 8, None)
    shown = lowdose("methods", tmp_path / "model").out
    assert shown == lowdose("methods", onnx).out
    assert "  dose gain        not stated\n" in shown
    assert "  sees             single slices\n" in shown
    assert "    nothing about it" not in shown.split("measured\n")[1].split("known limits")[0]


def test_options_say_what_no_card_says_and_go_before_it(onnx, tmp_path):
    words = ["--name", "mine", "--offset-hu", "-500", "--scale-hu", "250"]
    outcome = lowdose("methods", "import", onnx, "--out", tmp_path / "without", *words)
    assert outcome.status == 2
    assert "fails on images of 65 x 65; export it with free axes, or set multiple" in outcome.error
    assert not (tmp_path / "without").exists()
    onnx.with_suffix(".yaml").write_text("{name: theirs, offset_hu: 0, scale_hu: 500, multiple: 8}")
    assert lowdose("methods", "import", onnx, "--out", tmp_path / "model", *words).status == 0
    card = load_card(tmp_path / "model")
    assert (card.name, card.offset_hu, card.scale_hu, card.multiple) == ("mine", -500.0, 250.0, 8)


def test_a_wrong_import_is_one_sentence_and_leaves_nothing(onnx, tmp_path):
    out = tmp_path / "model"
    checkpoint = tmp_path / "net.pt"
    checkpoint.write_bytes(b"nothing")
    for words, sentence in (
        ([tmp_path / "none.onnx"], "none.onnx: not found"),
        ([onnx], "has no card beside it; write their net.json as"),
        ([onnx, "--name", "a", "--offset-hu", "0"], "does not say scale_hu"),
        ([onnx, "--network", "redcnn"], "--network means nothing for their net.onnx"),
        ([onnx, "--scaling", "minmax"], "--scaling means nothing for their net.onnx"),
        ([checkpoint, "--scale-hu", "1"], "--scale-hu means nothing for net.pt"),
        ([checkpoint, "--name", "a"], "give --name and --network"),
        ([checkpoint, "--name", "a", "--network", "magic"], "magic is none of ldct-benchmark's networks"),
        ([checkpoint, "--name", "a", "--network", "redcnn"], "not a PyTorch checkpoint"),
    ):
        outcome = lowdose("methods", "import", *words, "--out", out)
        assert (outcome.status, outcome.out) == (2, "")
        assert sentence in outcome.error
        assert not out.exists()
    out.mkdir()
    (out / "kept").touch()
    onnx.with_suffix(".json").write_text(json.dumps(CARD))
    outcome = lowdose("methods", "import", onnx, "--out", out)
    assert outcome.status == 2
    assert "exists and is not empty" in outcome.error
    assert [path.name for path in out.iterdir()] == ["kept"]


@pytest.mark.parametrize("scaling", [None, "minmax"])
def test_a_checkpoint_of_ldct_benchmark_becomes_a_model(tmp_path, scaling):
    """Its HU: v = HU + 1024, and v / 4095 or (v - 481.454) / 502.185."""
    torch = pytest.importorskip("torch")
    from lowdose.models.denoiser import ModelDenoiser
    from lowdose.networks import NETWORKS

    torch.manual_seed(0)
    network = NETWORKS["cnn-10"]()
    torch.save({"model_state_dict": network.state_dict()}, tmp_path / "cnn10.pt")
    words = ["--name", "their-cnn", "--network", "cnn10", *(["--scaling", scaling] if scaling else [])]
    outcome = lowdose("methods", "import", tmp_path / "cnn10.pt", "--out", tmp_path / "model", *words)
    assert outcome.status == 0, outcome.err
    card = load_card(tmp_path / "model")
    offset, scale = (-1024.0, 4095.0) if scaling else (481.454 - 1024, 502.185)
    assert (card.offset_hu, card.scale_hu) == (
        pytest.approx(offset, abs=1e-3),
        pytest.approx(scale, abs=1e-3),
    )
    assert card.weights_sha256
    hu = np.random.default_rng(0).normal(0, 100, (1, 1, 40, 48)).astype(np.float32)
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy((hu - offset) / scale)).numpy() * scale + offset
    assert np.abs(ModelDenoiser(tmp_path / "model")(hu) - np.clip(expected, -1200, 3071)).max() < 0.1
