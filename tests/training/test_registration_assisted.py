"""Learning from misaligned pairs: every way lowers its own losses; registration takes the shift."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift

from lowdose.models.card import HuScaling
from lowdose.training.batches import Batch
from lowdose.training.loop import Turn
from lowdose.training.registration_assisted import (
    BRIGHT_HU,
    PUBLISHED_SCALING,
    WEIGHTS,
    Translation,
    TranslationSizes,
    translation,
)

SIZES = TranslationSizes(
    width=8, n_blocks=1, adds=True, critic_width=4, registration_width=8, registration_levels=3
)
SCALING = HuScaling(0.0, 500.0)
SIDE = 48


def discs(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Tissue with vessels of 40 HU in fat, and the same with 340 HU in the vessels."""
    y, x = np.mgrid[:SIDE, :SIDE]
    vessels = np.zeros((SIDE, SIDE), bool)
    for _ in range(4):
        cy, cx = generator.uniform(10, SIDE - 10, 2)
        vessels |= (y - cy) ** 2 + (x - cx) ** 2 < generator.uniform(3, 6) ** 2
    plain = gaussian_filter(np.where(vessels, 40.0, -100.0), 0.7)
    return plain, plain + gaussian_filter(np.where(vessels, 300.0, 0.0), 0.7)


def batch_of(n: int, seed: int, largest: float) -> tuple[Batch, np.ndarray]:
    """Pairs whose targets are shifted by up to `largest` pixels, and the targets as they should lie."""
    generator = np.random.default_rng(seed)
    plain, true, moved = [], [], []
    for _ in range(n):
        image, target = discs(generator)
        plain.append(image)
        true.append(target)
        moved.append(shift(target, generator.uniform(-largest, largest, 2), order=1, mode="nearest"))
    as_batch = [np.array(one, np.float32)[:, None] for one in (plain, moved, true)]
    return Batch(*as_batch[:2]), as_batch[2]


def turn_of(step: int, n: int = 2) -> Turn:
    return Turn(step, torch.Generator().manual_seed(step), slice(0, n), n, torch.device("cpu"))


def learn(method: Translation, n_steps: int, largest: float) -> dict[str, float]:
    """`n_steps` of Adam, as the training loop takes them."""
    optimizers = {
        name: torch.optim.Adam(one.module.parameters(), lr=2e-3, betas=one.betas)
        for name, one in method.trained.items()
    }

    def descend(name: str, loss: torch.Tensor) -> None:
        optimizers[name].zero_grad()
        loss.backward()
        optimizers[name].step()

    told = {}
    for step in range(n_steps):
        told = method.step(batch_of(2, step, largest)[0], turn_of(step), descend)
    return told


def error_of(method: Translation) -> float:
    """Mean absolute error in HU of what the generator makes of new images, against the truth."""
    batch, true = batch_of(8, 10**6, 0.0)
    with torch.no_grad():
        made = method.translators(torch.from_numpy(SCALING.scaled(batch.noisy.copy())))
    return float(np.abs(SCALING.unscaled(made.numpy()) - true).mean())


@pytest.mark.parametrize("way", WEIGHTS)
def test_every_way_takes_a_step_and_tells_its_losses(way) -> None:
    torch.manual_seed(1)
    method = translation(way, SIZES, scaling=SCALING)
    before = {name: next(one.module.parameters()).detach().clone() for name, one in method.trained.items()}
    told = learn(method, 2, 2.0)
    weights = WEIGHTS[way]
    for name in ("aligned", "smooth", "adversarial", "cycle", "bright"):
        assert (name in told) == (getattr(weights, name) > 0)
    assert all(np.isfinite(list(told.values())))
    for name, one in method.trained.items():
        assert not torch.equal(before[name], next(one.module.parameters())), name


def test_the_loss_is_the_weighted_sum_of_what_is_told() -> None:
    torch.manual_seed(1)
    method = translation("registration-assisted", SIZES, scaling=SCALING)
    told = method.step(batch_of(2, 1, 2.0)[0], turn_of(0), lambda _name, _loss: None)
    expected = 20 * told["aligned"] + 10 * told["smooth"] + told["adversarial"] + 2 * told["bright"]
    assert told["loss"] == pytest.approx(expected, rel=1e-5)


def test_before_training_the_absolute_error_is_that_of_the_input() -> None:
    """What is added is nothing at first, and nothing moves."""
    torch.manual_seed(1)
    method = translation("registration-assisted", SIZES, scaling=SCALING)
    batch, _ = batch_of(2, 1, 2.0)
    told = method.step(batch, turn_of(0), lambda _name, _loss: None)
    assert told["aligned"] == pytest.approx(np.abs(batch.noisy - batch.target).mean() / 500.0, rel=1e-3)
    bright = batch.target > BRIGHT_HU
    inside = np.abs(batch.noisy - batch.target)[bright].mean() / 500.0
    assert told["bright"] == pytest.approx(inside, rel=1e-2)


def test_bright_regions_count_from_the_second_stage_on() -> None:
    torch.manual_seed(1)
    method = translation("registration-assisted", SIZES, scaling=SCALING, bright_from=5)
    batch, _ = batch_of(2, 1, 2.0)
    assert "bright" not in method.step(batch, turn_of(4), lambda _name, _loss: None)
    assert "bright" in method.step(batch, turn_of(5), lambda _name, _loss: None)


def test_the_published_scale_is_that_of_twelve_bits() -> None:
    ends = np.array([-1024.0, 3071.0], np.float32)
    assert PUBLISHED_SCALING.scaled(ends.copy()).tolist() == [-1.0, 1.0]


def test_where_pairs_are_misaligned_registration_leaves_less_error_than_the_plain_one() -> None:
    errors = {}
    for way in ("direct", "registration-assisted"):
        torch.manual_seed(1)
        method = translation(way, SIZES, scaling=SCALING)
        learn(replace(method, weights=replace(method.weights, bright=0.0)), 200, 4.0)
        errors[way] = error_of(method)
    assert errors["registration-assisted"] < 0.85 * errors["direct"]
