from __future__ import annotations

import pytest
import torch

from lowdose.training.objective import Objective

NOISY, TARGET = torch.full((1, 1, 2, 2), 4.0), torch.zeros(1, 1, 2, 2)
OUTPUT = torch.full((1, 1, 2, 2), 2.0)


def test_terms_are_weighted_and_added():
    assert float(Objective({"mse": 1.0})(OUTPUT, NOISY, TARGET)) == pytest.approx(4.0)
    assert float(Objective({"mse": 0.5, "l1": 3.0})(OUTPUT, NOISY, TARGET)) == pytest.approx(2.0 + 6.0)
    assert float(Objective({"share-of-noise-left": 2.0})(OUTPUT, NOISY, TARGET)) == pytest.approx(0.5)


def test_the_distance_of_features_is_one_of_the_terms():
    objective = Objective({"l1": 1.0}, lambda a, b: (a - b).abs().max(), perceptual_weight=0.1)
    assert float(objective(OUTPUT, NOISY, TARGET)) == pytest.approx(2.2)


def test_critics_may_be_all_there_is():
    assert float(Objective({})(OUTPUT, NOISY, TARGET)) == 0.0
