"""From scans to a noise model."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lowdose.physics.noise_patches import NoisePatches, find_noise
from lowdose.scan import Scan
from lowdose.training.checkpoint import CHECKPOINT
from lowdose.training.noise_experiment import check_noise, learn_noise
from lowdose.training.noise_model import NoiseModelError, load_noise_model, read_noise_card


def patches(n, name="scan", kernel="", seed=1, side=32, level=20.0):
    white = np.random.default_rng(seed).standard_normal((n, side + 16, side + 16))
    noise = (gaussian_filter(white, (0, 0.7, 1.0)) - gaussian_filter(white, (0, 3, 3)))[:, 8:-8, 8:-8]
    noise = (level * noise / noise.std(axis=(1, 2), keepdims=True)).astype(np.float32)
    places = np.stack([np.arange(n), np.zeros(n), np.zeros(n)], axis=1).astype(np.intp)
    return NoisePatches(name, kernel, (0.7, 0.7), noise, places, np.full(n, 50.0), n + 4, {"uneven": 4})


def test_the_noise_of_a_scan_is_learned_and_cannot_be_told_from_it(tmp_path):
    rng = np.random.default_rng(1)
    white = rng.standard_normal((8, 256, 256))
    noise = gaussian_filter(white, (0, 0.7, 1.0)) - gaussian_filter(white, (0, 3, 3))
    y, x = np.mgrid[-128:128, -128:128]
    hu = np.where(np.hypot(y, x) < 115, 40 + 25 * noise / noise.std(), -1000).astype(np.float32)
    found = find_noise(Scan.from_array(hu, spacing=(3.0, 0.7, 0.7), name="water"))
    seen = []
    learned = learn_noise([found], tmp_path / "model", n_steps=300, on_progress=seen.append)
    card = read_noise_card(tmp_path / "model")
    assert seen[-1].step == 300
    (source,) = card.sources
    assert (source.name, source.kernel, source.patches) == ("water", "", len(found))
    assert source.level_hu == pytest.approx(25.0, rel=0.03)
    likeness = card.likeness
    assert likeness.level_ratio == pytest.approx(1.0, abs=0.03)
    assert likeness.spectrum_mismatch < 0.1
    assert likeness.correlation_length_ratio == pytest.approx(1.0, abs=0.1)
    assert likeness.told_apart < 0.65  # a fifth of the steps that real scans are given
    again = load_noise_model(tmp_path / "model")
    first, second = (one.unit(1, 30, 30, np.random.default_rng(1)) for one in (learned.model, again))
    assert np.array_equal(first, second)


def test_a_run_goes_on_where_its_time_was_up_and_gives_the_same(tmp_path):
    found = [patches(150)]
    whole = learn_noise(found, tmp_path / "whole", n_steps=20)
    assert learn_noise(found, tmp_path / "parts", n_steps=20, max_seconds=0.0) is None
    assert (tmp_path / "parts" / CHECKPOINT).exists()
    with pytest.raises(NoiseModelError, match="give --resume"):
        learn_noise(found, tmp_path / "parts", n_steps=20)
    parts = learn_noise(found, tmp_path / "parts", n_steps=20, resume=True)
    assert np.array_equal(*(one.model.unit(1, 30, 30, np.random.default_rng(1)) for one in (whole, parts)))
    with pytest.raises(NoiseModelError, match="holds no checkpoint"):
        learn_noise(found, tmp_path / "nothing", n_steps=20, resume=True)


def test_too_little_noise_is_refused_and_counted():
    with pytest.raises(NoiseModelError, match="show 70 patches of noise without anatomy"):
        check_noise([patches(30), patches(40)])
    with pytest.raises(NoiseModelError, match="show 0 patches"):
        check_noise([])


def test_mixed_kernels_are_refused_with_the_list():
    found = [patches(90, "one", "B30f"), patches(90, "two", "B70f")]
    with pytest.raises(NoiseModelError, match=r"2 kernels \(B30f: one; B70f: two\); learn one at a time"):
        check_noise(found)
    check_noise([*found[:1], patches(90, "two")])
