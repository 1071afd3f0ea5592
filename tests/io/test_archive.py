"""Zip archives: harmless ones are unpacked and vanish again, others are refused unopened."""

from __future__ import annotations

import stat
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lowdose.io import InputError, open_input
from lowdose.io.archive import MAX_ENTRIES, is_zip, unpacked
from tests.io.ct_factory import ct_series, disc


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where archives are unpacked."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def zipped(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught, open_input(path):
        pass
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def test_a_zipped_series_is_read_and_leaves_nothing_behind(tmp_path: Path, temporary: Path) -> None:
    paths = ct_series(tmp_path / "in", 3)
    entries = {f"study/CT/{path.name}": path.read_bytes() for path in reversed(paths)}
    archive = zipped(
        tmp_path / "series.zip", {**entries, "study/readme.txt": b"hello", "study/.hidden": b"x"}
    )
    with open_input(archive) as found:
        (case,) = found.cases
        assert case.scan is not None
        assert case.source == f"{archive}/study/CT"
        np.testing.assert_array_equal(case.scan.hu, [disc(seed=i) for i in (1, 2, 3)])
        (left,) = found.left_aside
        assert left.source == f"{archive}/study/readme.txt"
        assert "hello" not in {path.name for path in temporary.rglob("*")}
        assert all(path.name.isdigit() for path in temporary.rglob("*") if path.is_file())
    assert list(temporary.iterdir()) == []


def test_it_is_gone_even_if_the_work_fails(tmp_path: Path, temporary: Path) -> None:
    paths = ct_series(tmp_path / "in", 1)
    archive = zipped(tmp_path / "series.zip", {"a": paths[0].read_bytes()})
    with pytest.raises(RuntimeError, match="work"), open_input(archive):
        raise RuntimeError("work")
    assert list(temporary.iterdir()) == []


def test_a_fault_is_told_by_the_name_in_the_archive(tmp_path: Path, temporary: Path) -> None:
    content = ct_series(tmp_path / "in", 1)[0].read_bytes()
    archive = zipped(tmp_path / "series.zip", {"CT/one.dcm": content[:-20]})
    with open_input(archive) as found:
        (case,) = found.cases
        assert case.error is not None
        assert case.error.startswith(f"{archive}/CT/one.dcm is cut short")


@pytest.mark.parametrize(
    "name",
    [
        "../out.dcm",
        "a/../../out.dcm",
        "/etc/out.dcm",
        "..\\out.dcm",
        "C:\\out.dcm",
        "C:out.dcm",
        "\\\\host\\share\\x",
    ],
)
def test_names_that_lead_out_are_refused(tmp_path: Path, temporary: Path, name: str) -> None:
    assert "leads out of it" in refusal(zipped(tmp_path / "a.zip", {"good": b"1", name: b"2"}))
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "out.dcm").exists()


def test_symbolic_links_are_refused(tmp_path: Path, temporary: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "symbolic link" in refusal(tmp_path / "a.zip")


def test_a_bomb_is_refused_unopened(tmp_path: Path, temporary: Path) -> None:
    assert "grows more than 100 times (bomb.dcm)" in refusal(
        zipped(tmp_path / "a.zip", {"bomb.dcm": bytes(2**20)})
    )
    assert list(temporary.iterdir()) == []


def test_a_lie_about_the_size_is_found(tmp_path: Path, temporary: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a": bytes(range(256)) * 40})
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\x01\x02")
    content[directory + 24 : directory + 28] = struct.pack("<L", 100)
    path.write_bytes(content)
    assert "damaged archive" in refusal(path)


def test_encrypted_entries_are_refused(tmp_path: Path, temporary: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a": b"123"})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert "is encrypted" in refusal(path)


def test_too_many_entries_are_refused_unread(tmp_path: Path, temporary: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a": b"123"})
    content = bytearray(path.read_bytes())
    end = content.index(b"PK\x05\x06")
    content[end + 12 : end + 16] = struct.pack("<L", 2**31)
    path.write_bytes(content)
    assert f"more than the {MAX_ENTRIES} entries" in refusal(path)


def test_an_archive_larger_than_the_disk_is_refused(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lowdose.io.archive.FREE_SHARE", 0.0)
    assert "more than is free" in refusal(zipped(tmp_path / "a.zip", {"a": b"123"}))


def test_no_truncation_passes(tmp_path: Path, temporary: Path) -> None:
    content = ct_series(tmp_path / "in", 1)[0].read_bytes()
    whole = zipped(tmp_path / "whole.zip", {"a": content}).read_bytes()
    for cut in range(4, len(whole), 29):
        (tmp_path / "cut.zip").write_bytes(whole[:cut])
        assert "cut.zip" in refusal(tmp_path / "cut.zip")


def test_flipped_bytes_raise_nothing_but_input_errors(tmp_path: Path, temporary: Path) -> None:
    content = ct_series(tmp_path / "in", 1)[0].read_bytes()
    whole = zipped(tmp_path / "whole.zip", {"a": content, "b": b"2" * 50}).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[rng.integers(4, len(whole))] = rng.integers(256)
        (tmp_path / "a.zip").write_bytes(damaged)
        try:
            with unpacked(tmp_path / "a.zip") as files:
                assert all(path.is_file() for path, _ in files)
        except InputError:
            pass
        assert list(temporary.iterdir()) == []


def test_a_dicom_file_may_start_like_a_zip(tmp_path: Path) -> None:
    path = ct_series(tmp_path, 1)[0]
    path.write_bytes(b"PK\x03\x04" + path.read_bytes()[4:])
    assert not is_zip(path)
    with open_input(path) as found:
        assert len(found.cases) == 1
