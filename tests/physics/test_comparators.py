"""Iterative reconstruction as a denoiser: its noise, its honesty, its settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lowdose.denoising import METHOD_SUMMARIES, MethodError, check_method, denoise, make_denoiser
from lowdose.physics.comparators import (
    COMPARATORS,
    STOPPED,
    Sample,
    _check_mean,
    make_comparator,
    setting_names,
)
from lowdose.physics.geometry import ImageGrid
from lowdose.physics.noise_matching import match_noise, noise_in_regions
from lowdose.scan import Scan
from tests.physics.phantoms import disc

GRID = ImageGrid((96, 96), (3.6, 3.6))
BODY, BONE = disc(GRID, 130.0), disc(GRID, 16.0, (60.0, 40.0))
TRUTH = -1000.0 + 1040.0 * BODY + 260.0 * BONE
TILES = np.zeros(GRID.shape, int)
TILES[24:56, 24:72] = np.kron(np.arange(1, 7).reshape(2, 3), np.ones((16, 16), int))
NOISE = 25.0


def scan_of(noise: float, n_slices: int = 3) -> Scan:
    """Water with bone in it, and the noise of a soft kernel in tissue."""
    white = np.random.default_rng(0).standard_normal((n_slices, *GRID.shape))
    grain = gaussian_filter(white, (0, 0.8, 0.8), mode="wrap")
    hu = TRUTH + noise * BODY * grain / grain.std()
    return Scan.from_array(hu, spacing=(3.0, *GRID.spacing))


@pytest.fixture(scope="module")
def scan() -> Scan:
    return scan_of(NOISE)


def noise_left(hu: np.ndarray) -> float:
    return float(np.mean([noise_in_regions(one, TILES) for one in hu]))


EVERY_WAY = pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("iterative-tv", {}),
        ("iterative-tv", {"algorithm": "primal-dual"}),
        ("iterative-tv", {"algorithm": "asd-pocs"}),
        ("sirt", {}),
        ("os-sart", {}),
        ("cgls", {}),
    ],
    ids=["fista", "primal-dual", "asd-pocs", "sirt", "os-sart", "cgls"],
)


@EVERY_WAY
def test_the_noise_is_what_was_asked_for(name, settings):
    scan = scan_of(NOISE, n_slices=1)
    comparator = make_denoiser(name, scan, {**settings, "reduction": 0.4})
    result = denoise(scan, comparator)
    # What is left is coarser than it was, and the noise is matched in the flattest squares, about a plane;
    # about the mean of larger tiles there is more of it, most after the few iterations of CGLS.
    within = 0.25 if name == "cgls" else 0.12
    assert noise_left(result.hu) == pytest.approx(0.6 * noise_left(scan.hu), rel=within)
    assert (result.hu - scan.hu)[:, TILES > 0].mean() == pytest.approx(0.0, abs=1.0)
    step = result.history[-1]
    assert step.name == name
    assert step.parameters["virtual_projections"] == "fan beam, 144 views of 146 channels"
    assert step.parameters["target_noise_hu"] == pytest.approx(
        0.6 * step.parameters["noise_of_the_scan_hu"], rel=1e-3
    )
    assert ("algorithm" in step.parameters) == (name == "iterative-tv")


def test_the_same_strength_is_the_same_image_by_either_algorithm(scan):
    fista, primal_dual = (
        make_comparator("iterative-tv", scan, algorithm=algorithm, regularisation=300.0)
        for algorithm in ("fista", "primal-dual")
    )
    hu = scan.read(0).hu[None, None]
    difference = (fista(hu) - primal_dual(hu))[0, 0]
    assert np.sqrt((difference[TILES > 0] ** 2).mean()) < 0.1 * NOISE


def test_at_equal_noise_total_variation_keeps_edges_that_a_blur_does_not(scan):
    hu = scan.read(0).hu
    comparator = make_comparator("iterative-tv", scan, reduction=0.5)
    ours = comparator(hu[None, None])[0, 0]
    level = noise_left(ours[None])
    blur = match_noise(lambda s: gaussian_filter(hu, s), lambda one: noise_left(one[None]), level, start=1.0)
    blurred = gaussian_filter(hu, blur.parameter)
    edge = (gaussian_filter(BODY, 1.0) > 0.02) & (gaussian_filter(BODY, 1.0) < 0.98)
    errors = [np.sqrt(((one - TRUTH)[edge] ** 2).mean()) for one in (ours, blurred)]
    assert errors[0] < 0.5 * errors[1]


def test_iterations_may_be_done_in_part(scan):
    hu = scan.read(0).hu[None, None]
    three, half, four = (make_comparator("cgls", scan, iterations=n)(hu) for n in (3.0, 3.5, 4.0))
    assert half == pytest.approx((three + four) / 2, abs=1e-2)
    assert np.abs(four - three).max() > 10.0


def test_more_iterations_of_sirt_come_closer_to_the_image(scan):
    hu = scan.read(0).hu[None, None]
    errors = [float(np.abs(make_comparator("sirt", scan, iterations=n)(hu) - hu).mean()) for n in (5, 20, 80)]
    assert errors[0] > 1.5 * errors[1] > 2.0 * errors[2]


@pytest.mark.parametrize("name", COMPARATORS)
def test_a_scan_with_no_more_noise_than_wanted_stays_bit_for_bit(scan, name):
    for silent, settings in ((scan_of(0.0, 1), {}), (scan, {"target_noise": 80.0})):
        comparator = make_comparator(name, silent, **settings)
        assert comparator.parameter is None
        assert denoise(silent, comparator).hu.tobytes() == silent.hu.tobytes()


def test_strength_zero_and_padding_stay_bit_for_bit(scan):
    padding = np.zeros(scan.shape, bool)
    padding[:, :20] = True
    hu = np.where(padding, np.float32(-2000.0), scan.hu)
    padded = Scan.from_array(hu, spacing=scan.spacing, padding=padding)
    comparator = make_comparator("cgls", padded, iterations=4.0)
    assert denoise(padded, comparator, strength=0.0).hu.tobytes() == hu.tobytes()
    result = denoise(padded, comparator).hu
    assert result[padding].tobytes() == hu[padding].tobytes()
    assert not np.array_equal(result[~padding], hu[~padding])


def test_where_there_is_no_soft_tissue_the_quietest_squares_are_used():
    """A light foam, far from soft tissue in HU; only air is too little."""
    noisy = scan_of(NOISE, 1).hu - 500.0
    comparator = make_comparator("cgls", Scan.from_array(noisy, spacing=(3.0, *GRID.spacing)))
    assert comparator.facts["noise_of_the_scan_hu"] == pytest.approx(NOISE, rel=0.2)
    with pytest.raises(ValueError, match="no flat region in which to match the noise"):
        make_comparator("sirt", Scan.from_array(np.full((1, 96, 96), -1000.0)))


@pytest.mark.parametrize("name", COMPARATORS)
def test_every_setting_of_the_summary_is_one(name):
    assert "virtual projections" in METHOD_SUMMARIES[name]
    for setting in setting_names(name):
        summary = (
            METHOD_SUMMARIES[name] if "as sirt" not in METHOD_SUMMARIES[name] else METHOD_SUMMARIES["sirt"]
        )
        assert setting.replace("_", "-") in summary


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        (
            "sirt",
            {"sigma_px": 1.0},
            "sirt has no setting sigma_px; it has iterations, reduction",
        ),
        ("sirt", {"reduction": 1.0}, "reduction is 1; it is the share of the noise to take away, below 1"),
        ("cgls", {"target_noise": -3.0}, "target_noise is -3.0; it must be a number above 0"),
        ("cgls", {"iterations": "many"}, "iterations is 'many'; it must be a number above 0"),
        (
            "iterative-tv",
            {"regularisation": 1.0, "reduction": 0.5},
            "regularisation and reduction both say how much",
        ),
        (
            "iterative-tv",
            {"algorithm": "magic"},
            "there is no algorithm 'magic'; there are fista",
        ),
        (
            "iterative-tv",
            {"tolerance": 1.0},
            "this algorithm of iterative-tv has a regularisation, no tolerance",
        ),
    ],
)
def test_wrong_settings_are_one_sentence_before_a_scan_is_read(name, settings, words):
    with pytest.raises(MethodError, match=words):
        check_method(name, settings)


def test_slices_of_another_shape_are_refused(scan):
    with pytest.raises(ValueError, match="cgls is ready for slices"):
        make_comparator("cgls", scan, iterations=3.0)(np.zeros((1, 1, 5, 5), np.float32))


def test_noise_that_iterations_do_not_reach_is_one_sentence(scan, monkeypatch):
    monkeypatch.setitem(STOPPED, "sirt", replace(STOPPED["sirt"], most=4))
    with pytest.raises(MethodError, match=r"after 4 iterations the noise is .* ask for other noise"):
        make_denoiser("sirt", scan, {"target_noise": 0.9 * NOISE})


def test_an_image_that_is_not_there_yet_is_refused():
    """Few iterations of a sharp algorithm leave little noise because they leave little of the image."""
    sample = Sample([np.zeros((64, 64), np.float32)], [np.array([[8, 8], [30, 30]])])
    _check_mean(sample, [np.full((64, 64), 9.0, np.float32)])
    with pytest.raises(ValueError, match=r"flat regions still read -106 HU off: .* take less noise away"):
        _check_mean(sample, [np.full((64, 64), -106.0, np.float32)])
