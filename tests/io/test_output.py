"""Outputs are whole or absent, and never where something is already."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from lowdose.io.derived import OutputError, write_derived
from lowdose.io.output import check_output, clipping_notes, explained, whole_file, whole_folder
from tests.io.ct_factory import ct_series
from tests.io.identity import IDENTITY, scan_from


def test_places_that_must_not_be_written_to(tmp_path: Path) -> None:
    scan = scan_from(ct_series(tmp_path / "data" / "in", 2))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "alias").symlink_to(tmp_path / "data")
    for place, sentence in {
        "data/in": "is the input itself",
        "alias/in": "is the input itself",
        "data/in/IM0000.dcm": "is the input itself",
        "data/in/new": "lies inside the input folder",
        "alias/in/new": "lies inside the input folder",
        "data/in/new.nii": "lies inside the input folder",
        "data": "holds the input",
        "full": "exists and is not empty",
        "full/note.txt": "exists already",
        "link": "is a symbolic link",
    }.items():
        with pytest.raises(OutputError, match=sentence):
            write_derived(scan, tmp_path / place, IDENTITY)
    assert (tmp_path / "full" / "note.txt").read_text() == "mine"
    assert len(list((tmp_path / "data" / "in").iterdir())) == 2


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission_is_one_sentence(tmp_path: Path) -> None:
    scan = scan_from(ct_series(tmp_path / "in", 1))
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="is not allowed"):
        write_derived(scan, tmp_path / "closed" / "out", IDENTITY)


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
        assert folder.parent == tmp_path
        assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "a").read_text() == "1"


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    with whole_file(tmp_path / "out") as file:
        file.write_text("1")
        assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_a_failure_leaves_nothing_of_it(tmp_path: Path, whole: Any, error: type[BaseException]) -> None:
    def fail() -> None:
        with whole(tmp_path / "out") as place:
            (place / "a" if whole is whole_folder else place).write_text("1")
            raise error

    with pytest.raises(error):
        fail()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.ENOSPC, "no space is left in data; nothing was kept, so free some or name another disk"),
        (errno.EACCES, "writing into data is not allowed; name a folder you may write to"),
        (errno.EROFS, "writing into data is not allowed; name a folder you may write to"),
        (errno.EIO, "Input/output error; nothing was kept, so name another place"),
    ],
)
def test_what_the_system_says_becomes_a_sentence(code: int, sentence: str) -> None:
    with pytest.raises(OutputError) as caught, explained(Path("data/out")):
        raise OSError(code, os.strerror(code))
    assert str(caught.value) == f"data/out cannot be written: {sentence}"


def test_one_file_may_be_written_beside_itself(tmp_path: Path) -> None:
    (tmp_path / "in.nii").write_text("1")
    check_output(tmp_path / "out.nii", [tmp_path / "in.nii"])
    with pytest.raises(OutputError, match="is the input itself"):
        check_output(tmp_path / "in.nii", [tmp_path / "in.nii"])


def test_only_more_than_two_percent_clipped_is_something_to_tell() -> None:
    assert clipping_notes(0, 100, -1, 1) == ()
    assert clipping_notes(2, 100, -1, 1) == ()
    assert clipping_notes(3, 100, -1, 1) == (
        "3 of 100 values lay beyond what the source's number format holds "
        "(stored values -1 to 1) and were set to its nearest end; mostly this is the noise of air "
        "below the lowest HU, which then reads a little high.",
    )


@pytest.mark.parametrize("place", ["x" * 300, "x/" * 3000, "x" * 300 + "/out.nii"])
def test_a_name_that_the_file_system_has_no_room_for_is_one_sentence(tmp_path: Path, place: str) -> None:
    for source in ([], [tmp_path / "in.nii"]):
        with pytest.raises(OutputError, match="its name is too long for the file system; name a shorter one"):
            check_output(tmp_path / place, source)


def no_links(*_: object) -> None:
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_file_that_appeared_meanwhile_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)

    def write() -> None:
        with whole_file(tmp_path / "out") as file:
            file.write_text("mine")
            (tmp_path / "out").write_text("theirs")

    with pytest.raises(OutputError, match="has been written by someone else meanwhile; name a new file"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "theirs"


def test_a_file_system_without_links_is_written_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", no_links)
    with whole_file(tmp_path / "out") as file:
        file.write_text("1")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
