from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lowdose.scan import Scan
from lowdose.training.dataset import REALISATIONS, PairSampler, PreparedScan, cache_folder, prepare
from tests.physics.phantoms import GRID, disc, noisy_water

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
    settings = {"gain": 4.0, "patch": 32, "lowest_target_dose": 1.0, "averaged": 0.0, "kernels": 0.0}
    return PairSampler(scans, **(settings | changes))


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("gain", [2.0, 4.0, 10.0])
@pytest.mark.parametrize(
    "drawn",
    [{}, {"lowest_target_dose": 0.1}, {"averaged": 1.0}, {"kernels": 1.0}],
    ids=["as it is", "lower doses", "thicker slices", "other kernels"],
)
def test_the_input_is_the_target_at_a_fraction_of_its_dose(gain, drawn):
    """The variance added to each target is gain - 1 times its own, so the input's is gain times it."""
    inputs, targets = plain([synthetic()], gain=gain, **drawn).batch(150, generator())
    own = (targets - 40.0).var(axis=(1, 2, 3))
    added = (inputs - targets).var(axis=(1, 2, 3))
    whole = (inputs - 40.0).var(axis=(1, 2, 3))
    assert np.mean(added / own) == pytest.approx(gain - 1, rel=0.05)
    assert np.mean(whole / own) == pytest.approx(gain, rel=0.05)


def test_a_target_at_the_full_dose_is_the_scan():
    scan = synthetic()
    _, targets = plain([scan]).batch(20, generator())
    stored = {int(value) for value in np.unique(scan.hu)}
    assert {float(value) for value in np.unique(targets)} <= {float(value) for value in stored}


def test_targets_are_drawn_at_lower_doses_as_stated():
    _, targets = plain([synthetic()], lowest_target_dose=0.25).batch(400, generator())
    variance = targets.var(axis=(1, 2, 3)) / SIGMA**2
    assert variance.min() > 0.85
    assert variance.max() < 4.0 * 1.15
    # Evenly in the logarithm of the dose: half of the targets above half of the dose.
    assert np.median(variance) == pytest.approx(2.0, rel=0.15)


def test_the_noise_that_is_added_knows_nothing_of_the_targets():
    inputs, targets = plain([synthetic(n_slices=30)], lowest_target_dose=0.3).batch(200, generator())
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
    inputs, targets = plain([small]).batch(40, generator())
    added = (inputs - targets).std(axis=(1, 2, 3))
    assert added == pytest.approx(np.full(40, np.sqrt(3) * SIGMA), rel=0.1)
    prints = {float(np.round((inputs - targets)[i].max(), 3)) for i in range(40)}
    assert len(prints) > 35


@pytest.mark.parametrize("drawn", [{}, {"averaged": 1.0}, {"kernels": 1.0}, {"lowest_target_dose": 0.2}])
def test_input_and_target_show_the_same_anatomy(drawn):
    """Without noise they are one image, wherever it lies and however it is turned."""
    anatomy = np.add.outer(np.arange(64) * 3.0, np.arange(64) ** 1.5)
    scan = synthetic(anatomy, noise=0.0)
    inputs, targets = plain([scan], **drawn).batch(25, generator())
    assert np.array_equal(inputs, targets)
    assert inputs.shape == (25, 1, 32, 32)
    assert inputs.dtype == targets.dtype == np.float32
    assert len({patch.tobytes() for patch in targets}) > 20


def test_patches_are_turned_and_mirrored_in_all_eight_ways():
    anatomy = np.add.outer(np.arange(64) * 40.0, np.arange(64) * 1.0)
    _, targets = plain([synthetic(anatomy, noise=0.0)]).batch(80, generator())
    slopes = {(round(float(p[0, 1, 0] - p[0, 0, 0])), round(float(p[0, 0, 1] - p[0, 0, 0]))) for p in targets}
    assert slopes == {(a * i, b * j) for i, j in ((40, 1), (1, 40)) for a in (1, -1) for b in (1, -1)}


def test_the_mean_of_two_slices_has_half_of_the_noise_and_thick_slices_stay_alone():
    thin, thick = synthetic(), synthetic(spacing=(5.0, 0.7, 0.7))
    variance = {
        scan.spacing[0]: plain([scan], averaged=1.0).batch(60, generator())[1].var() for scan in (thin, thick)
    }
    assert variance[2.0] == pytest.approx(SIGMA**2 / 2, rel=0.05)
    assert variance[5.0] == pytest.approx(SIGMA**2, rel=0.05)


def test_one_slice_alone_has_no_neighbour():
    inputs, _ = plain([synthetic(n_slices=1)], averaged=1.0).batch(5, generator())
    assert np.isfinite(inputs).all()


def test_other_kernels_make_some_images_softer_and_some_sharper():
    _, targets = plain([synthetic()], kernels=1.0).batch(200, generator())
    spread = targets.std(axis=(1, 2, 3)) / SIGMA
    assert (spread < 0.9).sum() > 40
    assert (spread > 1.1).sum() > 40
    assert targets.mean() == pytest.approx(40.0, abs=0.5)


def test_the_generator_alone_decides():
    sampler = PairSampler([synthetic(), synthetic(seed=1)], gain=4.0, patch=32)
    first, again, other = (sampler.batch(6, generator(seed)) for seed in (5, 5, 6))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again, strict=True))
    assert first[0].tobytes() != other[0].tobytes()


def test_scans_are_drawn_by_their_weight():
    scans = [synthetic(0.0, noise=1.0, weight=3.0), synthetic(500.0, noise=1.0, weight=1.0)]
    _, targets = plain(scans).batch(800, generator())
    assert (targets.mean(axis=(1, 2, 3)) < 250).mean() == pytest.approx(0.75, abs=0.05)


def test_patches_of_air_are_mostly_avoided():
    anatomy = np.full((64, 64), -1000.0)
    anatomy[:, :32] = 40.0
    _, targets = plain([synthetic(anatomy, noise=1.0)], patch=16).batch(200, generator())
    mostly_air = (targets < -900).mean(axis=(1, 2, 3)) > 0.75
    assert mostly_air.sum() <= 2


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match=r"patches of 72 px do not fit into slices of \(64, 64\)"):
        plain([synthetic()], patch=72)
    with pytest.raises(ValueError, match="dose gain is 1; it must be above 1"):
        plain([synthetic()], gain=1.0)


@pytest.fixture(scope="module")
def water() -> Scan:
    return noisy_water(photons=1.5e5, n_slices=2)


@pytest.fixture(scope="module")
def prepared(water, tmp_path_factory) -> tuple[PreparedScan, Path, list[int]]:
    folder, calls = tmp_path_factory.mktemp("cache") / "water", []
    scan = prepare(water, folder, patient="w", weight=2.0, seed=1, on_slice=lambda: calls.append(1))
    return scan, folder, calls


def test_the_stored_noise_is_that_of_the_scan(water, prepared):
    scan, _, calls = prepared
    assert (scan.patient, scan.weight, scan.spacing) == ("w", 2.0, water.spacing)
    assert scan.noise.shape == (2, REALISATIONS, 224, 224)
    assert np.array_equal(scan.hu, np.clip(np.rint(water.hu), -1024, None))
    assert len(calls) == 2
    flat = disc(GRID, 60.0) == 1.0
    own = water.hu[:, flat].std()
    added = scan.noise[..., flat].astype(float) / COUNTS_PER_HU
    assert added.std() == pytest.approx(own, rel=0.15)
    correlations = np.corrcoef(added.reshape(2 * REALISATIONS, -1)) - np.eye(2 * REALISATIONS)
    assert np.abs(correlations).max() < 0.1


def test_a_scan_is_prepared_once(water, prepared, monkeypatch):
    first, folder, _ = prepared
    calls: list[int] = []
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    again = prepare(water, folder, patient="w", weight=2.0, seed=1, on_slice=lambda: calls.append(1))
    assert calls == []
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    assert np.array_equal(again.noise, first.noise)


def test_another_seed_is_prepared_anew_and_a_broken_off_preparation_never_counts(water, prepared, tmp_path):
    first, folder, _ = prepared

    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    with pytest.raises(Stopped):
        prepare(water, copy, patient="w", weight=2.0, seed=2, on_slice=stop)
    assert not (copy / "facts.json").exists()
    once_more = prepare(water, copy, patient="w", weight=2.0, seed=1)
    assert np.array_equal(once_more.noise, first.noise)
    assert json.loads((copy / "facts.json").read_text())["seed"] == 1


def test_padding_becomes_air(water, tmp_path):
    padding = np.zeros(water.shape, bool)
    padding[:, :5] = True
    padded = Scan.from_array(
        np.where(padding, -3024, water.hu), spacing=water.spacing, padding=padding, name="padded"
    )
    scan = prepare(padded, tmp_path / "p", patient="p", weight=1.0, seed=0)
    assert (scan.hu[:, :5] == -1024).all()


@pytest.mark.parametrize("level", [-1000.0, 3000.0])
def test_a_scan_without_soft_tissue_is_refused(tmp_path, level):
    generator = np.random.default_rng(0)
    scan = Scan.from_array(generator.normal(level, 10, (2, 96, 96)), spacing=(2, 1.3, 1.3), name="empty room")
    with pytest.raises(ValueError, match="empty room: too little flat soft tissue"):
        prepare(scan, tmp_path / "air", patient="p", weight=1.0, seed=0)
    assert not (tmp_path / "air" / "facts.json").exists()


def test_every_source_and_scan_has_a_folder_of_its_own(tmp_path):
    scan = Scan.from_array(np.zeros((2, 8, 8)), name="chest")
    folders = {
        cache_folder(tmp_path, source, replace(scan, name=name))
        for source in ("a", "b")
        for name in ("chest", "../chest", "chest (2)")
    }
    assert len(folders) == 6
    assert all(folder.parent == tmp_path for folder in folders)
    assert cache_folder(tmp_path, "a", scan) == cache_folder(tmp_path, "a", scan)
