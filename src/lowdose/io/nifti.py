"""NIfTI volumes as scans and back: slice by slice, with the file's own header, order and number format."""

from __future__ import annotations

import gzip
import math
import shutil
import tempfile
import threading
import weakref
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, cast

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from lowdose.io.nifti_header import RAS_TO_LPS, Layout, open_voxels, read_layout
from lowdose.io.origin import InputError, NiftiOrigin, one_line
from lowdose.io.output import (
    OutputError,
    Written,
    check_output,
    checked_slice,
    clipping_notes,
    explained,
    whole_file,
)
from lowdose.io.volume_values import in_hu, slice_of
from lowdose.scan import Scan, Slice

_GZIP_LEVEL = 4
_CHUNK = 2**20


def is_nifti_name(path: Path) -> bool:
    """True for *.nii and *.nii.gz."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def read_nifti(path: Path) -> Scan:
    """The volume as a scan whose slices are read when they are asked for; in order is fastest.

    The values, after the file's own scaling, are taken as HU; below `PADDING_BELOW_HU` they are padding.
    InputError if the file is no volume of real numbers with three axes; the scan's `read` raises it for a
    slice that is cut short or holds NaN, infinity or what cannot be HU.
    """
    layout = read_layout(path)
    voxels = _Voxels(layout)

    def read(z: int) -> Slice:
        return slice_of(layout, voxels.plane(z), z, "convert it again")

    notes = layout.notes
    if read(layout.scan_shape[0] // 2).hu.min() >= 0:
        notes = (*notes, "No value of its middle slice is below 0, though air is -1000 HU: are these HU?")
    name = one_line(path.name.removesuffix(".gz").removesuffix(".nii"), 64)
    return Scan(name, layout.scan_shape, layout.scan_affine, read, notes=notes, origin=NiftiOrigin(path))


def write_nifti(
    scan: Scan, output: Path, on_slice: Callable[[int], None] | None = None, *, description: str = ""
) -> Written:
    """Write `scan` to `output`, named *.nii or *.nii.gz, one slice at a time, whole or not at all.

    A scan that came from NIfTI keeps that file's header, geometry, storage order and number format: integers
    are rounded half to even and clipped to the type, and what did not change comes back bit for bit. Any
    other scan becomes float32 HU. `description` is appended to the header's own; `on_slice(z)` is called
    after each slice. OutputError if the output cannot be written or a slice holds values that are no numbers.
    """
    if not is_nifti_name(output):
        raise OutputError(f"{output} is not named as NIfTI; name it *.nii or *.nii.gz")
    if isinstance(scan.origin, NiftiOrigin):
        check_output(output, [scan.origin.path])
    else:
        check_output(output, getattr(scan.origin, "paths", ()))
    return write_volume(scan, output, on_slice, description)


def write_volume(
    scan: Scan, output: Path, on_slice: Callable[[int], None] | None, description: str
) -> Written:
    """`write_nifti` for an output whose place has been checked."""
    layout = _output_layout(scan, output)
    planes = _Planes(scan, layout, on_slice)
    head = _described(layout.head, description)
    with whole_file(output) as temporary:
        if layout.axes[0] == 2:
            with _Sink(temporary, output) as sink:
                sink.write(head)
                for z in range(len(scan)):
                    sink.write(planes.stored(z).tobytes(order="F"))
                    planes.done(z)
        else:
            _write_across(planes, head, temporary, output)
    notes = clipping_notes(planes.n_clipped, math.prod(scan.shape), *_ends(layout.dtype))
    return Written(output, len(scan), planes.n_clipped, None, notes)


class _Voxels:
    """The stored values of a volume, one plane `[y, x]` at a time; safe to call from several threads.

    A compressed file stays open between planes, so that reading in order inflates it once. Planes that do not
    lie together in the file are gathered from a memory map: of the file, or of a temporary inflated copy.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._open = ExitStack()
        self._stream: IO[bytes] | None = None
        self._lock = threading.Lock()
        weakref.finalize(self, self._open.close)

    def plane(self, z: int) -> NDArray[Any]:
        """Stored values of slice `z`, `[y, x]`, in the file's number type. InputError if missing."""
        layout = self._layout
        try:
            with self._lock:
                if layout.axes[0] == 2:
                    return layout.turned(self._contiguous(z))
                return layout.turned(np.array(self._mapped().take(z, layout.axes[0])))
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise InputError(
                f"{layout.label} is cut short or damaged near slice {z + 1}; copy it again from its source"
            ) from None
        except OSError as error:
            told = error.strerror or one_line(str(error))
            raise InputError(
                f"{layout.label} cannot be read near slice {z + 1} ({told}); check the disk"
            ) from None

    def _contiguous(self, z: int) -> NDArray[Any]:
        layout = self._layout
        n_i, n_j, n_k = layout.shape
        n_bytes = n_i * n_j * layout.dtype.itemsize
        if self._stream is None:
            self._stream = self._open.enter_context(open_voxels(layout.path, layout.compressed))
        self._stream.seek(len(layout.head) + z * n_bytes)
        values = self._stream.read(n_bytes)
        if len(values) < n_bytes:
            raise EOFError
        if z == n_k - 1:
            self._stream.read(1)  # behind the last voxel gzip compares its checksum
            self._stream = None
            self._open.close()
        return np.frombuffer(values, layout.dtype).reshape((n_i, n_j), order="F")

    def _mapped(self) -> NDArray[Any]:
        layout = self._layout
        if not layout.compressed:
            return np.memmap(layout.path, layout.dtype, "r", len(layout.head), layout.shape, order="F")
        if self._stream is None:
            n_left = int(np.prod(layout.shape)) * layout.dtype.itemsize
            with ExitStack() as opened:
                copy = opened.enter_context(tempfile.TemporaryFile())
                inflated = opened.enter_context(open_voxels(layout.path, compressed=True))
                inflated.seek(len(layout.head))
                while n_left:
                    chunk = inflated.read(min(n_left, _CHUNK))
                    if not chunk:
                        raise EOFError
                    copy.write(chunk)
                    n_left -= len(chunk)
                inflated.read(1)  # the checksum
                copy.flush()
                self._open.push(opened.pop_all())
            self._stream = cast(IO[bytes], copy)
        return np.memmap(cast(Any, self._stream), layout.dtype, "r", 0, layout.shape, order="F")


class _Planes:
    """The slices of a scan as planes in the order and number format of a file."""

    def __init__(self, scan: Scan, layout: Layout, on_slice: Callable[[int], None] | None) -> None:
        self.layout = layout
        self.n_clipped = 0
        self._scan = scan
        self._on_slice = on_slice
        self._source = None if layout.exact else _Voxels(layout)

    def __len__(self) -> int:
        return len(self._scan)

    def stored(self, z: int) -> NDArray[Any]:
        """The plane across the file's z axis, in the file's order of the other two."""
        layout = self.layout
        hu = checked_slice(self._scan, z).hu
        values = (hu.astype(np.float64) - layout.inter) / layout.slope
        if layout.dtype.kind != "f":
            low, high = _ends(layout.dtype)
            values = np.rint(values)
            self.n_clipped += int(np.count_nonzero((values < low) | (values > high)))
            values = np.clip(values, low, high)
        stored = values.astype(layout.dtype)
        if self._source is not None:
            # float32 HU are coarser than these numbers: what did not change is taken from the source.
            original = self._source.plane(z)
            stored = np.where(in_hu(layout, original) == hu, original, stored).astype(layout.dtype)
        return layout.turned_back(stored)

    def done(self, z: int) -> None:
        if self._on_slice is not None:
            self._on_slice(z)


class _Sink:
    """A file that is written from its beginning to its end, compressed if the output's name says so."""

    def __init__(self, temporary: Path, output: Path) -> None:
        self._temporary, self._output = temporary, output
        self._open = ExitStack()

    def __enter__(self) -> _Sink:
        with explained(self._output):
            file = self._open.enter_context(self._temporary.open("xb"))
            self._file: IO[bytes] = file
            if self._output.name.lower().endswith(".gz"):
                packed = gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0)
                self._file = cast(IO[bytes], self._open.enter_context(packed))
        return self

    def write(self, content: bytes) -> None:
        with explained(self._output):
            self._file.write(content)

    def __exit__(self, *_: object) -> None:
        with explained(self._output):
            self._open.close()


def _write_across(planes: _Planes, head: bytes, temporary: Path, output: Path) -> None:
    """Write planes that do not lie together in the file, by way of a memory map of a nameless file."""
    layout = planes.layout
    n_left = int(np.prod(layout.shape)) * layout.dtype.itemsize
    with ExitStack() as opened:
        with explained(output):
            volume = opened.enter_context(tempfile.TemporaryFile(dir=output.parent))
            while n_left:  # every block is claimed now: a full disk must not strike inside the map
                n_left -= volume.write(bytes(min(n_left, _CHUNK)))
            volume.flush()
            voxels = np.memmap(cast(Any, volume), layout.dtype, "r+", 0, layout.shape, order="F")
        for z in range(len(planes)):
            np.moveaxis(voxels, layout.axes[0], 0)[z] = planes.stored(z)
            planes.done(z)
        voxels.flush()
        del voxels
        volume.seek(0)
        with _Sink(temporary, output) as sink:
            sink.write(head)
            shutil.copyfileobj(volume, cast(IO[bytes], sink), _CHUNK)


def _output_layout(scan: Scan, output: Path) -> Layout:
    """The source's layout, or that of a new float32 volume whose axes are x, y, z."""
    if isinstance(scan.origin, NiftiOrigin):
        layout = read_layout(scan.origin.path)
        if layout.scan_shape != scan.shape:
            raise InputError(f"{layout.label} has changed since it was read; start again")
        return layout
    n_z, n_y, n_x = scan.shape
    affine = RAS_TO_LPS @ scan.affine[:, [2, 1, 0, 3]]
    new_header: Any = nibabel.Nifti1Header
    header = new_header()
    try:
        header.set_data_dtype(np.float32)
        header.set_data_shape((n_x, n_y, n_z))
        header.set_xyzt_units("mm")
        header.set_slope_inter(1.0, 0.0)
        header.set_qform(affine, code=1, strip_shears=True)
        header.set_sform(affine, code=1)
    except HeaderDataError as error:
        raise OutputError(
            f"{output} cannot be written: NIfTI has no room for this scan ({one_line(str(error), 100)})"
        ) from None
    if not np.allclose(header.get_qform(), affine, atol=0.01):
        header.set_qform(None, code=0)  # a tilted gantry: only the sform knows shears
    header["magic"], header["vox_offset"] = b"n+1", 352
    head = header.binaryblock + bytes(4)
    dtype = np.dtype(np.float32).newbyteorder(header.endianness)
    shape = (n_x, n_y, n_z)
    return Layout(output, str(output), False, head, dtype, shape, 1.0, 0.0, affine, (2, 1, 0), (False, False))


def _described(head: bytes, description: str) -> bytes:
    """The header with `description` at the end of its field descrip, which holds 79 characters."""
    if not description:
        return head
    start = 148 if b"\x5c" in head[:4] else 240  # NIfTI-1 begins with its length, 348 or 0x15c
    added = description.encode("ascii", "replace")[:79]
    earlier = head[start : start + 80].split(b"\0")[0][: max(79 - len(added) - 1, 0)].rstrip()
    field = (earlier + b" " + added if earlier else added).ljust(80, b"\0")
    return head[:start] + field + head[start + 80 :]


def _ends(dtype: np.dtype[Any]) -> tuple[float, float]:
    """The lowest and highest stored value; of the wide integers, the highest that a float64 can hold."""
    if dtype.kind == "f":
        return -np.inf, np.inf
    ends = np.iinfo(dtype)
    high = float(ends.max)
    return float(ends.min), high if int(high) <= ends.max else float(np.nextafter(high, 0))
