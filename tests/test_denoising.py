from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lowdose.denoising import (
    METHOD_SUMMARIES,
    DenoisingError,
    Identity,
    MethodError,
    ModelDenoiser,
    check_method,
    denoise,
    make_denoiser,
    model_folder,
)
from lowdose.filters import FILTERS
from lowdose.models.card import bundled_models
from lowdose.models.tiles import Span
from lowdose.physics.comparators import COMPARATORS
from lowdose.provenance import Step
from lowdose.scan import Scan, read_ahead
from tests.models.onnx_factory import Channels, SmallVolumeNetwork, write_model


class Halving:
    """Halves HU, and records what it was shown."""

    def __init__(self, context: int = 0) -> None:
        self.context = context
        self.seen: list[np.ndarray] = []

    def __call__(self, hu: np.ndarray) -> np.ndarray:
        self.seen.append(hu.copy())
        return hu[:, self.context : self.context + 1] / 2

    def describe(self) -> Step:
        return Step("halving")


@pytest.fixture
def scan() -> Scan:
    generator = np.random.default_rng(0)
    hu = generator.integers(-900, 900, (5, 17, 23)).astype(np.float32)
    padding = np.zeros(hu.shape, bool)
    padding[:, :3, :4] = True
    hu[padding] = -2000
    return Scan.from_array(hu, padding=padding)


def test_identity_gives_every_value_bit_for_bit(scan):
    assert denoise(scan, Identity()).hu.tobytes() == scan.hu.tobytes()


def test_strength_blends_linearly(scan):
    valid = ~np.stack([slice_.padding for slice_ in scan])
    for strength in (0.0, 0.3, 1.0):
        blended = denoise(scan, Halving(), strength).hu
        assert blended[valid] == pytest.approx(scan.hu[valid] * (1 - strength / 2), abs=1e-3)
    assert denoise(scan, Halving(), 0.0).hu.tobytes() == scan.hu.tobytes()


def test_padding_is_kept_and_never_shown(scan):
    halving = Halving()
    result = denoise(scan, halving).read(0)
    assert (result.hu[:3, :4] == -2000).all()
    assert result.padding.tobytes() == scan.read(0).padding.tobytes()
    assert (halving.seen[0][0, 0, :3, :4] == -1000).all()


def test_neighbours_are_given_in_order_and_repeated_at_the_ends(scan):
    halving = Halving(context=1)
    result = denoise(scan, halving)
    result.read(0)
    result.read(2)
    stacks = [seen[0][:, 5:] for seen in halving.seen]
    hu = scan.hu[:, 5:]
    assert np.array_equal(stacks[0], hu[[0, 0, 1]])
    assert np.array_equal(stacks[1], hu[[1, 2, 3]])


def counting(scan: Scan) -> tuple[Scan, list[int]]:
    """`scan`, and the numbers of the slices that have been read from it."""
    reads: list[int] = []

    def read(z: int):
        reads.append(z)
        return scan.read(z)

    return scan.with_slices(read, Step("count")), reads


class SlabWise:
    """Adds 1 HU to slabs of two slices, each shown with its neighbours, and records what it was shown."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def slabs(self, shape):
        return Span(0, 3, 0, 2), Span(1, 5, 2, 4), Span(3, 6, 4, 6)

    def of_slab(self, hu: np.ndarray, kept: slice) -> np.ndarray:
        self.seen.append(hu.copy())
        return hu[kept] + 1

    def describe(self) -> Step:
        return Step("slab-wise")


def test_slabs_are_made_once_and_their_slices_read_once(scan):
    counted, reads = counting(scan)
    slab_wise = SlabWise()
    result = denoise(counted, slab_wise)
    valid = ~np.stack([slice_.padding for slice_ in scan])
    hu = result.hu
    assert np.array_equal(hu[valid], scan.hu[valid] + 1)
    assert (hu[~valid] == -2000).all()
    assert reads == [0, 1, 2, 3, 4]
    shown = np.where(valid, scan.hu, -1000)
    assert len(slab_wise.seen) == 3
    for seen, part in zip(slab_wise.seen, (shown[0:3], shown[1:5], shown[3:5]), strict=True):
        assert np.array_equal(seen, part)


def test_slices_of_slabs_may_be_read_in_any_order(scan):
    whole = denoise(scan, SlabWise(), 0.5)
    expected = whole.hu
    for z in (4, 0, 2, 2, 1, 3):
        assert np.array_equal(whole.read(z).hu, expected[z])
    assert denoise(scan, SlabWise(), 0.0).hu.tobytes() == scan.hu.tobytes()


def test_slabs_that_are_no_images_never_become_some(scan):
    class Broken(SlabWise):
        def of_slab(self, hu: np.ndarray, kept: slice) -> np.ndarray:
            hu = hu[kept].copy()
            hu[hu == scan.hu[4, 10, 10]] = np.inf
            return hu

    class Shorter(SlabWise):
        def of_slab(self, hu: np.ndarray, kept: slice) -> np.ndarray:
            return hu[kept][1:]

    result = denoise(scan, Broken())
    result.read(0)
    with pytest.raises(DenoisingError, match="slice 4: slab-wise gave"):
        result.read(4)
    with pytest.raises(DenoisingError, match="not the slices it was shown"):
        denoise(scan, Shorter()).read(0)


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


def test_values_that_are_no_image_never_become_one(scan):
    class Broken(Halving):
        def __call__(self, hu: np.ndarray) -> np.ndarray:
            return np.full_like(hu, np.nan)

    with pytest.raises(DenoisingError, match="slice 3"):
        denoise(scan, Broken()).read(3)


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_outside_zero_to_one_is_refused(scan, strength):
    with pytest.raises(ValueError, match="strength"):
        denoise(scan, Identity(), strength)


def test_the_history_says_what_was_done(scan):
    step = denoise(scan, Halving(), 0.5).history[-1]
    assert step == Step("halving", {"strength": 0.5})


def test_reading_ahead_changes_nothing_and_reads_each_slice_once(scan):
    reads: list[int] = []

    def read(z: int):
        reads.append(z)
        return scan.read(z)

    counted = scan.with_slices(read, Step("count"))
    assert read_ahead(counted).hu.tobytes() == scan.hu.tobytes()
    assert reads == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("method", [*FILTERS, *bundled_models()])
def test_every_method_lowers_noise_and_keeps_the_mean(method):
    generator = np.random.default_rng(1)
    flat = np.full((2, 96, 104), 40.0)
    noise = gaussian_filter(generator.standard_normal(flat.shape), (0, 0.7, 0.7))
    noisy = Scan.from_array(flat + 30 * noise / noise.std(), spacing=(3.0, 0.8, 0.8))
    result = denoise(noisy, make_denoiser(method, noisy)).hu
    assert result.std() < 0.85 * noisy.hu.std()
    assert abs(result.mean() - noisy.hu.mean()) < 1.0


def test_every_filter_has_its_line():
    assert set(METHOD_SUMMARIES) == {*FILTERS, *COMPARATORS, "identity"}


def test_unknown_methods_and_settings_are_named():
    with pytest.raises(MethodError, match=r"unknown method 'magic'.*gaussian"):
        model_folder("magic")
    with pytest.raises(MethodError, match="median has no setting radius; it has noise, size_px"):
        check_method("median", {"radius": 3.0})
    with pytest.raises(MethodError, match="identity has no settings"):
        check_method("identity", {"noise": 3.0})


def test_a_folder_without_a_card_is_no_model(tmp_path: Path):
    with pytest.raises(MethodError, match="unknown method"):
        make_denoiser(str(tmp_path), Scan.from_array(np.zeros((1, 4, 4))))
