import numpy as np
import pytest

from lowdose.phantoms.lesions import NoRoomError, insert_lesions
from lowdose.phantoms.phantom import Phantom
from lowdose.phantoms.primitives import ball, box, upright_cylinder

BODY = upright_cylinder("body", 0.0, (0.0, 0.0, 0.0), (40.0, 40.0), 50.0)
ORGAN = ball("organ", 60.0, (10.0, 5.0, -5.0), 15.0)
PHANTOM = Phantom("p", "phantom", (BODY, ORGAN))


def put(phantom=PHANTOM, **changes):
    options = {"within": "organ", "kind": "nodule", "contrast": -20.0, "diameters": [6.0, 4.0]} | changes
    return insert_lesions(phantom, np.random.default_rng(1), **options)


def test_lesions_lie_inside_their_structure_and_apart_from_each_other():
    phantom = put(diameters=[6.0, 5.0, 4.0, 3.0])
    assert [finding.name for finding in phantom.findings] == [f"nodule {k}" for k in (1, 2, 3, 4)]
    centres = np.array([finding.centre for finding in phantom.findings])
    assert (np.linalg.norm(centres - ORGAN.centre, axis=1) < 13).all()
    for one, lesion in zip(phantom.findings, phantom.solids[2:], strict=True):
        others = [other for other in phantom.findings if other is not one]
        assert min(np.linalg.norm(np.subtract(one.centre, other.centre)) for other in others) > 3
        assert one.size == pytest.approx([2 * half for half in lesion.extent])
        assert (one.hu, one.background_hu) == (40.0, 60.0)


def test_heights_can_be_limited():
    for finding in put(z_range=(8.0, 12.0)).findings:
        assert 8.0 <= finding.centre[0] <= 12.0


def test_what_finds_no_place_is_told():
    with pytest.raises(NoRoomError, match="nodule of 40 mm finds no place in the organ of phantom"):
        put(diameters=[40.0])
    with pytest.raises(ValueError, match="no 'liver'; choose one of body, organ"):
        put(within="liver")


def test_structures_at_places_are_the_last_that_hold_them():
    phantom = Phantom("q", "q", (BODY, ORGAN, box("plate", 9.0, (10.0, 5.0, -5.0), (1.0, 3.0, 3.0))))
    places = np.array([(10.0, 5.0, -5.0), (13.0, 5.0, -5.0), (0.0, 30.0, 0.0), (0.0, 45.0, 0.0)])
    assert phantom.structures_at(places) == ["plate", "organ", "body", ""]
