from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("FrEIA")
pytest.importorskip("torch")

import torch

from lowdose.invariances.gates import MOST_MISSED, learned_gates
from lowdose.invariances.models import load_learned
from lowdose.invariances.sampling import sampled
from tests.invariances.places import CONSTANT, IDENTITY, SPACING, place_of


def gates_of(flow, method):
    learned, _, _ = load_learned(flow)
    place = place_of(method)
    gates = learned_gates(learned, [place, place], sampled(place, learned, 4), SPACING[1:])
    return {gate.name: gate for gate in gates}


def test_where_the_output_is_the_input_nothing_is_missed_and_all_samples_are_consistent(flow):
    gates = gates_of(flow, IDENTITY)
    assert float(gates["representation: structure missed"].value.split()[0]) < 1.0
    assert gates["representation: structure missed"].passed
    assert gates["samples: consistent"].value == "100 %"
    assert gates["flow: there and back"].passed


def test_a_representation_that_has_learned_nothing_fails_where_the_output_tells_nothing(flow):
    gate = gates_of(flow, CONSTANT)["representation: structure missed"]
    assert float(gate.value.split()[0]) > MOST_MISSED
    assert not gate.passed


class Reproducing:
    """A representation that gives back a share of what the output lacks of the input."""

    def __init__(self, like, share):
        self.sizes, self.share = like.sizes, share

    def encode(self, image, denoised):
        self.difference = image - denoised
        return torch.zeros(len(image), self.sizes.latents), torch.zeros(len(image), self.sizes.latents)

    def decode(self, _latents, denoised):
        return denoised + self.share * self.difference


@pytest.mark.parametrize(("share", "passed"), [(0.0, False), (0.45, False), (0.55, True)])
def test_of_much_that_is_taken_away_half_must_be_reproduced(flow, share, passed):
    learned, _, _ = load_learned(flow)
    place = place_of(CONSTANT)
    of_it = replace(learned, representation=Reproducing(learned.representation, share))
    gate = learned_gates(of_it, [place, place], [], SPACING[1:])[0]
    assert float(gate.value.split()[0]) > MOST_MISSED
    assert gate.passed is passed


def test_a_flow_that_has_learned_nothing_is_told_by_its_numbers(flow):
    gate = gates_of(flow, CONSTANT)["flow: normal numbers"]
    assert gate.passed is (float(gate.value) <= 0.1)
    assert 0 <= float(gate.value) <= 1
    assert np.isfinite(float(gate.value))


def test_latents_that_have_collapsed_fail(flow):
    learned, _, told = load_learned(flow)
    place = place_of(IDENTITY)
    for nats, passed in ((None, False), (0.05, False), (20.0, True)):
        told_of = replace(learned, nats=nats)
        gates = learned_gates(told_of, [place, place], sampled(place, learned, 2), SPACING[1:])
        gate = next(gate for gate in gates if gate.name == "latents: what they tell")
        assert gate.passed is passed
    assert learned.nats == told.nats


def test_pixels_far_from_those_that_were_learned_from_fail(flow):
    learned, _, told = load_learned(flow)
    assert learned.pixel_mm == told.pixel_mm == (1.5, 1.5)
    place = place_of(IDENTITY)
    for spacing, passed in (((1.5, 1.5), True), ((1.2, 2.0), True), ((0.7, 0.7), False), ((1.5, 2.5), False)):
        gate = learned_gates(learned, [place, place], sampled(place, learned, 2), spacing)[-1]
        assert gate.name == "representation: pixels"
        assert gate.passed is passed
