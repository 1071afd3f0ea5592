import numpy as np
import pytest

from lowdose.quality.local_contrast import local_contrast
from lowdose.quality.uniformity import OutsideError

SPACING = (0.5, 0.4)


def shaded(contrast=5.0, radius=3.0, centre=(15.2, 14.9)):
    y, x = np.mgrid[:64, :76] * np.array(SPACING)[:, None, None]
    image = 40 + 0.8 * y - 1.1 * x
    image[np.hypot(y - centre[0], x - centre[1]) <= radius] += contrast
    return image


def test_a_plane_is_no_contrast_and_a_rod_on_it_has_its_own():
    assert local_contrast(shaded(0.0), SPACING, (15.2, 14.9), 3.0) == pytest.approx(0.0, abs=1e-9)
    assert local_contrast(shaded(5.0), SPACING, (15.2, 14.9), 3.0) == pytest.approx(5.0, abs=1e-9)


def test_neighbours_are_left_out():
    image = shaded(5.0)
    y, x = np.mgrid[:64, :76] * np.array(SPACING)[:, None, None]
    image[np.hypot(y - 15.0, x - 22.5) <= 2.0] += 300.0
    wrong = local_contrast(image, SPACING, (15.2, 14.9), 3.0)
    right = local_contrast(image, SPACING, (15.2, 14.9), 3.0, others=[((15.0, 22.5), 2.0)])
    assert abs(wrong - 5.0) > 5.0
    assert right == pytest.approx(5.0, abs=1e-9)


def test_rods_outside_and_too_small_are_refused():
    with pytest.raises(OutsideError, match="not in the image"):
        local_contrast(shaded(), SPACING, (4.0, 12.0), 3.0)
    with pytest.raises(OutsideError, match="too small"):
        local_contrast(shaded(), SPACING, (15.0, 12.0), 0.4)
