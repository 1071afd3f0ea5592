import numpy as np
import pytest

from lowdose.phantoms.acr import ACR_464
from lowdose.phantoms.catphan import CATPHAN_504, CATPHAN_600
from lowdose.phantoms.mita import MITA
from lowdose.phantoms.twins import twin
from lowdose.physics.geometry import VolumeGrid


@pytest.mark.parametrize("layout", [CATPHAN_504, CATPHAN_600, ACR_464, MITA], ids=lambda one: one.name)
def test_every_insert_reads_its_nominal_hu_at_its_place(layout):
    phantom = twin(layout)
    for module in layout.modules:
        grid = VolumeGrid((1, 2001, 2001), (0.1, 0.1, 0.1))
        at = phantom.__class__(
            "m", "m", tuple(solid.moved((-module.z, 0.0, 0.0)) for solid in phantom.solids)
        )
        image = at.image(grid, 0, fine=1)
        for insert in module.inserts:
            y, x = insert.place
            row, column = round(y / 0.1) + 1000, round(x / 0.1) + 1000
            assert image[row, column] == insert.hu
            reach = int(insert.diameter / 0.2)
            assert image[row, column + reach + 3] != insert.hu or insert.hu == module.hu
        for region in (*module.backgrounds, *module.uniform):
            y, x = region.place
            assert image[round(y / 0.1) + 1000, round(x / 0.1) + 1000] == module.hu


def test_bars_stand_at_their_line_pairs():
    """The profile across each group of the Catphan turns on and off as often as it has bars."""
    phantom = twin(CATPHAN_504)
    module = CATPHAN_504.of_role("resolution")
    grid = VolumeGrid((1, 6001, 6001), (0.02, 0.02, 0.02))
    image = phantom.__class__(
        "m", "m", tuple(solid.moved((-module.z, 0.0, 0.0)) for solid in phantom.solids)
    ).image(grid, 0, fine=1)
    for bars in module.bars[:12]:
        turn = np.deg2rad(bars.angle)
        along = np.arange(-0.6 * bars.extent, 0.6 * bars.extent, 0.01)
        y = bars.place[0] + along * np.cos(turn)
        x = bars.place[1] - along * np.sin(turn)
        profile = image[np.rint(y / 0.02).astype(int) + 3000, np.rint(x / 0.02).astype(int) + 3000]
        on = np.concatenate([[0], (profile > 1000).astype(int), [0]])
        rises, falls = np.flatnonzero(np.diff(on) == 1), np.flatnonzero(np.diff(on) == -1)
        assert len(rises) == bars.n_bars
        assert (falls - rises).mean() * 0.01 == pytest.approx(bars.width, abs=0.03)
        assert np.diff(rises).mean() * 0.01 == pytest.approx(10 / bars.line_pairs_per_cm, abs=0.03)


def test_findings_name_every_rod_and_group():
    names = [finding.name for finding in twin(MITA).findings]
    assert names == ["3 mm, 14 HU", "5 mm, 7 HU", "7 mm, 5 HU", "10 mm, 3 HU"]
    assert sum(finding.kind == "bars" for finding in twin(CATPHAN_504).findings) == 21
