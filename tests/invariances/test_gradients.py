from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from lowdose.denoising import make_denoiser, model_folder  # noqa: E402
from lowdose.invariances.gradients import Ascent, differentiable, found_by_gradients  # noqa: E402
from lowdose.scan import Scan  # noqa: E402
from tests.invariances.modules import Forgetful, as_method, as_network  # noqa: E402
from tests.invariances.places import largest_unanswered, noisy_slices, place_of  # noqa: E402


def test_the_differentiable_network_is_the_one_that_the_package_runs():
    folder = model_folder("ct-default")
    hu = noisy_slices(1)[:, :150, :142]  # sides that are no multiples of what the network wants
    expected = make_denoiser("ct-default", Scan.from_array(hu))(hu[None])[0]
    method = differentiable(folder)
    assert method is not None
    with torch.no_grad():
        found = method(torch.from_numpy(hu[None]))[0].numpy()
    assert found == pytest.approx(expected, abs=0.05)


def test_what_has_no_weights_or_looks_along_z_has_no_gradients(tmp_path: Path):
    assert differentiable(tmp_path) is None
    assert differentiable(model_folder("microct-3d")) is None


def test_climbing_finds_what_a_method_forgets():
    network = as_network(Forgetful())
    place = place_of(as_method(network))
    found = found_by_gradients(place, network, Ascent(n_starts=2, n_steps=60))
    start = found_by_gradients(place, network, Ascent(n_starts=2, n_steps=0))
    assert largest_unanswered(found) > 2
    assert largest_unanswered(found) > 1.5 * largest_unanswered(start)
