from itertools import product

import numpy as np
import pytest
import torch

from lowdose.networks.bilateral import Bilateral

SIGMAS = ((0.9, 0.7, 0.5, 0.8), (0.6, 1.1, 1.4, 0.3), (2.0, 0.5, 0.8, 1.5))
"""Along z, y and x and over values, of three filters."""


def with_sigmas(network: Bilateral) -> Bilateral:
    network.double()
    for layer, (z, y, x, value) in zip(network.filters, SIGMAS, strict=True):
        for parameter, sigma in (
            (layer.sigma_z, z),
            (layer.sigma_y, y),
            (layer.sigma_x, x),
            (layer.sigma_value, value),
        ):
            torch.nn.init.constant_(parameter, sigma)
    return network


def filtered(volume, radius, sigmas):
    """The definition, voxel by voxel: a mean of the neighbours that are there, by distance and by value."""
    result = np.empty_like(volume)
    for here in np.ndindex(volume.shape):
        values, weights = [], []
        for shift in product(*(range(-r, r + 1) for r in radius)):
            there = tuple(np.add(here, shift))
            if all(0 <= place < n for place, n in zip(there, volume.shape, strict=True)):
                steps = (*shift, volume[there] - volume[here])
                weights.append(np.exp(-0.5 * sum((d / s) ** 2 for d, s in zip(steps, sigmas, strict=True))))
                values.append(volume[there])
        result[here] = np.average(values, weights=weights)
    return result


@pytest.mark.parametrize("context", [0, 1, 2])
def test_three_filters_by_their_definition(context):
    radii = ((1, 2, 2), (2, 1, 3), (2, 2, 1))
    network = with_sigmas(Bilateral(context=context, radii=radii))
    volume = np.random.default_rng(0).standard_normal((1 + 2 * context, 7, 6))
    expected = volume
    for radius, sigmas in zip(radii, SIGMAS, strict=True):
        expected = filtered(expected, radius, sigmas)
    given = network(torch.from_numpy(volume)[None]).detach().numpy()
    np.testing.assert_allclose(given[0, 0], expected[context], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("context", "matters"), [(0, False), (1, True)])
def test_the_deviation_along_z_matters_with_neighbouring_slices(context, matters):
    network = with_sigmas(Bilateral(context=context))
    image = torch.randn(1, 1 + 2 * context, 6, 6, dtype=torch.double)
    before = network(image)
    for layer in network.filters:
        torch.nn.init.constant_(layer.sigma_z, 0.2)
    assert torch.equal(network(image), before) != matters


def test_edges_stay_and_small_steps_are_smoothed():
    image = torch.zeros(1, 1, 8, 8)
    image[..., 4:] = 100.0
    image[..., 2, 2] = 0.01
    denoised = Bilateral(sigma_voxels=1.0, sigma_value=1.0)(image)
    assert torch.allclose(denoised[..., 4:], image[..., 4:])
    assert denoised[0, 0, 2, 2] < 0.003


def test_gradients_are_those_of_finite_differences():
    network = with_sigmas(Bilateral(context=1, radii=((1, 1, 1), (1, 1, 1), (1, 1, 1))))
    names = [name for name, _ in network.named_parameters()]
    image = torch.randn(1, 3, 4, 3, dtype=torch.double, requires_grad=True)
    values = tuple(value.detach().clone().requires_grad_() for value in network.parameters())

    def call(image, *values):
        return torch.func.functional_call(network, dict(zip(names, values, strict=True)), (image,))

    assert torch.autograd.gradcheck(call, (image, *values))
