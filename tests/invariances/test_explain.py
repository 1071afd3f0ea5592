from functools import partial

import numpy as np
import pytest
from skimage.morphology import area_closing, area_opening

from lowdose.denoising import Identity, make_denoiser
from lowdose.invariances.direct import Search
from lowdose.invariances.explain import Thoroughness, explained
from lowdose.invariances.response import ResponseError
from lowdose.invariances.windows import ExplanationError
from lowdose.scan import Scan
from tests.invariances.chests import chest
from tests.invariances.places import Slicewise

QUICK = Thoroughness(n_slices=1, n_places=2, n_sites=1, search=Search(radii_px=(2.0,)))


@pytest.fixture(scope="module")
def faithful():
    return explained("gaussian", partial(make_denoiser, "gaussian"), chest(), QUICK)


@pytest.fixture(scope="module")
def erased():
    def erase(hu):
        whole = np.rint(hu).astype(np.int16)  # many times as fast
        return area_closing(area_opening(whole, 20), 20).astype(np.float32)

    return explained("eraser", lambda _scan: Slicewise("eraser", erase), chest(), QUICK)


def test_a_faithful_method_is_acquitted(faithful):
    assert faithful.verdict.convicted is False
    assert max(one.times for one in faithful.places) < 2
    assert not any(one.ignored for one in faithful.shapes)


def test_an_eraser_is_convicted_of_what_is_smaller_than_its_area_and_of_nothing_larger(erased):
    assert erased.verdict.convicted
    assert all(one.convicts for one in erased.places)
    gone = {one.diameter for one in erased.shapes if one.ignored}
    kept = {one.diameter for one in erased.shapes if one.visible > 10 and one.kept > 0.7}
    assert gone  # 20 pixels of 1.5 mm are a disc of 7.6 mm
    assert max(gone) <= 7.6
    assert 9.0 in kept


def test_controls_pass_and_noise_is_told(faithful):
    assert all(gate.passed for gate in faithful.gates)
    for kept in faithful.noise:
        assert 0 < kept.output < kept.input
        assert 0.5 < kept.correlation <= 1.0


def test_what_changes_nothing_keeps_noise_and_lesions_as_they_are():
    found = explained("identity", lambda _scan: Identity(), chest(), QUICK)
    assert found.findings == ()
    for kept in found.noise:
        assert kept.output == pytest.approx(kept.input)
        assert kept.correlation == pytest.approx(1.0)
    for shape in found.shapes:
        assert shape.contrast_left == pytest.approx(1.0, abs=1e-3)
        assert shape.kept == pytest.approx(1.0, abs=1e-2)


def test_the_same_seed_gives_the_same_numbers_and_progress_rises_to_the_end(faithful):
    told: list[float] = []
    again = explained(
        "gaussian", partial(make_denoiser, "gaussian"), chest(), QUICK,
        on_step=lambda _what, share: told.append(share),
    )  # fmt: skip
    assert again.places == faithful.places
    assert again.shapes == faithful.shapes
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)


def test_a_method_that_changes_the_size_is_refused():
    with pytest.raises((ResponseError, RuntimeError), match="half"):
        explained("half", lambda _scan: Slicewise("half", lambda hu: hu[::2, ::2]), chest(), QUICK)


def test_slices_that_are_too_small_are_refused():
    with pytest.raises(ExplanationError, match="48 x 48 pixels are smaller than the 64"):
        explained("identity", lambda _scan: Identity(), chest(side=48), QUICK)


def test_a_scan_without_a_body_is_refused():
    noise = np.random.default_rng(0).normal(-1000, 5, (4, 128, 128))
    with pytest.raises(ExplanationError, match="shows no body"):
        explained("identity", lambda _scan: Identity(), Scan.from_array(noise), QUICK)
