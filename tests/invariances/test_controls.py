import pytest

from lowdose.invariances.controls import control_gates, controlled
from lowdose.invariances.direct import Search
from lowdose.invariances.noisy_slice import noisy_slice
from lowdose.scan import Scan
from tests.invariances.places import IDENTITY, SPACING, WINDOW, noisy_slices


def test_the_search_acquits_what_changes_nothing_and_convicts_what_forgets_everything():
    low = [Scan.from_array(one[None], spacing=SPACING) for one in noisy_slices(6)]
    slice_ = noisy_slice(low[0], low, IDENTITY, 0, 1.7)
    identity, constant = controlled(slice_, WINDOW, Search(radii_px=(2.0,)))
    assert identity == 0.0
    assert constant == pytest.approx(8.0)


@pytest.mark.parametrize(
    ("controls", "passed"),
    [
        ([(0.0, 8.0), (0.0, 5.0)], [True, True]),
        ([(0.0, 8.0), (2.5, 8.0)], [False, True]),
        ([(0.0, 1.0)], [True, False]),
    ],
)
def test_one_control_that_fails_is_enough(controls, passed):
    assert [gate.passed for gate in control_gates(controls)] == passed
