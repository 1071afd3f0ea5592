"""Scans that are read and prepared, left out with a sentence, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lowdose.training.dataset import PreparedPair, PreparedScan
from lowdose.training.manifest import Row, write_manifest
from lowdose.training.plan import PlanError, TrainingPlan
from lowdose.training.sources import Watcher, prepare_data
from tests.io.body_series import body_series
from tests.io.nifti_factory import saved
from tests.training.ward import WARD, plan


def test_patients_are_split_and_share_the_weight_of_their_source(root, cache):
    sources = WARD, {"name": "single", "path": "single", "weight": 0.5}
    data = prepare_data(plan(*sources), root, cache, Watcher())
    weights = {scan.patient: scan.weight for scan in data.training}
    assert weights == pytest.approx({"anna": 1.5, "ben": 1.5, "single": 0.5})
    assert [scan.patient for scan in data.validation] == ["cleo"]


def test_patients_for_testing_are_never_opened(root, tmp_path):
    told: list[str] = []
    watcher = Watcher(on_scan=lambda name, _index, _n: told.append(name))
    source = WARD | {"test_patients": ["anna"]}
    elsewhere = {"name": "single", "path": "single", "split": "test"}
    data = prepare_data(plan(source, elsewhere), root, tmp_path / "cache", watcher)
    assert told == ["ward ben", "ward cleo"]
    assert [scan.patient for scan in (*data.training, *data.validation)] == ["ben", "cleo"]


def test_a_patient_in_both_splits_is_refused(root, cache):
    both = plan(WARD | {"validation_patients": []}, WARD | {"name": "again", "split": "validation"})
    with pytest.raises(PlanError, match="patients in both splits: anna, ben, cleo; give each one split"):
        prepare_data(both, root, cache, Watcher())


def test_a_patient_to_hold_back_who_is_not_there_is_refused(root, cache):
    """Or a slip of the pen would train on the patients that were meant for validation."""
    with pytest.raises(PlanError, match=r"ward: holds no patient claire; mend validation_patients"):
        prepare_data(plan(WARD | {"validation_patients": ["anna", "claire"]}), root, cache, Watcher())


def test_scans_that_cannot_be_used_are_left_out_with_a_sentence(root, cache):
    left_out: list[str] = []
    watcher = Watcher(on_left_out=left_out.append)
    sources = [{"name": name, "path": name} for name in ("air", "notes", "single")]
    data = prepare_data(plan(*sources), root, cache, watcher)
    assert [scan.patient for scan in data.training] == ["single"]
    assert len(left_out) == 2
    assert "too little flat soft tissue" in left_out[0]
    assert "notes holds no CT series" in left_out[1]


def test_a_broken_file_leaves_out_its_scan_alone(root, cache, tmp_path):
    body_series(tmp_path / "ward" / "anna", seed=1)
    file = body_series(tmp_path / "ward" / "ben", seed=2) / "0001.dcm"
    file.write_bytes(file.read_bytes()[:-5000])
    left_out: list[str] = []
    source = WARD | {"validation_patients": []}
    data = prepare_data(plan(source), tmp_path, tmp_path / "cache", Watcher(on_left_out=left_out.append))
    assert [scan.patient for scan in data.training] == ["anna"]
    assert len(left_out) == 1
    assert "0001.dcm" in left_out[0]


def by_manifest(path: Path) -> TrainingPlan:
    content = plan().model_dump(exclude={"sources"}) | {"manifest": str(path)}
    return TrainingPlan.model_validate(content)


def volume(path: Path, seed: int, n_z: int = 3) -> Path:
    """A NIfTI volume of random HU, stored x, y, z."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return saved(path, np.random.default_rng(seed).integers(-900, 900, (40, 36, n_z)).astype(np.int16))


@pytest.fixture
def mice(tmp_path) -> Path:
    """Three mice at two doses, one of them in two positions, one held back, one for testing."""
    rows = []
    for number, (name, label, split) in enumerate(
        [
            ("m1", "prone", "training"),
            ("m1", "supine", "training"),
            ("m2", "", "validation"),
            ("m3", "", "test"),
        ]
    ):
        for dose in ("low", "high"):
            file = Path(name) / f"{label}{dose}.nii"
            if split != "test":
                volume(tmp_path / file, 10 * number + (dose == "high"))
            else:
                (tmp_path / name).mkdir(exist_ok=True)
                (tmp_path / file).write_text("never opened")
            rows.append(
                Row(
                    scan=file,
                    patient=name,
                    split=split,
                    dose=dose,
                    pair=label,
                    licence="CC0",
                    citation="made",
                )
            )
    write_manifest(tmp_path / "mice.csv", rows)
    return tmp_path


def test_pairs_of_a_manifest_are_kept_as_they_were_taken(mice):
    data = prepare_data(by_manifest(Path("mice.csv")), mice, mice / "cache", Watcher())
    assert [type(scan) for scan in data.training] == [PreparedPair] * 2
    assert [(scan.patient, scan.weight) for scan in data.training] == [("m1", 0.5)] * 2
    assert [scan.patient for scan in data.validation] == ["m2"]
    stored = np.random.default_rng(0).integers(-900, 900, (40, 36, 3)).astype(np.int16)
    # NIfTI counts x to the patient's right and y to the front, arrays here to the left and the back.
    assert np.array_equal(np.sort(data.training[0].low, axis=None), np.sort(stored, axis=None))
    assert not np.array_equal(data.training[0].low, data.training[0].high)
    assert [(item.use, item.patients, item.slices, item.licence) for item in data.described] == [
        ("training", 1, 6, "CC0"),
        ("validation", 1, 3, "CC0"),
    ]


def test_scans_of_a_manifest_can_be_their_own_targets(root, cache, tmp_path):
    rows = [
        Row(scan=(root / "ward" / name).resolve(), patient=name, split=split, dose="own", weight=2.0)
        for name, split in (("anna", "training"), ("cleo", "validation"))
    ]
    write_manifest(tmp_path / "ward.csv", rows)
    data = prepare_data(by_manifest(tmp_path / "ward.csv"), tmp_path, cache, Watcher())
    assert [(type(scan), scan.patient, scan.weight) for scan in data.training] == [
        (PreparedScan, "anna", 2.0)
    ]
    assert [scan.patient for scan in data.validation] == ["cleo"]
    assert data.described[0].licence == "not stated"


def test_a_pair_that_does_not_match_is_refused(mice):
    """It would teach a shift, so it is not merely left out."""
    volume(mice / "m1" / "supinelow.nii", 5, n_z=4)
    with pytest.raises(
        PlanError, match=r"supinelow.* differ in shape: .*; take the pair out of the manifest"
    ):
        prepare_data(by_manifest(Path("mice.csv")), mice, mice / "cache", Watcher())


def test_a_scan_that_is_not_there_is_named_with_its_line(mice):
    (mice / "m2" / "high.nii").unlink()
    with pytest.raises(PlanError, match=r"mice\.csv.*line 7.*high\.nii.* is not there"):
        prepare_data(by_manifest(Path("mice.csv")), mice, mice / "cache", Watcher())


def test_a_split_of_which_nothing_can_be_used_is_refused(root, cache):
    """Or a run would select its weights by nothing."""
    source = WARD | {"validation_patients": []}
    air = {"name": "air", "path": "air", "split": "validation"}
    with pytest.raises(PlanError, match=r"no scan below .* can be used for validation"):
        prepare_data(plan(source, air), root, cache, Watcher())


def test_every_licence_of_a_manifest_is_on_the_card(root, cache, tmp_path):
    rows = [
        Row(scan=(root / "ward" / name).resolve(), patient=name, dose="own", licence=licence, citation=name)
        for name, licence in (("anna", "CC BY 4.0"), ("ben", "in-house"))
    ]
    write_manifest(tmp_path / "ward.csv", rows)
    data = prepare_data(by_manifest(tmp_path / "ward.csv"), tmp_path, cache, Watcher())
    found = [(item.licence, item.citation, item.patients) for item in data.described]
    assert found == [("CC BY 4.0", "anna", 1), ("in-house", "ben", 1)]
