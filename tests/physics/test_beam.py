import numpy as np
import pytest

from lowdose.physics.beam import NO_BOWTIE, Beam, Bowtie, view_modulation
from lowdose.physics.geometry import ConeBeam
from lowdose.units import WATER_MU_PER_MM
from tests.physics.phantoms import FAN, chords


def test_a_full_bowtie_leaves_equal_photons_behind_its_cylinder():
    bowtie = Bowtie(cylinder_mm=200.0, compensation=1.0)
    distances = np.linspace(-95, 95, 39)
    behind = bowtie.transmission(distances) * np.exp(-WATER_MU_PER_MM * 2 * np.sqrt(100.0**2 - distances**2))
    assert behind == pytest.approx(np.full(39, np.exp(-WATER_MU_PER_MM * 200)), rel=1e-5)


def test_without_a_bowtie_all_photons_pass():
    assert (NO_BOWTIE.transmission(np.linspace(-250, 250, 11)) == 1).all()
    assert Bowtie().transmission(np.zeros(1)) == pytest.approx(1.0)


def test_modulation_keeps_the_mean_and_follows_the_thickest_ray():
    thickest = (4 + np.cos(2 * np.linspace(0, 2 * np.pi, 360, endpoint=False))).astype(np.float32)
    current = view_modulation(thickest, 1.0)
    assert current.mean() == pytest.approx(1.0, rel=1e-5)
    contrast = np.log(current.max() / current.min())
    # A Gaussian of 5 degrees takes exp(-2 (5 pi / 180)^2) from the second harmonic.
    assert contrast == pytest.approx(2 * np.exp(-2 * np.deg2rad(5.0) ** 2), rel=1e-3)
    assert (view_modulation(thickest, 0.0) == 1).all()


def test_counts_follow_beer_and_lambert_tube_current_and_hardening():
    water = (chords(FAN, 100.0) * WATER_MU_PER_MM).astype(np.float32)
    plain = Beam(1e5).counts(FAN, water)
    middle = FAN.n_channels // 2
    assert plain[0, middle] == pytest.approx(1e5 * np.exp(-water[0, middle]), rel=1e-4)
    assert Beam(1e5).counts(FAN, water, 0.5) == pytest.approx(plain / 2, rel=1e-5)
    harder = Beam(1e5, hardening=0.2).counts(FAN, water)
    assert harder[0, middle] == pytest.approx(1e5 * np.exp(-0.8 * water[0, middle]), rel=1e-4)


def test_the_variance_has_quanta_and_electronics():
    air = np.zeros((FAN.n_views, FAN.n_channels), np.float32)
    assert Beam(100.0, electronic=5.0).variance(FAN, air) == pytest.approx(1 / 100 + 25 / 1e4, rel=1e-5)


def test_a_cone_beam_has_the_counts_of_its_rows():
    cone = ConeBeam(8, 4, 16, 1.0, 1.0, 200.0, 400.0)
    passed = np.zeros((8, 4, 16), np.float32)
    counts = Beam(1e4, bowtie=Bowtie(100.0, 0.5)).counts(cone, passed)
    assert counts.shape == (8, 4, 16)
    assert (counts == counts[:, :1]).all()
