from dataclasses import replace

import numpy as np
import pytest

from lowdose.physics.beam import Bowtie
from lowdose.physics.geometry import ConeBeam, ParallelBeam
from lowdose.physics.scanner import Scanner, ScannerError, check_fit, check_geometry
from tests.physics.phantoms import FAN


def test_a_cone_beam_scanner_has_the_plane_of_its_central_rows():
    cone = ConeBeam(8, 4, 16, 1.0, 2.0, 200.0, 400.0)
    scanner = Scanner("one", "a cone beam", cone, photons=1e4, electronic=3.0)
    assert scanner.plane == cone.mid_plane
    assert Scanner("two", "a fan", FAN, 1e4, 3.0).plane == FAN


def test_the_beam_has_the_photons_of_a_dose():
    bowtie = Bowtie(200.0, 0.5)
    beam = Scanner("one", "a fan", FAN, 1e4, 3.0, bowtie, modulation=0.5).beam(0.25)
    assert (beam.photons, beam.electronic, beam.bowtie, beam.modulation) == (2500.0, 3.0, bowtie, 0.5)


@pytest.mark.parametrize(
    ("geometry", "told"),
    [
        (ParallelBeam(1, 1, 1.0), "1 views of 1 channels make no image"),
        (replace(FAN, channel_shift=300.0), "shifted by 300 of them and misses the axis"),
        (replace(FAN, n_channels=5000), "degrees beside the central ray, which is no fan"),
        (replace(FAN, scan_angle=np.deg2rad(185.0)), "185.0 degrees is too short"),
        (ConeBeam(100, 50, 100, 1.0, 40.0, 100.0, 200.0), "which is no fan"),
    ],
)
def test_machines_that_can_not_be_are_refused(geometry, told):
    with pytest.raises(ScannerError, match=told):
        check_geometry(geometry)


def test_what_does_not_fit_between_source_and_detector_is_refused():
    scanner = Scanner("one", "a fan", FAN, 1e4, 3.0)
    check_geometry(FAN)
    check_fit(scanner, FAN.source_to_axis - 1, "the image")
    with pytest.raises(ScannerError, match=r"the image reaches .* name a scanner that it fits into"):
        check_fit(scanner, FAN.source_to_axis, "the image")
    check_fit(Scanner("two", "parallel", ParallelBeam(10, 10, 1.0), 1e4, 3.0), 1e6, "anything")
