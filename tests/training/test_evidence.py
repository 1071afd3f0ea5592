"""What low-dose scans say of two denoisers, with no truth beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lowdose.filters import make_filter
from lowdose.io import open_input
from lowdose.physics.noise_patches import find_noise
from lowdose.training.evidence import AFTER, BEFORE, INPUT, SCAN, measured
from tests.io.body_series import body_series


@pytest.fixture(scope="module")
def low(tmp_path_factory):
    """A scan with noise of 60 HU more."""
    folder = tmp_path_factory.mktemp("low")
    body_series(folder, 9, seed=3, side=160)
    with open_input(folder) as found:
        (case,) = found.cases
        hu = case.scan.hu + 60 * np.random.default_rng(1).standard_normal(case.scan.shape).astype(np.float32)
        yield replace(case.scan, read=lambda z: case.scan.read(z)._replace(hu=hu[z]))


def test_the_better_denoiser_is_told_from_the_worse(low):
    noise = find_noise(low)
    weak, strong = (make_filter("gaussian", low, sigma_px=sigma) for sigma in (0.5, 1.2))
    found = measured(low, noise, weak, strong, gain=4.0, seed=1, n_slices=3)
    assert found.improvement < 1
    assert measured(low, noise, strong, weak, gain=4.0, seed=1, n_slices=3).improvement == pytest.approx(
        1 / found.improvement
    )
    own = found.at_own_dose
    assert own[AFTER] < own[BEFORE] < own[SCAN] == pytest.approx(60.0, rel=0.3)
    assert set(found.at_fraction) == {INPUT, BEFORE, AFTER}
    assert found.itself[AFTER].noise < found.itself[BEFORE].noise < found.itself[BEFORE].reference_noise
    assert found.mean_frequency[AFTER] < found.mean_frequency[BEFORE] < 1
    assert found.shown[SCAN].shape == found.shown[AFTER].shape == (3, *low.shape[1:])
