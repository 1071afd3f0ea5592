from dataclasses import replace

import numpy as np
import pytest

from lowdose.lesions import LesionError
from lowdose.physics.dose import dose_simulator
from lowdose.physics.lesion_insertion import as_reconstructed, with_lesions
from lowdose.physics.lesion_model import LesionModel
from lowdose.physics.scanner import Scanner
from lowdose.scan import Acquisition, Scan
from tests.physics.phantoms import FAN, GRID, noisy_water

SCANNER = Scanner("test", "a fan beam", FAN, photons=1e5, electronic=8.0)


@pytest.fixture(scope="module")
def simulator():
    water = noisy_water(photons=1.5e5, n_slices=6)
    return dose_simulator(water, seed=1, scanner=SCANNER)


def lesion(simulator, z: float = 2.0, radius: float = 15.0) -> LesionModel:
    dz, dy, dx = simulator.scan.spacing
    n_y, n_x = simulator.scan.shape[1:]
    return LesionModel("node", (z * dz, n_y / 2 * dy, n_x / 2 * dx), (radius,) * 3, contrast=60.0, margin=0.8)


def test_without_lesions_the_scan_is_itself_bit_for_bit(simulator):
    inserted, lesions = with_lesions(simulator, ())
    assert lesions == ()
    assert inserted.scan.hu.tobytes() == simulator.scan.hu.tobytes()


def test_a_lesion_keeps_its_contrast_and_its_volume_through_the_projections(simulator):
    inserted, _ = with_lesions(simulator, [lesion(simulator)])
    added = inserted.scan.read(2).hu - simulator.scan.read(2).hu
    n_y, n_x = added.shape
    middle = added[n_y // 2 - 4 : n_y // 2 + 4, n_x // 2 - 4 : n_x // 2 + 4]
    assert middle.mean() == pytest.approx(60.0, rel=0.03)
    model = lesion(simulator)
    rows, columns = model.pixels(GRID.spacing, GRID.shape)
    ideal = model.slab(model.centre[0], simulator.scan.spacing[0], GRID.spacing, rows, columns)
    assert added[rows, columns].sum(dtype=float) == pytest.approx(ideal.sum(dtype=float), rel=0.03)


def test_the_rest_of_the_image_hardly_changes(simulator):
    inserted, lesions = with_lesions(simulator, [lesion(simulator)])
    added = np.abs(inserted.scan.read(2).hu - simulator.scan.read(2).hu)
    y0, x0, y1, x1 = (int(edge) for edge in lesions[0].boxes[2][0])
    added[y0 - 8 : y1 + 8, x0 - 8 : x1 + 8] = 0
    assert added.max() < 1.5


def test_the_scanner_blurs_a_lesion_as_its_kernel_does(simulator):
    """A small Gaussian blob keeps its sum; its width squared grows by the kernel's, and so its height falls.

    What the interpolation between rays and pixels adds to the width is the same for both kernels.
    """
    y, x = np.ogrid[: GRID.shape[0], : GRID.shape[1]]
    squared = (y - 112) ** 2 + (x - 112) ** 2
    point = (1000.0 * np.exp(-squared / (2 * 1.2**2))).astype(np.float32)
    calibration = simulator.calibration
    frequencies = np.linspace(0, 1.0, 40)
    squared_widths = []
    for width in (0.5, 2.5):
        gain = np.exp(-2 * (np.pi * frequencies * width) ** 2)
        kernel = replace(calibration.kernel, frequencies=frequencies, gain=gain)
        seen = as_reconstructed(replace(simulator, calibration=replace(calibration, kernel=kernel)), point)
        near = squared < 12**2
        total = seen[near].sum(dtype=float)
        assert total == pytest.approx(point.sum(dtype=float), rel=0.03)
        squared_widths.append((1.2 * GRID.spacing[0]) ** 2 * 1000.0 / seen.max())
    assert squared_widths[0] < 3.2
    assert np.diff(squared_widths) == pytest.approx(2.5**2 - 0.5**2, rel=0.03)


def test_a_low_dose_scan_has_the_lesion_in_it_and_its_boxes_fit(simulator):
    inserted, lesions = with_lesions(simulator, [lesion(simulator)])
    low = inserted.at(0.25)
    assert low.shape == inserted.scan.shape
    assert [step.name for step in low.history] == ["insert-lesions", "simulate"]
    y0, x0, y1, x1 = (int(edge) for edge in lesions[0].boxes[2][0])
    inside = low.read(2).hu[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4].mean()
    around = low.read(2).hu[y0 - 20 : y0 - 6, x0:x1].mean()
    assert inside - around == pytest.approx(60.0, abs=10.0)


def test_padding_is_not_touched():
    hu = np.zeros((1, 128, 128), np.float32)
    padding = np.zeros(hu.shape, bool)
    padding[:, :, :70] = True
    hu[padding] = -2000.0
    scan = Scan.from_array(hu, spacing=(3.0, 1.0, 1.0), padding=padding)
    simulator = dose_simulator(scan, seed=1, scanner=SCANNER)
    inserted, _ = with_lesions(simulator, [LesionModel("node", (0.0, 64.0, 70.0), (9.0,) * 3, 80.0, 0.5)])
    after = inserted.scan.read(0)
    assert (after.hu[padding[0]] == -2000.0).all()
    assert after.hu[64, 72] > 40


def test_a_thick_slice_shows_less_of_a_small_lesion():
    hu = np.zeros((3, 96, 96), np.float32)
    shown = []
    for thickness in (1.0, 8.0):
        acquisition = Acquisition(slice_thickness=thickness)
        scan = Scan.from_array(hu, spacing=(8.0, 1.0, 1.0), acquisition=acquisition)
        simulator = dose_simulator(scan, seed=1, scanner=SCANNER)
        model = LesionModel("node", (8.0, 48.0, 48.0), (3.0, 6.0, 6.0), 80.0, 0.5)
        inserted, _ = with_lesions(simulator, [model])
        shown.append(float(inserted.scan.read(1).hu[47:50, 47:50].mean()))
    assert shown[0] == pytest.approx(80.0, rel=0.05)
    assert shown[1] == pytest.approx(shown[0] * 6 / 8, rel=0.05)


def test_a_lesion_outside_the_scan_is_refused(simulator):
    far = replace(lesion(simulator), centre=(900.0, 50.0, 50.0))
    with pytest.raises(LesionError, match="no slice shows half of the contrast of a node of 30 mm at 900 mm"):
        with_lesions(simulator, [far])
