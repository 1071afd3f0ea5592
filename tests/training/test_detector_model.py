import json

import pytest
import torch

from lowdose.networks.lesion_detector import LesionDetector
from lowdose.training.carded_weights import WEIGHTS
from lowdose.training.detector_model import (
    DETECTOR_CARD,
    DetectorError,
    load_detector,
    write_detector,
)


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(2)
    sizes = {"width": 8, "anchors": ((8, 12), (16, 24), (32, 48))}
    write_detector(
        LesionDetector(window=(-1000.0, 400.0), **sizes), tmp_path / "d",
        kinds=("nodule",), window_hu=(-1000.0, 400.0), pixel_mm=(0.6, 0.8), sizes=sizes, patch=64,
        training="none", patients=("A",), threshold=0.4,
    )  # fmt: skip
    return tmp_path / "d"


def test_a_detector_comes_back_as_it_was_written(folder):
    torch.manual_seed(2)
    network = LesionDetector(window=(-1000.0, 400.0), width=8, anchors=((8, 12), (16, 24), (32, 48))).eval()
    loaded, card = load_detector(folder)
    hu = torch.randn(1, 1, 64, 64) * 200 - 700
    assert torch.equal(loaded.find(hu)[0].boxes, network.find(hu)[0].boxes)
    assert torch.equal(loaded.find(hu)[0].scores, network.find(hu)[0].scores)
    assert card.kinds == ("nodule",)
    assert "no denoised image" in card.shown


def test_what_is_no_detector_is_refused(tmp_path):
    with pytest.raises(
        DetectorError, match=r"holds no detector.json, so it is no detector; `lowdose train det"
    ):
        load_detector(tmp_path)


def test_damage_is_seen(folder):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(
        DetectorError, match=r"does not match the SHA-256 in detector.json; train the detector anew"
    ):
        load_detector(folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kinds": []}, "cannot be read"),
        ({"more": 1}, "cannot be read"),
        ({"sizes": {"width": 16}}, "its sizes do not fit"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(folder, change, sentence):
    card = json.loads((folder / DETECTOR_CARD).read_text()) | change
    (folder / DETECTOR_CARD).write_text(json.dumps(card))
    with pytest.raises(DetectorError, match=sentence):
        load_detector(folder)
