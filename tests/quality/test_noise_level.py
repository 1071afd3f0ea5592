"""The noise level of phantoms whose noise is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lowdose.quality.noise_level import flat_soft_tissue, global_noise_level, scan_noise_level
from lowdose.scan import Scan, Slice

SPACING = (0.8, 0.8)
SHAPE = (256, 256)
Y, X = np.indices(SHAPE)


def disc(y: float, x: float, radius: float) -> NDArray[np.bool_]:
    return np.hypot(Y - y, X - x) < radius


def thorax(soft_tissue: float = 40.0) -> NDArray[np.float64]:
    """A body in air with two lungs, a liver 60 HU brighter, a fat pad and bone: edges of every height."""
    hu = np.full(SHAPE, -1000.0)
    hu[disc(128, 128, 115)] = soft_tissue
    hu[disc(128, 70, 35)] = -850.0
    hu[disc(100, 190, 28)] = -850.0
    hu[disc(180, 150, 30)] = soft_tissue + 60.0
    hu[disc(190, 80, 15)] = -100.0
    hu[disc(60, 128, 12)] = 700.0
    return hu


def white(seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(SHAPE)


def ramp_noise(peak: float, seed: int = 0) -> NDArray[np.float64]:
    """Noise of unit variance with a ramp-shaped spectrum, rounded off so that it peaks at `peak` in 1/px."""
    f = np.hypot(np.fft.fftfreq(SHAPE[0])[:, None], np.fft.fftfreq(SHAPE[1])[None, :])
    spectrum = f * np.exp(-0.5 * (f / peak) ** 2)
    spectrum *= spectrum.size / spectrum.sum()
    noise: NDArray[np.float64] = np.fft.ifft2(np.fft.fft2(white(seed)) * np.sqrt(spectrum)).real
    return noise


@pytest.mark.parametrize("sigma", [5.0, 10.0, 35.0, 60.0])
def test_white_noise_is_found_among_edges(sigma: float) -> None:
    assert global_noise_level([thorax() + sigma * white()], SPACING) == pytest.approx(sigma, rel=0.03)


@pytest.mark.parametrize("peak", [0.14, 0.21, 0.3])
def test_ramp_shaped_noise_is_found_among_edges(peak: float) -> None:
    slices = [thorax() + 30.0 * ramp_noise(peak, seed) for seed in range(4)]
    assert global_noise_level(slices, SPACING) == pytest.approx(30.0, rel=0.05)


def test_the_level_scales_with_the_noise() -> None:
    one, seven = (global_noise_level([40.0 + factor * 8.0 * white()], SPACING) for factor in (1, 7))
    assert seven == pytest.approx(7 * one, rel=0.005)


def test_a_constant_within_soft_tissue_changes_nothing() -> None:
    darker, brighter = (global_noise_level([hu + 20.0 * white()], SPACING) for hu in (thorax(20), thorax(50)))
    assert brighter == pytest.approx(darker, rel=0.01)


def test_the_edge_of_the_region_adds_no_noise() -> None:
    """A strip of tissue 5 px wide at 100 HU: zeros beside it would add an SD of tens of HU."""
    hu = np.where(np.abs(Y % 40 - 20) <= 2, 100.0 + 10.0 * white(), np.nan)
    assert global_noise_level([hu], SPACING) == pytest.approx(10.0, rel=0.05)


def test_what_lies_below_padding_is_ignored() -> None:
    hu = thorax() + 20.0 * white()
    outside = ~disc(128, 128, 105)
    levels = []
    for value in (-3024.0, 40.0, 30000.0, np.nan):
        padded = Scan.from_array(np.where(outside, value, hu)[None], padding=outside[None])
        levels.append(scan_noise_level(padded))
    assert levels == [levels[0]] * 4
    assert levels[0] == pytest.approx(20.0, rel=0.03)


@pytest.mark.parametrize("value", [-1000.0, -300.0, 40.0, 1200.0])
def test_an_image_without_noise_has_level_zero(value: float) -> None:
    assert global_noise_level([np.full(SHAPE, value)], SPACING) == 0.0


def test_a_phantom_without_noise_has_level_zero() -> None:
    assert global_noise_level([thorax()], SPACING) == 0.0


@pytest.mark.parametrize("value", [-970.0, -400.0, -100.0, 800.0])
def test_without_soft_tissue_a_uniform_object_still_has_a_level(value: float) -> None:
    """Documented: the lower quartile, 7 % below the noise of a uniform object."""
    assert global_noise_level([value + 20.0 * white()], SPACING) == pytest.approx(0.93 * 20.0, rel=0.03)


def test_lung_with_vessels_reads_the_lung_between_them() -> None:
    vessels = (Y % 24 < 3) & (X % 24 < 3)
    level = global_noise_level([np.where(vessels, -650.0, -850.0) + 20.0 * white()], SPACING)
    assert level == pytest.approx(20.0, rel=0.2)


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (1, 40), (3, 2)])
def test_tiny_images_have_a_finite_level(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).normal(40.0, 10.0, shape)
    assert 0.0 <= global_noise_level([noise], SPACING) < 30.0


def test_nothing_measured_has_level_zero() -> None:
    assert global_noise_level([np.full(SHAPE, np.nan)], SPACING) == 0.0
    assert global_noise_level([], SPACING) == 0.0


def test_a_spacing_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="spacing is 0 mm"):
        global_noise_level([thorax()], (0.0, 0.8))


def test_the_scan_level_reads_evenly_spaced_slices_once() -> None:
    scan = Scan.from_array(np.stack([thorax() + 20.0 * white()] * 10))
    read: list[int] = []

    def recorded(z: int) -> Slice:
        read.append(z)
        return scan.read(z)

    counted = Scan(scan.name, scan.shape, scan.affine, recorded)
    assert scan_noise_level(counted, n_slices=5) == pytest.approx(20.0, rel=0.03)
    assert read == [1, 3, 5, 7, 9]
    read.clear()
    scan_noise_level(counted, n_slices=50)
    assert read == list(range(10))


def test_flat_soft_tissue_keeps_clear_of_edges_and_other_tissue() -> None:
    clean = thorax()
    soft = flat_soft_tissue(clean + 30.0 * white())
    assert soft.sum() > 5000
    assert np.isin(clean[soft], (40.0, 100.0)).all()


def test_flat_soft_tissue_is_not_chosen_by_the_noise() -> None:
    """A threshold at 0 HU on the pixels would show a mean 11 HU too high at this noise."""
    clean, noise = thorax(soft_tissue=20.0), 30.0 * white()
    soft = flat_soft_tissue(clean + noise)
    assert abs(noise[soft].mean()) < 0.5


def test_flat_soft_tissue_leaves_padding_out() -> None:
    hu = np.full(SHAPE, 40.0)
    hu[:, :128] = np.nan
    assert not flat_soft_tissue(hu)[:, :128].any()
    assert flat_soft_tissue(hu)[:, 128:].all()
    padding = disc(128, 128, 40)
    assert np.array_equal(flat_soft_tissue(np.where(padding, -3024.0, 40.0), padding), ~padding)
