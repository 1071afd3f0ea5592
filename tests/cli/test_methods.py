from __future__ import annotations

import json
import shutil

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
