from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lowdose.training import sampling
from lowdose.training.batches import Images, batch_of_step
from lowdose.training.dataset import REALISATIONS, PreparedPair, PreparedScan
from lowdose.training.orientation import Orientation
from lowdose.training.sampling import PairSampler, PatchShape

SIGMA = 24.0
"""HU of the synthetic scans' own noise at their full dose."""

COUNTS_PER_HU = 8


def synthetic(
    anatomy: float | np.ndarray = 40.0,
    *,
    noise: float = SIGMA,
    n_slices: int = 6,
    spacing: tuple[float, float, float] = (2.0, 0.7, 0.7),
    seed: int = 0,
    patient: str = "p",
    weight: float = 1.0,
) -> PreparedScan:
    """White noise on `anatomy`, and as much again in every stored realisation, as half the dose adds."""
    generator = np.random.default_rng(seed)
    shape = (n_slices, 64, 64)
    hu = anatomy + generator.normal(0, noise, shape)
    added = generator.normal(0, noise, (n_slices, REALISATIONS, 64, 64))
    return PreparedScan(
        patient,
        weight,
        spacing,
        np.rint(hu).astype(np.int16),
        np.rint(added * COUNTS_PER_HU).astype(np.int16),
    )


def plain(scans: list[PreparedScan], **changes) -> PairSampler:
    """Targets at the full dose, single slices, the scan's own kernel."""
    settings = {
        "gain": 4.0,
        "patch": PatchShape(32, 32),
        "lowest_target_dose": 1.0,
        "averaged": 0.0,
        "kernels": 0.0,
    }
    return PairSampler(scans, **(settings | changes))


def batch(sampler: PairSampler, size: int, seed: int = 0) -> tuple[Images, Images]:
    drawn = batch_of_step(sampler, seed, 0, range(size))
    return drawn.noisy, drawn.target


@pytest.mark.parametrize("gain", [2.0, 4.0, 10.0])
@pytest.mark.parametrize(
    "drawn",
    [{}, {"lowest_target_dose": 0.1}, {"averaged": 1.0}, {"kernels": 1.0}],
    ids=["as it is", "lower doses", "thicker slices", "other kernels"],
)
def test_the_input_is_the_target_at_a_fraction_of_its_dose(gain, drawn):
    """The variance added to each target is gain - 1 times its own, so the input's is gain times it."""
    inputs, targets = batch(plain([synthetic()], gain=gain, **drawn), 150)
    own = (targets - 40.0).var(axis=(1, 2, 3))
    added = (inputs - targets).var(axis=(1, 2, 3))
    whole = (inputs - 40.0).var(axis=(1, 2, 3))
    assert np.mean(added / own) == pytest.approx(gain - 1, rel=0.05)
    assert np.mean(whole / own) == pytest.approx(gain, rel=0.05)


def test_a_target_at_the_full_dose_is_the_scan():
    scan = synthetic()
    _, targets = batch(plain([scan]), 20)
    stored = {int(value) for value in np.unique(scan.hu)}
    assert {float(value) for value in np.unique(targets)} <= {float(value) for value in stored}


def test_targets_are_drawn_at_lower_doses_as_stated():
    _, targets = batch(plain([synthetic()], lowest_target_dose=0.25), 400)
    variance = targets.var(axis=(1, 2, 3)) / SIGMA**2
    assert variance.min() > 0.85
    assert variance.max() < 4.0 * 1.15
    # Evenly in the logarithm of the dose: half of the targets above half of the dose.
    assert np.median(variance) == pytest.approx(2.0, rel=0.15)


def test_the_noise_that_is_added_knows_nothing_of_the_targets():
    inputs, targets = batch(plain([synthetic(n_slices=30)], lowest_target_dose=0.3), 200)
    added, own = inputs - targets, targets - 40.0
    correlation = (added * own).mean() / np.sqrt((added**2).mean() * (own**2).mean())
    # 200 patches of 1024 pixels, drawn from 30 slices of 4096: one in a few hundred by chance.
    assert abs(correlation) < 0.02
    each = (added * own).mean(axis=(1, 2, 3)) / np.sqrt(
        (added**2).mean(axis=(1, 2, 3)) * (own**2).mean(axis=(1, 2, 3))
    )
    assert np.abs(each).max() < 0.2


def test_no_two_pairs_have_the_same_noise():
    """Mixtures of few realisations still differ from draw to draw."""
    scan = synthetic(n_slices=1)
    small = replace(scan, hu=scan.hu[:, :32, :32], noise=scan.noise[..., :32, :32])
    inputs, targets = batch(plain([small]), 40)
    added = (inputs - targets).std(axis=(1, 2, 3))
    assert added == pytest.approx(np.full(40, np.sqrt(3) * SIGMA), rel=0.1)
    prints = {float(np.round((inputs - targets)[i].max(), 3)) for i in range(40)}
    assert len(prints) > 35


@pytest.mark.parametrize("drawn", [{}, {"averaged": 1.0}, {"kernels": 1.0}, {"lowest_target_dose": 0.2}])
def test_input_and_target_show_the_same_anatomy(drawn):
    """Without noise they are one image, wherever it lies and however it is turned."""
    anatomy = np.add.outer(np.arange(64) * 3.0, np.arange(64) ** 1.5)
    scan = synthetic(anatomy, noise=0.0)
    inputs, targets = batch(plain([scan], **drawn), 25)
    assert np.array_equal(inputs, targets)
    assert inputs.shape == (25, 1, 32, 32)
    assert inputs.dtype == targets.dtype == np.float32
    assert len({patch.tobytes() for patch in targets}) > 20


def test_patches_are_turned_and_mirrored_in_all_eight_ways():
    anatomy = np.add.outer(np.arange(64) * 40.0, np.arange(64) * 1.0)
    _, targets = batch(plain([synthetic(anatomy, noise=0.0)]), 80)
    slopes = {(round(float(p[0, 1, 0] - p[0, 0, 0])), round(float(p[0, 0, 1] - p[0, 0, 0]))) for p in targets}
    assert slopes == {(a * i, b * j) for i, j in ((40, 1), (1, 40)) for a in (1, -1) for b in (1, -1)}


def test_the_mean_of_two_slices_has_half_of_the_noise_and_thick_slices_stay_alone():
    thin, thick = synthetic(), synthetic(spacing=(5.0, 0.7, 0.7))
    variance = {scan.spacing[0]: batch(plain([scan], averaged=1.0), 60)[1].var() for scan in (thin, thick)}
    assert variance[2.0] == pytest.approx(SIGMA**2 / 2, rel=0.05)
    assert variance[5.0] == pytest.approx(SIGMA**2, rel=0.05)


def test_one_slice_alone_has_no_neighbour():
    inputs, _ = batch(plain([synthetic(n_slices=1)], averaged=1.0), 5)
    assert np.isfinite(inputs).all()


def test_other_kernels_make_some_images_softer_and_some_sharper():
    _, targets = batch(plain([synthetic()], kernels=1.0), 200)
    spread = targets.std(axis=(1, 2, 3)) / SIGMA
    assert (spread < 0.9).sum() > 40
    assert (spread > 1.1).sum() > 40
    assert targets.mean() == pytest.approx(40.0, abs=0.5)


def test_the_generator_alone_decides():
    sampler = PairSampler([synthetic(), synthetic(seed=1)], gain=4.0, patch=PatchShape(32, 32))
    first, again, other = (batch(sampler, 6, seed) for seed in (5, 5, 6))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
    assert first[0].tobytes() != other[0].tobytes()


def test_scans_are_drawn_by_their_weight():
    scans = [synthetic(0.0, noise=1.0, weight=3.0), synthetic(500.0, noise=1.0, weight=1.0)]
    _, targets = batch(plain(scans), 800)
    assert (targets.mean(axis=(1, 2, 3)) < 250).mean() == pytest.approx(0.75, abs=0.05)


def test_patches_of_air_are_mostly_avoided():
    anatomy = np.full((64, 64), -1000.0)
    anatomy[:, :32] = 40.0
    _, targets = batch(plain([synthetic(anatomy, noise=1.0)], patch=PatchShape(16, 16)), 200)
    mostly_air = (targets < -900).mean(axis=(1, 2, 3)) > 0.75
    assert mostly_air.sum() <= 2


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(
        ValueError, match=r"patches of 1 x 72 x 72 .* do not fit into the 6 x 64 x 64 of a scan"
    ):
        plain([synthetic()], patch=PatchShape(72, 72))
    with pytest.raises(ValueError, match="patches of 8 x 32 x 32"):
        plain([synthetic()], patch=PatchShape(32, 32, n_z=8))
    with pytest.raises(ValueError, match="dose gain is 1; it must be above 1"):
        plain([synthetic()], gain=1.0)


def stairs(n_slices: int = 9) -> PreparedScan:
    """Slice z is 100 z HU everywhere, without noise."""
    heights = 100.0 * np.arange(n_slices)[:, None, None] * np.ones((64, 64))
    return synthetic(heights, noise=0.0, n_slices=n_slices)


def test_neighbours_are_shown_in_their_order_and_the_middle_one_is_asked_for():
    sampler = plain([stairs()], patch=PatchShape(16, 16, context=2))
    noisy, target = batch(sampler, 60)
    assert noisy.shape == (60, 5, 16, 16)
    assert target.shape == (60, 1, 16, 16)
    assert np.array_equal(noisy[:, 2:3], target)
    z = np.rint(target[:, 0, 0, 0] / 100).astype(int)
    assert set(z) == set(range(9))
    shown = np.clip(z[:, None] + np.arange(-2, 3), 0, 8) * 100.0
    assert np.array_equal(noisy[:, :, 0, 0], shown)


def test_volumes_keep_the_order_of_their_slices_or_turn_it_round():
    sampler = plain([stairs()], patch=PatchShape(16, 16, n_z=4, volume=True))
    noisy, target = batch(sampler, 60)
    assert noisy.shape == target.shape == (60, 1, 4, 16, 16)
    steps = np.diff(target[:, 0, :, 0, 0], axis=1)
    assert {tuple(one) for one in steps} == {(100.0,) * 3, (-100.0,) * 3}


def test_the_dose_of_volumes_is_as_stated_and_their_slices_have_noise_of_their_own():
    sampler = plain([synthetic()], patch=PatchShape(32, 32, n_z=4, volume=True))
    noisy, target = batch(sampler, 40)
    assert (noisy - target).var() / (target - 40).var() == pytest.approx(3.0, rel=0.05)
    added = (noisy - target)[:, 0].reshape(40, 4, -1)
    between = np.mean([np.corrcoef(one)[0, 1] for one in added])
    assert abs(between) < 0.02


def taken_pair(n_slices: int = 5) -> PreparedPair:
    generator = np.random.default_rng(1)
    high = generator.integers(0, 100, (n_slices, 64, 64)).astype(np.int16)
    return PreparedPair("p", 1.0, (5.0, 0.7, 0.7), (high + 1000).astype(np.int16), high)


@pytest.mark.parametrize(
    "patch", [PatchShape(32, 32), PatchShape(32, 32, context=1), PatchShape(16, 16, n_z=3, volume=True)]
)
def test_a_pair_is_drawn_as_it_was_taken(patch):
    """At the same place, turned alike, and no noise added."""
    noisy, target = batch(plain([taken_pair()], patch=patch), 20)
    middle = noisy[:, 1:2] if patch.context else noisy
    assert np.array_equal(middle, target + 1000)
    assert len({one.tobytes() for one in target}) == 20


def test_patches_longer_than_wide_are_turned_by_halves():
    anatomy = np.add.outer(np.arange(64) * 40.0, np.arange(64) * 1.0)
    _, targets = batch(plain([synthetic(anatomy, noise=0.0)], patch=PatchShape(16, 32)), 40)
    assert targets.shape == (40, 1, 16, 32)
    assert {abs(round(float(p[0, 1, 0] - p[0, 0, 0]))) for p in targets} == {40}


class White:
    """Low-dose scans of one level with white noise."""

    def __init__(self, level: float) -> None:
        self.hu = level

    def level(self, _generator: np.random.Generator) -> float:
        return self.hu

    def __call__(self, levels, _hu, generator):
        return (levels * generator.standard_normal(levels.shape)).astype(np.float32)


@pytest.mark.parametrize("low", [2 * SIGMA, 6 * SIGMA])
def test_induced_inputs_are_as_noisy_as_low_dose_scans_and_targets_have_the_stated_ratio(low, monkeypatch):
    monkeypatch.setattr(sampling, "_LEVEL_JITTER", 1.0)
    inputs, targets = batch(plain([synthetic()], noise=White(low)), 150)
    whole, own = ((images - 40.0).var(axis=(1, 2, 3)).mean() for images in (inputs, targets))
    assert whole == pytest.approx(low**2, rel=0.04)
    assert whole / own == pytest.approx(4.0, rel=0.04)


def test_where_the_clean_scan_is_too_noisy_the_ratio_stays():
    inputs, targets = batch(plain([synthetic()], noise=White(SIGMA)), 150)
    whole, own = ((images - 40.0).var(axis=(1, 2, 3)).mean() for images in (inputs, targets))
    assert own == pytest.approx(SIGMA**2, rel=0.04)
    assert whole / own == pytest.approx(4.0, rel=0.04)


def test_clean_scans_are_made_cleaner_by_averaging_neighbours(monkeypatch):
    monkeypatch.setattr(sampling, "_LEVEL_JITTER", 1.0)
    low = 2 * SIGMA / np.sqrt(2)
    inputs, targets = batch(plain([synthetic()], noise=White(low), averaged=1.0), 150)
    whole, own = ((images - 40.0).var(axis=(1, 2, 3)).mean() for images in (inputs, targets))
    assert own == pytest.approx(SIGMA**2 / 2, rel=0.05)
    assert whole == pytest.approx(low**2, rel=0.05)


def test_induced_noise_falls_and_rises_as_the_scans_own(monkeypatch):
    monkeypatch.setattr(sampling, "_LEVEL_JITTER", 1.0)
    monkeypatch.setattr(Orientation, "images", lambda _, images: images)
    scan = synthetic()
    halves = np.where(np.arange(64) < 32, 0.5, 1.5)
    uneven = replace(scan, noise=np.rint(scan.noise * halves).astype(np.int16))
    assert uneven.own_level == pytest.approx(SIGMA * np.sqrt((0.5**2 + 1.5**2) / 2), rel=0.05)
    sampler = plain([uneven], patch=PatchShape(64, 64), noise=White(5 * uneven.own_level))
    inputs, targets = batch(sampler, 60)
    added = (inputs - targets).std(axis=(0, 1, 2))
    expected = 5 * SIGMA * np.sqrt(0.75) * halves
    assert added[:16].mean() == pytest.approx(expected[0], rel=0.06)
    assert added[48:].mean() == pytest.approx(expected[-1], rel=0.06)


def test_slices_beside_the_middle_have_noise_of_their_own():
    sampler = plain([synthetic(noise=1.0)], patch=PatchShape(32, 32, context=1), noise=White(30.0))
    inputs, _ = batch(sampler, 40)
    left, right = inputs[:, 0].ravel() - 40.0, inputs[:, 2].ravel() - 40.0
    assert inputs.shape == (40, 3, 32, 32)
    assert abs(np.corrcoef(left, right)[0, 1]) < 0.03
