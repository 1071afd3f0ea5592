import pytest

torch = pytest.importorskip("torch")

from lowdose.invariances.experiment import (  # noqa: E402
    FlowPlan,
    RepresentationPlan,
    learn_flow,
    learn_representation,
)
from lowdose.invariances.models import InvarianceError, load_flow, load_representation  # noqa: E402
from tests.invariances.tiny import TINY, TINY_FLOW  # noqa: E402


def test_a_run_that_was_cut_goes_on_to_the_bit(examples, tmp_path):
    plan = RepresentationPlan(TINY, n_steps=4, batch_size=2)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    learn_representation([examples], [], ["gaussian"], whole, plan)
    assert learn_representation([examples], [], ["gaussian"], cut, plan, max_seconds=0) is None
    with pytest.raises(InvarianceError, match="give --resume"):
        learn_representation([examples], [], ["gaussian"], cut, plan)
    learn_representation([examples], [], ["gaussian"], cut, plan, resume=True)
    one, other = (load_representation(folder)[0].state_dict() for folder in (whole, cut))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_without_a_checkpoint_there_is_nothing_to_resume(examples, tmp_path):
    with pytest.raises(InvarianceError, match="no checkpoint"):
        learn_representation([examples], [], ["gaussian"], tmp_path, resume=True)


def test_a_flow_that_was_cut_goes_on_to_the_bit(examples, representation, tmp_path):
    plan = FlowPlan(TINY_FLOW, n_steps=4, batch_size=4)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    learn_flow([examples], [], "gaussian", representation, whole, plan)
    assert learn_flow([examples], [], "gaussian", representation, cut, plan, max_seconds=0) is None
    learn_flow([examples], [], "gaussian", representation, cut, plan, resume=True)
    one, other = (load_flow(folder)[0].state_dict() for folder in (whole, cut))
    assert all(torch.equal(one[name], other[name]) for name in one)
