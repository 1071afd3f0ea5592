from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowdose.scan import Scan
from lowdose.training.manifest import (
    COLUMNS,
    DOSES,
    SPLITS,
    Count,
    ManifestError,
    Row,
    check_scans,
    counts_of,
    pair_mismatch,
    read_manifest,
    write_manifest,
)

GOOD = """\
scan,patient,split,dose,pair,region,weight,licence,citation
anna,Anna,training,own,,chest,2,in-house,none
ben/low,Ben,training,low,,abdomen,,CC BY 4.0,"Someone, 2020"
ben/high,Ben,training,high,,abdomen,,CC BY 4.0,"Someone, 2020"
cleo/1/low,Cleo,validation,low,thin,head,1,,
cleo/1/high,Cleo,validation,high,thin,head,1,,
cleo/2/high,Cleo,validation,high,thick,head,1,,
cleo/2/low,Cleo,validation,low,thick,head,1,,
dora.nii.gz,Dora,test,own,,chest,1,,
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes, name: str = "data.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_rows_pairs_and_patients(write, tmp_path):
    manifest = read_manifest(write(GOOD), needs=SPLITS)
    assert len(manifest.rows) == 8
    first = Row(
        scan=Path("anna"),
        patient="Anna",
        split="training",
        dose="own",
        region="chest",
        weight=2.0,
        licence="in-house",
        citation="none",
    )
    assert manifest.rows[0] == first
    assert manifest.rows[0].line == 2
    assert manifest.own("training") == (first,)
    assert manifest.own("validation") == ()
    assert [(low.scan.as_posix(), high.scan.as_posix()) for low, high in manifest.pairs("training")] == [
        ("ben/low", "ben/high")
    ]
    assert [(low.scan.as_posix(), high.scan.as_posix()) for low, high in manifest.pairs("validation")] == [
        ("cleo/1/low", "cleo/1/high"),
        ("cleo/2/low", "cleo/2/high"),
    ]
    assert manifest.patients("training") == ("Anna", "Ben")
    assert manifest.pairs("training")[0][0].citation == "Someone, 2020"
    assert manifest.scan_of(first) == tmp_path / "anna"


def test_counts_are_by_split_and_region(write):
    assert counts_of(read_manifest(write(GOOD)).rows) == (
        Count("training", "abdomen", 1, 2, 1),
        Count("training", "chest", 1, 1, 0),
        Count("validation", "head", 1, 4, 2),
        Count("test", "chest", 1, 1, 0),
    )


def test_what_spreadsheets_write_is_read_alike(write):
    expected = read_manifest(write(GOOD)).rows
    semicolons = GOOD.replace('"Someone, 2020"', "Someone| 2020").replace(",", ";").replace("|", ",")
    variants = [
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", ",,,\n"),
        GOOD.replace("\n", "\n\n") + " , ,\n",
        "\n" + GOOD.replace("scan,patient", "Scan, PATIENT"),
        GOOD.replace("\n", "\r"),
        "\ufeff" + semicolons.replace("chest;2;", "chest;2,0;"),
    ]
    for number, text in enumerate(variants):
        assert read_manifest(write(text, f"{number}.csv")).rows == expected


def test_optional_columns_may_be_missing_and_columns_in_any_order(write):
    manifest = read_manifest(write("dose,scan,split,patient\nown,a,training,A\n"))
    assert manifest.rows == (Row(scan=Path("a"), patient="A", dose="own"),)


def head(*rows: str) -> str:
    return "\n".join(["scan,patient,split,dose,pair,weight", *rows]) + "\n"


WRONG = {
    "nothing": ("", "data.csv: holds no rows below its column names"),
    "only columns": ("scan,patient,split,dose\n", "data.csv: holds no rows"),
    "no columns": ("a,A,training,own\n", "line 1: does not name the columns; begin with scan,patient,split"),
    "unknown column": ("scan,patient,split,dose,age\n", "line 1: unknown column 'age'; known are scan,"),
    "missing column": ("scan,patient,dose\n", "line 1: has no column 'split'; add it"),
    "missing columns": ("scan,weight\n", "line 1: has no column 'patient', 'split' and 'dose'; add"),
    "column twice": ("scan,patient,split,dose,scan\n", "line 1: names the column 'scan' twice"),
    "too many values": (
        head("a,A,training,own,,1,x"),
        "line 2: has 7 values for 6 columns; put a value that",
    ),
    "no patient": (head("a,A,training,own", "b, ,training,own"), "line 3: 'patient' is empty; fill it in"),
    "no dose": (head("a,A,training"), "line 2: 'dose' is empty"),
    "split": (head("a,A,train,own"), "unknown split 'train'; use 'training', 'validation' or 'test'"),
    "role": (head("a,A,training,full"), "line 2: unknown dose 'full'; use 'own', 'high' or 'low'"),
    "weight": (head("a,A,training,own,,much"), "line 2: the weight 'much' is no number above 0"),
    "no weight": (head("a,A,training,own,,0"), "the weight '0' is no number above 0"),
    "infinite weight": (head("a,A,training,own,,inf"), "the weight 'inf' is no number above 0"),
    "decimal comma": (head('a,A,training,own,,"0,5"'), "the weight '0,5' is no number above 0"),
    "own pair": (head("a,A,training,own,x"), "line 2: a scan of dose 'own' has the pair 'x'; leave pair"),
    "open quote": (head('"a,A,training,own', "b,B,training,own"), "line 2: is not CSV (unexpected end"),
    "not text": (b"scan,patient\0", "data.csv: is no text file"),
    "latin-1": ("scan,patient,split,dose\nä,A,training,own".encode("latin-1"), "data.csv: is not UTF-8"),
    "utf-16": (GOOD.encode("utf-16"), "data.csv: is not UTF-8 text; save it as CSV with encoding UTF-8"),
    "two splits": (
        head(*(f"{p}{s},{p},{s},own" for p in "ABCDE" for s in ("training", "test"))),
        "data.csv: patients in more than one split: 'A' (training in line 2, test in line 3); 'B' (training "
        "in line 4, test in line 5); 'C' (training in line 6, test in line 7); and 2 more; give all scans",
    ),
    "low alone": (
        head("a,A,training,low", "b,B,training,own"),
        "line 2: patient 'A' has a scan of dose 'low' and none of dose 'high'; add that one",
    ),
    "high alone": (
        head("a,A,training,low,x", "b,A,training,high,x", "c,A,training,high,y"),
        "line 4: pair 'y' of patient 'A' has a scan of dose 'high' and none of dose 'low'",
    ),
    "two highs": (
        head("a,A,training,low", "b,A,training,high", "c,A,training,high"),
        "line 4: a second scan of dose 'high' for patient 'A' (the first is in line 3); give each pair",
    ),
    "two roles": (
        head("a,A,training,low", "a,A,training,high"),
        "line 3: the scan 'a' is listed in line 2 too, there with dose 'low'; give it one role",
    ),
    "two patients": (
        head("a,A,training,own", "./a,B,test,own"),
        "line 3: the scan 'a' is listed in line 2 too, there for patient 'A'; it can only be one",
    ),
    "twice": (head("a,A,training,own", "x/../a,A,training,own"), "line 3: the scan 'x/../a' is listed in"),
    "inside": (
        head("ward/ben,Ben,test,own", "ward,Anna,training,own"),
        "line 2: the scan 'ward/ben' lies inside the one of line 3; list either the outer folder or",
    ),
    "inside all": (head(".,A,training,own", "b,B,test,own"), "line 3: the scan 'b' lies inside the one of"),
    "nothing to train on": (head("a,A,test,own"), "data.csv: no row has split 'training'; give it to"),
    "escapes": (head("a,A,\x1b[31m,own"), "line 2: unknown split '\\x1b[31m'; use"),
    "long": (head(f"a,A,{'x' * 500},own"), f"line 2: unknown split '{'x' * 119}…'; use"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_sentence(case, write):
    text, sentence = WRONG[case]
    with pytest.raises(ManifestError) as told:
        read_manifest(write(text))
    assert sentence in str(told.value)
    assert str(told.value).isprintable()


def test_a_high_dose_may_serve_several_pairs(write):
    text = head(*(f"{dose},A,training,low,{dose}\nfull,A,training,high,{dose}" for dose in ("10", "25")))
    manifest = read_manifest(write(text))
    assert [(low.scan.name, high.scan.name) for low, high in manifest.pairs("training")] == [
        ("10", "full"),
        ("25", "full"),
    ]
    assert counts_of(manifest.rows) == (Count("training", "", 1, 3, 2),)


def test_a_link_does_not_hide_that_two_patients_share_a_scan(write, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ManifestError, match="'b' is listed in line 2 too, there for patient 'A'"):
        read_manifest(write(head("a,A,training,own", "b,B,test,own")))


def test_a_split_that_is_needed_must_not_be_empty(write):
    path = write(head("a,A,training,own"))
    read_manifest(path)
    with pytest.raises(ManifestError, match="no row has split 'validation'; give it to the rows of at least"):
        read_manifest(path, needs=("training", "validation"))
    assert read_manifest(write(head("a,A,test,own")), needs=("test",)).own("test")


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    with pytest.raises(ManifestError, match=r"none\.csv: cannot be read \(No such file or directory\)"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path)


def test_scans_that_are_not_there_are_named(write, tmp_path):
    outside = tmp_path / "elsewhere" / "b.nii"
    manifest = read_manifest(write(head("a,A,training,own", f"{outside},B,training,own")))
    with pytest.raises(ManifestError, match=r"line 2: the scan '.*/a' is not there; mend its path"):
        check_scans(manifest)
    (tmp_path / "a").mkdir()
    with pytest.raises(ManifestError, match=r"line 3: the scan '.*/elsewhere/b\.nii' is not there"):
        check_scans(manifest)
    outside.parent.mkdir()
    outside.touch()
    check_scans(manifest)
    with pytest.raises(ManifestError, match=r"line 2: the scan '.*/elsewhere/a' is not there"):
        check_scans(manifest, outside.parent)
    with pytest.raises(ManifestError, match=r"line 2: the scan '.*' is not there"):
        check_scans(read_manifest(write(head(f"{'x' * 300},A,training,own"))))


def test_what_is_written_is_read_back(tmp_path):
    rows = [
        Row(scan=Path("a, b;c"), patient='say "A"', dose="own", weight=1 / 3, region="thorax"),
        Row(scan=tmp_path / "l", patient="Ä", split="validation", dose="low", pair="p"),
        Row(scan=Path("../h"), patient="Ä", split="validation", dose="high", pair="p", citation="x\ny"),
    ]
    path = tmp_path / "data.csv"
    write_manifest(path, rows)
    manifest = read_manifest(path)
    assert manifest.rows == tuple(rows)
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert [row.line for row in manifest.rows] == [2, 3, 4]
    assert [file.name for file in tmp_path.iterdir()] == ["data.csv"]


WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@given(
    patients=st.lists(WORDS, min_size=1, max_size=4, unique=True),
    weight=st.floats(0, exclude_min=True, allow_infinity=False),
    licence=WORDS,
)
def test_any_rows_are_written_as_they_are_or_refused(tmp_path_factory, patients, weight, licence):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.unlink(missing_ok=True)
    rows = [
        Row(scan=Path(f"s{n}"), patient=patient, dose="own", weight=weight, licence=licence)
        for n, patient in enumerate(patients)
    ]
    try:
        write_manifest(path, rows)
    except ManifestError:
        assert not path.exists()
    else:
        assert read_manifest(path).rows == tuple(rows)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (Row(scan=Path("a "), patient="A", dose="own"), "the row of 'a ' would not be read back as it is"),
        (Row(scan=Path("a"), patient="", dose="own"), "line 2: 'patient' is empty"),
        (
            Row(scan=Path("a"), patient="A", dose="low"),
            "line 2: patient 'A' has a scan of dose 'low' and none",
        ),
        (Row(scan=Path("a\udcff"), patient="A", dose="own"), "which is no text; rename that file"),
    ],
)
def test_rows_that_would_be_refused_are_not_written(tmp_path, row, sentence):
    path = tmp_path / "data.csv"
    path.write_text("mine")
    with pytest.raises(ManifestError) as told:
        write_manifest(path, [row])
    assert sentence in str(told.value)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"data.csv": "mine"}
    with pytest.raises(ManifestError, match="there are no rows to write"):
        write_manifest(path, [])


SCAN = Scan.from_array(np.zeros((3, 4, 5), np.float32), spacing=(3.0, 0.7, 0.7), name="full")


def moved(**changes) -> Scan:
    affine = SCAN.affine.copy()
    for place, value in changes.items():
        affine[int(place[1]), int(place[2])] += value
    return replace(SCAN, name="quarter", affine=affine)


def test_a_scan_fits_itself_and_what_is_hardly_moved():
    assert pair_mismatch(SCAN, SCAN) is None
    assert pair_mismatch(moved(a03=0.05, a13=-0.05), SCAN) is None


def test_why_scans_are_no_pair():
    names = "quarter (low dose) and full (high dose) differ in "
    short = Scan.from_array(np.zeros((2, 4, 5), np.float32), spacing=(3.0, 0.7, 0.7), name="quarter")
    assert pair_mismatch(short, SCAN) == (
        f"{names}shape: 2 slices of 4 x 5 and 3 slices of 4 x 5; "
        "give two reconstructions with the same slices and matrix"
    )
    # a02 is what x adds along the first axis of space: the pixel's width
    assert pair_mismatch(moved(a02=0.002), SCAN) == (
        f"{names}spacing: 3 x 0.7 x 0.702 and 3 x 0.7 x 0.7 mm; "
        "give two reconstructions with the same field of view and slice distance"
    )
    assert pair_mismatch(moved(a23=0.2), SCAN) == (
        f"{names}position or orientation: their voxels lie up to 0.2 mm apart; "
        "give two reconstructions of the same place"
    )
    # turned over: the last of three slices, 3 mm apart, is where the first was
    turned = moved(a20=-6.0)
    assert "up to 12.0 mm apart" in str(pair_mismatch(turned, SCAN))
    nowhere = replace(SCAN, name="quarter", affine=SCAN.affine * np.nan)
    assert "spacing" in str(pair_mismatch(nowhere, SCAN))


def test_it_needs_no_torch_and_nothing_else_that_is_heavy():
    code = "import sys, lowdose.training.manifest; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "lightning", "pydicom", "numba", "openvino"} & set(done.stdout.split())
    assert DOSES == ("own", "high", "low")
