import numpy as np
import pytest

from lowdose.physics.lesion_model import Bump, LesionModel

SPACING = (0.7, 0.9)


def ball(radius: float = 6.0, **changes) -> LesionModel:
    return LesionModel(
        "nodule", (20.0, 30.0, 40.0), (radius,) * 3, **{"contrast": 100.0, "margin": 0.5} | changes
    )


def test_the_outline_has_half_the_contrast():
    lesion = LesionModel("nodule", (0.0, 0.0, 0.0), (4.0, 6.0, 9.0), contrast=-80.0, margin=0.4)
    for axis, radius in enumerate(lesion.radii):
        place = [np.zeros(1)] * 3
        place[axis] = np.array([radius])
        assert lesion.contrast_at(*place) == pytest.approx(-40.0)
    assert lesion.contrast_at(*[np.zeros(1)] * 3) == pytest.approx(-80.0)


def test_the_margin_is_a_gaussian_blur_of_the_edge():
    """Of a large ball, as of a half space: the slope at the outline is contrast / (margin sqrt(2 pi))."""
    lesion = ball(50.0, margin=1.3)
    around = 30.0 + 50.0 + np.array([-0.01, 0.01])
    inner, outer = lesion.contrast_at(np.array(20.0), around, np.array(40.0))
    assert (inner - outer) / 0.02 == pytest.approx(100 / (1.3 * np.sqrt(2 * np.pi)), rel=1e-3)


def test_a_slice_gets_the_mean_over_its_thickness_and_pixels():
    """Of all slices and pixels together: the volume times the contrast, to second order in the margin."""
    lesion = ball()
    rows, columns = lesion.pixels(SPACING, (200, 200))
    total = sum(
        lesion.slab(z * 2.5, 2.5, SPACING, rows, columns).sum(dtype=float) * 2.5 * SPACING[0] * SPACING[1]
        for z in range(20)
    )
    volume = 4 / 3 * np.pi * (6.0**3 + 3 * 6.0 * 0.5**2)
    assert total == pytest.approx(100 * volume, rel=0.01)


def test_the_box_is_around_half_the_contrast():
    lesion = ball(margin=0.2)
    y0, x0, y1, x1 = lesion.box(20.0, 0.5, SPACING, (100, 100))
    edges = [(30 - 6) / 0.7, (40 - 6) / 0.9, (30 + 6) / 0.7, (40 + 6) / 0.9]
    assert [y0, x0, y1, x1] == pytest.approx([edge + 0.5 for edge in edges], abs=0.26)
    z = 20.0 + 4.0
    half = np.sqrt(6.0**2 - 4.0**2)
    y0, _, y1, _ = lesion.box(z, 0.5, SPACING, (100, 100))
    assert (y1 - y0) * 0.7 == pytest.approx(2 * half, abs=0.5)
    assert lesion.box(20.0 + 6.5, 0.5, SPACING, (100, 100)) is None


def test_a_box_ends_with_the_image():
    lesion = LesionModel("nodule", (0.0, 1.0, 1.0), (6.0,) * 3, contrast=50.0, margin=0.2)
    box = lesion.box(0.0, 1.0, (1.0, 1.0), (64, 64))
    assert (box.y0, box.x0) == (0.0, 0.0)
    far = LesionModel("nodule", (0.0, -40.0, 1.0), (6.0,) * 3, contrast=50.0, margin=0.2)
    assert far.box(0.0, 1.0, (1.0, 1.0), (64, 64)) is None


def test_a_bump_bulges_where_it_points_and_nowhere_else():
    lesion = ball(bumps=(Bump((0.0, 0.0, 1.0), 0.3, 20.0),))
    at = lesion.contrast_at(np.array(20.0), np.array(30.0), np.array([40 + 6 * 1.3, 40 - 6.0]))
    assert at == pytest.approx([50.0, 50.0])
    assert lesion.reach > 6 * 1.3


def test_the_texture_has_its_deviation_and_grain():
    lesion = ball(200.0, contrast=0.0, texture=30.0, grain=2.0)
    generator = np.random.default_rng(3)
    places = generator.uniform(-60, 60, (3, 20000)) + np.array([[20], [30], [40]])
    here = lesion.contrast_at(*places)
    moved = lesion.contrast_at(places[0] + 2.0, places[1], places[2])
    assert here.std() == pytest.approx(30.0, rel=0.15)
    assert np.corrcoef(here, moved)[0, 1] == pytest.approx(np.exp(-0.5), abs=0.15)


def test_what_it_reaches_is_all_it_adds():
    lesion = ball(margin=1.5, bumps=(Bump((0.0, 1.0, 0.0), 0.4, 5.0), Bump((0.0, 0.0, -1.0), -0.2, 5.0)))
    far = np.array([lesion.reach])
    for direction in np.eye(3):
        assert abs(lesion.contrast_at(*(np.array(lesion.centre)[:, None] + direction[:, None] * far))) < 0.1


@pytest.mark.parametrize("wrong", [{"margin": 0.0}, {"texture": -1.0}, {"grain": 0.0}])
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="a nodule needs radii, a margin"):
        ball(**wrong)
