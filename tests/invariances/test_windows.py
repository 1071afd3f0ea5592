import numpy as np
import pytest

from lowdose.invariances.windows import ExplanationError, bodily_windows, body_slices, chosen_windows
from lowdose.quality.structures import BONE, LUNG, SOFT, VESSEL
from lowdose.scan import Scan
from tests.invariances.chests import chest


def test_slices_are_taken_from_where_the_body_is():
    body, air = chest(n=1).hu[0], np.full((224, 224), -1000.0, np.float32)
    scan = Scan.from_array(np.stack([air] * 6 + [body] * 6 + [air] * 3), spacing=(3.0, 1.5, 1.5))
    found = body_slices(scan, 3, 1.0)
    assert len(found) == 3
    assert all(6 <= z < 12 for z in found)
    with pytest.raises(ExplanationError, match="shows no body"):
        body_slices(Scan.from_array(np.stack([air] * 3)), 3, 1.0)


def test_windows_show_different_things_and_do_not_overlap():
    found = chosen_windows(chest(n=1).hu[0], 4, 1.0)
    assert 2 <= len(found) <= 4
    kinds = [kind for _, kind in found]
    assert len({*kinds}) == min(len(kinds), len({*kinds} & {VESSEL, SOFT, BONE, LUNG}))
    for number, (one, _) in enumerate(found):
        for other, _ in found[:number]:
            assert any(abs(a.start - b.start) >= 64 for a, b in zip(one, other, strict=True))


def test_windows_for_the_noise_lie_in_the_body():
    hu = chest(n=1).hu[0]
    windows = bodily_windows(hu)
    assert 0 < len(windows) <= 48
    assert all((hu[window] > -950).mean() >= 0.5 for window in windows)
    assert bodily_windows(np.full((128, 128), -1000.0, np.float32))  # all of them where there is no body
