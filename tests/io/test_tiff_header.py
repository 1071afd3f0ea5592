"""What TIFF files say of themselves, what a sidecar says for them, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile

from lowdose.io.origin import InputError
from lowdose.io.tiff_header import (
    Sidecar,
    n_slices,
    read_facts,
    read_layout,
    read_sidecar,
    stacks_of,
)

VOLUME = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
PLAIN = {"photometric": "minisblack", "metadata": None}


def test_imagej_says_how_large_voxels_are(tmp_path: Path) -> None:
    """4 pixels a millimetre along x, 2 along y, slices 30 micrometres apart."""
    path = tmp_path / "a.tif"
    metadata = {"spacing": 0.03, "unit": "mm", "axes": "ZYX"}
    tifffile.imwrite(path, VOLUME.astype(np.float32), imagej=True, resolution=(4, 2), metadata=metadata)
    assert read_facts(path, "a").spacing == pytest.approx((0.03, 0.5, 0.25))
    assert len(read_facts(path, "a").planes) == 4


@pytest.mark.parametrize("unit", ["um", "µm", "micron", "\\u00B5m"])
def test_imagej_speaks_of_micrometres_in_many_ways(tmp_path: Path, unit: str) -> None:
    description = f"ImageJ=1.54f\nimages=4\nslices=4\nunit={unit}\nspacing=20.0\n"
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for plane in VOLUME:
            writer.write(plane, description=description.encode(), resolution=(0.05, 0.05), metadata=None)
    assert read_facts(path, "a").spacing == pytest.approx((0.02, 0.02, 0.02))


def test_imagej_in_pixels_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOLUME, imagej=True, resolution=(4, 2), metadata={"axes": "ZYX"})
    assert read_facts(path, "a").spacing == (None, None, None)


def test_a_stack_that_imagej_wrote_behind_one_page_has_all_its_slices(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOLUME, imagej=True, truncate=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 1
    assert n_slices(path) == 4


def test_imagejs_calibration_is_the_rescale(tmp_path: Path) -> None:
    description = "ImageJ=1.54f\nimages=1\ncf=0\nc0=-32768.0\nc1=1.0\nvunit=gray value\n"
    tifffile.imwrite(tmp_path / "a.tif", VOLUME[0], description=description, metadata=None)
    assert read_facts(tmp_path / "a.tif", "a").rescale == (1.0, -32768.0)


@pytest.mark.parametrize(("unit", "scale"), [(None, 1e-3), ("mm", 1.0), ("nm", 1e-6)])
def test_ome_says_how_large_voxels_are(tmp_path: Path, unit: str | None, scale: float) -> None:
    path = tmp_path / "a.ome.tif"
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("ZYX", (30.0, 20.0, 10.0), strict=True)}
    units = {f"PhysicalSize{axis}Unit": unit for axis in "ZYX"} if unit else {}
    tifffile.imwrite(path, VOLUME, metadata={"axes": "ZYX", **sizes, **units})
    facts = read_facts(path, "a")
    assert facts.spacing == pytest.approx((30 * scale, 20 * scale, 10 * scale))
    assert len(facts.planes) == 4


def test_bare_resolution_tags_are_not_believed(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VOLUME, resolution=(72, 72), resolutionunit="INCH", **PLAIN)
    assert read_facts(tmp_path / "a.tif", "a").spacing == (None, None, None)


@pytest.mark.parametrize(
    ("dtype", "given", "missing"),
    [
        ("uint16", {}, "how large its voxels are and which HU its grey values (uint16) are"),
        (
            "uint8",
            {"voxel_size_mm": (1, 1, 1)},
            "which HU its grey values (uint8) are; write scan.yaml in it ",
        ),
        ("int16", {}, "how large its voxels are; write scan.yaml in it with voxel_size_mm: [z, y, x]"),
        ("float32", {"rescale": (1, 0)}, "how large its voxels are"),
    ],
)
def test_what_is_not_known_is_asked_for_in_one_sentence(
    tmp_path: Path, dtype: str, given: dict[str, tuple[float, ...]], missing: str
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOLUME.astype(dtype), **PLAIN)
    with pytest.raises(InputError) as caught:
        read_layout([path], "a", Sidecar.model_validate(given), "scan.yaml in it")
    assert str(caught.value).startswith("a does not say " + missing)


def test_a_sidecar_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, VOLUME, imagej=True, resolution=(4, 2), metadata={"spacing": 3, "unit": "mm", "axes": "ZYX"}
    )
    (tmp_path / "a.yaml").write_text("voxel_size_mm: [0.5, 0.25, 0.125]\nrescale: [2, -1000]\n")
    layout = read_layout([path], "a", read_sidecar(tmp_path / "a.yaml", "a.yaml"))
    assert (layout.spacing, layout.slope, layout.inter) == ((0.5, 0.25, 0.125), 2.0, -1000.0)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("voxel_size: [1, 1, 1]", "side has a wrong voxel_size (an unknown key); it may say voxel_size_mm"),
        ("voxel_size_mm: [1, 1]", "side has a wrong voxel_size_mm.2"),
        ("voxel_size_mm: [1, 0, 1]", "side has a wrong voxel_size_mm.1"),
        ("rescale: [.nan, 0]", "side has a wrong rescale.0"),
        ("- 1", "side has a wrong content"),
        ("a: [", "side is not YAML"),
    ],
)
def test_a_wrong_sidecar_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        read_sidecar(tmp_path / "a.yaml", "side")
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


def written(path: Path, kind: str) -> None:
    if kind == "colours":
        tifffile.imwrite(path, np.zeros((5, 6, 3), np.uint8), photometric="rgb")
    elif kind == "wide":
        tifffile.imwrite(path, VOLUME.astype(np.int32), **PLAIN)
    elif kind == "mixed":
        with tifffile.TiffWriter(path) as writer:
            writer.write(VOLUME[0], metadata=None)
            writer.write(VOLUME[0, :3], metadata=None)
    elif kind == "times":
        tifffile.imwrite(path, VOLUME[:, None], imagej=True, metadata={"axes": "TZYX"})
    elif kind == "text":
        path.write_text("this is no TIFF")
    elif kind == "short":
        tifffile.imwrite(path, VOLUME, **PLAIN)
        path.write_bytes(path.read_bytes()[:300])


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("colours", "a holds images of (5, 6, 3), with colours or more; convert it"),
        ("wide", "a holds int32 values; convert it to int16 or float32 HU"),
        ("mixed", "a holds images of (5, 6) int16 and of (3, 6) int16; give one stack a file"),
        ("times", "a holds several channels or times; give one volume a file"),
        ("text", "a is damaged (not a TIFF file"),
        ("short", "a is "),
    ],
)
def test_what_is_no_stack_of_grey_images_is_refused(tmp_path: Path, kind: str, sentence: str) -> None:
    written(tmp_path / "a.tif", kind)
    with pytest.raises(InputError) as caught:
        read_facts(tmp_path / "a.tif", "a")
    assert str(caught.value).startswith(sentence)
    assert "; " in str(caught.value)


def test_slices_of_different_kinds_are_no_stack(tmp_path: Path) -> None:
    paths = [tmp_path / "1.tif", tmp_path / "2.tif"]
    tifffile.imwrite(paths[0], VOLUME[0], metadata=None)
    tifffile.imwrite(paths[1], VOLUME[0, :4], metadata=None)
    with pytest.raises(InputError, match=re.escape("2.tif is 4 x 6 int16, the first is 5 x 6 int16")):
        read_layout(paths, "folder", Sidecar(voxel_size_mm=(1, 1, 1)))


def test_files_are_ordered_by_their_last_number() -> None:
    names = ["s_10.tif", "s_9.tif", "s_0011.tif", "t9.tif", "other.tif", "s_13.tif"]
    assert [(stack.order, stack.n_missing) for stack in stacks_of(names)] == [
        ((4,), 0),
        ((1, 0, 2, 5), 1),
        ((3,), 0),
    ]


def test_flipped_bytes_raise_nothing_but_input_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, VOLUME, imagej=True, resolution=(4, 2), metadata={"spacing": 3, "unit": "mm", "axes": "ZYX"}
    )
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[generator.integers(len(whole) - VOLUME.nbytes)] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            read_layout([path], "a", Sidecar())
        except InputError:
            continue
