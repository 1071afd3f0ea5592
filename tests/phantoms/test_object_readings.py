import numpy as np
import pytest

from lowdose.phantoms.any_object import Material, ObjectMeasurement, Structure
from lowdose.phantoms.module_measurement import Spectrum
from lowdose.phantoms.object_readings import OBJECT_PROTOCOL, object_readings
from lowdose.quality.resolution import TaskTransfer
from lowdose.quality.spectra import RadialSpectrum

FREQUENCIES = np.linspace(0.0, 1.0, 1001)


def rod(f50, contrast):
    return TaskTransfer(
        FREQUENCIES, np.exp(-np.log(2) * (FREQUENCIES / f50) ** 2), (0.0, 0.0), 6.0, contrast, 5.0
    )


def arm():
    radial = RadialSpectrum(np.array([0.1, 0.2, 0.3]), np.array([1.0, 1.0, 2.0]))
    material = Material(58.0, 12.0, 40, {"centre": Spectrum(np.ones((8, 8)), radial, 8, 40)})
    rods = tuple(rod(f50, contrast) for f50, contrast in ((0.2, 1000.0), (0.31, 1090.0), (0.3, 1100.0)))
    structures = (Structure("liver", 60.0, 61.5, 9.0, 500),)
    return ObjectMeasurement("scan", {"58 HU": material}, {"18 mm": rods}, structures, None, {}, 1)


def value(measure, item):
    (found,) = [one for one in object_readings(arm()) if (one.measure, one.item) == (measure, item)]
    return found


def test_materials_have_their_mean_noise_and_mean_frequency():
    assert value("mean", "58 HU").value == 58.0
    assert value("noise", "58 HU").value == 12.0
    assert value("noise power, mean frequency", "58 HU, centre").value == pytest.approx((0.1 + 0.2 + 0.6) / 4)


def test_of_the_rods_of_a_kind_the_median_counts():
    """One that ends within its slice reads softer and must not pull the others down."""
    assert value("task transfer, f50", "18 mm").value == pytest.approx(0.3, rel=1e-3)
    expected = 0.3 * np.sqrt(np.log(10) / np.log(2))
    assert value("task transfer, f10", "18 mm").value == pytest.approx(expected, rel=1e-3)
    assert value("contrast", "18 mm").value == 1090.0


def test_structures_are_held_against_the_truth():
    assert (value("mean", "liver").value, value("mean", "liver").expected) == (61.5, 60.0)
    assert value("noise", "liver").value == 9.0
    assert all(one.passes is None for one in object_readings(arm()))
    assert all(": " in line for line in OBJECT_PROTOCOL)
