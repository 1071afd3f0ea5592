from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numba
import numpy as np
import pytest
from scipy.integrate import quad

from lowdose.physics.geometry import CLINICAL_FAN, FanBeam, ImageGrid, ParallelBeam
from lowdose.physics.projector import Projector
from lowdose.physics.ramp import (
    APODISATIONS,
    hann,
    nyquist,
    ram_lak,
)
from lowdose.physics.reconstruction import fbp, field_of_view, within_field_of_view
from lowdose.physics.redundancy import redundancy_weights
from tests.physics.phantoms import FAN, GEOMETRIES, GRID, PARALLEL, chords, disc

COARSE = ImageGrid((96, 96), (3.0, 3.0))


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
@pytest.mark.parametrize("centre", [(0.0, 0.0), (25.0, -30.0)])
def test_exact_chords_of_a_disc_give_the_disc(geometry, centre):
    image = fbp(geometry, GRID, chords(geometry, 60.0, centre).astype(np.float32))
    inside, outside = disc(GRID, 52.0, centre) == 1, disc(GRID, 68.0, centre) == 0
    middle, ring = disc(GRID, 10.0, centre) == 1, (disc(GRID, 45.0, centre) == 0) & inside
    assert image[middle].mean() == pytest.approx(1.0, abs=0.002)
    assert image[inside].mean() == pytest.approx(1.0, abs=0.002)
    assert image[ring].mean() == pytest.approx(image[middle].mean(), abs=0.002)
    assert abs(image[outside].mean()) < 0.002


@pytest.mark.parametrize("name", APODISATIONS)
def test_every_window_keeps_the_mean(name):
    window = APODISATIONS[name](0.8 * nyquist(FAN))
    image = fbp(FAN, GRID, chords(FAN, 60.0).astype(np.float32), window)
    assert image[disc(GRID, 10.0) == 1].mean() == pytest.approx(1.0, abs=0.002)
    assert image[disc(GRID, 50.0) == 1].mean() == pytest.approx(1.0, abs=0.002)


def test_a_displaced_detector_sees_a_field_wider_than_itself():
    geometry = replace(FAN, n_channels=240, channel_shift=90.0)
    assert field_of_view(geometry) > 110
    image = fbp(geometry, GRID, chords(geometry, 90.0, (0.0, 15.0)).astype(np.float32))
    inside = disc(GRID, 80.0, (0.0, 15.0)) == 1
    assert image[inside].mean() == pytest.approx(1.0, abs=0.002)
    assert image[inside].std() < 0.01


def smooth(geometry, width, centre):
    """Line integrals `[view, channel]` of exp(-r^2 / 2 width^2) around `centre` (y, x)."""
    angle = geometry.view_angles[:, None] + geometry.channel_angles[None, :]
    distance = geometry.channel_offsets - (centre[1] * np.cos(angle) + centre[0] * np.sin(angle))
    return (np.sqrt(2 * np.pi) * width * np.exp(-(distance**2) / 2 / width**2)).astype(np.float32)


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_a_smooth_object_comes_back_alike_from_all_geometries(geometry):
    """So flat and curved detectors agree, and a short scan gives what a full one gives."""
    centre = (-31.0, 40.0)
    image = fbp(geometry, GRID, smooth(geometry, 9.0, centre))
    places = (np.arange(224) - 111.5) * 1.3
    truth = np.exp(-((places[:, None] - centre[0]) ** 2 + (places - centre[1]) ** 2) / 2 / 9.0**2)
    assert np.abs(image - truth).max() < 0.008
    assert np.sqrt(np.mean((image - truth) ** 2)) < 0.0012


def test_reconstruction_undoes_projection():
    image = sum(disc(GRID, radius, centre) for radius, centre in ((80.0, (0, 0)), (20.0, (30, -25))))
    again = fbp(FAN, GRID, Projector(GRID, FAN)(image))
    flat = (disc(GRID, 76.0) == 1) & ((disc(GRID, 24.0, (30, -25)) == 0) | (disc(GRID, 16.0, (30, -25)) == 1))
    assert np.abs(again - image)[flat].mean() < 0.01
    assert (again - image)[flat].mean() == pytest.approx(0.0, abs=0.002)


@pytest.mark.parametrize("geometry", [FAN, replace(FAN, channel_shift=0.25), PARALLEL], ids=str)
def test_a_quarter_turn_of_the_views_turns_the_image(geometry):
    sinogram = chords(geometry, 30.0, (25.0, -40.0)).astype(np.float32)
    turned = chords(geometry, 30.0, (-40.0, -25.0)).astype(np.float32)
    image = fbp(geometry, GRID, sinogram)
    assert np.rot90(image, -1) == pytest.approx(fbp(geometry, GRID, turned), abs=2e-4)


def test_a_mirrored_detector_mirrors_the_image():
    sinogram = chords(FAN, 30.0, (25.0, -40.0)).astype(np.float32)
    mirrored = np.roll(sinogram[::-1, ::-1], 1, axis=0)
    assert fbp(FAN, GRID, mirrored)[:, ::-1] == pytest.approx(fbp(FAN, GRID, sinogram), abs=2e-4)


# The formulas, without symmetry, tiles or single precision


def by_formula(geometry, grid, sinogram):
    """Kak and Slaney, equations (61), (140) and (122), term by term."""
    m = np.arange(geometry.n_channels)
    distance = m[:, None] - m
    odd = distance % 2 == 1
    is_arc = isinstance(geometry, FanBeam) and geometry.detector == "arc"
    spacing = geometry.channel_spacing / geometry.source_to_detector if is_arc else geometry.sampling_at_axis
    along = distance * spacing
    with np.errstate(divide="ignore"):
        ramp = np.where(odd, -1 / (np.pi * (np.sin(along) if is_arc else along)) ** 2, 0.0)
    ramp[m, m] = 1 / (4 * spacing**2)
    places = [(np.arange(n) - (n - 1) / 2) * d for n, d in zip(grid.shape, grid.spacing, strict=True)]
    y, x = np.meshgrid(*places, indexing="ij")
    image = np.zeros(grid.shape)
    for angle, view in zip(geometry.view_angles, sinogram.astype(float), strict=True):
        c, s = np.cos(angle), np.sin(angle)
        lateral, weight, gain = x * c + y * s, np.ones(len(m)), 1.0
        known = geometry.channel_offsets
        if isinstance(geometry, FanBeam):
            depth = geometry.source_to_axis + x * s - y * c
            weight = np.cos(geometry.channel_angles) / 2
            if is_arc:
                weight, gain = weight * geometry.source_to_axis, 1 / (lateral**2 + depth**2)
                lateral, known = np.arctan2(lateral, depth), geometry.channel_angles
            else:
                gain = (geometry.source_to_axis / depth) ** 2
                lateral = lateral / depth * geometry.source_to_axis
                known = np.tan(geometry.channel_angles) * geometry.source_to_axis
        filtered = spacing * ramp @ (weight * view)
        image += gain * np.interp(lateral, known, filtered, left=0.0, right=0.0)
    turn = 2 * np.pi if isinstance(geometry, FanBeam) else np.pi
    return image * turn / geometry.n_views


@pytest.mark.parametrize(
    "grid", [ImageGrid((44, 44), (3.0, 3.0)), ImageGrid((21, 150), (5.0, 1.1))], ids=["square", "oblong"]
)
@pytest.mark.parametrize("n_views", [24, 25])
@pytest.mark.parametrize(
    "name", ["parallel", "parallel, offset", "fan", "fan, offset", "flat fan", "flat fan, offset"]
)
def test_every_pixel_follows_the_formula(name, n_views, grid):
    geometry = replace(GEOMETRIES[name], n_views=n_views, n_channels=85, channel_spacing=2.0)
    sinogram = np.random.default_rng(0).random((n_views, 85), np.float32)
    expected = by_formula(geometry, grid, sinogram)
    assert np.abs(fbp(geometry, grid, sinogram) - expected).max() < 2e-4 * np.abs(expected).max()


# Noise


def white(geometry, seed=1):
    shape = geometry.n_views, geometry.n_channels
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


NOISY = ParallelBeam(n_views=300, n_channels=301, channel_spacing=0.9)
FINE = ImageGrid((96, 96), (0.61, 0.61))


def test_noise_of_the_pure_ramp_has_the_variance_of_theory():
    """Parallel beam, linear interpolation: pi^2 s^2 / (12 M t^2) times 2/3 - 2/pi^2."""
    images = np.stack([fbp(NOISY, FINE, white(NOISY, seed)) for seed in range(8)])
    expected = np.pi**2 / (12 * 300 * 0.9**2) * (2 / 3 - 2 / np.pi**2)
    assert images.var() == pytest.approx(expected, rel=0.03)


WINDOWS = {
    "ram-lak": lambda share: 1.0,
    "shepp-logan": lambda share: np.sin(np.pi / 2 * share) / (np.pi / 2 * share),
    "cosine": lambda share: np.cos(np.pi / 2 * share),
    "hamming": lambda share: 0.54 + 0.46 * np.cos(np.pi * share),
    "hann": lambda share: np.cos(np.pi / 2 * share) ** 2,
}


@pytest.mark.parametrize("cutoff", [1.0, 0.6])
@pytest.mark.parametrize("name", APODISATIONS)
def test_noise_of_every_window_has_the_variance_of_theory(name, cutoff):
    """pi^2 s^2 / M (2/3 R(0) + 1/3 R(1)), R the autocorrelation of the kernel: a position between channels
    is a weighted mean of two, the weights w and 1 - w evenly distributed.
    """
    limit, tau = cutoff * nyquist(NOISY), NOISY.channel_spacing

    def integrand(f, lag):
        return 2 * tau * (f * WINDOWS[name](f / limit)) ** 2 * np.cos(2 * np.pi * f * lag * tau)

    same, next_ = (quad(integrand, 0, limit, args=(lag,))[0] for lag in (0, 1))
    expected = np.pi**2 / NOISY.n_views * (2 / 3 * same + 1 / 3 * next_)
    window = APODISATIONS[name](limit)
    images = np.stack([fbp(NOISY, FINE, white(NOISY, seed), window) for seed in range(30)])
    assert images.var() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("name", ["fan", "fan, offset", "flat fan", "flat fan, offset"])
def test_noise_of_a_fan_is_that_of_parallel_rays_at_the_axis(name):
    """M views of a full turn leave at the axis what M views of half a turn leave of parallel rays."""
    geometry = GEOMETRIES[name]
    near = ImageGrid((40, 40), (0.7, 0.7))
    images = np.stack([fbp(geometry, near, white(geometry, seed)) for seed in range(12)])
    tau = geometry.sampling_at_axis
    expected = np.pi**2 / (12 * geometry.n_views * tau**2) * (2 / 3 - 2 / np.pi**2)
    assert images.var() == pytest.approx(expected, rel=0.03)


def periodogram(spectrum, step, n, taper):
    """What squared transforms of `n` x `n` tapered pixels are on average, if the noise has the power
    `spectrum(f)`: near its steep end they are mostly what the taper smears there from stronger frequencies.
    """
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(2 * n, step), np.fft.fftfreq(2 * n, step)))
    covariance = np.fft.ifft2(spectrum(f)).real
    reach = np.fft.ifft2(np.abs(np.fft.fft2(taper, s=f.shape)) ** 2).real
    return np.fft.fft2(covariance * reach).real[::2, ::2] / (taper**2).sum()


@pytest.mark.parametrize(
    ("window", "rings"),
    [(ram_lak, (0.08, 0.2, 0.3, 0.4, 0.5)), (hann(0.5), (0.08, 0.15, 0.2, 0.3, 0.4, 0.45, 0.5))],
    ids=["ram-lak", "hann"],
)
def test_the_noise_power_spectrum_is_that_of_theory(window, rings):
    """(pi / M) t s^2 |f| G(f)^2 sinc(f t)^4: linear interpolation multiplies by sinc^2, its power by sinc^4,
    and leaves of the spectrum's repetitions beyond 1 / 2t what the sinc lets through.
    """
    tau, step, n = NOISY.channel_spacing, 0.4, 128

    def theory(f):
        within = np.abs(f - np.round(f * tau) / tau)
        view = tau * (within * window(within)) ** 2 * np.sinc(f * tau) ** 4
        return np.pi / NOISY.n_views * view / np.maximum(f, 1 / (2 * n * step))

    images = np.stack(
        [fbp(NOISY, ImageGrid((n, n), (step, step)), white(NOISY, k), window) for k in range(60)]
    )
    taper = np.outer(np.hanning(n), np.hanning(n))
    power = (np.abs(np.fft.fft2(images * taper)) ** 2).mean(axis=0) * step**2 / (taper**2).sum()
    expected = periodogram(theory, step, n, taper)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(n, step), np.fft.fftfreq(n, step)))
    for low, high in pairwise(rings):
        ring = (f > low) & (f < high)
        assert power[ring].mean() == pytest.approx(expected[ring].mean(), rel=0.05)


def test_a_short_scan_is_noisier_only_for_its_weights():
    """At the axis the variance goes with the sum of the squared weights, relative to the angle scanned."""
    short = replace(FAN, scan_angle=np.deg2rad(240))
    near = ImageGrid((40, 40), (0.7, 0.7))
    full_noise, short_noise = (
        np.stack([fbp(geometry, near, white(geometry, seed)) for seed in range(12)]).var()
        for geometry in (FAN, short)
    )
    middle = redundancy_weights(short)[:, 199:201]
    expected = (middle**2).mean() / 0.25 * (240 / 360) ** 2
    assert short_noise / full_noise == pytest.approx(expected, rel=0.06)


def test_reconstruction_is_linear_and_windows_lower_noise_in_their_order():
    first, second = white(PARALLEL, 2), white(PARALLEL, 3)
    sum_of_images = fbp(PARALLEL, GRID, first) + 3 * fbp(PARALLEL, GRID, second)
    image_of_sum = fbp(PARALLEL, GRID, first + 3 * second)
    assert np.abs(image_of_sum - sum_of_images).max() < 1e-4 * np.abs(image_of_sum).max()
    noise = [fbp(PARALLEL, GRID, first, make(0.4)).std() for make in APODISATIONS.values()]
    assert sorted(noise, reverse=True) == noise


# The quarter-detector offset


def test_a_quarter_offset_interleaves_opposite_rays():
    """Rays of opposite views near the axis, sorted: half a channel apart, without it on top of each other."""
    for shift, gap in ((0.25, 0.5), (0.0, 0.0)):
        geometry = replace(FAN, channel_shift=shift)
        offsets = np.sort(np.concatenate([geometry.channel_offsets, -geometry.channel_offsets]))
        near = offsets[np.abs(offsets) < 20] / geometry.sampling_at_axis
        assert np.diff(near).min() == pytest.approx(gap, abs=0.005)
        assert np.diff(near).max() == pytest.approx(1 - gap, abs=0.005)


@pytest.mark.parametrize("detector", ["arc", "flat"])
def test_a_quarter_offset_lowers_aliasing(detector):
    """Small discs, sampled coarsely, send streaks outward; opposite views that interleave cancel most."""
    streaks = []
    for shift in (0.0, 0.25):
        geometry = replace(FAN, n_views=960, detector=detector, channel_shift=shift)
        discs = [((18.0, 7.0), 2.5), ((-21.0, 13.0), 1.5), ((3.0, -25.0), 2.0)]
        sinogram = sum(chords(geometry, radius, centre) for centre, radius in discs)
        image = fbp(geometry, ImageGrid((160, 160), (0.5, 0.5)), sinogram.astype(np.float32))
        clear = np.all([disc(ImageGrid((160, 160), (0.5, 0.5)), 2 * r + 3, c) == 0 for c, r in discs], axis=0)
        streaks.append(image[clear].std())
    assert streaks[1] < 0.6 * streaks[0]


# Windows


def test_the_field_of_view_is_what_the_outer_rays_touch():
    assert field_of_view(PARALLEL) == pytest.approx(182.0)
    assert field_of_view(replace(PARALLEL, channel_shift=0.25)) == pytest.approx(181.75)
    assert field_of_view(CLINICAL_FAN) == pytest.approx(250.8, abs=0.2)
    assert field_of_view(replace(FAN, detector="flat")) < field_of_view(FAN)


def test_pixels_are_in_the_field_of_view_or_outside():
    geometry = replace(PARALLEL, n_channels=61)  # 30 mm on both sides
    mask = within_field_of_view(geometry, ImageGrid((81, 31), (1.0, 3.0)))
    assert mask.shape == (81, 31)
    assert mask[:, 15].tolist() == [10 <= row <= 70 for row in range(81)]
    assert mask[40].tolist() == [5 <= column <= 25 for column in range(31)]
    assert mask.sum() * 3 == pytest.approx(np.pi * 30**2, rel=0.02)


@pytest.mark.parametrize("geometry", [FAN, replace(FAN, scan_angle=4.4), PARALLEL], ids=str)
def test_the_field_of_view_is_right_to_its_edge_and_no_farther(geometry):
    """A disc as wide as the field is right to its edge; of a wider one, what lies outside is wrong."""
    narrow = replace(geometry, n_channels=geometry.n_channels // 2)
    grid, radius = GRID, field_of_view(narrow)
    image = fbp(narrow, grid, chords(narrow, radius - 2.0).astype(np.float32))
    inside = within_field_of_view(narrow, grid)
    flat = inside & (disc(grid, radius - 6.0) == 1)
    assert image[flat].mean() == pytest.approx(1.0, abs=0.003)
    too_wide = fbp(narrow, grid, chords(narrow, radius + 20.0).astype(np.float32))
    truth = disc(grid, radius + 20.0)
    assert np.abs(too_wide - truth)[~inside & (truth == 1)].mean() > 0.1


# Faults


def test_a_wrong_sinogram_is_refused():
    with pytest.raises(ValueError, match="this geometry measures"):
        fbp(PARALLEL, GRID, np.zeros((4, 4), np.float32))


@pytest.mark.parametrize("shift", [200.0, -200.0])
def test_a_detector_that_misses_the_axis_is_refused(shift):
    geometry = replace(PARALLEL, channel_shift=shift)
    assert field_of_view(geometry) == 0
    assert not within_field_of_view(geometry, GRID).any()
    with pytest.raises(ValueError, match="the rays pass 18 to 382 mm beside the axis, all on one side"):
        fbp(geometry, GRID, np.zeros((PARALLEL.n_views, PARALLEL.n_channels), np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted_and_refused(value):
    sinogram = np.zeros((FAN.n_views, FAN.n_channels), np.float32)
    sinogram[3, 5] = sinogram[7, 8:10] = value
    with pytest.raises(ValueError, match=r"^3 of 192000 line integrals are not finite: .*raise every count"):
        fbp(FAN, GRID, sinogram)


def test_a_scan_that_is_too_short_is_refused():
    short = replace(FAN, scan_angle=np.deg2rad(200))
    with pytest.raises(ValueError, match=r"a scan of 200\.0 degrees is too short"):
        fbp(short, GRID, np.zeros((FAN.n_views, FAN.n_channels), np.float32))


def test_a_fan_wider_than_the_fit_of_the_arc_is_refused():
    wide = replace(FAN, n_channels=900)
    with pytest.raises(ValueError, match="the fan is 95 degrees wide"):
        fbp(wide, GRID, np.zeros((FAN.n_views, 900), np.float32))


def test_a_grid_that_reaches_behind_the_source_is_built_from_the_rays_that_exist():
    grid = ImageGrid((64, 64), (40.0, 40.0))
    for geometry in (FAN, replace(FAN, detector="flat")):
        sinogram = np.ones((geometry.n_views, geometry.n_channels), np.float32)
        image = fbp(geometry, grid, sinogram)
        assert np.isfinite(image).all()
        assert np.abs(image).max() < 1e3 * np.abs(image[28:36, 28:36]).max()


def test_results_depend_neither_on_threads_nor_on_company():
    sinograms = [white(FAN, seed) for seed in range(6)]
    n_threads = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        alone = [fbp(FAN, COARSE, sinogram) for sinogram in sinograms]
    finally:
        numba.set_num_threads(n_threads)
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda sinogram: fbp(FAN, COARSE, sinogram), sinograms)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(alone, together, strict=True))
