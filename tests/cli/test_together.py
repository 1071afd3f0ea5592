from pathlib import Path

import numpy as np
import pytest

from lowdose.cli.together import written_together
from lowdose.scan import Scan


def scans(n):
    return [Scan.from_array(np.full((4, 2, 2), k, np.float32)) for k in range(n)]


@pytest.mark.parametrize("n", [1, 3])
def test_every_scan_is_written_and_none_runs_ahead(n):
    places = [0] * n

    def write(number, scan, on_slice):
        total = 0.0
        for z in range(len(scan)):
            total += float(scan.read(z).hu.mean())
            places[number] = z
            assert max(places) - min(places) <= 1
            on_slice(z)
        return number, total

    assert written_together(scans(n), write, "test") == [(k, 4.0 * k) for k in range(n)]


def test_one_that_fails_stops_the_others(tmp_path: Path):
    seen = []

    def write(number, scan, on_slice):
        for z in range(len(scan)):
            scan.read(z)
            if number == 1 and z == 1:
                raise RuntimeError("the disk is full")
            on_slice(z)
            seen.append((number, z))

    with pytest.raises(RuntimeError, match="the disk is full"):
        written_together(scans(3), write, "test")
    assert len(seen) < 12
