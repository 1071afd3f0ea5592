"""Filters against closed forms, independent code and the promises every one of them makes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal

from lowdose.filters import (
    FILTERS,
    Filter,
    default_settings,
    gaussian,
    make_filter,
    median,
    non_local_means,
    total_variation,
    typical_sigma_px,
    wiener,
)
from lowdose.scan import Scan

Image = NDArray[np.float32]
EVERY_FILTER = pytest.mark.parametrize("name", FILTERS)


def image(values: NDArray[np.floating] | float, shape: tuple[int, int] = (96, 96)) -> Image:
    return np.broadcast_to(np.asarray(values, np.float32), shape).copy()


def white(shape: tuple[int, int] = (96, 96), seed: int = 0) -> Image:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def correlated(shape: tuple[int, int] = (96, 96), seed: int = 0) -> Image:
    """Noise of unit variance whose spectrum rises from zero and falls again, as that of CT does."""
    f = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :])
    spectrum = f * np.exp(-0.5 * (f / 0.25) ** 2)
    spectrum *= spectrum.size / spectrum.sum()
    return np.fft.ifft2(np.fft.fft2(white(shape, seed)) * np.sqrt(spectrum)).real.astype(np.float32)


def total(hu: Image) -> float:
    """Total variation in HU of all neighbouring pairs."""
    values = hu.astype(np.float64)
    return float(np.abs(np.diff(values, axis=0)).sum() + np.abs(np.diff(values, axis=1)).sum())


# every filter


@EVERY_FILTER
def test_no_noise_gives_the_input_bit_for_bit(name: str) -> None:
    hu = (300.0 * white()).astype(np.float32)
    hu[3, 4] = -0.0
    filtered = FILTERS[name](hu, noise=0.0)
    assert filtered.tobytes() == hu.tobytes()
    assert filtered is not hu


@EVERY_FILTER
@pytest.mark.parametrize("value", [-1000.0, -0.1, 33.3, 20000.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 1), (2, 2), (31, 17), (0, 5)])
def test_a_constant_image_stays_what_it_is(name: str, value: float, shape: tuple[int, int]) -> None:
    hu = image(value, shape)
    filtered = FILTERS[name](hu, noise=30.0)
    assert filtered.dtype == np.float32
    assert np.array_equal(filtered, hu)
    assert filtered.shape == shape


@EVERY_FILTER
def test_the_input_is_left_alone(name: str) -> None:
    hu = image(40.0 + 30.0 * white())
    before = hu.copy()
    FILTERS[name](hu, noise=30.0)
    assert np.array_equal(hu, before)


@EVERY_FILTER
def test_a_constant_added_before_is_a_constant_added_after(name: str) -> None:
    hu = image(40.0 + 30.0 * correlated())
    hu[40:60, 40:60] += 500.0
    shifted = FILTERS[name](hu + np.float32(128.0), noise=30.0) - np.float32(128.0)
    np.testing.assert_allclose(shifted, FILTERS[name](hu, noise=30.0), atol=2e-3)


@EVERY_FILTER
def test_noise_falls_and_the_mean_stays(name: str) -> None:
    shape = (256, 256)
    noise = 30.0 * correlated(shape)
    filtered = FILTERS[name](image(40.0 + noise, shape), noise=30.0)
    inside = filtered[8:-8, 8:-8].astype(np.float64)
    assert abs(inside.mean() - 40.0 - noise[8:-8, 8:-8].mean(dtype=np.float64)) < 0.2
    assert inside.std() < 0.9 * 30.0


@EVERY_FILTER
def test_rows_and_columns_are_treated_alike(name: str) -> None:
    hu = image(40.0 + 30.0 * correlated())
    hu[20:70, 30:50] += 200.0
    transposed = FILTERS[name](hu.T.copy(), noise=30.0)
    np.testing.assert_allclose(transposed, FILTERS[name](hu, noise=30.0).T, atol=2e-3)


@pytest.mark.parametrize("name", [name for name in FILTERS if name != "total-variation"])
def test_left_and_right_are_treated_alike(name: str) -> None:
    """Total variation is left out: its gradient looks to the right and down."""
    hu = image(40.0 + 30.0 * correlated())
    hu[20:70, 30:50] += 200.0
    mirrored = FILTERS[name](hu[:, ::-1].copy(), noise=30.0)
    np.testing.assert_allclose(mirrored, FILTERS[name](hu, noise=30.0)[:, ::-1], atol=2e-3)


@EVERY_FILTER
def test_metal_changes_nothing_far_away_and_stays_metal(name: str) -> None:
    hu = image(40.0 + 30.0 * correlated())
    metal = hu.copy()
    metal[44:53, 44:53] = 20000.0
    without, filtered = FILTERS[name](hu, noise=30.0), FILTERS[name](metal, noise=30.0)
    assert filtered[48, 48] == pytest.approx(20000.0, rel=1e-3)
    far = np.ones(hu.shape, bool)
    far[24:73, 24:73] = False
    np.testing.assert_allclose(filtered[far], without[far], atol=0.05)


@EVERY_FILTER
def test_the_border_of_the_image_is_not_pulled_to_zero(name: str) -> None:
    filtered = FILTERS[name](image(-1000.0 + 10.0 * white((64, 64)), (64, 64)), noise=10.0)
    border = np.ones(filtered.shape, bool)
    border[2:-2, 2:-2] = False
    assert abs(filtered[border].mean() + 1000.0) < 2.0


@EVERY_FILTER
@pytest.mark.parametrize("noise", [-1.0, float("nan"), float("inf")])
def test_an_impossible_noise_level_is_refused(name: str, noise: float) -> None:
    with pytest.raises(ValueError, match="noise level is"):
        FILTERS[name](image(0.0), noise=noise)


@pytest.mark.parametrize("filter_", [total_variation, non_local_means])
def test_an_edge_survives_better_than_under_a_gaussian_of_equal_noise(filter_: object) -> None:
    """A disc of 100 HU in 20 HU of noise; the Gaussian is as wide as leaves the same noise on flat ground."""
    shape = (128, 128)
    y, x = np.indices(shape)
    radius = np.hypot(y - 64, x - 64)
    clean = np.where(radius < 32, 100.0, 0.0).astype(np.float32)
    hu = clean + 20.0 * correlated(shape)
    near, flat = np.abs(radius - 32) < 3, np.abs(radius - 32) > 8

    def error(filtered: Image, where: NDArray[np.bool_]) -> float:
        return float(np.sqrt(np.mean((filtered - clean)[where] ** 2)))

    filtered = filter_(hu, noise=20.0)  # type: ignore[operator]
    widths = np.arange(0.3, 3.0, 0.05)
    rival = next(
        blurred
        for blurred in (gaussian(hu, noise=20.0, sigma_px=width) for width in widths)
        if error(blurred, flat) <= error(filtered, flat)
    )
    assert error(filtered, near) < 0.8 * error(rival, near)


# Gaussian


def test_gaussian_of_an_impulse_is_the_kernel() -> None:
    hu = image(0.0, (41, 41))
    hu[20, 20] = 1000.0
    offset = np.arange(-20, 21)
    kernel = np.exp(-0.5 * (offset / 2.0) ** 2)
    kernel[np.abs(offset) > 8] = 0.0
    kernel /= kernel.sum()
    expected = 1000.0 * np.outer(kernel, kernel)
    np.testing.assert_allclose(gaussian(hu, noise=10.0, sigma_px=2.0), expected, atol=1e-4)


def test_gaussian_is_linear() -> None:
    a, b = image(100.0 * white(seed=1)), image(100.0 * white(seed=2))
    together = gaussian(2 * a - 3 * b, noise=20.0)
    np.testing.assert_allclose(together, 2 * gaussian(a, noise=20.0) - 3 * gaussian(b, noise=20.0), atol=1e-3)


@pytest.mark.parametrize("sigma_px", [1.0, 1.5, 2.5])
def test_gaussian_leaves_one_over_4_pi_s2_of_white_variance(sigma_px: float) -> None:
    filtered = gaussian(30.0 * white((512, 512)), noise=30.0, sigma_px=sigma_px)
    assert filtered.var() / 900.0 == pytest.approx(1 / (4 * np.pi * sigma_px**2), rel=0.06)


def test_gaussian_grows_with_the_noise() -> None:
    hu = image(30.0 * white())
    assert typical_sigma_px(100.0) == 1.0
    assert np.array_equal(gaussian(hu, noise=100.0), gaussian(hu, noise=5.0, sigma_px=1.0))


# median


def test_median_removes_an_impulse_and_keeps_a_straight_edge() -> None:
    hu = image(40.0)
    hu[:, 50:] = 140.0
    edge = hu.copy()
    hu[20, 20] = 3000.0
    assert np.array_equal(median(hu, noise=10.0), edge)


def test_median_by_hand() -> None:
    hu = np.array([[9, 1, 8], [2, 7, 3], [6, 4, 5]], np.float32)
    assert median(hu, noise=1.0)[1, 1] == 5.0


# Wiener


def test_wiener_agrees_with_scipy_inside_the_image() -> None:
    hu = image(40.0 + 30.0 * correlated())
    hu[30:60, 30:60] += 80.0
    expected = signal.wiener(hu.astype(np.float64), 5, noise=30.0**2)
    ours = wiener(hu, noise=30.0, size_px=5, smoothing=1.0)
    np.testing.assert_allclose(ours[2:-2, 2:-2], expected[2:-2, 2:-2], atol=1e-3)


def test_wiener_by_hand() -> None:
    """3 x 3 around the centre: mean 1, variance 8; noise variance 4 leaves half of 9 - 1."""
    hu = np.zeros((3, 3), np.float32)
    hu[1, 1] = 9.0
    assert wiener(hu, noise=2.0, size_px=3, smoothing=1.0)[1, 1] == pytest.approx(5.0)


# total variation


def test_total_variation_moves_two_plateaus_towards_each_other_by_w_over_their_length() -> None:
    """Along a step, u - hu = +-w / L minimises |step| + sum (u - hu)^2 / (2 w) for plateaus of L pixels."""
    hu = np.repeat(np.array([[0.0, 0.0, 100.0, 100.0]], np.float32), 6, axis=0)
    filtered = total_variation(hu, noise=20.0, smoothing=0.5)
    np.testing.assert_allclose(filtered, np.where(hu == 0, 10.0 / 2, 100.0 - 10.0 / 2), atol=0.05)


def test_total_variation_falls_and_the_mean_stays() -> None:
    hu = image(40.0 + 30.0 * correlated())
    filtered = total_variation(hu, noise=30.0)
    assert total(filtered) < 0.5 * total(hu)
    assert filtered.mean(dtype=np.float64) == pytest.approx(hu.mean(dtype=np.float64), abs=1e-3)


# non-local means


def test_non_local_means_is_the_formula() -> None:
    """Pixel by pixel: patches of 3 x 3 mirrored at the border, neighbours within 2 inside the image."""
    hu = (40.0 + 20.0 * white((9, 7))).astype(np.float32)
    padded = np.pad(hu.astype(np.float64), 1, mode="symmetric")
    expected = np.empty(hu.shape)
    for y, x in np.ndindex(hu.shape):
        values, weights = [], []
        for v, u in np.ndindex(hu.shape):
            if abs(v - y) <= 2 and abs(u - x) <= 2:
                difference = padded[y : y + 3, x : x + 3] - padded[v : v + 3, u : u + 3]
                weights.append(np.exp(-np.mean(difference**2) / (1.5 * 20.0) ** 2))
                values.append(hu[v, u])
        expected[y, x] = np.average(values, weights=weights)
    filtered = non_local_means(hu, noise=20.0, smoothing=1.5, patch_px=3, search_px=2)
    np.testing.assert_allclose(filtered, expected, atol=1e-4)


def test_non_local_means_does_not_lose_digits_to_what_lies_elsewhere() -> None:
    shape = (128, 128)
    hu = image(40.0 + 10.0 * correlated(shape), shape)
    beside = hu.copy()
    beside[:, :32] = np.where(np.indices((128, 32)).sum(0) % 2, 20000.0, -1000.0)
    plain, disturbed = (non_local_means(x, noise=10.0)[:, 48:] for x in (hu, beside))
    assert np.array_equal(plain, disturbed)


# Filter, make_filter


def scan_of(noise: float) -> Scan:
    shape = (128, 128)
    return Scan.from_array(np.stack([40.0 + noise * correlated(shape, seed) for seed in range(3)]))


@EVERY_FILTER
def test_make_filter_estimates_the_noise_and_says_so(name: str) -> None:
    made = make_filter(name, scan_of(25.0))
    assert made.noise == pytest.approx(25.0, rel=0.05)
    step = made.describe()
    assert step.name == name
    assert step.parameters["noise_hu"] == pytest.approx(made.noise, abs=1e-3)
    assert {**default_settings(name, made.noise)} == {
        key: value for key, value in step.parameters.items() if key != "noise_hu"
    }


@EVERY_FILTER
def test_the_settings_written_down_are_those_in_force(name: str) -> None:
    hu = image(40.0 + 25.0 * correlated())
    made = make_filter(name, scan_of(25.0), noise=31.0)
    assert np.array_equal(made(hu[None, None])[0, 0], FILTERS[name](hu, noise=31.0))


def test_a_filter_takes_batches_and_filters_each_slice_by_itself() -> None:
    batch = np.stack([image(40.0 + 20.0 * white(seed=seed))[None] for seed in range(3)])
    made = Filter("median", median, noise=20.0, settings={"size_px": 5})
    filtered = made(batch)
    assert made.context == 0
    assert filtered.shape == (3, 1, 96, 96)
    assert filtered.dtype == np.float32
    for before, after in zip(batch, filtered, strict=True):
        assert np.array_equal(after[0], median(before[0], noise=20.0, size_px=5))


@pytest.mark.parametrize("shape", [(96, 96), (1, 3, 96, 96)])
def test_a_filter_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(b, 1, y, x\)"):
        Filter("median", median, noise=20.0)(np.zeros(shape, np.float32))


def test_given_noise_and_settings_are_used_and_no_slice_is_read() -> None:
    scan = scan_of(25.0)
    blind = Scan(scan.name, scan.shape, scan.affine, lambda z: pytest.fail("a slice was read"))
    made = make_filter("wiener", blind, noise=10.0, size_px=7)
    assert made.describe().parameters == {"noise_hu": 10.0, "size_px": 7, "smoothing": 1.1}


def test_a_scan_without_noise_passes_unchanged() -> None:
    hu = np.full((2, 64, 64), 40.0, np.float32)
    hu[:, 20:40, 20:40] = 700.0
    for name in FILTERS:
        made = make_filter(name, Scan.from_array(hu))
        assert made.noise == 0.0
        assert np.array_equal(made(hu[:, None])[:, 0], hu)


def test_a_whole_number_may_come_as_a_float() -> None:
    hu = image(40.0 + 20.0 * white())
    made = make_filter("median", scan_of(25.0), noise=20.0, size_px=5.0)
    assert np.array_equal(made(hu[None, None])[0, 0], median(hu, noise=20.0, size_px=5))


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("gauss", {}, "the filters are gaussian, median, wiener, total-variation, non-local-means"),
        ("wiener", {"size": 5}, "wiener has no setting 'size'; its settings are size_px, smoothing"),
        ("gaussian", {"noise_hu": 5}, "its settings are sigma_px"),
        ("gaussian", {"sigma_px": -1.0}, "sigma_px is -1.0"),
        ("gaussian", {"sigma_px": "wide"}, "sigma_px is 'wide'"),
        ("median", {"size_px": 4}, "size_px is 4; it must be an odd number"),
        ("median", {"size_px": 2.5}, "size_px is 2.5; it must be a whole number"),
        ("total-variation", {"smoothing": float("nan")}, "smoothing is nan"),
        ("non-local-means", {"patch_px": 0}, "patch_px is 0; it must be an odd number"),
    ],
)
def test_wrong_settings_give_one_clear_sentence(name: str, settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        make_filter(name, scan_of(25.0), noise=20.0, **settings)
    assert sentence in str(error.value)
