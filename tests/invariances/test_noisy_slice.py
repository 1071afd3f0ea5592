import numpy as np
import pytest

from lowdose.invariances.candidates import judged
from lowdose.invariances.noisy_slice import direction_effect, noise_kept, noisy_slice, over_slices, place_in
from lowdose.quality.structural_change import smoothed
from lowdose.quality.structures import LUNG, SOFT, VESSEL
from lowdose.scan import Scan
from tests.invariances.chests import chest
from tests.invariances.places import CONSTANT, IDENTITY, Slicewise

SPACING = (3.0, 1.5, 1.5)
LOW = [Scan.from_array(chest(n=1, seed=seed).hu, spacing=SPACING) for seed in range(6)]
OWN = Scan.from_array(np.mean([one.hu for one in LOW], axis=0), spacing=SPACING)
LUNG_WINDOW = (slice(80, 144), slice(125, 189))


def test_a_method_that_halves_everything_leaves_half_the_noise_and_all_of_its_realisation():
    slice_ = noisy_slice(OWN, LOW, Slicewise("half", lambda hu: 0.5 * hu), 0, 1.7)
    for kept in noise_kept(slice_):
        assert kept.input == pytest.approx(12, rel=0.1)
        assert kept.output == pytest.approx(0.5 * kept.input, rel=1e-4)
        assert kept.correlation == pytest.approx(1.0, abs=1e-4)


def test_a_method_with_noise_of_its_own_is_told_by_the_correlation():
    generator = np.random.default_rng(1)
    method = Slicewise(
        "own noise", lambda hu: (0 * hu + generator.normal(0, 10, hu.shape)).astype(np.float32)
    )
    for kept in noise_kept(noisy_slice(OWN, LOW, method, 0, 1.7)):
        assert kept.output == pytest.approx(10, rel=0.05)
        assert abs(kept.correlation) < 0.05


def test_over_slices_the_means_count():
    slice_ = noisy_slice(OWN, LOW, IDENTITY, 0, 1.7)
    kept = noise_kept(slice_)
    assert [one.tissue for one in kept] == [LUNG, SOFT]
    assert over_slices([kept, kept]) == tuple(kept)


def test_a_vessel_that_vanishes_alters_anatomy_and_noise_does_not():
    slice_ = noisy_slice(OWN, LOW, CONSTANT, 0, 1.7)
    place = place_in(slice_, CONSTANT, LUNG_WINDOW)
    emptied = np.where(place.input > -700, np.float32(-850), place.input)
    gone, noisy = (
        direction_effect(place, slice_, 0.5, judged(place, one[None], "test")[0])
        for one in (emptied, chest(n=1, seed=9).hu[0][LUNG_WINDOW])
    )
    assert gone.alters_anatomy
    assert gone.structure in (VESSEL, SOFT)
    assert gone.density > 400
    assert gone.dice < 0.5
    assert noisy.times_noise < 4  # where it happens to be strong it is more than elsewhere
    assert not noisy.alters_anatomy


def test_the_density_of_a_direction_is_that_of_the_structure_it_touches():
    slice_ = noisy_slice(OWN, LOW, CONSTANT, 0, 1.7)
    place = place_in(slice_, CONSTANT, (slice(80, 144), slice(80, 144)))
    y, x = np.mgrid[:64, :64]
    disc = np.where(np.hypot(y - 32, x - 32) < 15, np.float32(-80), np.float32(0))
    effect = direction_effect(place, slice_, 0.5, judged(place, (place.input + disc)[None], "test")[0])
    assert effect.structure == SOFT
    assert effect.density == pytest.approx(80, rel=0.15)
    of_noise = [smoothed(one - slice_.inputs[0], 1.7) for one in slice_.inputs[1:]]
    spread = np.std([one[108:117, 108:117].mean() for one in of_noise])
    assert 0.3 * spread < effect.density_by_noise < 6 * spread


def test_where_nothing_changes_there_is_no_structure_to_speak_of():
    slice_ = noisy_slice(OWN, LOW, CONSTANT, 0, 1.7)
    place = place_in(slice_, CONSTANT, LUNG_WINDOW)
    effect = direction_effect(place, slice_, 0.5, judged(place, place.input[None], "test")[0])
    assert (effect.structure, effect.times_noise, effect.dice) == ("nothing", 0.0, 1.0)
    assert not effect.alters_anatomy


def test_the_tissue_is_that_of_the_place_and_not_of_the_window():
    slice_ = noisy_slice(OWN, LOW, CONSTANT, 0, 1.7)
    place = place_in(slice_, CONSTANT, (slice(80, 144), slice(80, 144)))
    y, x = np.mgrid[:64, :64]
    for at, expected in (((32, 32), SOFT), ((32, 55), LUNG)):
        spot = 300 * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / 8)
        (candidate,) = judged(place, (place.input + spot).astype(np.float32)[None], "test")
        assert slice_.tissue_at(place, candidate) == expected
