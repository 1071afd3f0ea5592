"""Examples, a representation and a flow that hardly learned, for all tests of what is learned."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from lowdose.denoising import make_denoiser
from lowdose.invariances.examples import Examples, make_examples
from tests.invariances.chests import chest


@pytest.fixture(scope="session")
def examples(tmp_path_factory) -> Examples:
    folder = tmp_path_factory.mktemp("examples") / "chest"
    make = {"gaussian": partial(make_denoiser, "gaussian")}
    return make_examples(chest(n=6), make, folder, n_slices=3, n_lesions=2, seed=1)


@pytest.fixture(scope="session")
def representation(examples, tmp_path_factory) -> Path:
    from lowdose.invariances.experiment import RepresentationPlan, learn_representation
    from lowdose.invariances.learning import IDENTITY
    from tests.invariances.tiny import TINY

    folder = tmp_path_factory.mktemp("representation")
    plan = RepresentationPlan(TINY, n_steps=4, batch_size=2)
    assert learn_representation([examples], [examples], [IDENTITY, "gaussian"], folder, plan) is not None
    return folder


@pytest.fixture(scope="session")
def flow(examples, representation, tmp_path_factory) -> Path:
    from lowdose.invariances.experiment import FlowPlan, learn_flow
    from lowdose.invariances.models import SHARED, copied
    from tests.invariances.tiny import TINY_FLOW

    folder = tmp_path_factory.mktemp("flow")
    copied(representation, folder / SHARED)
    plan = FlowPlan(TINY_FLOW, n_steps=4, batch_size=4)
    assert learn_flow([examples], [examples], "gaussian", representation, folder, plan) is not None
    return folder
