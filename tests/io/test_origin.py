"""Text from files is one safe line; every refusal names the file and ends with what to do, in plain words."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLSLossless,
)

from lowdose.io import InputError, open_input
from lowdose.io.dicom import read_dataset
from lowdose.io.nifti import read_nifti
from lowdose.io.origin import one_line
from tests.io.ct_factory import compress, ct_series, ct_slice, disc, save
from tests.io.test_dicom import HOSTILE, with_element_in_front
from tests.io.test_header import FAULTS
from tests.io.test_nifti import absurd_voxel, cut_short, nan_voxel
from tests.io.test_nifti_header import (
    absurd,
    bomb,
    colours,
    cut_in_the_header,
    flat,
    half_a_pair,
    huge_side,
    negative_side,
    singular,
    two_volumes,
    web_page,
    wrong_magic,
    wrong_offset,
)

REMEDY = re.compile(
    r"(check|convert|copy|cut|export|free|give|if you trust it, unpack|leave|pack|replace|sort|unpack) "
)


def refusals(path: Path) -> list[str]:
    """The sentences about everything at `path` that can't be read."""
    told = []
    try:
        with open_input(path) as found:
            for case in found.cases:
                if case.scan is None:
                    told.append(str(case.error))
                    continue
                try:
                    list(case.scan)
                except InputError as error:
                    told.append(str(error))
    except InputError as error:
        told.append(str(error))
    return told


def changed(path: Path, change: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


def faulty(attributes: dict[str, Any]) -> Callable[[Path], Path]:
    return lambda folder: save(ct_slice(**attributes), folder / "slice.dcm")


def hostile(content: bytes) -> Callable[[Path], Path]:
    return lambda folder: with_element_in_front(folder, content)


def volume(fault: Callable[[Path], None], suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        fault(folder / f"scan{suffix}")
        return folder / f"scan{suffix}"

    return make


def plain(change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    return lambda folder: changed(save(ct_slice(), folder / "slice.dcm"), change)


def compressed(change: Callable[[bytes], bytes], syntax: str = JPEGLSLossless) -> Callable[[Path], Path]:
    return lambda folder: changed(
        save(compress(ct_slice(disc(40, 48)), syntax), folder / "slice.dcm"), change
    )


def deflated(change: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    return lambda folder: changed(
        save(ct_slice(), folder / "slice.dcm", DeflatedExplicitVRLittleEndian), change
    )


def frame(content: bytes, syntax: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        ds = ct_slice(signed=False, bits_stored=12)
        ds.PixelData = encapsulate([content])
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = syntax
        return save(ds, folder / "slice.dcm")

    return make


def without_fragments(folder: Path) -> Path:
    fragment = b"\xfe\xff\x00\xe0\x02\0\0\0" + b"12"
    return changed(frame(b"12", JPEGLSLossless)(folder), lambda whole: whole.replace(fragment, b""))


def other_size(folder: Path) -> Path:
    ds = compress(ct_slice(disc(40, 48)), JPEG2000Lossless)
    ds.Rows, ds.Columns = 48, 40
    return save(ds, folder / "slice.dcm")


def foreign_padding(folder: Path) -> Path:
    ds = ct_slice(signed=False, bits_stored=12)
    ds.add_new("PixelPaddingValue", "US", 63536)
    words = np.frombuffer(ds.PixelData, "<u2").copy()
    words[0] = 63536
    ds.PixelData = words.tobytes()
    return save(ds, folder / "slice.dcm")


def conflicting(folder: Path) -> Path:
    ct_series(folder, 2, spacing=0)
    return folder


def two_patients(folder: Path) -> Path:
    ct_series(folder / "a", 1)
    ct_series(folder / "b", 1, PatientID="other")
    return folder


def archive(*entries: tuple[str, bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in entries:
                packed.writestr(name, content)
        return folder / "a.zip"

    return make


def cut_archive(folder: Path) -> Path:
    return changed(archive(("a", b"123"))(folder), lambda whole: whole[:40])


def slope(text: bytes) -> Callable[[Path], Path]:
    return lambda folder: changed(
        save(ct_slice(RescaleSlope="1.25"), folder / "slice.dcm"), lambda whole: whole.replace(b"1.25", text)
    )


VOLUMES = (
    *(absurd, bomb, colours, cut_in_the_header, flat, half_a_pair, huge_side, negative_side, singular),
    *(two_volumes, web_page, wrong_magic, wrong_offset, absurd_voxel, cut_short, nan_voxel),
)
KINDS: dict[str, Callable[[Path], Path]] = {
    **{kind: faulty(attributes) for kind, (attributes, _) in FAULTS.items()},
    **{kind: hostile(content) for kind, content in HOSTILE.items()},
    **{f"{fault.__name__}{end}": volume(fault, end) for fault in VOLUMES for end in (".nii", ".nii.gz")},
    "slope NaN": slope(b"nan "),
    "slope beyond single precision": faulty({"RescaleSlope": "0.00001"}),
    "cut short": plain(lambda whole: whole[:-9]),
    "only a header": plain(lambda whole: whole[: whole.index(b"\xe0\x7f\x10\x00OW")]),
    "cut in the header": plain(lambda whole: whole[:400]),
    "rubbish behind the image": plain(lambda whole: whole + b"rubbish"),
    "element cut behind the image": plain(lambda whole: whole + b"\xfc\xff\xfc\xffOB\0\0\xff\xff\0\0"),
    "floats": plain(lambda whole: whole.replace(b"\xe0\x7f\x10\x00OW", b"\xe0\x7f\x08\x00OF")),
    "no DICOM": plain(lambda _: b"x" * 200),
    "empty": plain(lambda _: b""),
    "unknown syntax": frame(b"12", MPEG2MPML),
    "12-bit JPEG": frame(b"12", JPEGExtended12Bit),
    "no JPEG": frame(b"12", JPEGLSLossless),
    "no JPEG 2000": frame(b"12", JPEG2000Lossless),
    "nothing compressed": without_fragments,
    "codestream cut": compressed(lambda whole: whole[:-20]),
    "codestream without end": compressed(lambda whole: whole.replace(b"\xff\xd9", b"\0\0")),
    "codestream damaged": compressed(lambda whole: whole[:-200] + b"\xa5" * 150 + whole[-50:]),
    "codestream of another size": other_size,
    "deflated, cut": deflated(lambda whole: whole[:-20]),
    "deflated, damaged": deflated(lambda whole: whole[:400] + b"\xff" * 20 + whole[420:]),
    "padding beyond its bits": foreign_padding,
    "two images at one position": conflicting,
    "two patients": two_patients,
    "an entry that leads out": archive(("../out", b"1")),
    "an entry that explodes": archive(("bomb", bytes(2**20))),
    "an archive of nothing": archive(("a.txt", b"hello")),
    "an archive that is cut": cut_archive,
    "nowhere": lambda folder: folder / "nowhere",
    "a name that is too long": lambda folder: folder / ("x" * 300),
    "an empty folder": lambda folder: folder,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_names_the_file_and_ends_with_a_remedy(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").mkdir()
    path = KINDS[kind](tmp_path / "in")
    told = refusals(path)
    assert told
    for sentence in told:
        assert sentence.startswith(str(path)[:150])
        assert "\n" not in sentence
        assert REMEDY.match(sentence.rpartition("; ")[2]), sentence
        assert re.search(r"\w(Error|Exception)\b", sentence) is None, sentence


def test_a_file_that_goes_away_is_told_with_a_remedy(tmp_path: Path) -> None:
    paths = ct_series(tmp_path, 1)
    with open_input(tmp_path) as found:
        scan = found.cases[0].scan
        assert scan is not None
        paths[0].unlink()
        for read in (lambda: scan.read(0), lambda: read_dataset(paths[0]), lambda: read_nifti(paths[0])):
            with pytest.raises(InputError, match=r"IM0000\.dcm cannot be read: No such file.*; check that"):
                read()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain name", "plain name"),
        ("two\nlines\r\n\tand more  ", "two lines and more"),
        ("\x1b[31mred\x00", "[31mred"),
        ("right\u202eleft", "right left"),
        ("bad \udcff bytes", "bad bytes"),
        ("Größe 3 µm", "Größe 3 µm"),
        ("x" * 300, "x" * 9 + "…"),
    ],
)
def test_one_line(text: str, line: str) -> None:
    assert one_line(text, 10 if len(text) > 100 else 200) == line
