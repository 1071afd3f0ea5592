from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lowdose.denoising import (
    METHOD_SUMMARIES,
    Identity,
    MethodError,
    check_method,
    denoise,
    make_denoiser,
    model_folder,
)
from lowdose.filters import FILTERS
from lowdose.models.card import bundled_models, load_card
from lowdose.models.denoiser import DenoisingError
from lowdose.models.tiles import Span
from lowdose.physics.comparators import COMPARATORS
from lowdose.provenance import Step
from lowdose.scan import Scan, read_ahead
from tests.models.counted_scan import counting


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


FOR_BODIES = [name for name in bundled_models() if not name.startswith("microct")]
"""Models of micro-CT draw what they see at a clinical scale towards the tissues of mice."""


def flat_and_noisy():
    """Soft tissue with the noise and pixels of a clinical scan."""
    noise = gaussian_filter(np.random.default_rng(1).standard_normal((2, 96, 104)), (0, 0.7, 0.7))
    return Scan.from_array(40.0 + 30 * noise / noise.std(), spacing=(3.0, 0.8, 0.8))


@pytest.mark.parametrize("method", [*FILTERS, *FOR_BODIES])
def test_every_method_lowers_noise_and_keeps_the_mean(method):
    noisy = flat_and_noisy()
    result = denoise(noisy, make_denoiser(method, noisy)).hu
    assert result.std() < 0.85 * noisy.hu.std()
    assert abs(result.mean() - noisy.hu.mean()) < 1.0


@pytest.mark.parametrize("method", sorted(set(bundled_models()) - set(FOR_BODIES)))
def test_models_of_mice_shift_a_clinical_scan_as_their_cards_say_and_warn(method):
    noisy = flat_and_noisy()
    result = denoise(noisy, make_denoiser(method, noisy))
    assert 10 <= result.hu.mean() - noisy.hu.mean() <= 15
    assert any(
        "10 to 15 HU too bright" in limit for limit in load_card(bundled_models()[method]).known_limits
    )
    assert any("pixels" in note for note in result.notes)


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
