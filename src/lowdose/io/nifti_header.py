"""The header of a NIfTI file, checked before a voxel is touched: where the values lie, and what they mean.

NIfTI speaks RAS and stores `[i, j, k]` with i fastest; a `Scan` speaks LPS and `[z, y, x]`. The change is
made here and nowhere else: z is the file's axis nearest to the patient's long axis, in the file's order; y
and x are turned so that they run towards posterior and left, as in an axial CT image.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import nibabel
import numpy as np
from nibabel.orientations import io_orientation
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from lowdose.io.origin import InputError, one_line, unreadable

MAX_SIDE = 8192
"""Voxels along one side; micro-CT stays below."""
MAX_BYTES = 64 * 2**30
"""Of all voxels together."""
MAX_HEAD_BYTES = 16 * 2**20
"""Of header and extensions."""

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

_HEADERS: dict[int, Any] = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}
"""By their length, which is the first thing that they say."""
_orientation_of: Any = io_orientation
_GZIP_MAGIC = b"\x1f\x8b"
_BEST_DEFLATE_RATIO = 1032
"""No deflate stream expands by more."""
_NUMBER_TYPES = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"},
    **{256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}
"""NIfTI datatype codes of the real numbers that numpy has."""
_OTHER_TYPES = {
    **{1: "single bits", 128: "colours", 2304: "colours"},
    **{32: "complex numbers", 1792: "complex numbers", 2048: "complex numbers"},
}
_MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}
_READ_FAULTS = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the voxels of one volume lie in its file and what their numbers mean."""

    path: Path
    label: str
    """How messages call the file."""
    compressed: bool
    head: bytes
    """Everything in front of the first voxel: header and extensions."""
    dtype: np.dtype[Any]
    """Of a stored value, with its byte order."""
    shape: tuple[int, int, int]
    """Counts along the file's axes i, j, k."""
    slope: float
    inter: float
    """A value in HU is `slope * stored + inter`."""
    affine: NDArray[np.float64]
    """The file's own: `affine @ (i, j, k, 1)` in RAS, mm."""
    axes: tuple[int, int, int]
    """The file's axis of z, y and x."""
    flipped: tuple[bool, bool]
    """True where y or x runs against the file's axis."""
    notes: tuple[str, ...] = ()

    @property
    def scan_shape(self) -> tuple[int, int, int]:
        """Counts along z, y, x."""
        z, y, x = self.axes
        return self.shape[z], self.shape[y], self.shape[x]

    @property
    def scan_affine(self) -> NDArray[np.float64]:
        """4 x 4 from (z, y, x, 1) to LPS, mm."""
        index = np.zeros((4, 4))
        index[3, 3] = 1.0
        for column, (axis, flip) in enumerate(zip(self.axes, (False, *self.flipped), strict=True)):
            index[axis, column] = -1.0 if flip else 1.0
            index[axis, 3] = self.shape[axis] - 1.0 if flip else 0.0
        return RAS_TO_LPS @ self.affine @ index

    @property
    def exact(self) -> bool:
        """True if every stored value survives the way to float32 HU and back."""
        if self.dtype.kind == "f":
            return self.dtype.itemsize == 4 and self.slope == 1.0 and self.inter == 0.0
        if self.dtype.itemsize > 2:
            return False
        ends = np.iinfo(self.dtype)
        largest = max(abs(end * self.slope + self.inter) for end in (ends.min, ends.max))
        return bool(np.spacing(np.float32(largest)) < abs(self.slope))

    def turned(self, plane: NDArray[Any]) -> NDArray[Any]:
        """`[y, x]` from a plane across the file's z axis, whose other two axes are in the file's order."""
        return self._flip(plane.T if self.axes[1] > self.axes[2] else plane)

    def turned_back(self, plane: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `turned`."""
        plane = self._flip(plane)
        return plane.T if self.axes[1] > self.axes[2] else plane

    def _flip(self, plane: NDArray[Any]) -> NDArray[Any]:
        flip_y, flip_x = self.flipped
        return plane[:: -1 if flip_y else 1, :: -1 if flip_x else 1]


def read_layout(path: Path) -> Layout:
    """The layout of a single-file NIfTI-1 or NIfTI-2 volume, plain or gzip. InputError for anything else."""
    label = one_line(str(path))
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            compressed = file.read(2) == _GZIP_MAGIC
        with open_voxels(path, compressed) as stream:
            header, head = _read_head(stream)
        shape, dtype = _checked_array(header)
        affine, notes = _checked_affine(header, shape)
        slope, inter = _scaling(header)
    except InputError as error:
        raise InputError(f"{label} {error}") from None
    except _READ_FAULTS:
        raise InputError(f"{label} is cut short or damaged; copy it again from its source") from None
    except OSError as error:
        raise unreadable(label, error) from None
    except (HeaderDataError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"{label} has a damaged header ({one_line(str(error), 100)}); convert it again"
        ) from None
    _check_size(label, size, compressed, len(head), int(np.prod(shape, dtype=object)) * dtype.itemsize)
    axes, flipped = _axial_order(affine)
    return Layout(path, label, compressed, head, dtype, shape, slope, inter, affine, axes, flipped, notes)


def open_voxels(path: Path, compressed: bool) -> IO[bytes]:
    """The file, inflated on the way where it is compressed."""
    return cast(IO[bytes], gzip.open(path, "rb")) if compressed else path.open("rb")


def _read_head(stream: IO[bytes]) -> tuple[Any, bytes]:
    """nibabel's view of the header, and all bytes in front of the voxels."""
    start = stream.read(540)
    for length in _HEADERS:
        order = {length.to_bytes(4, "little"): "<", length.to_bytes(4, "big"): ">"}.get(start[:4])
        if order is not None:
            break
    else:
        raise InputError("is not a NIfTI file; give a *.nii or *.nii.gz volume, or a folder of DICOM files")
    if len(start) < length:
        raise InputError("is cut short: its header has no end; copy it again from its source")
    magic = start[344:348] if length == 348 else start[4:8]
    if magic in (b"ni1\0", b"ni2\0"):
        raise InputError("is one half of a .hdr/.img pair; convert it to a single .nii file")
    if magic not in (b"n+1\0", b"n+2\0"):
        raise InputError("is not a NIfTI file: the mark n+1 or n+2 is missing; convert it to NIfTI")
    header = _HEADERS[length](start[:length], order, check=False)
    offset = float(header["vox_offset"])
    if not length <= offset <= MAX_HEAD_BYTES or offset != int(offset):
        raise InputError(f"has a damaged header: its voxels start at byte {offset:g}; convert it again")
    head = start + stream.read(max(int(offset) - len(start), 0))
    if len(head) < offset:
        raise InputError("is cut short: its header has no end; copy it again from its source")
    return header, head[: int(offset)]


def _checked_array(header: Any) -> tuple[tuple[int, int, int], np.dtype[Any]]:
    dim = [int(count) for count in header["dim"]]
    n_axes = dim[0]
    if not 1 <= n_axes <= 7 or min(dim[1 : n_axes + 1]) < 1:
        raise InputError(f"has a damaged header: its dimensions are {dim}; convert it again")
    if n_axes < 3 or any(count > 1 for count in dim[4 : n_axes + 1]):
        raise InputError(
            f"is not a volume of three axes but has {dim[1 : n_axes + 1]}; give one volume a file"
        )
    if max(dim[1:4]) > MAX_SIDE:
        raise InputError(
            f"has {max(dim[1:4])} voxels along one side, where up to {MAX_SIDE} are read; cut it into parts"
        )
    code = int(header["datatype"])
    if code not in _NUMBER_TYPES:
        told = _OTHER_TYPES.get(code, f"numbers of a type that is not read here (datatype {code})")
        raise InputError(f"holds {told}; convert it to int16 or float32 HU")
    dtype = np.dtype(_NUMBER_TYPES[code]).newbyteorder(header.endianness)
    return (dim[1], dim[2], dim[3]), dtype


def _scaling(header: Any) -> tuple[float, float]:
    """Slope and inter; a slope of 0 or NaN means that there is no scaling (NIfTI-1 standard, scl_slope)."""
    slope, inter = header.get_slope_inter()
    if slope is None:
        return 1.0, 0.0
    return float(slope), float(inter)


def _checked_affine(header: Any, shape: tuple[int, int, int]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The affine in mm: sform before qform before the bare voxel sizes, as the standard has it."""
    notes: tuple[str, ...] = ()
    has_sform, has_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    affine = np.asarray(header.get_best_affine(), np.float64)
    scale = _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    if has_sform and has_qform:
        corners = np.array(np.meshgrid(*([0, n - 1] for n in shape), [1], indexing="ij")).reshape(4, 8)
        apart = np.abs((affine - header.get_qform()) @ corners).max() * scale
        if apart > 0.5 * np.linalg.norm(affine[:3, :3], axis=0).min() * scale:
            notes = (f"Its qform and sform disagree by up to {apart:.1f} mm; the sform is used.",)
    elif not has_sform and not has_qform:
        notes = ("Its header has no orientation; axial slices along the last axis are assumed.",)
    affine = np.diag([scale, scale, scale, 1.0]) @ affine
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not abs(np.linalg.det(affine[:3, :3])) > 1e-6 * lengths.prod() > 0:
        raise InputError(
            "has an orientation (affine) that is singular, so its voxels have no size; convert it again"
        )
    return affine, notes


def _check_size(label: str, size: int, compressed: bool, n_head: int, n_voxel_bytes: int) -> None:
    """Refuse, before anything is read, what cannot be there or would never end."""
    if n_voxel_bytes > MAX_BYTES:
        raise InputError(
            f"{label} claims {n_voxel_bytes / 2**30:.0f} GiB of voxels, where up to 64 GiB are read; "
            "cut it into parts"
        )
    most = size * _BEST_DEFLATE_RATIO if compressed else size
    if n_head + n_voxel_bytes > most:
        raise InputError(
            f"{label} is cut short: its header promises {n_voxel_bytes} bytes of voxels, the file has {size} "
            "bytes in all; copy it again from its source"
        )


def _axial_order(affine: NDArray[np.float64]) -> tuple[tuple[int, int, int], tuple[bool, bool]]:
    """The file's axes of z, y, x, and whether y and x run against them."""
    directions = _orientation_of(affine)  # for each file axis: the nearest of R, A, S, and its sign
    nearest = [int(axis) for axis in directions[:, 0]]
    x, y, z = (nearest.index(axis) for axis in (0, 1, 2))
    return (z, y, x), (bool(directions[y, 1] > 0), bool(directions[x, 1] > 0))
