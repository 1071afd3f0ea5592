from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lowdose.denoising import denoise
from lowdose.models.denoiser import ModelDenoiser
from lowdose.scan import Scan
from tests.models.counted_scan import counting
from tests.models.onnx_factory import Channels, SmallVolumeNetwork, write_model


@pytest.fixture(scope="module")
def volume_model(tmp_path_factory) -> Path:
    network = SmallVolumeNetwork()
    folder = tmp_path_factory.mktemp("model") / "small"
    card = {"dimensions": 3, "multiple": network.multiple, "halo": [network.reach] * 3}
    return write_model(folder, network, 1, 1, 8, 8, 8, **card)


def body(shape: tuple[int, int, int]) -> np.ndarray:
    generator = np.random.default_rng(5)
    return generator.normal(40, 50, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 5, 9), (21, 33, 45), (40, 31, 24)])
@pytest.mark.parametrize("memory_mb", [0, 2.5, 8, 12, 40, 10_000])
def test_a_volume_in_tiles_is_the_volume_in_one_go(volume_model, shape, memory_mb):
    hu = body(shape)
    padded = np.pad(hu, [(0, -n % 2) for n in shape], mode="edge")
    with torch.no_grad():
        whole = SmallVolumeNetwork().eval()(torch.from_numpy(padded)[None, None] / 100)[0, 0].numpy() * 100
    expected = whole[: shape[0], : shape[1], : shape[2]]
    assert np.abs(expected - hu).max() > 5.0
    denoiser = ModelDenoiser(volume_model, memory_mb=memory_mb)
    counted, reads = counting(Scan.from_array(hu))
    assert np.abs(denoise(counted, denoiser).hu - expected).max() < 1e-3
    assert reads == list(range(shape[0]))


def test_the_volumes_of_the_last_test_were_cut_into_tiles(volume_model):
    """By hand: 14 = 2 + 2 x 6 voxels see their halo of 5, rounded up to the multiple of 2."""
    smallest = ModelDenoiser(volume_model, memory_mb=2.5)
    assert smallest.tiling((21, 33, 45)).extents == (14, 14, 14)
    assert [span[2:] for span in smallest.slabs((21, 33, 45)) or ()] == [
        (0, 8),
        (8, 10),
        (10, 12),
        (12, 14),
        (14, 22),
    ]
    for memory_mb in (8, 12):
        tiling = ModelDenoiser(volume_model, memory_mb=memory_mb).tiling((21, 33, 45))
        assert tiling.extents < (22, 34, 46)
        assert tiling.n_bytes <= memory_mb * 1e6
    assert ModelDenoiser(volume_model, memory_mb=40).tiling((21, 33, 45)).extents == (22, 34, 46)


def test_what_cannot_keep_to_the_budget_is_said(volume_model):
    scan = Scan.from_array(body((21, 33, 45)))
    (note,) = denoise(scan, ModelDenoiser(volume_model, memory_mb=1)).notes
    assert note == "small needs about 5 MB for slices of this size, more than usual"
    assert denoise(scan, ModelDenoiser(volume_model)).notes == ()


def test_a_volume_keeps_padding_and_values_beyond_the_trained_range(volume_model):
    hu = body((6, 20, 20))
    hu[3, 4, 5], hu[2, 7, 8] = 9000.0, -1300.0
    padding = np.zeros(hu.shape, bool)
    padding[:, :2] = True
    hu[padding] = -2000
    result = denoise(Scan.from_array(hu, padding=padding), ModelDenoiser(volume_model)).hu
    assert (result[3, 4, 5], result[2, 7, 8]) == (9000.0, -1300.0)
    assert (result[padding] == -2000).all()
    assert (result[~padding] != hu[~padding]).sum() > 2000


def test_strength_walks_through_the_levels_of_a_network(tmp_path):
    """Of three levels at 1/2, 1/4 and 1/8 of the input, thirds are the network's own images."""
    levels = Channels([[1 / 2], [1 / 4], [1 / 8]])
    model = ModelDenoiser(write_model(tmp_path, levels, 1, 1, 8, 8, levels=3))
    scan = Scan.from_array(body((2, 11, 13)))
    share = {0: 1, 1 / 6: 3 / 4, 1 / 3: 1 / 2, 1 / 2: 3 / 8, 2 / 3: 1 / 4, 5 / 6: 3 / 16, 1: 1 / 8}
    for strength, expected in share.items():
        assert denoise(scan, model, strength).hu == pytest.approx(expected * scan.hu, abs=1e-4)
    assert denoise(scan, model, 0.0).hu.tobytes() == scan.hu.tobytes()
    own = model(scan.hu[0][None, None])
    for number, strength in enumerate((1 / 3, 2 / 3, 1.0)):
        assert denoise(scan, model, strength).read(0).hu.tobytes() == own[0, number].tobytes()


def test_a_network_is_shown_the_neighbours_that_its_card_speaks_of(tmp_path):
    model = ModelDenoiser(write_model(tmp_path, Channels([[1 / 2, 0, 1 / 4]]), 1, 3, 8, 8, context=1))
    hu = body((4, 11, 13))
    hu[1, 2, 3] = 5000.0
    result = denoise(Scan.from_array(hu), model).hu
    clipped = np.clip(hu, -1200, 3071)
    expected = clipped[[0, 0, 1, 2]] / 2 + clipped[[1, 2, 3, 3]] / 4
    expected[1, 2, 3] = 5000.0
    assert result == pytest.approx(expected, abs=1e-3)
