"""TIFF stacks as scans and back: slice by slice, with the source's files but for their pixels."""

from __future__ import annotations

import math
import os
import shutil
import threading
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from lowdose.io.origin import InputError, TiffOrigin, one_line
from lowdose.io.output import (
    OutputError,
    Written,
    check_output,
    checked_slice,
    clipping_notes,
    explained,
    sync,
    whole_file,
    whole_folder,
)
from lowdose.io.tiff_header import (
    FOLDER_SIDECAR,
    SIDECAR_ENDINGS,
    Plane,
    Sidecar,
    TiffLayout,
    faults_of,
    is_tiff_name,
    read_layout,
    read_sidecar,
)
from lowdose.io.volume_values import in_hu, slice_of
from lowdose.scan import Scan, Slice

_DEFLATE = {8, 32946}
"""The two numbers that TIFF has for it."""


def read_tiff(paths: tuple[Path, ...], label: str, sidecar: Path | None, *, folder: bool) -> Scan:
    """The stack in one file, or with `folder` in a file for each slice, as a scan.

    `sidecar` is the small YAML file that goes with it, if there is one. InputError as `read_layout`; the
    scan's `read` raises it for a slice that is damaged or holds values that cannot be HU.
    """
    known = Sidecar() if sidecar is None else read_sidecar(sidecar, one_line(str(sidecar)))
    wanted = f"{FOLDER_SIDECAR} in it" if folder else f"{Path(label).with_suffix('.yaml').name} beside it"
    layout = read_layout(paths, label, known, wanted)
    pixels = _Pixels(layout)

    def read(z: int) -> Slice:
        return slice_of(layout, pixels.plane(z), z, "correct its rescale")

    notes = layout.notes
    shape = (len(layout.planes), *layout.shape)
    if read(shape[0] // 2).hu.min() >= 0:
        notes = (*notes, "No value of its middle slice is below 0, though air is -1000 HU: are these HU?")
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = layout.spacing
    affine[3, 3] = 1.0
    name = one_line(Path(label).name if folder else Path(label).stem, 64)
    origin = TiffOrigin(paths, sidecar, folder, label)
    return Scan(name, shape, affine, read, notes=notes, origin=origin)


def write_tiff(scan: Scan, output: Path, on_slice: Callable[[int], None] | None = None) -> Written:
    """Write `scan`, which came from TIFF, as its source's kind, one slice at a time, whole or not at all.

    A folder becomes a folder of as many files; a single file becomes `output` where that is named *.tif or
    *.tiff, else a folder that holds one file. What the source's files say beside their pixels stays, and what
    did not change comes back bit for bit; integers are rounded half to even and clipped to their type.
    """
    origin: TiffOrigin = scan.origin
    sidecars = [origin.sidecar] if origin.sidecar else []
    check_output(output, [*origin.paths, *(sidecars if origin.folder else [])])
    known = Sidecar() if origin.sidecar is None else read_sidecar(origin.sidecar, str(origin.sidecar))
    layout = read_layout(origin.paths, origin.label, known)
    if (len(layout.planes), *layout.shape) != scan.shape:
        raise InputError(f"{origin.label} has changed since it was read; start again")
    planes = _Planes(scan, layout, on_slice)
    if is_tiff_name(output) and not origin.folder:
        beside = output.with_suffix(".yaml")
        if origin.sidecar is None:
            with whole_file(output) as temporary:
                planes.write_stack(temporary, output)
        else:
            check_output(beside, sidecars)
            with whole_file(beside) as copy:
                _copy(origin.sidecar, copy, output)
                with whole_file(output) as temporary:
                    planes.write_stack(temporary, output)
    elif is_tiff_name(output):
        raise OutputError(f"{output} is named as one file for a folder of slices; name a folder instead")
    else:
        with whole_folder(output) as folder:
            if origin.folder:
                planes.write_slices(folder, output)
            else:
                planes.write_stack(folder / f"volume{origin.paths[0].suffix.lower()}", output)
            if origin.sidecar is not None:
                name = FOLDER_SIDECAR if origin.folder else "volume.yaml"
                _copy(origin.sidecar, folder / name, output)
    notes = clipping_notes(planes.n_clipped, math.prod(scan.shape), *_ends(layout.dtype))
    place = (
        output
        if origin.folder or is_tiff_name(output)
        else next(path for path in output.iterdir() if is_tiff_name(path))
    )
    return Written(place, len(scan), planes.n_clipped, None, notes)


def sidecar_names(label: str, *, folder: bool) -> list[str]:
    """What the sidecar of a file or folder called `label` may be called, the likelier ones first."""
    path = Path(label)
    own = [str(path / FOLDER_SIDECAR)] if folder else [str(path.with_suffix(end)) for end in SIDECAR_ENDINGS]
    return own if folder else [*own, str(path.parent / FOLDER_SIDECAR)]


class _Pixels:
    """The stored values of a stack, one slice at a time; safe to call from several threads."""

    def __init__(self, layout: TiffLayout) -> None:
        self._layout = layout
        self._open = ExitStack()
        self._path: Path | None = None
        self._file: Any = None
        self._lock = threading.Lock()
        weakref.finalize(self, self._open.close)

    def plane(self, z: int) -> NDArray[Any]:
        """Stored values of slice `z`, `[y, x]`. InputError if they cannot be had."""
        layout, plane = self._layout, self._layout.planes[z]
        with faults_of(f"{layout.label} near slice {z + 1}"):
            if plane.offset is not None:
                n_bytes = math.prod(layout.shape) * layout.dtype.itemsize
                with plane.path.open("rb") as file:
                    file.seek(plane.offset)
                    values = file.read(n_bytes)
                if len(values) < n_bytes:
                    raise InputError("is cut short; copy it again from its source")
                return np.frombuffer(values, layout.dtype).reshape(layout.shape)
            with self._lock:
                values = self._opened(plane).pages[plane.page].asarray()
            if values.shape != layout.shape:
                raise InputError("has changed since it was read; start again")
            return np.asarray(values, layout.dtype)

    def _opened(self, plane: Plane) -> Any:
        """The file of a slice; it stays open for the next, so that its pages are looked up once."""
        if self._path != plane.path:
            self._path = None
            self._open.close()
            self._file = self._open.enter_context(tifffile.TiffFile(plane.path))
            self._path = plane.path
        return self._file


class _Planes:
    """The slices of a scan in the number format of a stack, and the files they go into."""

    def __init__(self, scan: Scan, layout: TiffLayout, on_slice: Callable[[int], None] | None) -> None:
        self.n_clipped = 0
        self._scan, self._layout, self._on_slice = scan, layout, on_slice
        self._source = _Pixels(layout)

    def write_slices(self, folder: Path, output: Path) -> None:
        """A file for each slice, numbered from 1."""
        digits = max(4, len(str(len(self._scan))))
        for z, plane in enumerate(self._layout.planes):
            path = folder / f"{z + 1:0{digits}d}{plane.path.suffix.lower()}"
            self._write([z], path, output)
            with explained(output):
                sync(path)

    def write_stack(self, path: Path, output: Path) -> None:
        """All slices in one file."""
        self._write(range(len(self._scan)), path, output)

    def _write(self, slices: Any, path: Path, output: Path) -> None:
        """A copy of the source with other pixels, or where these are compressed, a file like it."""
        planes = [self._layout.planes[z] for z in slices]
        if all(plane.offset is not None for plane in planes):
            _copy(planes[0].path, path, output)
            with explained(output), path.open("r+b") as file:
                for z, plane in zip(slices, planes, strict=True):
                    stored = self._stored(z)
                    file.seek(plane.offset or 0)
                    file.write(stored.tobytes())
                    self._done(z)
            return
        with (
            tifffile.TiffFile(planes[0].path) as source,
            explained(output),
            tifffile.TiffWriter(
                path, bigtiff=source.is_bigtiff, byteorder=source.byteorder, ome=False, imagej=False
            ) as writer,
        ):
            for z, plane in zip(slices, planes, strict=True):
                writer.write(self._stored(z), **_like(source.pages[plane.page]))
                self._done(z)

    def _stored(self, z: int) -> NDArray[Any]:
        layout = self._layout
        hu = checked_slice(self._scan, z).hu
        values = hu.astype(np.float64)
        values -= layout.inter
        values /= layout.slope
        if layout.dtype.kind != "f":
            low, high = _ends(layout.dtype)
            np.rint(values, out=values)
            self.n_clipped += int(np.count_nonzero((values < low) | (values > high)))
            np.clip(values, low, high, out=values)
        stored = values.astype(layout.dtype)
        if layout.exact:
            return stored
        # float32 HU are coarser than these numbers: what did not change is taken from the source.
        original = self._source.plane(z)
        return np.where(in_hu(layout, original) == hu, original, stored).astype(layout.dtype)

    def _done(self, z: int) -> None:
        if self._on_slice is not None:
            self._on_slice(z)


def _like(page: Any) -> dict[str, Any]:
    """How to write a page that says what `page` says."""
    tags = page.tags
    description = tags.get("ImageDescription")
    resolution = [tags.get(name) for name in ("XResolution", "YResolution")]
    return {
        "photometric": page.photometric,
        "compression": "zlib" if int(page.compression) in _DEFLATE else None,
        "predictor": int(page.predictor) > 1 if int(page.compression) in _DEFLATE else None,
        "description": None if description is None else description.value,
        "resolution": tuple(tag.value for tag in resolution) if all(resolution) else None,
        "resolutionunit": tags["ResolutionUnit"].value if "ResolutionUnit" in tags else None,
        "software": tags["Software"].value if "Software" in tags else False,
        "metadata": None,
    }


def _copy(source: Path, target: Path, output: Path) -> None:
    with explained(output):
        shutil.copyfile(source, target)
        with target.open("r+b") as file:
            os.fsync(file.fileno())


def _ends(dtype: np.dtype[Any]) -> tuple[float, float]:
    if dtype.kind == "f":
        return -np.inf, np.inf
    ends = np.iinfo(dtype)
    return float(ends.min), float(ends.max)
