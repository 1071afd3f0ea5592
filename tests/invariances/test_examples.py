from functools import partial

import numpy as np
import pytest

from lowdose.denoising import make_denoiser
from lowdose.invariances.examples import load_examples, make_examples
from tests.invariances.chests import chest


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples") / "chest"
    make = {"gaussian": partial(make_denoiser, "gaussian")}
    return make_examples(chest(n=12), make, folder, n_slices=4, n_lesions=3, seed=1)


def test_inputs_are_noisier_than_the_scan_and_independent_of_each_other(made):
    assert made.input.shape == (4, 2, 224, 224)
    one, other = made.input[2].astype(float)
    noise = (one - other)[100:124, 100:124].std() / np.sqrt(2)
    assert noise == pytest.approx(np.sqrt(3) * 12, rel=0.35)  # what a quarter of the dose adds


def test_outputs_are_what_the_method_makes_of_the_inputs(made):
    output = made.output("gaussian")
    assert output.shape == made.input.shape
    method = make_denoiser("gaussian", chest(), {"noise": 25.0})
    expected = method(made.input[1, 0].astype(np.float32)[None, None])[0, 0]
    assert np.corrcoef(output[1, 0].ravel(), expected.ravel())[0, 1] > 0.999


def test_lesions_are_where_they_are_said_to_be(made):
    assert made.planted
    scan = chest(n=12)
    for one in made.planted:
        assert 0 <= one.z < 4
        z = np.linspace(0, 11, 9)[[1, 3, 5, 7]][one.z]
        y, x = round(one.y), round(one.x)
        own = scan.read(round(z)).hu[y - 1 : y + 2, x - 1 : x + 2].mean()
        low = made.input[one.z, :, y - 1 : y + 2, x - 1 : x + 2].mean()
        assert np.sign(low - own) == np.sign(one.contrast) or abs(one.contrast) < 40


def test_noise_of_the_smoothed_input_is_known_at_every_place(made):
    assert made.deviation.shape == (4, 224, 224)
    assert (made.deviation >= 2.0).all()
    assert 2.0 < np.median(made.deviation[:, 100:124, 100:124]) < 25.0


def test_what_is_there_is_not_made_again_and_methods_may_be_added(made):
    before = (made.folder / ".input.npy").stat().st_mtime_ns
    make = {"median": partial(make_denoiser, "median")}
    again = make_examples(chest(n=12), make, made.folder, n_slices=4, n_lesions=3, seed=1)
    assert (made.folder / ".input.npy").stat().st_mtime_ns == before
    assert again.output("median").shape == again.input.shape
    assert load_examples(made.folder).planted == made.planted


def test_other_wishes_make_everything_anew(made, tmp_path):
    folder = tmp_path / "chest"
    first = make_examples(chest(n=4), {}, folder, n_slices=2, n_lesions=0, seed=1)
    one = np.array(first.input)
    second = make_examples(chest(n=4), {}, folder, n_slices=2, n_lesions=0, seed=2)
    assert not np.array_equal(one, second.input)
    assert not list(folder.glob("*.part"))
