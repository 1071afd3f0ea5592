from dataclasses import replace

import numpy as np
import pytest

from lowdose.phantoms.acquisition import PhantomScanner, Protocol
from lowdose.phantoms.phantom import Phantom
from lowdose.phantoms.primitives import ball, upright_cylinder
from lowdose.physics.beam import Bowtie
from lowdose.physics.geometry import ConeBeam, FanBeam, VolumeGrid
from lowdose.physics.scanner import Scanner, ScannerError
from lowdose.physics.scanners import SCANNERS
from lowdose.quality.resolution import task_transfer
from lowdose.units import WATER_MU_PER_MM

FAN = FanBeam(
    n_views=360, n_channels=160, channel_spacing=2.0, source_to_axis=300.0, source_to_detector=550.0
)
CLINICAL = Scanner("clinic", "a clinical scanner", FAN, photons=2e5, electronic=0.0)
BENCH = Scanner(
    "bench",
    "a bench",
    ConeBeam(120, 40, 80, 0.6, 0.6, 100.0, 200.0),
    photons=2e4,
    electronic=5.0,
    water_mu=0.04,
)
WATER = Phantom("water", "water", (upright_cylinder("water", 0.0, (0.0, 0.0, 0.0), (50.0, 50.0), 40.0),))
BALL = Phantom("ball", "a ball", (ball("ball", 40.0, (0.0, 1.0, -1.0), 5.0),))
PROTOCOL = Protocol(CLINICAL, VolumeGrid((4, 64, 64), (3.0, 1.8, 1.8)))
ON_BENCH = Protocol(BENCH, VolumeGrid((16, 40, 40), (0.4, 0.4, 0.4)), rays=2)


def middle(hu, reach=8):
    n_y, n_x = hu.shape[-2:]
    return hu[..., n_y // 2 - reach : n_y // 2 + reach, n_x // 2 - reach : n_x // 2 + reach]


def test_water_reads_zero_and_air_a_thousand_less():
    hu = PhantomScanner(WATER, PROTOCOL).noise_free().hu
    assert middle(hu).mean() == pytest.approx(0.0, abs=1.0)
    assert hu[:, :3, :3].mean() == pytest.approx(-1000.0, abs=3.0)
    assert hu[0].tobytes() == hu[3].tobytes()


def test_a_ball_reads_its_hu_in_a_cone_beam():
    virtual = PhantomScanner(BALL, ON_BENCH)
    hu, truth = virtual.noise_free().hu, virtual.truth().hu
    assert hu[7:9, 18:24, 16:20].mean() == pytest.approx(40.0, abs=5.0)
    assert np.corrcoef(hu.ravel(), truth.ravel())[0, 1] > 0.98


def test_noise_follows_the_dose_and_repeats_differ():
    virtual = PhantomScanner(WATER, replace(PROTOCOL, grid=VolumeGrid((6, 64, 64), (3.0, 1.8, 1.8))))
    free = middle(virtual.noise_free().hu)
    spreads = [(middle(virtual.scan(dose).hu) - free).std() for dose in (1.0, 0.25)]
    assert spreads[1] / spreads[0] == pytest.approx(2.0, rel=0.1)
    first, second = (middle(virtual.scan(1.0, repeat).hu) - free for repeat in (0, 1))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.1
    assert abs(np.corrcoef(first[0].ravel(), first[1].ravel())[0, 1]) < 0.2


@pytest.mark.parametrize("protocol", [PROTOCOL, ON_BENCH], ids=["fan", "cone"])
def test_a_seed_gives_the_same_bits_in_any_order(protocol):
    phantom = WATER if protocol is PROTOCOL else BALL
    one, other = PhantomScanner(phantom, protocol, seed=7), PhantomScanner(phantom, protocol, seed=7)
    last = one.scan(0.5).read(3).hu
    assert np.array_equal(other.scan(0.5).hu[3], last)
    assert not np.array_equal(PhantomScanner(phantom, protocol, seed=8).scan(0.5).read(3).hu, last)


def test_a_slice_averages_the_photons_over_its_thickness():
    """A slice half in the water is seen by half the photons, not by half the logarithm."""
    virtual = PhantomScanner(WATER, replace(PROTOCOL, middle=40.0, layers=4, rays=1,
                                            grid=VolumeGrid((1, 64, 64), (4.0, 1.8, 1.8))))  # fmt: skip
    longest = virtual.slice_integrals(0).max()
    assert longest == pytest.approx(-np.log((1 + np.exp(-100 * 0.0192)) / 2), rel=1e-3)


def test_line_integrals_are_worked_out_once_for_all_doses(monkeypatch):
    virtual, calls = PhantomScanner(BALL, PROTOCOL), []
    real = Phantom.line_integrals
    monkeypatch.setattr(Phantom, "line_integrals", lambda *a, **k: calls.append(1) or real(*a, **k))
    scans = [virtual.scan(dose, repeat) for dose in (1.0, 0.5) for repeat in (0, 1)]
    for z in range(4):
        for scan in scans:
            scan.read(z)
    assert len(calls) == 4 * PROTOCOL.layers


def test_truth_labels_and_geometry_belong_together():
    small = Phantom("small", "a small ball", (ball("ball", 40.0, (1.0, 1.0, -1.0), 2.0),))
    virtual = PhantomScanner(small, replace(ON_BENCH, middle=2.0))
    scan, truth, labels = virtual.scan(), virtual.truth(), virtual.labels()
    assert np.array_equal(scan.affine, truth.affine)
    assert scan.spacing == (0.4, 0.4, 0.4)
    z, y, x = np.argwhere(labels.hu == 1).mean(axis=0)
    place = (scan.affine @ (z, y, x, 1))[:3]
    assert place == pytest.approx((-1.0, 1.0, 1.0), abs=0.05)  # x, y, z in patient space
    assert scan.history[0].parameters["dose"] == 1.0
    assert scan.acquisition.kernel == "hann-1"


@pytest.mark.parametrize(("kernel", "cutoff"), [("ram-lak", 1.0), ("hann", 1.0), ("hann", 0.6)])
def test_the_resolution_is_that_of_the_window(kernel, cutoff):
    """Window times the channel's aperture times the sinc squared of linear interpolation."""
    geometry = SCANNERS["siemens-as+"].geometry
    rod = upright_cylinder("rod", 100.0, (0.0, 3.0, 2.0), (6.1, 6.1), 10.0)
    phantom = Phantom("rod", "a rod", (upright_cylinder("w", 0.0, (0.0, 0.0, 0.0), (60.0, 60.0), 10.0), rod))
    grid = VolumeGrid((1, 200, 200), (2.0, 0.4, 0.4))
    protocol = Protocol(SCANNERS["siemens-as+"], grid, kernel=kernel, cutoff=cutoff, rays=5)
    image = PhantomScanner(phantom, protocol).noise_free().read(0).hu
    middle = 99.5 * 0.4
    found = task_transfer(image, (0.4, 0.4), (middle + 3.3, middle + 1.8), 6.0, reach=11.0)
    f, tau = np.linspace(0.0, 1.0, 4001), geometry.sampling_at_axis
    transfer = protocol.apodisation(f) * np.sinc(f * tau) ** 3
    assert found.f50 == pytest.approx(f[np.argmax(transfer < 0.5)], rel=0.02)
    assert found.centre == pytest.approx((middle + 3.0, middle + 2.0), abs=0.01)
    assert found.radius == pytest.approx(6.1, abs=0.01)
    assert found.contrast == pytest.approx(100.0, abs=1.0)


def test_protocols_that_can_not_be_are_refused():
    with pytest.raises(ValueError, match="choose one of cosine"):
        replace(PROTOCOL, kernel="sharp")
    with pytest.raises(ValueError, match="cut-off"):
        replace(PROTOCOL, cutoff=0.0)
    with pytest.raises(ValueError, match="at least one ray"):
        replace(PROTOCOL, rays=0)
    for dose in (0.0, -1.0, float("nan"), 1e-9, 1e12):
        with pytest.raises(ValueError, match=r"give 0.0001 to 1000 times"):
            PhantomScanner(WATER, PROTOCOL).scan(dose)


def test_phantoms_that_the_detector_or_the_source_miss_are_refused():
    narrow = replace(CLINICAL, geometry=replace(FAN, n_channels=20))
    with pytest.raises(
        ScannerError, match=r"the water reaches 50 mm .* measures \d+ mm: its images would be wrong"
    ):
        PhantomScanner(WATER, replace(PROTOCOL, scanner=narrow))
    near = replace(CLINICAL, geometry=replace(FAN, source_to_axis=45.0, source_to_detector=400.0))
    with pytest.raises(ScannerError, match="turns at 45 mm"):
        PhantomScanner(WATER, replace(PROTOCOL, scanner=near))


def test_the_electronic_noise_of_the_scanner_is_found_again_in_its_scans():
    """sigma^2 = A / D + B / D^2 with B / A = electronic^2 / counts, the same on all rays behind a bow-tie."""
    counts, electronic = 1000.0, 12.0
    even = replace(
        CLINICAL,
        photons=counts * np.exp(WATER_MU_PER_MM * 100.0),
        electronic=electronic,
        bowtie=Bowtie(100.0, compensation=1.0),
    )
    grid = VolumeGrid((30, 64, 64), (1.0, 1.8, 1.8))
    virtual = PhantomScanner(WATER, replace(PROTOCOL, scanner=even, grid=grid))
    free = middle(virtual.noise_free().read(0).hu, 12)
    doses = np.array([4.0, 1.0, 0.6, 0.4, 0.25])
    variances = [(middle(virtual.scan(dose).hu, 12) - free).var() for dose in doses]
    square, quantum = np.polyfit(1 / doses, variances * doses, 1)
    assert np.sqrt(counts * square / quantum) == pytest.approx(electronic, rel=0.1)
