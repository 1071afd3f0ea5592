from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

import lowdose
from lowdose.provenance import (
    CaseRecord,
    Run,
    Step,
    package_versions,
    sha256_of_file,
    write_json,
    written_whole,
)


def test_a_file_appears_when_it_is_whole(tmp_path: Path):
    path = tmp_path / "result.txt"
    with written_whole(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == tmp_path
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fault", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_failure_leaves_nothing_and_what_was_there(tmp_path: Path, fault, before):
    path = tmp_path / "result.txt"
    if before is not None:
        path.write_text(before)

    def fail() -> None:
        with written_whole(path) as temporary:
            temporary.write_text("new, but not all of it")
            raise fault

    with pytest.raises(fault):
        fail()
    assert [file.read_text() for file in tmp_path.iterdir()] == ([] if before is None else [before])


def test_a_writer_that_writes_nothing_is_an_error(tmp_path: Path):
    (tmp_path / "result.txt").write_text("old")
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "result.txt"):
        pass
    assert (tmp_path / "result.txt").read_text() == "old"


def test_json_is_plain_and_its_folders_are_made(tmp_path: Path):
    path = tmp_path / "deep" / "down.json"
    write_json(path, {1: (np.float32(0.5), float("nan")), "where": Path("a"), "many": np.arange(2)})
    assert json.loads(path.read_text()) == {"1": [0.5, None], "where": "a", "many": [0, 1]}
    assert [file.name for file in path.parent.iterdir()] == ["down.json"]


def test_the_digest_is_that_of_the_bytes(tmp_path: Path):
    content = b"\x00\xff" * 700_000
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()
    (tmp_path / "empty").touch()
    assert sha256_of_file(tmp_path / "empty").startswith("e3b0c44298fc1c14")


def run(**changes) -> Run:
    done = CaseRecord(
        "chest", "in/a", "out/a", notes=("a gap",), history=(Step("median", {"size_px": 3}),), facts={"n": 5}
    )
    failed = CaseRecord("head", "in/b", error="in/b/1.dcm is cut short; copy it again")
    begun = datetime(2024, 5, 6, 14, 30, tzinfo=timezone(timedelta(hours=2)))
    settings = {
        "command": "denoise",
        "options": {"input": Path("in"), "window": (-160.0, 240.0), "settings": {"noise": 25.0}},
        "cases": [done, failed],
        "started": begun,
    }
    return Run(**(settings | changes))


def test_the_record_is_plain_json(tmp_path: Path):
    run().write(tmp_path / "run.json")
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["lowdose"] == lowdose.__version__
    assert record["command"] == "denoise"
    assert record["options"] == {"input": "in", "window": [-160.0, 240.0], "settings": {"noise": 25.0}}
    assert record["started"] == "2024-05-06T12:30:00+00:00"
    assert datetime.fromisoformat(record["finished"]) >= datetime.fromisoformat(record["started"])
    chest, head = record["cases"]
    assert chest["history"] == [{"name": "median", "parameters": {"size_px": 3}}]
    assert (chest["output"], chest["error"], chest["notes"], chest["facts"]) == (
        "out/a",
        None,
        ["a gap"],
        {"n": 5},
    )
    assert head["error"] == "in/b/1.dcm is cut short; copy it again"
    assert record["versions"]["numpy"] == np.__version__
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_all_copies_of_a_record_say_the_same(monkeypatch):
    """A clock that moves on between the file and what is printed is no difference."""
    clock = iter(datetime(2024, 5, 6, 14, 30, second, tzinfo=UTC) for second in range(10))

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return next(clock)

    monkeypatch.setattr("lowdose.provenance.datetime", Clock)
    one = run()
    assert one.as_json() == one.as_json()
    assert one.as_json()["finished"] == "2024-05-06T14:30:00+00:00"


def test_the_cases_that_failed_are_told_apart():
    assert [case.case for case in run().failed] == ["head"]
    assert run(cases=[]).failed == []


def test_numbers_stay_numbers_and_what_is_none_is_null():
    """JSON has no NaN and no infinity: other programs refuse a file that holds one."""
    facts = {
        "noise": np.float32(2.5),
        "slices": np.int64(7),
        "found": np.bool_(True),
        "missing": float("nan"),
        "values": np.array([1.0, np.inf]),
    }
    text = json.dumps(run(facts=facts).as_json(), allow_nan=False)
    record = json.loads(text)
    assert (record["noise"], record["slices"], record["found"]) == (2.5, 7, True)
    assert (record["missing"], record["values"]) == (None, [1.0, None])


def test_versions_are_those_installed():
    versions = package_versions()
    assert versions["numpy"] == np.__version__
    assert set(versions) >= {"numpy", "scipy", "numba", "pydicom", "nibabel", "openvino"}
