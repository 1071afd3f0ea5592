"""A CT scan as an immutable value: HU, geometry, padding and history; its slices are read one by one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Barrier, BrokenBarrierError, Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lowdose.provenance import Step
from lowdose.units import AIR_HU


class Slice(NamedTuple):
    """One image: `hu` float32 `[y, x]` in HU and `padding` bool `[y, x]`, true where nothing was measured.

    Below the padding mask `hu` holds whatever value the file gives; it is never shown to a denoiser.
    """

    hu: NDArray[np.float32]
    padding: NDArray[np.bool_]

    def without_padding(self) -> NDArray[np.float32]:
        """The HU with air where nothing was measured; `hu` itself where there is no padding."""
        if not self.padding.any():
            return self.hu
        return np.where(self.padding, np.float32(AIR_HU), self.hu)


@dataclass(frozen=True)
class Acquisition:
    """What the header says about how the scan was made; None where it is silent."""

    kvp: float | None = None
    kernel: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    slice_thickness: float | None = None
    """mm"""
    body_part: str | None = None
    tube_current: tuple[float | None, ...] | None = None
    """mA of every slice"""
    exposure: tuple[float | None, ...] | None = None
    """mAs of every slice"""
    source_to_detector: float | None = None
    """mm"""
    source_to_axis: float | None = None
    """mm"""


@dataclass(frozen=True, eq=False)
class Scan:
    """One homogeneous stack of CT slices.

    Slices are read one by one with `read`, so that a scan of thousands of slices needs the memory of a few.
    """

    name: str
    """Short and for people: the series description or the file's name."""
    shape: tuple[int, int, int]
    """Counts along z, y, x."""
    affine: NDArray[np.float64]
    """4 x 4: `affine @ (z, y, x, 1)` is the centre of a voxel in patient space, LPS, mm."""
    read: Callable[[int], Slice]
    """`read(z)` gives slice z, counted along the stack's normal."""
    acquisition: Acquisition = Acquisition()
    history: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    """Sentences a user should see: gaps, odd spacing, lossy compression."""
    n_readers: int = 1
    """From how many threads slices may be read at once, to some profit."""
    origin: Any = field(default=None, repr=False)
    """What `lowdose.io` needs to write a derived scan of the same kind; nobody else looks at it."""

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Slice]:
        return (self.read(z) for z in range(len(self)))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centres along z, y, x in mm."""
        dz, dy, dx = (float(np.linalg.norm(self.affine[:3, axis])) for axis in range(3))
        return dz, dy, dx

    @property
    def hu(self) -> NDArray[np.float32]:
        """All slices at once, `[z, y, x]` in HU: only for scans that fit into memory."""
        return np.stack([slice_.hu for slice_ in self])

    def with_slices(self, read: Callable[[int], Slice], step: Step) -> Scan:
        """The same geometry with other values, and `step` appended to the history."""
        return replace(self, read=read, history=(*self.history, step))

    @classmethod
    def from_array(
        cls,
        hu: NDArray[np.floating[Any]],
        *,
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
        padding: NDArray[np.bool_] | None = None,
        name: str = "array",
        acquisition: Acquisition = Acquisition(),
    ) -> Scan:
        """A scan held in memory: `hu` `[z, y, x]`, `spacing` along z, y, x in mm."""
        values = np.ascontiguousarray(hu, dtype=np.float32)
        if values.ndim != 3:
            raise ValueError(f"a scan has three axes [z, y, x]; the array has {values.ndim}")
        mask = np.zeros(values.shape, bool) if padding is None else np.asarray(padding, bool)
        if mask.shape != values.shape:
            raise ValueError(f"the padding mask is {mask.shape}, the scan {values.shape}")
        affine = np.zeros((4, 4))
        affine[2, 0], affine[1, 1], affine[0, 2] = spacing
        affine[3, 3] = 1.0
        n_z, n_y, n_x = values.shape
        return cls(name, (n_z, n_y, n_x), affine, lambda z: Slice(values[z], mask[z]), acquisition)


def read_ahead(scan: Scan, depth: int = 2) -> Scan:
    """The same scan, whose next `depth` slices are read by other threads while one is being used.

    Meant for one pass in order; out of order it reads at once, which is right but no faster. `scan` is read
    from `scan.n_readers` threads at once, the result may be read from any number.
    """
    reader = ThreadPoolExecutor(max_workers=scan.n_readers, thread_name_prefix="read-ahead")
    pending: dict[int, Future[Slice]] = {}
    lock = Lock()

    def read(z: int) -> Slice:
        with lock:
            for ahead in range(z, min(z + depth + 1, len(scan))):
                if ahead not in pending:
                    pending[ahead] = reader.submit(scan.read, ahead)
            for behind in [key for key in pending if key < z - depth]:
                pending.pop(behind).cancel()
            wanted = pending.pop(z)
        return wanted.result()

    return replace(scan, read=read)


def remembering(scan: Scan, n_slices: int) -> Scan:
    """The same scan, which keeps the `n_slices` slices that were wanted last; for one thread at a time."""
    kept: OrderedDict[int, Slice] = OrderedDict()

    def read(z: int) -> Slice:
        found = kept.pop(z) if z in kept else scan.read(z)
        kept[z] = found
        while len(kept) > n_slices:
            kept.popitem(last=False)
        return found

    return replace(scan, read=read)


def in_step(scans: Sequence[Scan]) -> tuple[tuple[Scan, ...], Callable[[], None]]:
    """The same scans, each to be read in order by a thread of its own, none more than a slice ahead.

    So what they share for one slice needs to be there once. The function that comes with them lets all run on
    alone; call it when one has failed and will read no more.
    """
    together = Barrier(len(scans))

    def waiting(scan: Scan) -> Scan:
        def read(z: int) -> Slice:
            with suppress(BrokenBarrierError):
                together.wait()
            return scan.read(z)

        return replace(scan, read=read)

    return tuple(waiting(scan) for scan in scans), together.abort
