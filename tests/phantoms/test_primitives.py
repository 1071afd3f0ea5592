import numpy as np
import pytest

from lowdose.phantoms.phantom import Phantom
from lowdose.phantoms.primitives import (
    Solid,
    ball,
    box,
    chain,
    ellipsoid,
    frame_along,
    rod,
    turned,
    upright_cylinder,
)
from lowdose.physics.geometry import VolumeGrid

GRID = VolumeGrid((60, 60, 60), (1.0, 1.0, 1.0))
TILTED = frame_along((1.0, 2.0, 0.5))
SOLIDS = {
    "ball": (ball("b", 0.0, (2.0, -3.0, 4.0), 9.0), 4 / 3 * np.pi * 9**3),
    "ellipsoid": (ellipsoid("e", 0.0, (0.0, 1.0, 0.0), (5.0, 9.0, 12.0), TILTED), 4 / 3 * np.pi * 5 * 9 * 12),
    "cylinder": (upright_cylinder("c", 0.0, (0.0, 0.0, 0.0), (6.0, 11.0), 10.0, 30.0), np.pi * 6 * 11 * 20),
    "rod": (
        rod("r", 0.0, (-8.0, -6.0, 3.0), (9.0, 8.0, -4.0), 4.0),
        np.pi * 4**2 * np.sqrt(17**2 + 14**2 + 7**2),
    ),
    "box": (box("x", 0.0, (1.0, 2.0, 3.0), (4.0, 7.0, 9.0), TILTED), 8 * 4 * 7 * 9),
}


@pytest.mark.parametrize(("solid", "volume"), SOLIDS.values(), ids=SOLIDS)
def test_volumes_are_those_of_the_closed_forms(solid, volume):
    phantom = Phantom("one", "one solid", (solid,))
    images = [phantom.image(GRID, z, fine=3) for z in range(60)]
    assert (np.sum(images, dtype=float) / 1000 + 60**3) == pytest.approx(volume, rel=0.004)


@pytest.mark.parametrize(("solid", "_volume"), SOLIDS.values(), ids=SOLIDS)
def test_a_solid_fills_its_extent_and_no_more(solid, _volume):
    fine = VolumeGrid((240, 240, 240), (0.25, 0.25, 0.25))
    phantom = Phantom("one", "one solid", (solid,))
    held = np.argwhere(np.stack([phantom.label_image(fine, z) for z in range(240)]))
    reached = [(at.min() + at.max() - 239) * 0.125 for at in held.T]
    sizes = [(at.max() - at.min()) * 0.125 for at in held.T]
    assert reached == pytest.approx(list(solid.centre), abs=0.3)
    assert sizes == pytest.approx(list(solid.extent), abs=0.5)
    assert (np.array(sizes) <= np.array(solid.extent) + 1e-9).all()


def test_frames_are_right_angled_and_right_handed():
    for direction in ((1.0, 0.0, 0.0), (0.0, 0.0, -2.0), (0.3, -1.0, 4.0)):
        frame = np.array(frame_along(direction))
        assert frame @ frame.T == pytest.approx(np.eye(3), abs=1e-12)
        assert frame[0] == pytest.approx(np.array(direction) / np.linalg.norm(direction))
        assert np.linalg.det(frame) == pytest.approx(1.0)
    z, y, x = turned(90.0)[2]
    assert (z, y, x) == pytest.approx((0.0, 1.0, 0.0), abs=1e-12)  # +x turns towards +y


def test_a_chain_is_closed_at_its_bends():
    solids = chain("tube", 0.0, [(0.0, 0.0, -10.0), (0.0, 0.0, 0.0), (0.0, 10.0, 0.0)], [2.0, 2.0, 2.0])
    label = Phantom("c", "c", tuple(solids)).label_image(VolumeGrid((1, 81, 81), (0.25, 0.25, 0.25)), 0)
    outer = label[40 - 4, 40 + 4]  # 1.4 mm from the bend on its outer side
    assert outer == 1
    assert not label[40 - 6, 40 + 6]


def test_sizes_that_make_no_solid_are_refused():
    with pytest.raises(ValueError, match="'b' has a size that is not positive"):
        ball("b", 0.0, (0.0, 0.0, 0.0), 0.0)
    with pytest.raises(ValueError, match="'w' is endless"):
        Solid("w", 0.0, (0.0, 0.0, 0.0), radii=(float("inf"), 1.0, 1.0))
