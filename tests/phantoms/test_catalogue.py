import numpy as np
import pytest

from lowdose.phantoms.catalogue import PHANTOMS
from lowdose.physics.geometry import ConeBeam
from lowdose.physics.reconstruction import field_of_view
from lowdose.physics.scanners import SCANNERS


@pytest.mark.parametrize("entry", PHANTOMS.values(), ids=PHANTOMS)
def test_every_phantom_fits_into_its_scan(entry):
    protocol, phantom = entry.protocol(), entry.make(1, None)
    reach = max(np.hypot(*solid.centre[1:]) for solid in phantom.solids)
    widest = max(max(solid.extent[1:]) for solid in phantom.solids)
    assert max(reach, widest) < field_of_view(protocol.scanner.plane)
    assert 2 * widest < min(protocol.grid.plane.size)
    first, last = phantom.extent
    low, high = protocol.grid.positions[[0, -1]] + protocol.middle
    assert low < last
    assert high > first
    if not isinstance(protocol.scanner.geometry, ConeBeam) and entry.name not in ("thorax", "abdomen"):
        assert low > first - 12
        assert high < last + 12


def test_the_length_stays_where_slices_are_thicker():
    entry = PHANTOMS["catphan504"]
    assert entry.protocol(thickness=5.0).grid.shape[0] == 26
    assert entry.protocol(slices=26).grid.spacing[0] == pytest.approx(5.0)
    assert PHANTOMS["mita"].protocol(slices=3).grid.spacing[0] == 3.0
    assert PHANTOMS["mouse"].protocol(slices=3).grid.spacing[0] == 0.14  # planes of a cone beam
    other = entry.protocol(SCANNERS["ge-lightspeed"])
    assert other.scanner.name == "ge-lightspeed"


def test_only_anatomies_vary_and_only_blood_enhances():
    for entry in PHANTOMS.values():
        assert (entry.make(1, None) != entry.make(2, None)) == entry.varies
    assert PHANTOMS["thorax"].make(1, 200.0).facts["contrast_hu"] == 200.0
    assert not PHANTOMS["mouse"].enhances
