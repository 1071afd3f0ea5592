import pytest

pytest.importorskip("FrEIA")

from lowdose.invariances.experiment import RepresentationPlan, learn_representation
from lowdose.invariances.learning import IDENTITY
from lowdose.invariances.models import (
    InvarianceError,
    bundled_representation,
    copied,
    load_flow,
    load_learned,
    load_representation,
)
from lowdose.invariances.sampling import Learned
from lowdose.models.card import INVARIANCES, bundled_models, load_card
from tests.invariances.tiny import TINY


def test_folders_hold_what_was_learned(flow, representation):
    learned, card, told = load_learned(flow)
    assert card.method == "gaussian"
    assert told.methods == (IDENTITY, "gaussian")
    assert told.error is not None
    assert told.error > 0
    assert isinstance(learned, Learned)


def test_the_representation_that_comes_along_has_learned_something():
    network, card = load_representation(bundled_representation())
    assert 4 * sum(weight.numel() for weight in network.parameters()) < 5e6
    assert card.error < 1.0  # less than the noise that it was shown
    assert card.nats > 1


def test_what_comes_along_of_ct_default_was_learned_of_this_version():
    folder = bundled_models()["ct-default"]
    learned, card, _ = load_learned(folder / INVARIANCES)
    assert (card.method, card.method_digest) == ("ct-default", load_card(folder).digest)
    assert 4 * sum(weight.numel() for weight in learned.flow.parameters()) < 5e6


def test_a_flow_of_another_representation_is_refused(flow, examples, tmp_path):
    other = tmp_path / "other"
    plan = RepresentationPlan(TINY, n_steps=2, batch_size=2)
    learn_representation([examples], [], ["gaussian"], other, plan)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name in ("flow.json", "weights.safetensors"):
        (mixed / name).write_bytes((flow / name).read_bytes())
    copied(other, mixed / "representation")
    with pytest.raises(InvarianceError, match="another representation"):
        load_learned(mixed)


def test_damaged_and_missing_folders_are_refused(flow, tmp_path):
    with pytest.raises(InvarianceError, match=r"holds no flow\.json"):
        load_flow(tmp_path)
    (tmp_path / "flow.json").write_bytes((flow / "flow.json").read_bytes())
    (tmp_path / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(InvarianceError, match="SHA-256"):
        load_flow(tmp_path)
