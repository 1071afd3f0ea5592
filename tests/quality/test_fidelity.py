import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from lowdose.quality.fidelity import (
    METRICS,
    Protocol,
    bias,
    body,
    mean_difference,
    psnr,
    rmse,
    smoothed,
    soft_tissue,
    soft_tissue_bias,
    ssim,
)

WINDOW = (-160.0, 240.0)


def noisy(
    shape: tuple[int, ...] = (40, 44), level: float = 30.0, seed: int = 1, base: float = 60.0
) -> np.ndarray:
    return np.random.default_rng(seed).normal(base, level, shape)


def test_rmse_of_a_few_pixels_by_hand():
    reference = np.array([[0.0, 10.0], [-1000.0, 50.0]])
    comparison = np.array([[3.0, 10.0], [-160.0, 54.0]])
    # -1000 is clipped to -160, where the comparison already is: the differences are 3, 0, 0 and 4.
    assert rmse(reference, comparison, WINDOW) == pytest.approx(2.5)
    assert rmse(reference, comparison, WINDOW, np.array([[True, True], [False, False]])) == pytest.approx(
        math.sqrt(4.5)
    )


def test_psnr_is_twenty_decibels_where_the_error_is_a_tenth_of_the_window():
    reference = np.zeros((5, 5))
    assert psnr(reference, reference + 40.0, WINDOW) == pytest.approx(20.0)


@pytest.mark.parametrize("name", METRICS)
def test_equal_images_have_the_ideal_value(name: str):
    image = noisy((64, 64), level=5.0)
    assert METRICS[name](image, image, WINDOW) == METRICS[name].ideal


@pytest.mark.parametrize("name", METRICS)
def test_masked_pixels_do_not_count(name: str):
    reference = noisy((64, 64), level=5.0)
    comparison = reference + 7.0 + noisy((64, 64), level=2.0, seed=2, base=0.0)
    mask = np.zeros((64, 64), bool)
    mask[:, :40] = True
    spoiled = np.where(mask, comparison, 3000.0)
    value = METRICS[name](reference, comparison, WINDOW, mask)
    assert math.isfinite(value)
    assert METRICS[name](reference, spoiled, WINDOW, mask) == value
    assert METRICS[name](reference, spoiled, WINDOW) != value
    assert METRICS[name](reference, np.where(mask, comparison, np.nan), WINDOW, mask) == value


@pytest.mark.parametrize("name", METRICS)
def test_no_counted_pixel_gives_no_number(name: str):
    image = noisy((64, 64))
    assert math.isnan(METRICS[name](image, image + 1, WINDOW, np.zeros((64, 64), bool)))


@pytest.mark.parametrize("name", METRICS)
def test_a_stack_of_one_slice_is_that_slice(name: str):
    reference, comparison = noisy((64, 64), 5.0), noisy((64, 64), 9.0, seed=2)
    value = METRICS[name](reference, comparison, WINDOW)
    assert METRICS[name](reference[None], comparison[None], WINDOW) == value


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("comparison", "window", "mask", "sentence"),
    [
        (np.zeros((20, 21)), WINDOW, None, "the reference has the shape"),
        (np.full((20, 20), np.nan), WINDOW, None, "not a number"),
        (np.zeros((20, 20)), (100.0, 100.0), None, "upper edge must be above"),
        (np.zeros((20, 20)), WINDOW, np.ones((20, 1), bool), "the mask"),
    ],
)
def test_what_cannot_be_measured_is_refused(name, comparison, window, mask, sentence):
    with pytest.raises(ValueError, match=sentence):
        METRICS[name](np.zeros((20, 20)), comparison, window, mask)


def test_ssim_of_two_constants_is_the_luminance_term():
    x, y, data_range = 200.0, 240.0, 400.0
    c1 = (0.01 * data_range) ** 2
    expected = (2 * x * y + c1) / (x**2 + y**2 + c1)
    reference = np.full((16, 16), x + WINDOW[0])
    assert ssim(reference, reference + (y - x), WINDOW) == pytest.approx(expected, rel=1e-12)


def in_window(image: np.ndarray) -> np.ndarray:
    return np.clip(image, *WINDOW) - WINDOW[0]


def test_ssim_agrees_with_scikit_image():
    reference, comparison = noisy(level=60.0), noisy(level=60.0) + noisy(level=40.0, seed=2, base=0.0)
    expected = structural_similarity(
        in_window(reference),
        in_window(comparison),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=400.0,
    )
    assert ssim(reference, comparison, WINDOW) == pytest.approx(expected, abs=1e-12)


def test_ssim_and_psnr_agree_with_torchmetrics():
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.image")
    reference = noisy((3, 40, 44), level=60.0)
    comparison = reference + noisy((3, 40, 44), level=40.0, seed=2, base=0.0)
    first = torch.from_numpy(in_window(reference))[:, None]
    second = torch.from_numpy(in_window(comparison))[:, None]
    # torchmetrics also averages over borders it made up by reflection; ours are the pixels in between.
    _, similarity = functional.structural_similarity_index_measure(
        second, first, data_range=400.0, return_full_image=True
    )
    ratio = functional.peak_signal_noise_ratio(second, first, data_range=400.0)
    assert ssim(reference, comparison, WINDOW) == pytest.approx(
        float(similarity[..., 5:-5, 5:-5].mean()), abs=1e-9
    )
    assert psnr(reference, comparison, WINDOW) == pytest.approx(float(ratio), abs=1e-6)


def test_ssim_needs_a_whole_neighbourhood():
    assert math.isnan(ssim(np.zeros((10, 30)), np.zeros((10, 30)), WINDOW))


@given(shift=st.floats(-100, 100), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_a_constant_shift_is_the_bias(shift: float, seed: int):
    reference = noisy((48, 48), level=4.0, seed=seed, base=50.0)
    assert bias(reference, reference + shift, WINDOW) == pytest.approx(shift, abs=1e-9)
    assert soft_tissue_bias(reference, reference + shift, WINDOW) == pytest.approx(shift, abs=1e-9)


def test_bias_is_signed_comparison_minus_reference():
    both = np.array([[True, True]])
    assert mean_difference(np.array([[10.0, 20.0]]), np.array([[13.0, 27.0]]), both) == 5.0


def test_noise_does_not_choose_the_pixels_of_the_bias():
    """Two independent noisy looks at one tissue: a threshold on either sees a bias that is not there."""
    truth = np.full((256, 256), 0.0)
    rng = np.random.default_rng(3)
    reference, comparison = truth + rng.normal(0, 30, truth.shape), truth + rng.normal(0, 30, truth.shape)
    thresholded = mean_difference(reference, comparison, (reference > -20) & (reference < 150))
    assert thresholded < -10
    assert abs(soft_tissue_bias(reference, comparison, WINDOW)) < 0.5


def test_soft_tissue_leaves_out_edges_and_other_matter():
    image = np.full((90, 90), 40.0)
    image[:, 60:] = -800.0
    chosen = soft_tissue(image, np.ones_like(image, bool))
    assert chosen[:, :40].all()
    assert not chosen[:, 52:].any()


def test_smoothing_takes_what_was_not_measured_as_air():
    image = np.full((40, 40), 50.0)
    measured = np.ones((40, 40), bool)
    measured[:20] = False
    assert np.array_equal(
        smoothed(np.where(measured, image, -3024.0), measured),
        smoothed(np.where(measured, image, 9e9), measured),
    )
    assert smoothed(image, measured)[2, 20] == pytest.approx(-1000.0, abs=1.0)


def test_body_has_its_lungs_and_nothing_outside():
    y, x = np.mgrid[:120, :120] - 60
    image = np.where(np.hypot(y, x) < 45, 40.0, -1000.0)
    image[np.hypot(y, x) < 20] = -850.0
    inside = body(image, np.ones_like(image, bool))
    assert inside[np.hypot(y, x) < 40].all()
    assert not inside[np.hypot(y, x) > 50].any()
    mask = Protocol(mask="body").counted(image, np.ones_like(image, bool))
    assert np.array_equal(mask, inside)


def test_a_protocol_says_what_it_is_in_one_line():
    line = str(Protocol((-160, 240)))
    assert line == "window −160 to 240 HU (data range 400 HU), all pixels but padding, one value per case"
    assert "the body" in str(Protocol(mask="body"))
    assert Protocol((-1000, 1000)).data_range == 2000


def test_a_protocol_refuses_what_makes_no_sense():
    with pytest.raises(ValueError, match="upper edge"):
        Protocol((240, -160))
    with pytest.raises(ValueError, match="mask rule"):
        Protocol(mask="everything")
