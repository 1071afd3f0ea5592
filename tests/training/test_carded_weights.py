import pytest
import torch
from pydantic import BaseModel
from torch import nn

from lowdose.training.carded_weights import (
    WEIGHTS,
    CardedError,
    read_card,
    read_weights,
    write_card,
    write_weights,
)


class Card(BaseModel):
    weights_sha256: str


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(1)
    digest = write_weights(
        nn.Conv2d(1, 2, 3).to(memory_format=torch.channels_last), tmp_path / "m", "card.json"
    )
    write_card(Card(weights_sha256=digest), tmp_path / "m" / "card.json")
    return tmp_path / "m"


def test_weights_come_back_as_they_were(folder):
    torch.manual_seed(1)
    wanted = nn.Conv2d(1, 2, 3).state_dict()
    card = read_card(folder / "card.json", Card)
    found = read_weights(folder, card.weights_sha256, "card.json")
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_new_weights_do_not_keep_the_old_card(folder):
    write_weights(nn.Linear(2, 2), folder, "card.json")
    assert not (folder / "card.json").exists()


def test_damage_is_told_with_the_file(folder):
    card = read_card(folder / "card.json", Card)
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(CardedError, match=r"weights.safetensors: does not match the SHA-256 in card.json"):
        read_weights(folder, card.weights_sha256, "card.json")
    (folder / WEIGHTS).unlink()
    with pytest.raises(CardedError, match=r"weights.safetensors: cannot be read"):
        read_weights(folder, card.weights_sha256, "card.json")
    (folder / "card.json").write_text("{}")
    with pytest.raises(CardedError, match=r"card.json: cannot be read"):
        read_card(folder / "card.json", Card)
