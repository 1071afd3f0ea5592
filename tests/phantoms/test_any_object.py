"""A disc with two holes, drawn finely, blurred by a known Gaussian, with noise of known strength."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_erosion, gaussian_filter

from lowdose.phantoms.any_object import (
    Truth,
    blurred_object,
    check_object_repeats,
    measure_object,
    object_slices,
)
from lowdose.phantoms.object_readings import OBJECT_PROTOCOL, object_readings
from lowdose.phantoms.places import Places, find_places
from lowdose.scan import Scan
from tests.phantoms.test_places import AIR, BLUR_MM, PIXEL, box, disc, drawn

F50 = 0.18739
NOISE = 15.0
SPACING = (2.0, PIXEL, PIXEL)
N_SLICES = 4
HOLES = ((30.0, 30.0, 6.0), (52.0, 48.0, 8.0))


@pytest.fixture(scope="module")
def pure() -> np.ndarray:
    return drawn([(disc(40.0, 40.0, 38.0), 40.0), *((disc(*hole), AIR) for hole in HOLES)])


def noise_of(image: np.ndarray, seed: int, n_slices: int = N_SLICES) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n_slices, *image.shape))


def scan_of(hu: np.ndarray, name: str = "object") -> Scan:
    return Scan.from_array(hu, spacing=SPACING, name=name)


@pytest.fixture(scope="module")
def scan(pure) -> Scan:
    return scan_of(pure + NOISE * noise_of(pure, 0))


@pytest.fixture(scope="module")
def places(scan) -> Places:
    """All squares that are found, and the first rod of every kind."""
    found = find_places(scan)
    assert [rod.kind for rod in found.rods] == [*[(6, -10)] * 3, *[(8, -10)] * 3]
    return replace(found, rods=(found.rods[0], found.rods[3]))


@pytest.fixture(scope="module")
def squares(places) -> Places:
    return replace(places, rods=())


@pytest.fixture(scope="module")
def arm(scan, places):
    return measure_object("scan", [scan], places, [1])


def blurred_noise(width: float) -> float:
    """What a Gaussian of `width` pixels leaves of white noise of one: the root of the sum of its squares."""
    impulse = np.zeros((61, 61))
    impulse[30, 30] = 1.0
    return float(np.sqrt((gaussian_filter(impulse, width) ** 2).sum()))


def reading(arm, measure: str, item: str = "") -> float:
    (found,) = [one for one in object_readings(arm) if (one.measure, one.item) == (measure, item)]
    assert found.arm == arm.name
    return found.value


def test_hu_and_white_noise_are_those_that_were_put_in(arm, places):
    assert list(arm.materials) == ["40 HU"]
    material = arm.materials["40 HU"]
    assert material.hu == pytest.approx(40.0, abs=0.3)
    assert material.noise == arm.noise == pytest.approx(NOISE, rel=0.02)
    assert material.n_regions == sum(len(one.corners) for one in places.squares.values())
    assert set(material.spectra) == {"centre", "edge"}
    assert sum(one.n_regions for one in material.spectra.values()) == material.n_regions
    assert {one.side for one in material.spectra.values()} == {places.side}
    for spectrum in material.spectra.values():  # flat, but for the trend that is taken off
        assert spectrum.radial.power[3:] == pytest.approx((NOISE * PIXEL) ** 2, rel=0.15)
        curve, frequencies = spectrum.radial.power, spectrum.radial.frequencies
        assert frequencies[-1] < 0.5 / PIXEL
        assert spectrum.radial.mean_frequency == pytest.approx((curve @ frequencies) / curve.sum())
    # The mean of a flat curve is half of the Nyquist frequency, and more by what the trend took at the start.
    mean = reading(arm, "noise power, mean frequency", "40 HU, centre")
    assert 0.25 / PIXEL < mean < 0.25 / PIXEL * 1.15


def test_blurred_noise_has_the_strength_and_the_colour_of_its_blur(pure, squares):
    """Less what the six terms of each square's trend hold of it, which is taken off."""
    width, side = 1.5, squares.side
    smooth = np.stack([gaussian_filter(one, width) for one in noise_of(pure, 1)])
    found = measure_object("smooth", [scan_of(pure + 60.0 * smooth)], squares, [0])
    y, x = np.meshgrid(*[np.linspace(-1, 1, side)] * 2, indexing="ij")
    terms = np.linalg.qr(np.stack([x**0, x, y, x * x, x * y, y * y]).reshape(6, -1).T)[0].T
    held = [gaussian_filter(np.pad(one.reshape(side, side), 12), width) ** 2 for one in terms]
    left = blurred_noise(width) ** 2 - np.sum(held) / side**2
    assert found.noise == pytest.approx(60.0 * np.sqrt(left), rel=0.02)
    radial = found.materials["40 HU"].spectra["edge"].radial
    expected = np.exp(-((2 * np.pi * 1.5 * PIXEL * radial.frequencies) ** 2))
    clear = (expected > 0.05) & (radial.frequencies > 0.12)
    assert np.count_nonzero(clear) >= 3
    assert radial.power[clear] == pytest.approx((60.0 * PIXEL) ** 2 * expected[clear], rel=0.2)


def test_round_rods_tell_the_blur(arm):
    assert list(arm.rods) == ["12 mm, −1000 HU", "16 mm, −1000 HU"]
    for kind, radius in (("12 mm, −1000 HU", 6.0), ("16 mm, −1000 HU", 8.0)):
        assert reading(arm, "task transfer, f50", kind) == pytest.approx(F50 / BLUR_MM, rel=0.03)
        assert reading(arm, "contrast", kind) == pytest.approx(AIR - 40.0, rel=0.01)
        f10 = np.sqrt(-np.log(0.1) / 2) / (np.pi * BLUR_MM)
        assert reading(arm, "task transfer, f10", kind) == pytest.approx(f10, rel=0.05)
        for one in arm.rods[kind]:
            assert one.radius == pytest.approx(radius, abs=0.05)


def test_a_softer_arm_has_softer_rods_at_the_same_places(scan, places):
    softer = np.stack([gaussian_filter(one, 1.2) for one in scan.hu])
    places = replace(places, squares={}, rods=places.rods[1:])
    found = measure_object("soft", [scan_of(softer)], places, [])
    for kind in found.rods:
        expected = F50 / np.hypot(BLUR_MM, 1.2 * PIXEL)
        assert reading(found, "task transfer, f50", kind) == pytest.approx(expected, rel=0.03)


def test_a_rod_whose_contrast_is_lost_or_turned_round_is_left_out(pure, places):
    places = replace(places, squares={}, rods=places.rods[:1])
    filled = np.broadcast_to(drawn([(disc(40.0, 40.0, 38.0), 40.0)]), (N_SLICES, 160, 160))
    noisy = scan_of(filled + NOISE * noise_of(pure, 2))
    lost = measure_object("filled", [noisy], places, [])
    assert lost.rods == {}
    (note,) = lost.notes
    assert note.startswith(
        f"slice {places.rods[0].z + 1}: no rod stands out of the noise at (y, x) = (30.0, 30.0)"
    )
    dense = drawn([(disc(40.0, 40.0, 38.0), 40.0), *((disc(*hole), 1040.0) for hole in HOLES)])
    turned = measure_object("dense", [scan_of(dense + NOISE * noise_of(pure, 2))], places, [])
    assert turned.rods == {}
    assert turned.notes == ()


def test_what_repeats_have_in_common_is_no_noise(pure, squares):
    """Stripes of 20 HU that every repeat has count as noise in one scan, and not in three."""
    stripes = 20.0 * np.sin(2 * np.pi * np.arange(160) / 8.0)[None, :]
    repeats = [scan_of(pure + stripes + NOISE * noise_of(pure, seed)) for seed in range(3)]
    one = measure_object("one", repeats[:1], squares, [0])
    three = measure_object("three", repeats, squares, [0])
    assert one.noise == pytest.approx(np.hypot(NOISE, 20.0 / np.sqrt(2)), rel=0.02)
    assert three.noise == pytest.approx(NOISE, rel=0.02)
    assert (one.n_repeats, three.n_repeats) == (1, 3)
    material = three.materials["40 HU"]
    assert material.n_regions == 3 * one.materials["40 HU"].n_regions
    # The mean is that of all images.
    alone = [measure_object("", [scan], squares, []).materials["40 HU"].hu for scan in repeats]
    assert material.hu == pytest.approx(np.mean(alone), abs=1e-4)


def test_scans_of_two_doses_are_no_repeats(pure, squares):
    quiet, alike, loud = (
        scan_of(pure + noise * noise_of(pure, seed)) for seed, noise in enumerate((15.0, 16.5, 30.0))
    )
    check_object_repeats([quiet], squares, "low")
    check_object_repeats([quiet, alike], squares, "low")
    with pytest.raises(ValueError, match="are no repeats") as error:
        check_object_repeats([quiet, alike, loud], squares, "low")
    told = re.fullmatch(
        r"the 3 series of 'low' are no repeats of one scan: their noise is (\S+) to (\S+) HU; "
        "give each dose or method as an arm of its own, as in full=dose-1/ low=dose-0.25/",
        str(error.value),
    )
    assert [float(one) for one in told.groups()] == pytest.approx([15.0, 30.0], rel=0.05)
    check_object_repeats([quiet, loud], replace(squares, squares={}), "low")  # nothing to tell it by


def test_rods_are_measured_in_the_mean_of_the_repeats(pure, places):
    repeats = [scan_of(pure + NOISE * noise_of(pure, seed)) for seed in range(4)]
    places = replace(places, squares={}, rods=places.rods[:1])
    one, four = (measure_object("", repeats[:n], places, []).rods["12 mm, −1000 HU"][0] for n in (1, 4))
    assert one.noise == pytest.approx(NOISE, rel=0.1)
    assert four.noise == pytest.approx(NOISE / 2, rel=0.1)


def test_examples_are_the_slices_that_are_shown_as_they_are(scan, squares):
    extra = len(scan) - 1
    found = measure_object("scan", [scan, scan], squares, [0, extra])
    assert list(found.examples) == [0, extra]
    assert np.array_equal(found.examples[0], scan.read(0).hu)
    assert object_slices(replace(squares, squares={}, rods=()), [3, 1]) == [1, 3]
    told = []
    measure_object("scan", [scan, scan], squares, [0], on_image=lambda: told.append(1))
    assert len(told) == 2 * len(object_slices(squares, [0]))


def test_without_squares_there_is_no_noise_to_tell(scan, places):
    found = measure_object(
        "scan", [scan], replace(places, squares={}, materials=(), rods=places.rods[:1]), [0]
    )
    assert found.materials == {}
    assert np.isnan(found.noise)
    assert found.rods


# The control


def test_the_control_has_the_noise_of_the_arm_it_stands_for(pure, scan, arm, places):
    less = scan_of(pure + 0.4 * NOISE * noise_of(pure, 5))
    like = measure_object("denoised", [less], replace(places, rods=()), [1])
    places = replace(places, rods=places.rods[:1])
    control = blurred_object(arm, like, [scan], places, [1])
    assert control.name == "scan, blurred to the noise of denoised"
    assert control.noise == pytest.approx(like.noise, rel=0.05)
    assert control.noise == pytest.approx(0.4 * NOISE, rel=0.05)
    # The blur of white noise to 0.4 of it is that whose kernel's squares add up to 0.16.
    assert blurred_noise(control.blur) == pytest.approx(0.4, rel=0.05)
    assert np.array_equal(control.examples[1], gaussian_filter(scan.read(1).hu, control.blur))
    softer = F50 / np.hypot(BLUR_MM, control.blur * PIXEL)
    assert reading(control, "task transfer, f50", "12 mm, −1000 HU") == pytest.approx(softer, rel=0.03)
    assert arm.blur is None


@pytest.mark.parametrize("share", [0.8, 0.2, 0.1])
def test_a_strong_blur_has_the_noise_too_although_much_of_it_is_trend(pure, scan, squares, share):
    first = measure_object("scan", [scan], squares, [1])
    less = scan_of(pure + share * NOISE * noise_of(pure, 5))
    like = measure_object("denoised", [less], squares, [1])
    control = blurred_object(first, like, [scan], squares, [1])
    assert control.noise == pytest.approx(like.noise, rel=0.03)


def test_a_blur_adds_no_noise(pure, scan, arm, squares):
    more = measure_object("low", [scan_of(pure + 2 * NOISE * noise_of(pure, 6))], squares, [1])
    with pytest.raises(ValueError, match=r"a blur cannot make 29\.\d\d HU of noise out of 14\.\d\d HU"):
        blurred_object(arm, more, [scan], squares, [1])


def test_without_squares_there_is_nothing_to_match_a_blur_in(scan, arm, places):
    with pytest.raises(ValueError, match=r"^object: has no uniform squares to match a blur's noise in$"):
        blurred_object(arm, arm, [scan], replace(places, squares={}), [1])


# Against the truth

SHARP_MM = 0.4
NAMES = {1: "body", 2: "insert", 4: "speck"}


@pytest.fixture(scope="module")
def known() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A sharp image, a softer one, the truth and the labels of a box and discs, `[y, x]`, without noise."""
    shapes = [
        (disc(40.0, 40.0, 38.0), 40.0, 1),
        (disc(30.0, 30.0, 10.0), 240.0, 2),
        (box(45.0, 45.0, 14.0, 14.0), -160.0, 3),
        (disc(20.0, 55.0, 2.0), 140.0, 4),
    ]
    sharp, soft = (drawn([(inside, hu) for inside, hu, _ in shapes], blur=b) for b in (SHARP_MM, BLUR_MM))
    fine, n = 4, 160
    at = (np.arange(n * fine) - (fine - 1) / 2) * PIXEL / fine
    y, x = np.meshgrid(at, at, indexing="ij")
    hu, labels = np.full(y.shape, AIR), np.zeros((n, n), int)
    for inside, value, number in shapes:
        hu[inside(y, x)] = value
        labels[inside(*np.meshgrid(np.arange(n) * PIXEL, np.arange(n) * PIXEL, indexing="ij"))] = number
    return sharp, soft, hu.reshape(n, fine, n, fine).mean(axis=(1, 3)), labels


@pytest.fixture(scope="module")
def truth(known) -> Truth:
    _, _, hu, labels = (np.stack([one] * N_SLICES) for one in known)
    return Truth(scan_of(hu), scan_of(labels.astype(float)), NAMES)


def test_structures_are_measured_away_from_their_edges(known, truth, squares):
    """The body reads 3 HU too much, the insert 5 HU too little."""
    image, _, _, labels = known
    wrong = np.where(labels == 1, 3.0, 0.0) + np.where(labels == 2, -5.0, 0.0)
    scan = scan_of(image + wrong + NOISE * noise_of(image, 7))
    found = measure_object("scan", [scan], squares, [0], truth=truth)
    # The speck has no 200 pixels.
    assert [one.name for one in found.structures] == ["body", "insert", "label 3"]
    body, insert, box_ = found.structures
    read = len(object_slices(squares, [0]))
    for number, one in ((1, body), (2, insert), (3, box_)):
        assert one.n_pixels == read * np.count_nonzero(binary_erosion(labels == number, iterations=2))
        assert one.noise == pytest.approx(NOISE, rel=0.05)
    assert (body.true_hu, insert.true_hu, box_.true_hu) == pytest.approx((40.0, 240.0, -160.0))
    assert body.hu == pytest.approx(43.0, abs=0.8)
    assert insert.hu == pytest.approx(235.0, abs=0.8)
    assert box_.hu == pytest.approx(-160.0, abs=1.5)
    means = [one for one in object_readings(found) if (one.module, one.measure) == ("truth", "mean")]
    assert [(one.item, one.value, one.expected) for one in means] == [
        (one.name, one.hu, one.true_hu) for one in found.structures
    ]


def test_the_transfer_from_the_truth_is_that_of_the_blur_whatever_the_noise(known, truth, squares):
    _, image, *_ = known
    for noise in (NOISE, 3 * NOISE):
        scan = scan_of(image + noise * noise_of(image, 8))
        found = measure_object("scan", [scan], squares, [0], truth=truth)
        assert reading(found, "transfer, f50") == pytest.approx(F50 / BLUR_MM, rel=0.03)


def test_the_noise_of_structures_over_repeats_is_that_of_an_image(known, truth, squares):
    image, *_ = known
    scans = [scan_of(image + NOISE * noise_of(image, seed)) for seed in (9, 10)]
    one = measure_object("one", scans[:1], squares, [0], truth=truth)
    two = measure_object("two", scans, squares, [0], truth=truth)
    for alone, both in zip(one.structures, two.structures, strict=True):
        assert both.n_pixels == 2 * alone.n_pixels
        assert both.noise == pytest.approx(NOISE, rel=0.05)


def test_without_a_truth_nothing_is_said_of_one(arm):
    assert (arm.structures, arm.transfer) == ((), None)
    assert {one.module for one in object_readings(arm)} == {"squares", "rods"}


def test_every_number_is_named_once_and_has_its_unit(arm):
    found = object_readings(arm)
    keys = [(one.module, one.measure, one.item) for one in found]
    assert len(set(keys)) == len(keys)
    assert {one.unit for one in found} == {"HU", "1/mm"}
    assert all(":" in sentence for sentence in OBJECT_PROTOCOL)


def test_the_median_of_a_kind_of_rods_is_told(arm):
    (kind, rods), *_ = arm.rods.items()
    three = tuple(replace(rods[0], contrast=value) for value in (-1000.0, -900.0, -100.0))
    assert reading(replace(arm, rods={kind: three}), "contrast", kind) == -900.0


def test_a_rod_by_itself_in_a_slice_without_squares_is_read_too(scan, places):
    only = Places(places.side, (), {}, places.rods[:1])
    assert object_slices(only, []) == [only.rods[0].z]
    assert len(measure_object("scan", [scan], only, []).rods) == 1
