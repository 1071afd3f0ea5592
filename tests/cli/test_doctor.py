from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path

import pytest

import lowdose as package
from lowdose.models.card import bundled_models
from tests.cli.runner import lowdose

doctor = import_module("lowdose.cli.doctor")  # the package names the command, not the module


@pytest.fixture
def no_models(monkeypatch) -> None:
    """Their speed takes seconds to measure, and is no matter here."""
    monkeypatch.setattr("lowdose.models.card.bundled_models", dict)


@pytest.mark.usefixtures("no_models")
def test_the_findings_in_text_and_json_are_the_same():
    text, found = lowdose("doctor"), lowdose("doctor", "--json")
    assert (text.status, found.status) == (0, 0)
    assert found.json["lowdose"]["version"] == package.__version__
    assert found.json["lowdose"]["device"].strip()
    assert found.json["lowdose"]["cores"] >= 1
    for title in ("lowdose", "packages", "extras", "codecs"):
        assert f"{title}\n" in text.out
        for name, value in found.json[title].items():
            assert f"  {name}" in text.out
            assert "cache" in name or str(value) in text.out


@pytest.mark.usefixtures("no_models")
def test_every_lossless_codec_reads():
    codecs = lowdose("doctor", "--json").json["codecs"]
    for kind in ("RLE", "JPEG Lossless", "JPEG-LS Lossless", "JPEG 2000"):
        assert {value for name, value in codecs.items() if name.startswith(kind)} == {"reads"}


@pytest.mark.usefixtures("no_models")
def test_a_missing_codec_is_a_failure(monkeypatch):
    monkeypatch.setattr("lowdose.io.codecs.decodable", lambda: {"RLE Lossless": True, "JPEG-LS": False})
    outcome = lowdose("doctor", "--json")
    assert outcome.status == 1
    assert outcome.json["codecs"] == {"RLE Lossless": "reads", "JPEG-LS": "missing"}


@pytest.mark.usefixtures("no_models")
def test_a_missing_extra_is_named_with_its_remedy_and_is_no_failure(monkeypatch):
    installed = doctor.version

    def version(name: str) -> str:
        if name == "torch":
            raise doctor.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(doctor, "version", version)
    outcome = lowdose("doctor", "--json")
    assert outcome.status == 0
    assert outcome.json["extras"]["train"] == "not installed: pip install 'lowdose[train]'"


def test_models_are_run_and_damaged_ones_are_named(tmp_path: Path, monkeypatch):
    good = bundled_models()["ct-default"]
    bad = shutil.copytree(good, tmp_path / "bad")
    (bad / "model.onnx").unlink()
    monkeypatch.setattr("lowdose.models.card.bundled_models", lambda: {"good": good, "bad": bad})
    outcome = lowdose("doctor", "--json")
    assert outcome.status == 1
    assert outcome.json["models"].keys() == {"good"}
    assert "slices/s of 512 x 512" in outcome.json["models"]["good"]
    assert outcome.json["problems"]["bad"].endswith("model.onnx is missing; export the model again")
