from itertools import product

import numpy as np
import pytest

from lowdose.training.orientation import Orientation


@pytest.mark.parametrize(("turns", "mirrored", "upended"), [*product(range(4), (False, True), (False, True))])
def test_a_box_stays_around_what_it_was_around(turns, mirrored, upended):
    """The marked rectangle, seen in every way, fills its box and nothing else."""
    n_y, n_x = (12, 12) if turns % 2 else (12, 20)
    images = np.zeros((2, 3, n_y, n_x), np.float32)
    images[..., 2:7, 4:6] = 1.0
    orientation = Orientation(turns, mirrored, upended)
    seen = orientation.images(images)
    ((y0, x0, y1, x1),) = orientation.boxes(np.array([[2, 4, 7, 6]], np.float32), n_y, n_x).astype(int)
    assert seen[0, 0, y0:y1, x0:x1].all()
    assert seen[0, 0].sum() == (y1 - y0) * (x1 - x0) == 10


def test_only_volumes_are_upended():
    drawn = [Orientation.drawn(np.random.default_rng(k), square=True, flip_z=False) for k in range(40)]
    assert not any(one.upended for one in drawn)
    assert {(one.turns, one.mirrored) for one in drawn} == set(product(range(4), (False, True)))
    assert any(
        Orientation.drawn(np.random.default_rng(k), square=True, flip_z=True).upended for k in range(9)
    )


def test_oblong_patches_keep_their_shape():
    for k in range(30):
        assert Orientation.drawn(np.random.default_rng(k), square=False, flip_z=False).turns in (0, 2)


def test_no_boxes_are_no_boxes():
    assert Orientation(1, True).boxes(np.zeros((0, 4), np.float32), 8, 8).shape == (0, 4)


def test_what_is_seen_has_strides_that_torch_takes():
    for upended in (False, True):
        seen = Orientation(3, True, upended).images(np.zeros((2, 1, 8, 8), np.float32))
        assert min(seen.strides) > 0
