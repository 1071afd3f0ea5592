from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lowdose.denoising import make_denoiser, model_folder  # noqa: E402
from lowdose.invariances.candidates import Place  # noqa: E402
from lowdose.invariances.gradients import (  # noqa: E402
    Ascent,
    DifferentiableMethod,
    answered_directions,
    differentiable,
    found_by_gradients,
    share_ignored,
)
from lowdose.invariances.response import local_method  # noqa: E402
from lowdose.models.denoiser import model_card  # noqa: E402
from lowdose.quality.structural_change import noise_null, scale_px  # noqa: E402
from lowdose.scan import Scan  # noqa: E402
from tests.invariances.places import SPACING, WINDOW, WINDOWS, largest_unanswered, noisy_slices  # noqa: E402


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


def test_the_null_space_of_a_linear_method_is_found_exactly():
    """A method that takes out one pattern and passes everything else on, and one of low rank."""
    torch.manual_seed(0)
    pattern = torch.randn(64, dtype=torch.float64)
    pattern /= pattern.norm()

    def without(image):
        flat = image.reshape(-1)
        return (flat - pattern * (pattern @ flat)).reshape(image.shape)

    values, directions = answered_directions(without, torch.zeros(8, 8, dtype=torch.float64), 63)
    assert values == pytest.approx(torch.ones(63, dtype=torch.float64), abs=1e-8)
    other = torch.randn(64, dtype=torch.float64)
    other -= pattern * (pattern @ other)
    shares = share_ignored(torch.stack([pattern, other]), directions)
    assert shares.tolist() == pytest.approx([1.0, 0.0], abs=1e-6)


def test_singular_values_are_those_of_the_whole_matrix():
    torch.manual_seed(1)
    left, right = (
        torch.linalg.qr(torch.randn(36, 36, dtype=torch.float64))[0],
        torch.linalg.qr(torch.randn(36, 36, dtype=torch.float64))[0],
    )
    spectrum = torch.logspace(0, -3, 36, dtype=torch.float64)
    matrix = left @ torch.diag(spectrum) @ right
    values, directions = answered_directions(
        lambda image: (matrix @ image.reshape(-1)).reshape(6, 6), torch.zeros(6, 6, dtype=torch.float64), 5
    )
    assert values == pytest.approx(spectrum[:5], rel=1e-3)
    assert (directions @ right[:5].T).abs().diagonal() == pytest.approx(
        torch.ones(5, dtype=torch.float64), abs=1e-2
    )


class Forgetful(torch.nn.Module):
    """Passes everything on but what varies along x within some pixels."""

    def forward(self, scaled):
        kernel = torch.ones(1, 1, 1, 15) / 15
        return torch.nn.functional.conv2d(
            torch.nn.functional.pad(scaled, (7, 7, 0, 0), mode="replicate"), kernel
        )


def test_climbing_finds_what_a_method_forgets():
    card = model_card(model_folder("ct-default")).model_copy(
        update={"multiple": 1, "trained_range_hu": (-5e3, 5e3)}
    )
    method = DifferentiableMethod(Forgetful(), card)

    class Runs:
        context = 0

        def __call__(self, hu):
            with torch.no_grad():
                return method(torch.from_numpy(hu)).numpy()

        def describe(self):
            return make_denoiser("identity", Scan.from_array(noisy_slices(1))).describe()

    slices = noisy_slices(6)
    outputs = np.stack([Runs()(one[None, None])[0, 0] for one in slices])
    sigma = scale_px(SPACING[1:])
    local = local_method(Runs(), Scan.from_array(slices[:1], spacing=SPACING), 0, WINDOW)
    place = Place(
        local, local(local.input[None])[0], 0, WINDOW, noise_null(slices, sigma, WINDOWS),
        noise_null(outputs, sigma, WINDOWS),
    )  # fmt: skip
    found = found_by_gradients(place, method, Ascent(n_starts=2, n_steps=60))
    start = found_by_gradients(place, method, Ascent(n_starts=2, n_steps=0))
    assert largest_unanswered(found) > 2
    assert largest_unanswered(found) > 1.5 * largest_unanswered(start)
