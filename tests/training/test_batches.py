from __future__ import annotations

import threading

import numpy as np
import pytest

from lowdose.training.batches import Batch, batch_of_step, drawn_ahead


def draw(generator: np.random.Generator):
    target = generator.standard_normal((1, 4, 4)).astype(np.float32)
    return target + 1, target


def test_processes_that_share_a_batch_draw_what_one_would():
    whole = batch_of_step(draw, 5, 3, range(6))
    parts = [batch_of_step(draw, 5, 3, samples) for samples in (range(3), range(3, 6))]
    assert np.concatenate([part.noisy for part in parts]).tobytes() == whole.noisy.tobytes()
    assert np.concatenate([part.target for part in parts]).tobytes() == whole.target.tobytes()
    assert whole.noisy.shape == (6, 1, 4, 4)


def test_no_two_samples_steps_or_seeds_are_alike():
    batches = [batch_of_step(draw, seed, step, range(3)) for seed in (1, 2) for step in (0, 1)]
    samples = {sample.tobytes() for batch in batches for sample in batch.target}
    assert len(samples) == 12


@pytest.mark.parametrize("n_steps", [0, 1, 2, 3, 10])
def test_batches_come_in_order_however_far_ahead_they_are_drawn(n_steps):
    made = drawn_ahead(lambda step: batch_of_step(draw, 0, step, range(2)), range(5, 5 + n_steps), depth=3)
    taken = [batch.target.tobytes() for batch in made]
    assert taken == [batch_of_step(draw, 0, 5 + k, range(2)).target.tobytes() for k in range(n_steps)]


def test_while_a_batch_is_used_the_next_are_drawn_but_no_more():
    drawn: list[int] = []
    next_is_there = threading.Event()

    def batch(step: int) -> Batch:
        drawn.append(step)
        if step == 2:
            next_is_there.set()
        return batch_of_step(draw, 0, step, range(1))

    batches = drawn_ahead(batch, range(100), depth=3)
    next(batches)
    assert next_is_there.wait(5)
    batches.close()
    assert drawn == [0, 1, 2]


def test_what_goes_wrong_while_drawing_is_told_to_who_takes():
    def broken(step: int) -> Batch:
        raise ValueError(f"step {step}")

    with pytest.raises(ValueError, match="step 4"):
        next(drawn_ahead(broken, range(4, 6)))
