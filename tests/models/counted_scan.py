"""A scan that remembers which slices were read."""

from __future__ import annotations

from lowdose.provenance import Step
from lowdose.scan import Scan, Slice


def counting(scan: Scan) -> tuple[Scan, list[int]]:
    """`scan`, and the numbers of the slices that have been read from it."""
    reads: list[int] = []

    def read(z: int) -> Slice:
        reads.append(z)
        return scan.read(z)

    return scan.with_slices(read, Step("count")), reads
