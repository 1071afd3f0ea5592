from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lowdose.phantoms.acr import ACR_464
from lowdose.phantoms.catphan import CATPHAN_504, CATPHAN_600
from lowdose.phantoms.finding import NotFoundError, locate, outline, placed_by_hand
from lowdose.phantoms.layout import Layout
from lowdose.phantoms.mita import MITA
from lowdose.phantoms.twins import twin
from lowdose.phantoms.water import water_layout
from lowdose.physics.geometry import VolumeGrid
from lowdose.scan import Scan

SHAPE, SPACING = (52, 256, 256), (4.0, 0.95, 0.95)


def turned(layout: Layout, angle: float, mirrored: bool) -> Layout:
    """The layout as it looks turned, and from its other side, where z runs the other way."""

    def moved(item):
        own = 180.0 - item.angle if mirrored else item.angle
        return replace(item, angle=own + angle)

    modules = tuple(
        replace(
            module,
            z=-module.z if mirrored else module.z,
            inserts=tuple(map(moved, module.inserts)),
            pins=tuple(map(moved, module.pins)),
            bars=tuple(map(moved, module.bars)),
        )
        for module in layout.modules
    )
    return replace(layout, modules=modules)


def scanned(layout, *, angle=0.0, mirrored=False, shift=(0.0, 0.0, 0.0), noise=20.0, couch=True, shape=SHAPE):
    """The phantom itself on a coarse grid, blurred a little and noisy, its middle in the grid's."""
    first, last = layout.extent
    sign = -1 if mirrored else 1
    middle = np.array([-sign * (first + last) / 2, 0.0, 0.0]) + shift
    made = twin(turned(layout, angle, mirrored))
    made = replace(made, solids=tuple(solid.moved(tuple(middle)) for solid in made.solids))
    grid, generator = VolumeGrid(shape, SPACING), np.random.default_rng(4)
    images = []
    for z in range(shape[0]):
        image = gaussian_filter(made.image(grid, z, fine=2), 0.5)
        if couch:
            image[215:222, 40:210] = np.maximum(image[215:222, 40:210], -300.0)
        images.append(image + noise * generator.standard_normal(image.shape))
    origin = (shape[0] - 1) / 2 * SPACING[0] + middle[0]
    centre = tuple((n - 1) / 2 * d + s for n, d, s in zip(shape[1:], SPACING[1:], shift[1:], strict=True))
    return Scan.from_array(np.stack(images), spacing=SPACING, name="phantom"), centre, origin


@pytest.mark.parametrize(
    ("layout", "angle", "mirrored"),
    [
        (CATPHAN_504, 0.0, False),
        (CATPHAN_504, 27.0, True),
        (CATPHAN_600, -100.0, False),
        (ACR_464, 6.0, False),
        (ACR_464, 175.0, True),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_phantom_is_found_however_it_lies(layout, angle, mirrored):
    shape = (64, *SHAPE[1:])
    scan, centre, height = scanned(
        layout, angle=angle, mirrored=mirrored, shift=(3.0, -4.3, 6.1), shape=shape
    )
    found = locate(scan, layout)
    pose = found.pose
    assert (pose.mirrored, pose.upwards) == (mirrored, not mirrored)
    assert pose.axis_at(pose.height) == pytest.approx(centre, abs=0.3)
    assert pose.height == pytest.approx(height, abs=2.5)
    assert abs((pose.angle - angle + 180) % 360 - 180) < 0.6
    assert found.radius == pytest.approx(layout.diameter / 2, abs=0.4)
    assert min(found.likeness.values()) > 0.4
    assert not found.notes


def test_half_a_phantom_is_enough():
    scan, _, height = scanned(CATPHAN_504, angle=10.0, shape=(52, *SHAPE[1:]))
    part = Scan.from_array(scan.hu[16:40], spacing=SPACING, name="part")
    found = locate(part, CATPHAN_504)
    assert found.pose.height == pytest.approx(height - 16 * SPACING[0], abs=2.5)
    assert found.pose.angle == pytest.approx(10.0, abs=0.6)


def test_a_leaning_axis_is_followed():
    y, x = np.mgrid[:200, :200] * 1.0
    images = [
        np.where(np.hypot(y - 100.2 - 0.3 * z, x - 97.0 + 0.1 * z) < 60.0, 0.0, -1000.0) for z in range(20)
    ]
    found = locate(Scan.from_array(np.stack(images), spacing=(3.0, 1.0, 1.0), name="w"), water_layout())
    assert found.pose.lean == pytest.approx((0.1, -0.1 / 3), abs=0.005)
    assert found.pose.centre == pytest.approx((100.2, 97.0), abs=0.15)
    assert found.radius == pytest.approx(60.0, abs=0.5)
    assert found.covered == (0, 19)


def test_faint_rods_tell_the_turn_when_they_stand_out_and_say_so_when_not():
    clear, _, _ = scanned(MITA, angle=33.0, noise=2.0, shape=(12, *SHAPE[1:]))
    found = locate(clear, MITA)
    assert found.pose.angle == pytest.approx(33.0, abs=2.0)
    assert not found.notes
    noisy, _, _ = scanned(MITA, angle=33.0, noise=60.0, shape=(4, *SHAPE[1:]))
    lost = locate(noisy, MITA)
    assert lost.pose.angle == 0.0
    assert "rods do not stand out of the noise" in lost.notes[0]
    assert locate(noisy, MITA, angle=33.0).pose.angle == 33.0


def test_another_phantom_is_refused():
    scan, _, _ = scanned(CATPHAN_504)
    with pytest.raises(
        NotFoundError, match=r"phantom: shows a cylinder of 20\d mm, but .* not look like a ACR"
    ):
        locate(scan, ACR_464)
    with pytest.raises(NotFoundError, match="Catphan 600"):
        locate(scan, CATPHAN_600)


def test_without_a_round_object_of_its_size_there_is_no_phantom():
    hu = np.full((3, 128, 128), -1000.0)
    hu[:, 30:90, 20:100] = 40.0
    for layout, told in (
        (ACR_464, "round object of 200 mm"),
        (water_layout(), "no slice shows a round object:"),
    ):
        with pytest.raises(NotFoundError, match=told):
            locate(Scan.from_array(hu, spacing=(2.0, 1.5, 1.5), name="box"), layout)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.37, -0.41), (12.2, -7.9)])
def test_the_outline_is_exact_between_pixels_and_ignores_a_holder(shift):
    spacing = (0.8, 0.8)
    y, x = np.mgrid[:250, :250] * 0.8
    centre = 99.6 + shift[0], 99.6 + shift[1]
    image = np.clip(50.0 - np.hypot(y - centre[0], x - centre[1]), -0.4, 0.4) / 0.8 * 1000 - 500
    image[:, 235:] = 0.0
    image[150:170, 180:] = np.maximum(image[150:170, 180:], -200.0)  # a holder that touches it
    found = outline(image, spacing, 50.0)
    assert found.centre == pytest.approx(centre, abs=0.05)
    assert found.radius == pytest.approx(50.0, abs=0.1)
    assert outline(np.full((100, 100), -1000.0), spacing, 30.0) is None
    assert outline(np.full((100, 100), -1000.0), spacing) is None


def test_what_is_said_by_hand_is_taken_as_it_is():
    scan = Scan.from_array(np.zeros((60, 8, 8)), spacing=(2.5, 1.0, 1.0), name="scan")
    slices = {"CTP404": (28, 32), "CTP528": (41, 43)}
    found = placed_by_hand(scan, CATPHAN_504, (120.0, 121.0), 5.0, slices)
    assert found.pose.height == pytest.approx(75.0)
    assert found.pose.upwards
    assert found.covered == (28, 43)
    other = placed_by_hand(scan, CATPHAN_504, (120.0, 121.0), 5.0, {"CTP404": (28, 32), "CTP528": (17, 19)})
    assert not other.pose.upwards
    assert other.pose.height == pytest.approx(75.0)
    with pytest.raises(NotFoundError, match="has 60 slices, so CTP404 cannot be in 58 to 61"):
        placed_by_hand(scan, CATPHAN_504, (1.0, 1.0), 0.0, {"CTP404": (57, 60)})
