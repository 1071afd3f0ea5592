import numpy as np
import pytest

from lowdose.quality.structural_change import change_of, noise_null, scale_px, smoothed

SIDE = 64
WINDOWS = [(slice(y, y + SIDE), slice(x, x + SIDE)) for y in (0, 64) for x in (0, 64)]
WHOLE = (slice(0, SIDE), slice(0, SIDE))


def realisations(n: int, seed: int, level: float = 30.0) -> np.ndarray:
    anatomy = np.where(np.hypot(*np.mgrid[-64:64, -64:64]) < 40, 50.0, -800.0)
    noise = np.random.default_rng(seed).normal(0, level, (n, 128, 128))
    return (anatomy + noise).astype(np.float32)


def spot(height: float) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    return (height * np.exp(-((y - 20) ** 2 + (x - 41) ** 2) / 8)).astype(np.float32)


def test_re_noising_alone_stays_below_the_limit_in_nineteen_of_twenty_new_pairs():
    null = noise_null(realisations(6, 1), 1.7, WINDOWS)
    fresh = realisations(40, 2)
    largest = [
        null.change(fresh[k][window] - fresh[k + 1][window], window).max()
        for k in range(0, 40, 2)
        for window in WINDOWS
    ]
    assert 0.0 <= np.mean(np.array(largest) > 1) <= 0.15


def test_the_deviation_of_white_noise_is_that_of_two_smoothed_realisations():
    null = noise_null(realisations(10, 3), 1.7, WINDOWS)
    expected = np.sqrt(2) * 30 / (2 * np.sqrt(np.pi) * 1.7)  # of white noise under a Gaussian
    assert np.median(null.deviation) == pytest.approx(expected, rel=0.1)


def test_the_same_change_of_input_and_output_is_an_answer():
    null = noise_null(realisations(6, 4), 1.7, WINDOWS)
    for height in (10.0, 100.0, 1000.0):
        change = change_of(spot(height), spot(height), null, null, WHOLE)
        assert change.structural == change.response
        assert change.consistent is (change.structural <= 1)


def test_a_change_that_the_output_lacks_is_found_where_it_is():
    null = noise_null(realisations(6, 4), 1.7, WINDOWS)
    change = change_of(spot(400.0), np.zeros((SIDE, SIDE), np.float32), null, null, WHOLE)
    assert change.consistent
    assert change.place == (20, 41)
    assert change.structural > 2
    assert change.response == 0.0


def test_a_change_within_noise_stays_below_one_even_if_the_output_lacks_it():
    null = noise_null(realisations(6, 4), 1.7, WINDOWS)
    change = change_of(spot(5.0), np.zeros((SIDE, SIDE), np.float32), null, null, WHOLE)
    assert change.structural < 1


def test_outputs_without_any_noise_have_a_floor():
    same = np.repeat(realisations(1, 5), 4, axis=0)
    null = noise_null(same, 1.7, WINDOWS)
    assert null.deviation.min() == 0.5
    assert np.isfinite(null.change(spot(100.0), WHOLE)).all()


def test_the_scale_is_in_millimetres_but_never_below_a_pixel():
    assert scale_px((0.6, 0.6)) == pytest.approx(2.0)
    assert scale_px((2.0, 2.0)) == 1.0


def test_smoothing_keeps_a_constant_to_the_rim():
    assert smoothed(np.full((2, 9, 9), 7.0), 2.0) == pytest.approx(7.0)


def test_three_realisations_tell_too_little():
    with pytest.raises(ValueError, match="3 realisations"):
        noise_null(realisations(3, 6), 1.7, WINDOWS)
