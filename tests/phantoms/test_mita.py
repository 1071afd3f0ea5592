import pytest

from lowdose.phantoms.mita import MITA, mita_layout


def test_rods_are_those_of_the_definition():
    """x right and y up there, y down here."""
    rods = {insert.diameter: (insert.hu, insert.place) for insert in MITA.modules[0].inserts}
    assert rods[3.0] == (14.0, pytest.approx((-28.28, 28.28), abs=0.01))
    assert rods[5.0] == (7.0, pytest.approx((-28.28, -28.28), abs=0.01))
    assert rods[7.0] == (5.0, pytest.approx((28.28, -28.28), abs=0.01))
    assert rods[10.0] == (3.0, pytest.approx((28.28, 28.28), abs=0.01))


def test_without_rods_it_is_plain_water():
    plain = mita_layout(rods=False, depth=12.0)
    assert plain.modules[0].inserts == ()
    assert plain.modules[0].depth == 12.0
    assert plain.diameter == 200.0
