from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from lowdose.cli import app
from lowdose.training.layouts import LAYOUTS
from lowdose.training.manifest import SPLITS, check_scans, read_manifest
from tests.cli.runner import everything_below, lowdose
from tests.io.ct_factory import ct_series


@pytest.fixture(scope="module")
def collection(tmp_path_factory) -> Path:
    """Ten patients in two regions, and projections of one of them."""
    root = tmp_path_factory.mktemp("tcia") / "LDCT-and-Projection-data"
    for letter in "CL":
        for number in range(5):
            for dose in ("Full", "Low"):
                ct_series(root / f"{letter}00{number}" / "study" / f"1.000000-{dose} Dose Images-1", 1)
    for dose in ("Full", "Low"):
        ct_series(root / "C000" / "raw" / f"1.000000-{dose} dose projections-1", 1)
    return root


def test_a_collection_becomes_a_csv_that_can_be_read(collection, tmp_path):
    out = tmp_path / "new" / "data.csv"
    outcome = lowdose("manifest", collection, "--layout", "tcia-ldct", "--out", out, "--licence", "CC BY 4.0")
    assert outcome.status == 0
    assert outcome.out == (
        "split       region   patients  scans  pairs\n"
        "training    abdomen         3      6      3\n"
        "training    chest           4      8      4\n"
        "validation  abdomen         1      2      1\n"
        "test        abdomen         1      2      1\n"
        "test        chest           1      2      1\n"
    )
    manifest = read_manifest(out, needs=SPLITS)
    check_scans(manifest)
    assert len(manifest.pairs("training")) == 7
    assert {row.licence for row in manifest.rows} == {"CC BY 4.0"}
    assert all("9NPB-2637" in row.citation for row in manifest.rows)
    assert all(row.scan.is_absolute() for row in manifest.rows)
    projections = collection / "C000" / "raw" / "1.000000-Full dose projections-1"
    assert f"left aside: {projections} and 1 more: projection data (DICOM-CT-PD), no images" in outcome.err
    assert "low dose: 10 % of routine in the chest" in outcome.err
    assert "note:" not in outcome.err
    assert f"manifest in {out}" in outcome.err
    run = json.loads((tmp_path / "new" / "data.csv.run.json").read_text())
    assert run["options"]["seed"] == 1
    assert [item["source"] for item in run["left_aside"]] == [
        str(projections),
        str(projections).replace("Full", "Low"),
    ]
    assert sorted(everything_below(tmp_path)) == ["new/data.csv", "new/data.csv.run.json"]


def test_json_is_the_record_of_the_run(collection, tmp_path):
    out = tmp_path / "data.csv"
    words = ("--validation", 0, "--test", 0.5, "--seed", 7, "--json")
    outcome = lowdose("manifest", collection, "--layout", "tcia-ldct", "--out", out, *words)
    assert outcome.status == 0
    assert outcome.json["counts"] == [
        {"split": "training", "region": "abdomen", "patients": 2, "scans": 4, "pairs": 2},
        {"split": "training", "region": "chest", "patients": 3, "scans": 6, "pairs": 3},
        {"split": "test", "region": "abdomen", "patients": 3, "scans": 6, "pairs": 3},
        {"split": "test", "region": "chest", "patients": 2, "scans": 4, "pairs": 2},
    ]
    assert json.loads((tmp_path / "data.csv.run.json").read_text()) == outcome.json
    assert "note: licence left empty" in outcome.err


def test_scans_below_the_csv_are_relative_and_move_with_it(tmp_path, monkeypatch):
    for patient in ("anna", "ben"):
        ct_series(tmp_path / "here" / "ward" / patient, 1)
    monkeypatch.chdir(tmp_path / "here")
    outcome = lowdose("manifest", "ward", "--layout", "patients", "--out", "data.csv")
    assert outcome.status == 0
    assert "note: licence and citation left empty" in outcome.err
    assert "--licence and --citation" in outcome.err
    assert sorted(line.split(",")[0] for line in Path("data.csv").read_text().splitlines()[1:]) == [
        "ward/anna",
        "ward/ben",
    ]
    shutil.move(tmp_path / "here", tmp_path / "there")
    check_scans(read_manifest(tmp_path / "there" / "data.csv", needs=("training", "validation")))


def test_one_reconstruction_of_several(tmp_path):
    for thickness in ("1mm", "3mm"):
        for dose in ("full", "quarter"):
            ct_series(tmp_path / "mayo" / f"{dose}_{thickness}" / "L067", 1)
    out = tmp_path / "data.csv"
    words = ("manifest", tmp_path / "mayo", "--layout", "mayo-2016", "--out", out)
    wrong = lowdose(*words, "--only", "5mm B30")
    assert wrong.status == 1
    assert wrong.error.endswith("has no reconstruction '5mm B30'; there is 1mm B30, 3mm B30")
    assert lowdose(*words, "--only", "3mm B30", "--citation", "ours").status == 0
    rows = read_manifest(out).rows
    assert {(row.pair, row.citation) for row in rows} == {("3mm B30", "ours")}
    assert len(rows) == 2


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (
            ["--layout", "magic"],
            2,
            "--layout magic: unknown layout; choose one of tcia-ldct, mayo-2016, pairs",
        ),
        (["--only", "3mm B30"], 2, "--only: is for the layout mayo-2016; leave it out"),
        (["--validation", "0.5", "--test", "0.5"], 2, "the shares 0.5 for validation and 0.5 for test leave"),
        (["--out", "there.csv"], 2, "there.csv exists already; name a new file or remove this one"),
        (["--out", "ward"], 2, "ward: is a folder; name a new file such as ward/data.csv"),
        (["--out", "there.csv/data.csv"], 1, "there.csv/data.csv cannot be written"),
        (
            ["--layout", "pairs"],
            1,
            "ward: holds nothing in the layout pairs (left aside: neither low nor high;",
        ),
    ],
)
def test_wrong_use_is_one_sentence_and_writes_nothing(tmp_path, monkeypatch, words, status, sentence):
    ct_series(tmp_path / "ward" / "anna", 1)
    (tmp_path / "there.csv").write_text("mine")
    monkeypatch.chdir(tmp_path)
    before = everything_below(tmp_path)
    outcome = lowdose("manifest", "ward", "--layout", "patients", "--out", "data.csv", *words)
    assert (outcome.status, outcome.out) == (status, "")
    assert outcome.error.startswith(sentence)
    assert everything_below(tmp_path) == before


def test_a_folder_that_is_none_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    for name, reason in (("nothing", "not found"), ("file", "is no folder")):
        outcome = lowdose("manifest", tmp_path / name, "--layout", "patients", "--out", tmp_path / "data.csv")
        assert outcome.status == 2
        assert outcome.error == f"{tmp_path / name}: {reason}; give a folder of scans"


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    ct_series(tmp_path / "ward" / "anna", 1)

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lowdose.provenance.os.fsync", full)
    outcome = lowdose("manifest", tmp_path / "ward", "--layout", "patients", "--out", tmp_path / "data.csv")
    assert outcome.status == 1
    assert "no space is left in" in outcome.error
    assert not (tmp_path / "data.csv").exists()


def test_the_help_names_every_layout():
    command = get_command(app).commands["manifest"]
    (layout,) = (option for option in command.params if option.name == "layout")
    assert set(re.findall(r"tcia-ldct|mayo-2016|pairs|patients", layout.help)) == set(LAYOUTS)


def test_it_works_without_torch(tmp_path):
    ct_series(tmp_path / "ward" / "anna", 1)
    code = (
        "import sys; sys.modules['torch'] = sys.modules['lightning'] = None; from lowdose.cli import main; "
        f"sys.argv = ['lowdose', 'manifest', {str(tmp_path / 'ward')!r}, '--layout', 'patients', "
        f"'--out', {str(tmp_path / 'data.csv')!r}]; main()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
    assert read_manifest(tmp_path / "data.csv").patients("training") == ("anna",)
