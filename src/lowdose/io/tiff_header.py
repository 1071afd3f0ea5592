"""The headers of TIFF files, checked before a pixel is touched: where slices lie, how large, what they mean.

A stack is one file of several pages, or a file for each slice. TIFF knows neither HU nor the third axis:
voxel sizes come from ImageJ's or OME's own words, a calibration from ImageJ's, and both from a sidecar, a
small YAML file, which goes before all of them. Bare resolution tags say how large a print would be, and are
not believed.
"""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import tifffile
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lowdose.io.origin import COPY_AGAIN, InputError, one_line, unreadable

FOLDER_SIDECAR = "scan.yaml"
"""Of a folder with a file for each slice; a single file has one of its own name."""
SIDECAR_ENDINGS = (".yaml", ".yml")

MAX_SIDE = 16384
"""Pixels along one side."""

_HU_TYPES = {"int16", "float32"}
"""Whose values are taken as HU unless a calibration is given."""
_TYPES = _HU_TYPES | {"uint8", "uint16"}
_MM_PER_UNIT = {
    **{"nm": 1e-6, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "\\u00b5m": 1e-3, "micron": 1e-3, "microns": 1e-3},
    **{"mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4, "in": 25.4},
}
_FAULTS = (
    tifffile.TiffFileError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    struct.error,
)
"""What tifffile raises on files that are damaged."""

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what is wrong with a file is ours to say
logging.getLogger("tifffile").propagate = False


_Number = Annotated[float, Field(allow_inf_nan=False)]
_Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Sidecar(BaseModel):
    """What a TIFF stack cannot say of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    voxel_size_mm: tuple[_Length, _Length, _Length] | None = None
    """Along z, y, x."""
    rescale: tuple[_Number, _Number] | None = None
    """Slope and intercept: HU are slope times the stored value plus the intercept."""


@dataclass(frozen=True)
class Plane:
    """Where one slice lies."""

    path: Path
    page: int
    offset: int | None
    """Of its first pixel in the file, where its pixels lie together and uncompressed; else None."""


@dataclass(frozen=True, eq=False)
class TiffLayout:
    """Where the slices of one stack lie and what their numbers mean."""

    label: str
    """How messages call it."""
    planes: tuple[Plane, ...]
    shape: tuple[int, int]
    """Rows and columns of a slice."""
    dtype: np.dtype[Any]
    """Of a stored value, with its byte order."""
    spacing: tuple[float, float, float]
    """mm along z, y, x."""
    slope: float
    inter: float
    """A value in HU is `slope * stored + inter`."""
    notes: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """True if every stored value survives the way to float32 HU and back."""
        if self.slope == 1.0 and self.inter == 0.0:
            return True
        if self.dtype.kind == "f":
            return False
        ends = np.iinfo(self.dtype)
        largest = max(abs(end * self.slope + self.inter) for end in (ends.min, ends.max))
        return bool(np.spacing(np.float32(largest)) < abs(self.slope))


@dataclass(frozen=True)
class Facts:
    """What one TIFF file says."""

    planes: tuple[Plane, ...]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    spacing: tuple[float | None, float | None, float | None]
    rescale: tuple[float, float] | None


def is_tiff_name(path: Path) -> bool:
    """True for *.tif and *.tiff."""
    return path.suffix.lower() in {".tif", ".tiff"}


def read_sidecar(path: Path, label: str) -> Sidecar:
    """The sidecar in `path`. InputError names the first fault."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Sidecar.model_validate({} if content is None else content)
    except OSError as error:
        raise unreadable(label, error) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = one_line(".".join(str(part) for part in first["loc"])) or "content"
        fault = "an unknown key" if first["type"] == "extra_forbidden" else first["msg"]
        raise InputError(
            f"{label} has a wrong {key} ({fault}); it may say voxel_size_mm: [z, y, x] and rescale: [slope, "
            "intercept]"
        ) from None
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{label} is not YAML ({one_line(str(error), 80)}); correct it") from None


def read_facts(path: Path, label: str) -> Facts:
    """What the file says of its pages. InputError if it is no stack of grey images."""
    with faults_of(label), tifffile.TiffFile(path) as file:
        pages = [page for page in file.pages if not getattr(page, "is_reduced", False)]
        _check_end(file)
        first = _checked_page(pages[0])
        for page in pages[1:]:
            if (page.shape, page.dtype) != (first.shape, first.dtype):
                raise InputError(
                    f"holds images of {first.shape} {first.dtype} and of {page.shape} {page.dtype}; give one "
                    "stack a file"
                )
        dtype = np.dtype(first.dtype).newbyteorder(file.byteorder)
        planes = tuple(Plane(path, page.index, _offset(page)) for page in pages)
        imagej = dict(file.imagej_metadata or {})
        n_images = int(imagej.get("images", 1))
        if len(planes) == 1 and n_images > 1 and planes[0].offset is not None:
            # Beyond 4 GiB ImageJ writes one page, and all slices behind its pixels.
            step = int(np.prod(first.shape)) * dtype.itemsize
            planes = tuple(Plane(path, 0, planes[0].offset + z * step) for z in range(n_images))
        ome = file.ome_metadata or ""
        _refuse_more_axes(imagej, ome)
        last = max((plane.offset or 0) for plane in planes) + int(np.prod(first.shape)) * dtype.itemsize
        if planes[0].offset is not None and last > path.stat().st_size:
            raise InputError(f"is cut short; {COPY_AGAIN}")
        spacing = _ome_spacing(ome) if ome else _imagej_spacing(imagej, first)
        return Facts(planes, first.shape, dtype, spacing, _imagej_rescale(imagej))


def read_layout(
    paths: Sequence[Path], label: str, sidecar: Sidecar, sidecar_name: str = FOLDER_SIDECAR
) -> TiffLayout:
    """The layout of the stack in one file, or in a file for each slice, in the order of z.

    InputError if they do not fit together, or if it is not known how large voxels are or which HU they hold.
    """
    all_facts = [read_facts(path, label if len(paths) == 1 else f"{label}/{path.name}") for path in paths]
    first = all_facts[0]
    for path, facts in zip(paths, all_facts, strict=True):
        if (facts.shape, facts.dtype) != (first.shape, first.dtype):
            raise InputError(
                f"{label} holds images of different kinds: {path.name} is {_kind(facts)}, the first is "
                f"{_kind(first)}; give one stack a folder"
            )
    planes = tuple(plane for facts in all_facts for plane in facts.planes)
    told = {(facts.spacing, facts.rescale) for facts in all_facts}
    spacing, rescale = (first.spacing, first.rescale) if len(told) == 1 else ((None, None, None), None)
    if sidecar.voxel_size_mm is not None:
        spacing = sidecar.voxel_size_mm
    if sidecar.rescale is not None:
        rescale = sidecar.rescale
    if rescale is not None and rescale[0] == 0:
        raise InputError(f"{label} has a rescale whose slope is 0; correct it")
    missing = []
    if None in spacing:
        missing.append(("how large its voxels are", "voxel_size_mm: [z, y, x]"))
    if rescale is None and first.dtype.name not in _HU_TYPES:
        missing.append((f"which HU its grey values ({first.dtype.name}) are", "rescale: [slope, intercept]"))
    if missing:
        raise InputError(
            f"{label} does not say {' and '.join(what for what, _ in missing)}; write {sidecar_name} "
            f"with {' and '.join(key for _, key in missing)}"
        )
    z, y, x = (float(length or 0) for length in spacing)
    slope, inter = rescale or (1.0, 0.0)
    return TiffLayout(label, planes, first.shape, first.dtype, (z, y, x), slope, inter)


def n_slices(path: Path) -> int:
    """How many slices the file holds; 1 for a damaged one, which must not go missing among others."""
    try:
        return len(read_facts(path, path.name).planes)
    except InputError:
        return 1


class Numbered(NamedTuple):
    """Files of one folder that make a stack."""

    order: tuple[int, ...]
    """Their places in the list of names, in the order of z."""
    n_missing: int
    """Numbers that no file has, between the lowest and the highest."""


def stacks_of(names: Sequence[str]) -> list[Numbered]:
    """The stacks among the file `names` of one folder: names that differ in their last number alone, which
    may have leading zeros.
    """
    groups: dict[str, list[tuple[int, str, int]]] = {}
    for index, name in enumerate(names):
        stem = Path(name).stem
        found = re.search(r"\d+(?=\D*$)", stem)
        pattern = stem if found is None else f"{stem[: found.start()]}#{stem[found.end() :]}"
        groups.setdefault(pattern, []).append((int(found[0]) if found else 0, name, index))
    stacks = []
    for _, group in sorted(groups.items()):
        numbers = sorted({number for number, _, _ in group})
        missing = numbers[-1] - numbers[0] + 1 - len(numbers)
        stacks.append(Numbered(tuple(index for _, _, index in sorted(group)), missing))
    return stacks


@contextmanager
def faults_of(label: str) -> Iterator[None]:
    """Name the file in whatever goes wrong while it is read."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{label} {error}") from None
    except OSError as error:
        raise unreadable(label, error) from None
    except _FAULTS as error:
        told = one_line(str(error), 100)
        what = "is compressed in a way that is not read here" if "imagecodecs" in told else "is damaged"
        raise InputError(f"{label} {what} ({told}); save it again, uncompressed") from None


def _check_end(file: tifffile.TiffFile) -> None:
    """Refuse a file whose last page speaks of another one: tifffile passes over pages that were cut off."""
    layout, handle = file.tiff, file.filehandle
    handle.seek(file.pages[len(file.pages) - 1].offset)
    (n_tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
    handle.seek(n_tags * layout.tagsize, 1)
    if any(handle.read(layout.offsetsize)):
        raise InputError(f"is cut short; {COPY_AGAIN}")


def _checked_page(page: Any) -> Any:
    if len(page.shape) != 2:
        raise InputError(f"holds images of {page.shape}, with colours or more; convert it to grey values")
    if np.dtype(page.dtype).name not in _TYPES:
        raise InputError(f"holds {page.dtype} values; convert it to int16 or float32 HU")
    if max(page.shape) > MAX_SIDE or min(page.shape) < 1:
        raise InputError(f"has images of {page.shape}, where up to {MAX_SIDE} a side are read; cut it up")
    return page


def _offset(page: Any) -> int | None:
    return int(page.dataoffsets[0]) if page.is_contiguous and page.dataoffsets else None


def _refuse_more_axes(imagej: dict[str, Any], ome: str) -> None:
    counts = [int(imagej.get(key, 1)) for key in ("channels", "frames")]
    counts += [int(count) for count in re.findall(r"\bSize[CT]\s*=\s*\"(\d{1,9})\"", ome)]
    if max(counts) > 1:
        raise InputError("holds several channels or times; give one volume a file")


def _imagej_spacing(imagej: dict[str, Any], page: Any) -> tuple[float | None, float | None, float | None]:
    scale = _MM_PER_UNIT.get(str(imagej.get("unit", "")).strip().lower())
    if scale is None:
        return None, None, None

    def side(tag: str) -> float | None:
        value = page.tags.get(tag)
        count, units = value.value if value is not None else (0, 0)
        return scale * units / count if count and units else None

    z = imagej.get("spacing")
    depth = scale * abs(float(z)) if isinstance(z, (int, float)) and np.isfinite(z) and z else None
    return depth, side("YResolution"), side("XResolution")


def _imagej_rescale(imagej: dict[str, Any]) -> tuple[float, float] | None:
    """ImageJ's calibration function, where it is a straight line (cf 0): c0 + c1 times the value."""
    values = [imagej.get(key) for key in ("cf", "c1", "c0")]
    function, slope, inter = (float(v) if isinstance(v, (int, float)) else None for v in values)
    if function != 0 or slope is None or inter is None or not np.isfinite([slope, inter]).all():
        return None
    return slope, inter


def _ome_spacing(ome: str) -> tuple[float | None, float | None, float | None]:
    """PhysicalSizeZ, Y and X; read without an XML parser, which would have to be guarded."""
    z, y, x = (_ome_length(ome, axis) for axis in "ZYX")
    return z, y, x


def _ome_length(ome: str, axis: str) -> float | None:
    found = re.search(rf"\bPhysicalSize{axis}\s*=\s*\"([0-9.eE+-]{{1,40}})\"", ome)
    unit = re.search(rf"\bPhysicalSize{axis}Unit\s*=\s*\"([^\"]{{1,20}})\"", ome)
    scale = _MM_PER_UNIT.get(unit[1].lower() if unit else "um")
    if found is None or scale is None:
        return None
    length = float(found[1]) * scale
    return length if np.isfinite(length) and length > 0 else None


def _kind(facts: Facts) -> str:
    return f"{facts.shape[0]} x {facts.shape[1]} {facts.dtype.name}"
