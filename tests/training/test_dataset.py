from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lowdose.scan import Scan
from lowdose.training.dataset import REALISATIONS, PreparedScan, cache_folder, prepare, prepare_pair
from tests.physics.phantoms import GRID, disc, noisy_water

COUNTS_PER_HU = 8


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
    assert np.array_equal(scan.hu, np.rint(water.hu))
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


class Stopped(Exception):
    pass


def stop() -> None:
    raise Stopped


def test_another_seed_is_prepared_anew(water, prepared, tmp_path):
    first, folder, _ = prepared
    copy = shutil.copytree(folder, tmp_path / "copy")
    other = prepare(water, copy, patient="w", weight=2.0, seed=2)
    assert not np.array_equal(other.noise, first.noise)
    assert json.loads((copy / "facts.json").read_text())["seed"] == 2
    assert [one.name for one in tmp_path.iterdir()] == ["copy"]


def test_a_preparation_that_broke_off_leaves_what_was_there_and_nothing_else(water, prepared, tmp_path):
    first, folder, _ = prepared
    with pytest.raises(Stopped):
        prepare(water, tmp_path / "new", patient="w", weight=2.0, seed=2, on_slice=stop)
    assert not any(tmp_path.iterdir())
    copy = shutil.copytree(folder, tmp_path / "copy")
    with pytest.raises(Stopped):
        prepare(water, copy, patient="w", weight=2.0, seed=2, on_slice=stop)
    assert np.array_equal(prepare(water, copy, patient="w", weight=2.0, seed=1).noise, first.noise)


def test_two_who_prepare_the_same_scan_at_once_do_not_disturb_each_other(water, prepared, tmp_path):
    """Half-way through the first one the second prepares it, and is done; both have what it takes."""
    expected, _, _ = prepared
    inner: list[PreparedScan] = []

    def another() -> None:
        if not inner:
            with monkeypatch.context() as process:
                process.setattr(os, "getpid", lambda: -1)
                inner.append(prepare(water, tmp_path / "water", patient="w", weight=1.0, seed=1))

    monkeypatch = pytest.MonkeyPatch()
    outer = prepare(water, tmp_path / "water", patient="w", weight=1.0, seed=1, on_slice=another)
    for one in (outer, *inner):
        assert np.array_equal(one.hu, expected.hu)
        assert np.array_equal(one.noise, expected.noise)
    assert [one.name for one in tmp_path.iterdir()] == ["water"]


def test_what_a_killed_process_left_goes_after_a_day(water, tmp_path):
    old, young = (tmp_path / f".water.{number}.part" for number in (1, 2))
    for one in (old, young):
        one.mkdir()
    os.utime(old, (0, 0))
    prepare(water, tmp_path / "water", patient="w", weight=1.0, seed=1)
    assert {one.name for one in tmp_path.iterdir()} == {"water", young.name}


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


def test_a_pair_is_kept_as_whole_hu_with_its_noise_below_air(tmp_path):
    """Values below air are noise around it: cutting them off would make air brighter."""
    generator = np.random.default_rng(0)
    low, high = (
        Scan.from_array(generator.normal(-1000, sigma, (3, 16, 16)), spacing=(1, 0.5, 0.5), name=name)
        for name, sigma in (("low", 400), ("high", 200))
    )
    pair = prepare_pair(low, high, tmp_path / "p", patient="m", weight=2.0)
    assert np.array_equal(pair.low, np.rint(low.hu))
    assert np.array_equal(pair.high, np.rint(high.hu))
    assert (pair.patient, pair.weight, pair.spacing, pair.shape) == ("m", 2.0, (1.0, 0.5, 0.5), (3, 16, 16))
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "p").iterdir()}
    prepare_pair(low, high, tmp_path / "p", patient="m", weight=2.0)
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "p").iterdir()} == before
