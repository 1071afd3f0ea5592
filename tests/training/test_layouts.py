from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowdose.io import open_input
from lowdose.training.layouts import (
    LAYOUTS,
    MAYO_CITATION,
    TCIA_CITATION,
    Layout,
    assign_splits,
    mayo_2016,
    own_pairs,
    patients,
    tcia_ldct,
)
from lowdose.training.manifest import ManifestError, Row, pair_mismatch, pairs_of, write_manifest
from tests.io.ct_factory import ct_series

RAW_DATA = "1.2.840.10008.5.1.4.1.1.66"


def series(folder: Path, **attributes) -> Path:
    """Two real slices; series in different folders have different UIDs."""
    uid = f"1.2.826.0.1.3680043.8.498.{sum(map(ord, str(folder)))}"
    ct_series(folder, 2, **({"series_uid": uid, "PatientID": "Anonymous"} | attributes))
    return folder


def seen(layout: Layout, root: Path) -> set[tuple[str, str, str, str, str]]:
    """Scan, patient, dose, pair and region of every row."""
    return {
        (row.scan.relative_to(root).as_posix(), row.patient, row.dose, row.pair, row.region)
        for row in layout.rows
    }


def aside(layout: Layout, root: Path) -> dict[str, str]:
    return {Path(one.source).relative_to(root).as_posix(): one.reason for one in layout.left_aside}


def opens(layout: Layout) -> None:
    """Every scan opens as one series, and every pair fits voxel by voxel."""
    for low, high in pairs_of(layout.rows):
        with open_input(low.scan) as low_found, open_input(high.scan) as high_found:
            (low_case,), (high_case,) = low_found.cases, high_found.cases
            assert low_case.scan is not None
            assert high_case.scan is not None
            assert pair_mismatch(low_case.scan, high_case.scan) is None
    for row in layout.rows:
        with open_input(row.scan) as found:
            assert all(case.error is None for case in found.cases)


@pytest.fixture(scope="module")
def tcia(tmp_path_factory) -> Path:
    """As the NBIA retriever writes it: images and projections, a GE patient without low-dose images."""
    root = tmp_path_factory.mktemp("manifest-1704460560034")
    collection = root / "LDCT-and-Projection-data"
    (root / "metadata.csv").parent.mkdir(exist_ok=True)
    (root / "metadata.csv").write_text("Series UID\n")
    for patient in ("C001", "L004", "N012"):
        images = collection / patient / "12-23-2021-NA-NA-40641"
        series(images / "1.000000-Full Dose Images-63186")
        series(images / "1.000000-Low Dose Images-20326")
    projections = collection / "L004" / "08-21-2018-10971"
    series(projections / "1.000000-Full dose projections-24362")
    series(projections / "1.000000-Low Dose Projections-24363")
    series(collection / "C002" / "12-23-2021-NA-NA-1" / "1.000000-Full dose images-1")
    return root


IMAGES = "12-23-2021-NA-NA-40641/1.000000-{} Dose Images-{}"


def test_tcia_as_the_retriever_writes_it(tcia):
    layout = tcia_ldct(tcia)
    opens(layout)
    assert seen(layout, tcia / "LDCT-and-Projection-data") == {
        (f"{patient}/{IMAGES.format(word, number)}", patient, dose, "", region)
        for patient, region in (("C001", "chest"), ("L004", "abdomen"), ("N012", "head"))
        for word, number, dose in (("Full", 63186, "high"), ("Low", 20326, "low"))
    }
    assert {row.citation for row in layout.rows} == {TCIA_CITATION}
    left = aside(layout, tcia)
    assert left.pop(".").startswith("no series of the collection")
    inside = "LDCT-and-Projection-data"
    ge = left.pop(f"{inside}/C002/12-23-2021-NA-NA-1/1.000000-Full dose images-1")
    assert ge.startswith("full-dose images without low-dose ones (for GE scanners")
    assert left == {
        f"{inside}/L004/08-21-2018-10971/1.000000-{name}": "projection data (DICOM-CT-PD), no images"
        for name in ("Full dose projections-24362", "Low Dose Projections-24363")
    }
    assert "10 % of routine in the chest" in layout.notes[0]


@pytest.mark.parametrize("below", ["LDCT-and-Projection-data/L004", "LDCT-and-Projection-data/L004/12-23"])
def test_tcia_from_a_patient_or_a_study(tcia, below):
    (root,) = tcia.glob(f"{below}*")
    layout = tcia_ldct(root)
    assert {(row.patient, row.dose, row.region) for row in layout.rows} == {
        ("L004", "low", "abdomen"),
        ("L004", "high", "abdomen"),
    }


def test_tcia_named_by_uids_is_told_by_its_headers(tmp_path):
    study = tmp_path / "ldct_and_projection_data" / "l067" / "1.2.3"
    series(study / "CT_1.2.3.1", SeriesDescription="Full Dose Images")
    (study / "CT_1.2.3.1" / "A licence.txt").write_text("CC BY 4.0")
    series(study / "CT_1.2.3.2", SeriesDescription="Low Dose Images")
    series(study / "CT_1.2.3.3", SeriesDescription="Full Dose Projections")
    series(study / "CT_1.2.3.4", SeriesDescription="Topogram")
    series(tmp_path / "1.2.4", SeriesDescription="Full dose images", PatientID="C099")
    series(tmp_path / "1.2.5", SeriesDescription="Low dose images", PatientID="C099")
    series(tmp_path / "1.2.6", SeriesDescription="Low dose images", PatientID="")
    layout = tcia_ldct(tmp_path)
    assert seen(layout, tmp_path) == {
        ("ldct_and_projection_data/l067/1.2.3/CT_1.2.3.1", "L067", "high", "", "abdomen"),
        ("ldct_and_projection_data/l067/1.2.3/CT_1.2.3.2", "L067", "low", "", "abdomen"),
        ("1.2.4", "C099", "high", "", "chest"),
        ("1.2.5", "C099", "low", "", "chest"),
    }
    assert aside(layout, tmp_path) == {
        "ldct_and_projection_data/l067/1.2.3/CT_1.2.3.3": "projection data (DICOM-CT-PD), no images",
        "ldct_and_projection_data/l067/1.2.3/CT_1.2.3.4": (
            "series 'Topogram', neither full- nor low-dose images"
        ),
        "1.2.6": "no patient such as C001, L004 or N012 in its path or header",
    }


def test_tcia_with_two_releases_of_a_patient_pairs_within_each(tmp_path):
    for study in ("08-23-2018-1", "12-23-2021-2"):
        for dose in ("Full", "Low"):
            series(tmp_path / "L123" / study / f"1.000000-{dose} Dose Images-{study[-1]}")
    series(tmp_path / "L123" / "12-23-2022-3" / "1.000000-Low Dose Images-3")
    for number in (1, 2):
        series(tmp_path / "L124" / "study" / f"1.000000-Full Dose Images-{number}")
    series(tmp_path / "L124" / "study" / "1.000000-Low Dose Images-3")
    layout = tcia_ldct(tmp_path)
    opens(layout)
    assert [(low.pair, low.scan.parent == high.scan.parent) for low, high in pairs_of(layout.rows)] == [
        ("08-23-2018-1", True),
        ("12-23-2021-2", True),
    ]
    left = aside(layout, tmp_path)
    assert left.pop("L123/12-23-2022-3/1.000000-Low Dose Images-3") == (
        "low-dose images without full-dose ones"
    )
    assert len(left) == 3
    assert set(left.values()) == {
        "more than one series of the same dose for pair 'study' of L124; keep one of them"
    }


@pytest.mark.parametrize(
    ("full", "quarter", "label"),
    [
        ("full_3mm/L067/full_3mm", "quarter_3mm/L067/quarter_3mm", "3mm B30"),
        ("L067/full_3mm", "L067/quarter_3mm", "3mm B30"),
        ("full/full_3mm/L067/full_3mm", "quarter/quarter_3mm/L067/quarter_3mm", "3mm B30"),
        ("1mm D45/full_1mm_sharp/L067/full_1mm_sharp", "1mm D45/QD_1mm_sharp/L067/quarter_1mm", "1mm D45"),
        ("FD_3mm_sharp/full_3mm_sharp/L067", "QD_3mm_sharp/quarter_3mm_sharp/L067", "3mm D45"),
        ("1mm B30/FD_1mm/L067/full_1mm", "1mm B30/QD_1mm/L067/quarter_1mm", "1mm B30"),
        ("mayo-l067/B30f_3mm/full", "mayo-l067/B30f_3mm/quarter", "3mm B30"),
        ("L067/FullDose", "L067/QuarterDose", "B30"),
    ],
)
def test_mayo_in_each_way_that_it_is_handed_on(tmp_path, full, quarter, label):
    for folder in (full, quarter):
        series(tmp_path / folder)
    layout = mayo_2016(tmp_path)
    opens(layout)
    assert seen(layout, tmp_path) == {
        (full, "L067", "high", label, "abdomen"),
        (quarter, "L067", "low", label, "abdomen"),
    }
    assert layout.left_aside == ()
    assert {row.citation for row in layout.rows} == {MAYO_CITATION}


def ima(folder: Path, patient: str, dose: str, thickness: int = 3) -> Path:
    """Files named as the challenge names them."""
    names = [f"{patient}_{dose}_{thickness}_1.CT.0002.{n:04d}.2015.12.22.18.12.07.5968.IMA" for n in (1, 2)]
    ct_series(folder, 2, names=names)
    return folder


def test_mayo_patient_dose_and_thickness_from_the_names_of_files(tmp_path):
    ima(tmp_path / "a", "L067", "FD")
    ima(tmp_path / "b", "L067", "QD")
    assert seen(mayo_2016(tmp_path), tmp_path) == {
        ("a", "L067", "high", "3mm B30", "abdomen"),
        ("b", "L067", "low", "3mm B30", "abdomen"),
    }


def test_mayo_reconstructions_are_pairs_of_their_own(tmp_path):
    for label, names in (("3mm B30", "{}_3mm"), ("1mm D45", "{}_1mm_sharp")):
        for dose in ("full", "quarter"):
            for patient in ("L067", "L096"):
                name = names.format(dose)
                series(tmp_path / "Training_Image_Data" / label / name / patient / name)
    layout = mayo_2016(tmp_path)
    assert Counter(low.pair for low, _ in pairs_of(layout.rows)) == {"3mm B30": 2, "1mm D45": 2}
    layout = mayo_2016(tmp_path, only="b30 3mm")
    assert Counter(low.pair for low, _ in pairs_of(layout.rows)) == {"3mm B30": 2}
    with pytest.raises(ManifestError, match="has no reconstruction '2mm'; there is 1mm D45, 3mm B30"):
        mayo_2016(tmp_path, only="2mm")


def test_mayo_leaves_aside_what_is_no_half_of_a_pair(tmp_path):
    series(tmp_path / "L067" / "full_3mm")
    series(tmp_path / "L067" / "quarter_3mm")
    series(tmp_path / "Testing_Image_Data" / "QD_3mm" / "L554" / "quarter_3mm")
    series(tmp_path / "L096" / "full_3mm")
    series(tmp_path / "L096" / "quarter_1mm")
    series(tmp_path / "L067" / "full_DICOM-CT-PD")
    series(tmp_path / "L067" / "topogram")
    series(tmp_path / "nobody" / "full_3mm")
    series(tmp_path / "full_5mm" / "L067" / "again")
    series(tmp_path / "full_5mm" / "L067" / "and again")
    ima(tmp_path / "flat", "L109", "FD")
    ima(tmp_path / "flat", "L109", "QD")
    ima(tmp_path / "everyone" / "full", "L143", "FD")
    ima(tmp_path / "everyone" / "full", "L192", "FD")
    ima(tmp_path / "L286" / "full", "L286", "QD")
    (tmp_path / "full_3mm" / "L291").mkdir(parents=True)
    (tmp_path / "full_3mm" / "L291" / "readme.txt").write_text("nothing here")
    layout = mayo_2016(tmp_path)
    assert {row.patient for row in layout.rows} == {"L067"}
    lonely = "dose without a {} dose of the same thickness and kernel"
    twice = "more than one series of the same dose for pair '5mm B30' of L067; keep one of them"
    assert aside(layout, tmp_path) == {
        "Testing_Image_Data/QD_3mm/L554/quarter_3mm": f"quarter {lonely.format('full')}",
        "L096/full_3mm": f"full {lonely.format('quarter')}",
        "L096/quarter_1mm": f"quarter {lonely.format('full')}",
        "L067/full_DICOM-CT-PD": "projection data (DICOM-CT-PD), no images",
        "L067/topogram": "neither full nor quarter in its path",
        "nobody/full_3mm": "no patient such as L067 in its path",
        "full_5mm/L067/again": twice,
        "full_5mm/L067/and again": twice,
        "flat": "full- and quarter-dose files in one folder; sort them into two",
        "everyone/full": "files of several patients in one folder; sort them into one each",
        "L286/full": "its folder and its files name different doses",
        "full_3mm/L291": "no DICOM files",
    }


def test_mayo_of_one_patient_may_be_named_above(tmp_path):
    root = tmp_path / "mayo-L333" / "B30f_3mm"
    series(root / "full")
    series(root / "quarter")
    assert seen(mayo_2016(root), root) == {
        ("full", "L333", "high", "B30", "abdomen"),
        ("quarter", "L333", "low", "B30", "abdomen"),
    }


def test_pairs_of_ones_own(tmp_path):
    root = tmp_path / "ours"
    for place in (
        "anna/low",
        "anna/high",
        "ben/thin/LOW",
        "ben/thin/high",
        "ben/thick/low",
        "ben/thick/high",
    ):
        series(root / place)
    (root / "cleo").mkdir()
    for dose in ("low", "high"):
        (root / "cleo" / f"{dose}.nii.gz").touch()
    series(root / "dora" / "low")
    (root / "dora" / "high").mkdir()
    series(root / "emil" / "scan")
    series(root / "finn" / "low" / "deeper")
    series(root / "finn" / "high")
    (root / "finn" / "low.zip").touch()
    (root / "notes.txt").touch()
    (root / ".hidden").touch()
    layout = own_pairs(root)
    assert seen(layout, root) == {
        ("anna/low", "anna", "low", "", ""),
        ("anna/high", "anna", "high", "", ""),
        ("ben/thin/LOW", "ben", "low", "thin", ""),
        ("ben/thin/high", "ben", "high", "thin", ""),
        ("ben/thick/low", "ben", "low", "thick", ""),
        ("ben/thick/high", "ben", "high", "thick", ""),
        ("cleo/low.nii.gz", "cleo", "low", "", ""),
        ("cleo/high.nii.gz", "cleo", "high", "", ""),
    }
    twice = "more than one series of the same dose for finn; keep one of them"
    assert aside(layout, root) == {
        "notes.txt": "a file beside the patients' folders",
        "dora/high": "an empty folder",
        "dora/low": "low without high beside it",
        "emil": "a patient without low and high",
        "emil/scan/IM0000.dcm": "neither low nor high",
        "emil/scan/IM0001.dcm": "neither low nor high",
        "finn/low": twice,
        "finn/low.zip": twice,
        "finn/high": twice,
    }
    opens(replace(layout, rows=tuple(row for row in layout.rows if row.patient != "cleo")))


def test_one_folder_a_patient(tmp_path):
    series(tmp_path / "anna" / "chest")
    series(tmp_path / "anna" / "abdomen")
    series(tmp_path / "ben")
    (tmp_path / "cleo" / "empty").mkdir(parents=True)
    (tmp_path / "all.zip").touch()
    layout = patients(tmp_path)
    opens(layout)
    assert seen(layout, tmp_path) == {("anna", "anna", "own", "", ""), ("ben", "ben", "own", "", "")}
    assert aside(layout, tmp_path) == {
        "all.zip": "a file beside the patients' folders",
        "cleo": "an empty folder",
    }


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_of_something_else_is_one_sentence(name, tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ManifestError, match=rf"holds nothing in the layout {name} \(left aside: .*\); check"):
        LAYOUTS[name](tmp_path)


def test_links_are_followed_and_no_place_is_visited_twice(tmp_path):
    store = tmp_path / "store"
    series(store / "full_3mm")
    series(store / "quarter_3mm")
    root = tmp_path / "root"
    root.mkdir()
    (root / "L067").symlink_to(store)
    (store / "round").symlink_to(store)
    layout = mayo_2016(root)
    assert {row.scan for row in layout.rows} == {root / "L067" / "full_3mm", root / "L067" / "quarter_3mm"}


def test_a_folder_that_cannot_be_read_is_no_folder_without_scans(tcia, monkeypatch):
    def closed(place):
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr("os.scandir", closed)
    with pytest.raises(PermissionError):
        tcia_ldct(tcia)


@pytest.mark.parametrize("name", ["tcia-ldct", "mayo-2016"])
def test_what_a_layout_finds_can_be_written(name, tcia, tmp_path):
    if name == "mayo-2016":
        for dose in ("full", "quarter"):
            series(tmp_path / "data" / f"{dose}_3mm" / "L067")
    rows = LAYOUTS[name](tcia if name == "tcia-ldct" else tmp_path / "data").rows
    write_manifest(tmp_path / "data.csv", assign_splits(rows))


def own(patient: str, region: str = "") -> Row:
    return Row(scan=Path(patient), patient=patient, dose="own", region=region)


def test_shares_are_the_same_in_every_region():
    rows = [
        own(f"{letter}{n:03d}", region)
        for letter, region in zip("CLN", ("chest", "abdomen", "head"), strict=True)
        for n in range(50)
    ]
    found = Counter((row.region, row.split) for row in assign_splits(rows))
    assert found == {
        (region, split): count
        for region in ("chest", "abdomen", "head")
        for split, count in (("training", 35), ("validation", 5), ("test", 10))
    }


@pytest.mark.parametrize(
    ("n", "validation", "test", "counts"),
    [
        (1, 0.1, 0.2, (1, 0, 0)),
        (2, 0.1, 0.2, (1, 1, 0)),
        (3, 0.1, 0.2, (1, 1, 1)),
        (10, 0.1, 0.2, (7, 1, 2)),
        (10, 0.0, 0.2, (8, 0, 2)),
        (10, 0.1, 0.0, (9, 1, 0)),
        (10, 0.0, 0.0, (10, 0, 0)),
        (4, 0.5, 0.49, (1, 2, 1)),
    ],
)
def test_how_many_patients_a_share_is(n, validation, test, counts):
    rows = assign_splits([own(str(i)) for i in range(n)], validation=validation, test=test)
    found = Counter(row.split for row in rows)
    assert (found["training"], found["validation"], found["test"]) == counts


PATIENTS = st.dictionaries(st.text(max_size=3), st.sampled_from(["chest", "head", ""]), max_size=25)


@given(regions=PATIENTS, seed=st.integers(0, 9), validation=st.floats(0, 0.49), test=st.floats(0, 0.49))
def test_splits_are_by_patient_and_do_not_depend_on_the_order(regions, seed, validation, test):
    rows = [own(patient, region) for patient, region in regions.items() for _ in range(2)]
    shuffled = rows.copy()
    random.Random(seed).shuffle(shuffled)
    shares = {"validation": validation, "test": test, "seed": seed}
    split = assign_splits(rows, **shares)
    assert [replace(row, split="training") for row in split] == rows
    of_patient = {row.patient: row.split for row in split}
    assert all(of_patient[row.patient] == row.split for row in split)
    assert {row.patient: row.split for row in assign_splits(shuffled, **shares)} == of_patient
    found = Counter(of_patient.values())
    assert not regions or found["training"] >= 1
    assert found["validation"] >= (len(regions) >= 2 and validation > 0)
    assert abs(found["validation"] - validation * len(regions)) <= 1
    assert abs(found["test"] - test * len(regions)) <= 1.5
    for region in set(regions.values()):
        inside = [of_patient[patient] for patient in regions if regions[patient] == region]
        share = found["validation"] * len(inside) / len(regions)
        assert abs(inside.count("validation") - share) < 1


def test_the_seed_decides_which_patients():
    rows = [own(str(n)) for n in range(20)]
    held_back = {
        frozenset(row.patient for row in assign_splits(rows, seed=seed) if row.split == "test")
        for seed in range(5)
    }
    assert len(held_back) == 5


@pytest.mark.parametrize(
    ("validation", "test"), [(0.5, 0.5), (1.0, 0.0), (-0.1, 0.2), (0.1, float("nan")), (0.9, 0.9)]
)
def test_shares_that_leave_nothing_are_refused(validation, test):
    with pytest.raises(ValueError, match="leave nothing to train on; give numbers from 0 up"):
        assign_splits([own("a"), own("b")], validation=validation, test=test)
