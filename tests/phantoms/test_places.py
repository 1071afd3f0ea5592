"""Objects without a layout, drawn finely and blurred by a known Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lowdose.phantoms.places import MOST_SLICES, NothingToMeasureError, Rod, find_places, looked_at
from lowdose.scan import Scan

PIXEL, FINE, BLUR_MM = 0.5, 3, 0.8
AIR = -1000.0


def drawn(shapes, n: int = 160, blur: float = BLUR_MM) -> np.ndarray:
    """`[y, x]` of `n` pixels: air with every shape, a mask of (y, x) in mm and its HU, over those before."""
    at = (np.arange(n * FINE) - (FINE - 1) / 2) * PIXEL / FINE
    y, x = np.meshgrid(at, at, indexing="ij")
    fine = np.full(y.shape, AIR)
    for inside, hu in shapes:
        fine[inside(y, x)] = hu
    smooth = gaussian_filter(fine, blur * FINE / PIXEL, mode="nearest")
    return smooth[FINE // 2 :: FINE, FINE // 2 :: FINE]


def disc(centre_y: float, centre_x: float, radius: float):
    return lambda y, x: np.hypot(y - centre_y, x - centre_x) < radius


def box(top: float, left: float, height: float, width: float):
    return lambda y, x: (
        (np.abs(y - top - height / 2) < height / 2) & (np.abs(x - left - width / 2) < width / 2)
    )


def ellipse(centre_y: float, centre_x: float, long: float, short: float, degrees: float):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))

    def inside(y, x):
        along, across = c * (x - centre_x) + s * (y - centre_y), c * (y - centre_y) - s * (x - centre_x)
        return np.hypot(along / long, across / short) < 1

    return inside


def scan_of(image: np.ndarray, n_slices: int = 2, noise: float = 15.0, name: str = "object") -> Scan:
    generator = np.random.default_rng(3)
    hu = image + noise * generator.standard_normal((n_slices, *image.shape))
    return Scan.from_array(hu, spacing=(2.0, PIXEL, PIXEL), name=name)


BODY = disc(40.0, 40.0, 38.0), 40.0


def test_at_most_forty_evenly_spaced_slices_are_looked_at():
    assert looked_at(3) == [0, 1, 2]
    assert looked_at(MOST_SLICES) == list(range(40))
    assert looked_at(400) == list(range(5, 400, 10))


def test_squares_of_every_material_are_found_and_lie_wholly_in_it():
    """Soft tissue over a third of the box, and a denser and a fatty part that are smaller."""
    parts = [(box(4, 4, 72, 72), 50.0), (box(4, 40, 72, 36), -100.0), (box(50, 4, 26, 36), 300.0)]
    image = drawn(parts)
    found = find_places(scan_of(image, n_slices=3))
    assert found.materials == pytest.approx((-100.0, 50.0, 300.0), abs=2.0)
    assert found.side == 32  # of 48 pixels there are fewer than 40
    counts = [0, 0, 0]
    for squares in found.squares.values():
        for (y, x), material in zip(squares.corners, squares.material, strict=True):
            inside = image[y : y + found.side, x : x + found.side]
            assert inside == pytest.approx(found.materials[material], abs=15.0)
            counts[material] += 1
    assert counts[0] > counts[1] > counts[2] >= 4
    assert found.slices == (0, 1, 2)
    assert not found.rods


def test_squares_are_as_large_as_there_are_enough_of():
    """The more slices, the more squares of 48 pixels; 40 of them are enough."""
    few, many = (find_places(scan_of(drawn([BODY]), n_slices=n)) for n in (1, 5))
    assert (few.side, many.side) == (32, 48)
    assert sum(len(one.corners) for one in many.squares.values()) >= 40
    # A rod of 28 mm has room for hardly any, so the size of which there are most is taken.
    assert find_places(scan_of(drawn([(disc(40.0, 40.0, 14.0), 40.0)]), n_slices=1)).side == 16


def test_outer_squares_are_beyond_half_of_the_radius_about_the_middle_of_the_object():
    found = find_places(scan_of(drawn([(disc(44.0, 37.0, 34.0), 40.0)])))
    squares = found.squares[0]
    middles = (squares.corners + found.side / 2) * PIXEL
    distance = np.hypot(*(middles - (44.0, 37.0)).T)
    clear = np.abs(distance - 17.0) > 0.7
    assert np.array_equal(squares.outer[clear], distance[clear] > 17.0)
    assert 0 < np.count_nonzero(squares.outer) < len(squares.outer)


def test_a_square_between_two_materials_belongs_to_neither():
    """A slope along x: hardly a square is like another, so that most lie between what they gather at."""
    y, x = np.mgrid[:160, :160]
    found = find_places(scan_of(np.where(np.hypot(y - 80, x - 80) < 76, 3.0 * x, AIR), noise=5.0))
    apart = np.diff(np.sort(found.materials))
    assert (apart >= 40.0).all()
    image = 3.0 * x
    for squares in found.squares.values():
        for (top, left), material in zip(squares.corners, squares.material, strict=True):
            mean = image[top : top + found.side, left : left + found.side].mean()
            assert abs(mean - found.materials[material]) < 20.0 + 1.0


def test_round_holes_and_round_rods_in_air_are_found_where_they_are():
    hole, peg = (28.0, 30.0, 6.0), (93.0, 91.0, 9.0)
    image = drawn([(box(4, 4, 70, 70), 40.0), (disc(*hole), AIR), (disc(*peg), 120.0)], n=220)
    found = find_places(scan_of(image, n_slices=1))
    by_size = sorted(found.rods, key=lambda rod: rod.radius)
    assert len(by_size) == 2
    for rod, (y, x, radius), contrast, around in zip(
        by_size, (hole, peg), (AIR - 40.0, 120.0 - AIR), (40.0, AIR), strict=True
    ):
        assert rod.z == 0
        assert rod.centre == pytest.approx((y, x), abs=0.05)
        assert rod.radius == pytest.approx(radius, abs=0.25)
        assert rod.reach == pytest.approx(rod.radius + 4.0)
        assert rod.around == pytest.approx(around, abs=5.0)
        assert rod.hu - rod.around == pytest.approx(contrast, abs=8.0)
        assert rod.kind == (round(radius), round(contrast / 100))


@pytest.mark.parametrize(
    ("name", "hole"),
    [
        ("square", box(34, 34, 12, 12)),
        ("tilted ellipse", ellipse(40.0, 40.0, 7.0, 6.3, 35.0)),
        ("rod of 3 mm", disc(40.0, 40.0, 1.5)),
        ("rod of 64 mm", disc(55.0, 55.0, 32.0)),
    ],
)
def test_what_is_not_a_round_rod_is_not_taken_for_one(name, hole):
    body = box(4.0, 4.0, 100.0, 100.0), 40.0
    round_one = find_places(scan_of(drawn([body, (disc(40.0, 40.0, 6.0), AIR)], n=216)))
    assert [rod.z for rod in round_one.rods] == [0, 1]
    assert find_places(scan_of(drawn([body, (hole, AIR)], n=216))).rods == (), name


def test_a_rod_needs_four_millimetres_of_nothing_but_its_surroundings():
    """The neighbour's edge is 5 mm away in one image and 3 mm in the other."""
    for gap, expected in ((5.0, 2), (3.0, 0)):
        pair = [(disc(40.0, 40.0 - 6.0 - gap / 2, 6.0), AIR), (disc(40.0, 40.0 + 6.0 + gap / 2, 6.0), AIR)]
        assert len(find_places(scan_of(drawn([BODY, *pair]), n_slices=1)).rods) == expected
    for centre_x, expected in ((9.0, 0), (11.0, 1)):  # from the border of the image it is 3 and 5 mm
        image = drawn([(disc(20.0, centre_x, 6.0), 100.0), (box(40, 4, 36, 72), 40.0)])
        assert len(find_places(scan_of(image, n_slices=1)).rods) == expected


def test_rods_of_one_kind_are_thinned_to_three_spread_over_the_slices():
    found = find_places(scan_of(drawn([BODY, (disc(40.0, 40.0, 6.0), AIR)]), n_slices=9))
    assert [rod.z for rod in found.rods] == [0, 4, 8]
    assert {rod.kind for rod in found.rods} == {(6, -10)}


def test_kinds_tell_sizes_and_contrasts_apart():
    def kind(radius, hu):
        return Rod(0, (0.0, 0.0), radius, radius + 4.0, hu, 50.0).kind

    assert kind(6.2, -1000.0) == kind(5.8, -980.0) == (6, -10)
    assert kind(7.2, -1000.0) != kind(6.2, -1000.0) != kind(6.2, 950.0)


def test_the_same_scan_gives_the_same_places_and_every_slice_is_told_of():
    scan, told = scan_of(drawn([BODY]), n_slices=50), []
    one, other = find_places(scan, lambda: told.append(1)), find_places(scan)
    assert len(told) == MOST_SLICES
    assert one.materials == other.materials
    assert one.slices == other.slices
    assert all(np.array_equal(one.squares[z].corners, other.squares[z].corners) for z in one.squares)


def test_what_was_not_measured_is_air():
    image = drawn([BODY])
    y, x = np.mgrid[:160, :160]
    padding = np.hypot(y - 80, x - 80) > 78
    hu = np.where(padding, 40.0, image)[None]
    scan = Scan.from_array(hu, spacing=(2.0, PIXEL, PIXEL), padding=padding[None])
    for squares in (found := find_places(scan)).squares.values():
        for top, left in squares.corners:
            assert not padding[top : top + found.side, left : left + found.side].any()


@pytest.mark.parametrize("case", ["air", "texture", "one square"])
def test_an_object_without_squares_and_rods_is_one_sentence(case):
    y, x = np.mgrid[:96, :96]
    images = {
        "air": np.full((96, 96), AIR),
        "texture": np.where((y // 7 + x // 7) % 2, 300.0, -300.0),
        # Without the steep rim it has room for one square, and one is no material.
        "one square": np.where((abs(y - 48) < 19) & (abs(x - 48) < 19), 60.0, AIR),
    }
    scan = scan_of(images[case], n_slices=1, noise=1.0, name="thing.nii")
    with pytest.raises(NothingToMeasureError) as error:
        find_places(scan)
    assert str(error.value) == (
        "thing.nii: shows neither uniform squares of 16 pixels nor round rods; "
        "there is nothing to measure in it"
    )
