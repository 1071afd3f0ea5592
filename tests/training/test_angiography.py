"""A generator learns from pairs, goes on where it was cut, and is told how much of the change it misses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lowdose.models.card import HuScaling
from lowdose.training.angiography import AngiographyPlan, change_missed, learn_angiography
from lowdose.training.dataset import PreparedPair
from lowdose.training.loop import TrainingError
from lowdose.training.registration_assisted import TranslationSizes, Translators
from tests.training.test_registration_assisted import discs

PLAN = AngiographyPlan(
    sizes=TranslationSizes(
        width=4, n_blocks=1, context=1, adds=True, critic_width=4, registration_width=4, registration_levels=3
    ),
    scaling=HuScaling(0.0, 500.0), side=32, n_steps=6, batch_size=2, learning_rate=1e-3,
)  # fmt: skip


def pair(seed: int) -> PreparedPair:
    generator = np.random.default_rng(seed)
    plain, enhanced = zip(*(discs(generator) for _ in range(4)), strict=True)
    low, high = (np.rint(np.stack(one)).astype(np.int16) for one in (plain, enhanced))
    return PreparedPair(f"patient {seed}", 1.0, (3.0, 1.0, 1.0), low, high)


def test_what_changes_nothing_misses_everything() -> None:
    validate = change_missed([pair(1)], PLAN)
    found = validate(Middle())
    assert found is not None
    assert found.error == pytest.approx(1.0)
    assert change_missed([], PLAN)(Middle()) is None


class Middle(torch.nn.Module):
    """The slice itself."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image[:, 1:2]


def test_a_run_that_was_cut_goes_on_to_the_bit(tmp_path) -> None:
    whole = learn_angiography([pair(1), pair(2)], [pair(3)], tmp_path / "whole", PLAN)
    assert whole is not None
    cut = tmp_path / "cut"
    assert learn_angiography([pair(1), pair(2)], [pair(3)], cut, PLAN, max_seconds=0.0) is None
    resumed = learn_angiography([pair(1), pair(2)], [pair(3)], cut, PLAN, resume=True)
    assert resumed is not None
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not isinstance(whole, Translators)


def test_more_steps_miss_less(tmp_path) -> None:
    plan = replace(PLAN, n_steps=600, learning_rate=3e-3, way="direct")
    seen = []
    learn_angiography([pair(k) for k in range(6)], [pair(9)], tmp_path, plan, on_progress=seen.append)
    assert seen[-1].validation is not None
    assert seen[-1].validation.error < 0.8


def test_a_run_in_the_way_or_none_to_resume_is_told(tmp_path) -> None:
    with pytest.raises(TrainingError, match="holds no checkpoint to resume"):
        learn_angiography([pair(1)], [], tmp_path, PLAN, resume=True)
    learn_angiography([pair(1)], [], tmp_path, replace(PLAN, n_steps=2))
    with pytest.raises(TrainingError, match="holds a training run"):
        learn_angiography([pair(1)], [], tmp_path, PLAN)
