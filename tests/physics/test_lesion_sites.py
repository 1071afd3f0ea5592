import numpy as np
import pytest

from lowdose.physics.lesion_sites import RECIPES, NoSiteError, draw_lesions
from lowdose.scan import Scan

SPACING = (2.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def chest() -> Scan:
    """A body with two lungs, a vessel in one of them, air around it."""
    _, y, x = np.ogrid[:30, :160, :160]
    hu = np.full((30, 160, 160), -1000.0, np.float32)
    hu[np.broadcast_to(((y - 80) / 60) ** 2 + ((x - 80) / 74) ** 2 < 1, hu.shape)] = 40.0
    for centre in (45, 115):
        hu[np.broadcast_to(((y - 80) / 42) ** 2 + ((x - centre) / 26) ** 2 < 1, hu.shape)] = -850.0
    hu[:, 76:84, 111:119] = 60.0
    generator = np.random.default_rng(2)
    return Scan.from_array(hu + generator.normal(0, 20, hu.shape), spacing=SPACING)


def test_nodules_lie_in_lung_alone_and_apart(chest):
    models = draw_lesions(chest, RECIPES["nodule"], 8, np.random.default_rng(5))
    places = [np.ogrid[:30, :160, :160][axis] * SPACING[axis] for axis in range(3)]
    around = np.zeros(chest.shape, int)
    for model in models:
        squared = sum(((place - centre) / radius) ** 2 for place, centre, radius in zip(
            places, model.centre, model.radii, strict=True))  # fmt: skip
        inside = squared < 1
        assert np.median(chest.hu[inside]) < -800
        assert (chest.hu[inside] > -600).mean() < 0.03
        around += inside
    assert around.max() == 1


def test_lesions_of_soft_tissue_lie_in_soft_tissue(chest):
    for model in draw_lesions(chest, RECIPES["soft-tissue-lesion"], 3, np.random.default_rng(1)):
        z, y, x = (round(c / s) for c, s in zip(model.centre, SPACING, strict=True))
        assert chest.hu[z, y - 2 : y + 3, x - 2 : x + 3].mean() == pytest.approx(40, abs=15)
        assert -60 <= model.contrast <= -20


def test_the_same_seed_draws_the_same(chest):
    first, again = (draw_lesions(chest, RECIPES["nodule"], 3, np.random.default_rng(9)) for _ in range(2))
    assert first == again
    other = draw_lesions(chest, RECIPES["nodule"], 3, np.random.default_rng(10))
    assert first != other


def test_a_scan_without_the_tissue_has_no_site():
    water = Scan.from_array(np.zeros((4, 64, 64), np.float32), name="water")
    with pytest.raises(
        NoSiteError, match=r"water: nodule 1 of 2, \d+ mm wide, finds no place of -960 to -680"
    ):
        draw_lesions(water, RECIPES["nodule"], 2, np.random.default_rng(1))


def test_air_around_the_patient_is_no_lung():
    hu = np.full((4, 64, 64), -900.0, np.float32)
    with pytest.raises(NoSiteError):
        draw_lesions(Scan.from_array(hu), RECIPES["nodule"], 1, np.random.default_rng(1))
