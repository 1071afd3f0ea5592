from functools import partial

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lowdose.invariances.probes import Kind, by_shape, n_steps, probed, sites
from lowdose.invariances.response import LocalMethod, local_method
from lowdose.physics.dose import dose_simulator
from lowdose.quality.structures import LUNG, SOFT, structures
from tests.invariances.chests import chest
from tests.invariances.places import Slicewise

WHOLE = (slice(0, 224), slice(0, 224))
ONE_KIND = (Kind("bright", SOFT, (100.0, 200.0)),)


@pytest.fixture(scope="module")
def scan():
    return chest()


@pytest.fixture(scope="module")
def simulator(scan):
    return dose_simulator(scan, seed=1)


def probes_of(function, simulator, places, diameters=(9.0,)):
    method = Slicewise("method", function)
    local = [local_method(method, chest(seed=seed), 3, WHOLE, margin=0) for seed in range(4)]
    return probed(simulator, 3, local, places, diameters=diameters, kinds=ONE_KIND)


def test_sites_lie_in_their_tissue_and_apart(scan):
    anatomy = scan.read(3).hu
    for tissue in (LUNG, SOFT):
        found = sites(anatomy, tissue, scan.spacing[1:], 3, np.random.default_rng(0))
        assert 1 <= len(found) <= 3
        masks = structures(gaussian_filter(anatomy, 1.0))
        assert all(masks[tissue][place] for place in found)
        for place in found:
            assert all(np.hypot(*np.subtract(place, o)) * 1.5 >= 15 for o in found if o != place)


def test_where_there_is_no_room_there_are_no_sites(scan):
    assert sites(scan.read(3).hu, LUNG, scan.spacing[1:], 3, np.random.default_rng(0), largest=200.0) == []


def test_a_method_that_halves_the_contrast_of_everything_keeps_detectability(simulator):
    found = probes_of(lambda hu: 0.5 * hu, simulator, {SOFT: [(112, 112), (150, 112)]})
    assert len(found) == 4
    for probe in found:
        assert probe.contrast_left == pytest.approx(0.5, abs=1e-4)
        assert probe.left == pytest.approx(probe.visible, rel=1e-3)


def test_what_is_now_kept_and_now_lost_is_less_detectable(simulator):
    """A method that shows a lesion at full height or not at all, by chance: the spread is of that size."""
    corners: dict[float, int] = {}

    def fickle(hu):
        number = corners.setdefault(float(hu[0, 0]), len(corners))  # of the realisation: no lesion is there
        return hu if number % 2 else np.minimum(hu, gaussian_filter(hu, 8.0) + 30.0)

    place = {SOFT: [(112, 112)]}
    steady, shaky = (probes_of(one, simulator, place)[0] for one in (lambda hu: hu, fickle))
    assert steady.spread == pytest.approx(0.0, abs=1e-4)
    assert shaky.spread > 1
    (shape,) = by_shape([shaky])
    assert shape.left == pytest.approx(shaky.left / np.sqrt(1 + shaky.spread / 2))


def test_twice_the_contrast_is_twice_as_visible(simulator):
    shapes = by_shape(probes_of(lambda hu: hu, simulator, {SOFT: [(112, 112)]}))
    assert shapes[1].visible == pytest.approx(2 * shapes[0].visible)
    assert [shape.n for shape in shapes] == [1, 1]


def test_what_is_cut_off_is_gone_and_what_is_below_is_kept(simulator):
    """Lesions of 100 and 200 HU on tissue of 45 HU."""
    place = {SOFT: [(112, 112)]}
    kept = probes_of(lambda hu: np.minimum(hu, 600.0), simulator, place)
    gone = probes_of(lambda hu: np.full_like(hu, 45.0), simulator, place)
    assert all(one.contrast_left == pytest.approx(1.0, abs=1e-3) for one in kept)
    assert all(one.contrast_left == one.left == 0.0 for one in gone)
    assert [one.visible for one in kept] == [one.visible for one in gone]


def test_the_surroundings_of_a_window_tell_what_the_whole_slice_does():
    """Of a filter that reaches less far than they do."""
    whole = LocalMethod(Slicewise("blur", lambda hu: gaussian_filter(hu, 2.0)), chest().hu[3:4], WHOLE)
    window = (slice(96, 128), slice(100, 124))
    ours = whole.within(window)(whole.input[window][None])[0]
    assert ours == pytest.approx(whole(whole.input[None])[0][window], abs=1e-3)


def test_neighbours_of_a_method_that_looks_along_z_show_the_lesion_too(simulator):
    class Mean:
        context = 1

        def __call__(self, hu):
            return hu.mean(axis=1, keepdims=True)

        def describe(self):
            return Slicewise("mean", None).describe()

    local = [local_method(Mean(), chest(seed=seed), 3, WHOLE, margin=0) for seed in range(4)]
    place = {SOFT: [(112, 112)]}
    small, large = (
        probed(simulator, 3, local, place, diameters=(d,), kinds=ONE_KIND)[0] for d in (2.0, 18.0)
    )
    assert large.contrast_left > 0.9  # its neighbours are nearly as wide
    assert small.contrast_left < 0.7


def test_steps_are_counted(simulator):
    done = []
    places = {LUNG: [], SOFT: [(112, 112)]}
    local = [
        local_method(Slicewise("identity", lambda hu: hu), chest(seed=s), 3, WHOLE, margin=0)
        for s in range(4)
    ]
    probed(simulator, 3, local, places, diameters=(6.0, 9.0), on_step=partial(done.append, 1))
    assert len(done) == n_steps(places, 2) == 2
