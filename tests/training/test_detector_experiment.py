import json

import pytest

from lowdose.training.carded_weights import WEIGHTS
from lowdose.training.detector_experiment import DetectorPlan, train_detector
from lowdose.training.detector_model import load_detector
from lowdose.training.lesion_sources import LesionDataError
from tests.training.lesion_scans import annotated_files

SIZES = (("width", 8), ("anchors", ((8, 12), (16, 24), (32, 48))))


def plan(**changes) -> DetectorPlan:
    return DetectorPlan(**{"n_steps": 4, "batch_size": 2, "patch": 48, "sizes": SIZES} | changes)


def test_a_detector_is_trained_written_and_told_of(tmp_path):
    path = annotated_files(tmp_path)
    card = train_detector(path, tmp_path / "run", plan())
    loaded, again = load_detector(tmp_path / "run")
    assert card.model_dump_json() == again.model_dump_json()
    assert loaded.n_kinds == 1
    assert card.kinds == ("node",)
    assert card.patients == ("A", "B")
    assert card.pixel_mm == (1.0, 1.0)
    assert card.window_hu == (-160.0, 240.0)
    assert card.metrics is not None
    assert card.metrics.patients == 1
    assert 0 <= card.threshold <= 1


def test_a_run_that_was_stopped_goes_on_to_the_bit(tmp_path):
    path = annotated_files(tmp_path)
    train_detector(path, tmp_path / "whole", plan())
    assert train_detector(path, tmp_path / "parts", plan(), max_seconds=0.0) is None
    train_detector(path, tmp_path / "parts", plan(), resume=True)
    whole, parts = ((tmp_path / name / WEIGHTS).read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_without_patients_to_hold_back_nothing_is_claimed(tmp_path):
    card = train_detector(annotated_files(tmp_path, ("A",)), tmp_path / "run", plan())
    assert card.metrics is None
    assert card.threshold == 0.5


def test_neighbours_are_shown_where_they_are_asked_for(tmp_path):
    sizes = (*SIZES, ("context", 1))
    train_detector(annotated_files(tmp_path), tmp_path / "run", plan(sizes=sizes))
    assert load_detector(tmp_path / "run")[0].context == 1
    assert json.loads((tmp_path / "run" / "detector.json").read_text())["sizes"]["context"] == 1


def test_wrong_use_is_told(tmp_path):
    path = annotated_files(tmp_path)
    with pytest.raises(LesionDataError, match="holds no checkpoint to resume; leave out --resume"):
        train_detector(path, tmp_path / "run", plan(), resume=True)
    with pytest.raises(
        LesionDataError, match=r"patches of 200 x 200 do not fit into the 96 x 96 .* a smaller"
    ):
        train_detector(path, tmp_path / "run", plan(patch=200))
    with pytest.raises(LesionDataError, match="the sizes do not fit a detector"):
        train_detector(path, tmp_path / "run", plan(sizes=(("height", 3),)))
    train_detector(path, tmp_path / "run", plan())
    with pytest.raises(LesionDataError, match="holds a training run; give --resume"):
        train_detector(path, tmp_path / "run", plan())
