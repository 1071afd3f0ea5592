from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from lowdose.models.card import CARD, HuScaling, ModelError, bundled_models, load_card
from lowdose.scan import Acquisition, Scan


def test_scaling_there_and_back_is_the_identity_to_a_thousandth_of_a_hu():
    hu = np.arange(-3024, 3072, dtype=np.float32)
    scaling = HuScaling(481.454, 502.185)
    assert np.abs(scaling.unscaled(scaling.scaled(hu)) - hu).max() < 1e-3
    assert scaling.scaled(np.float32(481.454)) == 0.0
    assert scaling.unscaled(np.float32(1.0)) == pytest.approx(983.639, abs=1e-3)


@pytest.mark.parametrize("name", bundled_models())
def test_bundled_models_match_their_cards_and_stay_small(name):
    folder = bundled_models()[name]
    card = load_card(folder)
    assert card.name == name
    assert card.metrics
    assert card.known_limits
    assert all(item.citation and item.licence for item in card.data)
    assert {"training", "validation"} <= {item.use for item in card.data}
    assert all(file.stat().st_size < 5 * 2**20 for file in folder.iterdir())


def test_no_patient_source_is_on_both_sides_of_the_split_of_the_demo():
    """The demo's scan was never trained on."""
    card = load_card(bundled_models()["ct-default"])
    uses = {item.use for item in card.data if item.name == "LIDC-IDRI-0001"}
    assert uses == {"validation"}


@pytest.fixture
def model(tmp_path):
    return shutil.copytree(bundled_models()["ct-default"], tmp_path / "model")


def test_a_changed_network_is_refused(model):
    with (model / "model.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ModelError, match="does not match the SHA-256"):
        load_card(model)


def test_a_missing_network_is_refused(model):
    (model / "model.onnx").unlink()
    with pytest.raises(ModelError, match=r"model\.onnx is missing"):
        load_card(model)


def test_an_unknown_key_is_refused(model):
    content = json.loads((model / CARD).read_text())
    (model / CARD).write_text(json.dumps(content | {"surprise": 1}))
    with pytest.raises(ModelError, match="not a valid model card"):
        load_card(model)


def test_a_folder_without_a_card_is_refused(tmp_path):
    with pytest.raises(ModelError, match="not a model folder"):
        load_card(tmp_path)


@pytest.mark.parametrize(
    ("part", "pixel", "expected"),
    [
        ("CHEST", 0.7, []),
        (None, 1.2, []),
        ("HEAD", 0.7, ["the header says HEAD"]),
        ("CHEST", 0.05, ["pixels of 0.05 mm"]),
        ("SKULL BASE", 2.0, ["the header says SKULL BASE", "pixels of 2 mm"]),
    ],
)
def test_a_scan_unlike_the_training_scans_is_named(part, pixel, expected):
    card = load_card(bundled_models()["ct-default"])
    card = card.model_copy(update={"pixel_size_mm": (0.6, 0.98), "not_trained_on": ("HEAD", "SKULL")})
    scan = Scan.from_array(
        np.zeros((1, 4, 4)), spacing=(1.0, pixel, pixel), acquisition=Acquisition(body_part=part)
    )
    cautions = card.cautions(scan)
    assert len(cautions) == len(expected)
    assert all(found.startswith(start) for found, start in zip(cautions, expected, strict=True))


def test_a_card_from_before_there_were_volumes_means_single_slices():
    card = load_card(bundled_models()["ct-default"])
    assert (card.dimensions, card.context, card.levels, card.halo) == (2, 0, 1, (0, 0, 0))


@pytest.mark.parametrize(
    "depth",
    [
        {"dimensions": 4},
        {"dimensions": 3, "context": 1},
        {"dimensions": 3, "levels": 2},
        {"context": -1},
        {"halo": [1, 2, -3]},
        {"multiple": 0},
    ],
)
def test_depths_that_no_network_has_are_refused(model, depth):
    content = json.loads((model / CARD).read_text())
    (model / CARD).write_text(json.dumps(content | depth))
    with pytest.raises(ModelError, match="not a valid model card"):
        load_card(model)
